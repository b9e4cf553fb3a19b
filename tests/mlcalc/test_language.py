"""A language model of SMILES: tokens, writings, tables, network, pre-training, fine-tuning, predictions."""

import json

import numpy as np
import pytest
import torch

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.common.locks import alone
from mlcalc.molecules.language.inputs import MASK_NUMBER, batch_of, hide
from mlcalc.molecules.language.network import EncoderConfig, Layer, MaskedTokens, SolubilityNetwork, Trace
from mlcalc.molecules.language.tokens import SPECIAL, check_vocabulary, is_atom, tokenize, vocabulary_of

RDKIT = "needs RDKit: pip install 'mlcalc[molecules]'"
MOLECULES = """
CCO CCCO CCCCO CC(=O)O c1ccccc1 Oc1ccccc1 Cc1ccccc1 CCN CCCN CC(C)O CC(=O)C CCOCC Nc1ccccc1 OCCO CCC CCCC CCCCC Clc1ccccc1
C1CCCCC1 OC1CCCCC1 CC(N)=O c1ccncc1 CCCl CCCCCl O=Cc1ccccc1 CC(C)C CC(C)CO C=CC C=CCO NCCO OCC(O)CO
"""
SMILES = MOLECULES.split()
SIZE = EncoderConfig(40, width=16, layers=2, heads=4, hidden=32, window=40)


# Golden: split by hand after the expression of Schwaller et al. (2019).
@pytest.mark.parametrize(
    ("smiles", "tokens"),
    [
        ("CC(=O)Nc1ccc(O)cc1", "C C ( = O ) N c 1 c c c ( O ) c c 1"),
        ("[O-][N+](=O)c1ccc(Br)c(Cl)c1", "[O-] [N+] ( = O ) c 1 c c c ( Br ) c ( Cl ) c 1"),
        ("F/C=C/[C@@H](C)N", "F / C = C / [C@@H] ( C ) N"),
        ("C%12CCCC%12[se]", "C %12 C C C C %12 [se]"),
        ("BC[Si](C)C#N", "B C [Si] ( C ) C # N"),
    ],
)
def test_golden_tokens(smiles, tokens):
    assert tokenize(smiles) == tokens.split()


def test_which_tokens_are_atoms():
    assert [token for token in tokenize("C1=CC(Cl)=C[C@@H]1[nH].o%10") if is_atom(token)] == [
        "C", "C", "C", "Cl", "C", "[C@@H]", "[nH]", "o",
    ]  # fmt: skip


def test_characters_of_no_token_are_named():
    with pytest.raises(InputError, match=r"'CCXC'.*'X', character 3"):
        tokenize("CCXC")


def test_vocabulary():
    vocabulary = vocabulary_of([["C", "C", "O"], ["C", "N"], ["C", "N"]], least=2)
    assert vocabulary.tokens == (*SPECIAL, "C", "N")
    assert vocabulary.numbers(["N", "C"], "NC") == [5, 4]
    with pytest.raises(InputError, match="'CO': token O was never seen"):
        vocabulary.numbers(["C", "O"], "CO")
    with pytest.raises(InputError, match="vocabulary"):
        check_vocabulary([*SPECIAL, "C", "C"], "a file")


def network(seed: int = 0) -> SolubilityNetwork:
    torch.manual_seed(seed)
    made = SolubilityNetwork(SIZE)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made.double()


BATCH = batch_of([[1, 5, 6, 7], [1, 9]], [[2, 5], [2, 5, 6]])


def test_attention_rows_sum_to_one_and_padding_gets_none():
    net, trace = network(), Trace()
    net.read(net.encoder.embed(BATCH), BATCH.real, trace)
    assert len(trace.attention) == 2
    for weights in trace.attention:
        assert torch.allclose(weights.sum(-1), torch.ones((), dtype=torch.double))
        assert weights[1, :, :, 5].abs().max() == 0.0


@pytest.mark.parametrize("linear", [False, True])
def test_a_traced_pass_predicts_the_same(linear):
    net = network()
    traced = net.read(net.encoder.embed(BATCH), BATCH.real, Trace(linear))
    assert torch.allclose(net(BATCH), traced, rtol=1e-10)


def test_a_layer_is_the_one_of_torch():
    torch.manual_seed(1)
    layer = Layer(SIZE).double()
    twin = torch.nn.TransformerEncoderLayer(
        16, 4, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.double
    )
    twin.self_attn.in_proj_weight.data = layer.query_key_value.weight.data
    twin.self_attn.in_proj_bias.data = layer.query_key_value.bias.data
    for ours, theirs in (("mixed", twin.self_attn.out_proj), ("up", twin.linear1), ("down", twin.linear2)):
        theirs.load_state_dict(getattr(layer, ours).state_dict())
    x = torch.randn(2, 6, 16, dtype=torch.double)
    mask = BATCH.real[:, None, None, :]
    assert torch.allclose(layer(x, mask), twin(x, src_key_padding_mask=~BATCH.real), rtol=1e-9)


def test_order_and_padding_of_a_batch_do_not_matter():
    net = network()
    one, two = net(batch_of([[1, 5, 6, 7]], [[2, 5]])), net(batch_of([[1, 9]], [[2, 5, 6]]))
    assert torch.allclose(net(BATCH), torch.cat([one, two]), rtol=1e-10)
    swapped = net(batch_of([[1, 9], [1, 5, 6, 7]], [[2, 5, 6], [2, 5]]))
    assert torch.allclose(swapped, torch.cat([two, one]), rtol=1e-10)


def test_hidden_tokens():
    batch = batch_of([[1, *range(5, 40)]] * 400)
    hidden, places = hide(batch, 0.2, 40, np.random.default_rng(0))
    assert not places[:, 0].any()  # <REG>
    n = int(places.sum())
    assert abs(n / (400 * 35) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / (400 * 35))
    masked = (hidden.tokens[places] == MASK_NUMBER).double().mean().item()
    assert abs(masked - 0.8) < 4 * np.sqrt(0.8 * 0.2 / n)
    assert torch.equal(hidden.tokens[~places], batch.tokens[~places])
    assert hidden.tokens[places].min() >= MASK_NUMBER


def test_logits_of_hidden_tokens():
    net, hidden = MaskedTokens(SIZE), BATCH.tokens == 5
    logits = net(BATCH, hidden)
    assert logits.shape == (3, 40)
    with torch.no_grad():
        net.bias[7] += 1.0
    assert torch.allclose(net(BATCH, hidden) - logits, torch.eye(40)[7].expand(3, 40), atol=1e-5)


# From here on with RDKit.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("rdkit", reason=RDKIT)
    place = tmp_path_factory.mktemp("language")
    rows = [f"{smiles},{0.1 * len(smiles) - 2.0},25" for smiles in SMILES]
    (place / "set.csv").write_text(
        "SMILES,LogS,T\n" + "\n".join(rows) + "\n[Na+].[Cl-],1,25\nC1CC,1,25\nCCS,x,25\nCCF,1,80\n"
    )
    (place / "pretrain.toml").write_text(
        'data = ["set.csv"]\nwidth = 16\nlayers = 2\nheads = 4\nhidden = 32\nwindow = 24\nleast_molecules = 1\nwritings = 2\n'
        "steps = 12\nbatch_tokens = 100\ncheckpoint_every_steps = 4\nthreads = 1\nema_decay = 0.5\nvalidation_share = 0.2\n"
    )
    (place / "solubility.toml").write_text(
        'data = ["set.csv"]\nsolvents = ["water"]\nepochs = 4\nbatch_size = 8\nwritings = 2\nthreads = 1\nlearning_rate = 0.003\n'
        "test_share = 0.2\nvalidation_share = 0.2\n"
    )
    assert main(["molecules", "pretrain", str(place / "pretrain.toml"), "-o", str(place / "pre")]) == 0
    command = [
        "molecules",
        "finetune",
        str(place / "solubility.toml"),
        "--init",
        str(place / "pre"),
        "-o",
        str(place / "fine"),
    ]
    assert main(command) == 0
    return place


def test_random_writings_are_the_same_molecule():
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.writing import canonical, molecule_of, random_writing

    molecule = molecule_of("OC(=O)[C@H](N)Cc1c[nH]c2ccc(Br)cc12")
    smiles = canonical(molecule).smiles
    writings = [random_writing(molecule, seed) for seed in range(20)]
    assert len({writing.smiles for writing in writings}) > 10
    for writing in writings:
        assert canonical(molecule_of(writing.smiles)).smiles == smiles
        elements = [molecule.GetAtomWithIdx(atom).GetSymbol() for atom in writing.atoms]
        written = molecule_of(writing.smiles)
        assert elements == [atom.GetSymbol() for atom in written.GetAtoms()]
        assert len(writing.atom_places) == molecule.GetNumAtoms()


@pytest.mark.parametrize(
    ("smiles", "why"),
    [
        ("C1CC", "RDKit cannot read"), ("[Na+].[Cl-]", "2 fragments"), ("", "without spaces"), ("C C", "without spaces"),
        ("*C", "known elements"), ("C" * 2001, "2001 characters"), ("Cy", "'y', character 2"),
    ],
)  # fmt: skip
def test_smiles_that_cannot_be_used(smiles, why):
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.writing import molecule_of

    with pytest.raises(InputError, match=why) as caught:
        molecule_of(smiles)
    assert "\n" not in str(caught.value)


def test_tables_refuse_rows_and_average_repeated_molecules(tmp_path):
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.tables import read_smiles, read_solubilities

    path = tmp_path / "set.csv"
    path.write_text("smiles,LogS,T\nCCO,1.0,NA\nOCC,2.0,20\nCC.C,0,25\nCCC,nan,25\nCCCC,-1,99\nCCN,-30,25\n")
    table = read_solubilities(path, "ethanol")
    assert [(m.writing.smiles, m.log_s, m.solvent) for m in table.molecules] == [("CCO", 1.5, "ethanol")]
    assert table.repeated == 1
    assert [refusal.line for refusal in table.refused] == [4, 5, 6, 7]
    for word, refusal in zip(("fragments", "solubility", "temperature", "solubility"), table.refused, strict=True):
        assert word in refusal.reason
    with pytest.raises(InputError, match="solvent 'oil'"):
        read_solubilities(path, "oil")
    path.write_text("smiles,Solubility,LogS\nC,1,1\n")
    with pytest.raises(InputError, match="2 columns of a known name.*value_key"):
        read_solubilities(path, "water")
    for text, why in (
        ("", "no rows"), ("name\n", "no rows"), ("smiles\n", "no rows"),
        ("name\nC\n", "0 columns of a known name among name: name one of them SMILES"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError, match=why):
            read_smiles(path)


def test_a_training_lists_what_it_refuses(folder):
    lines = (folder / "fine" / "refused.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["line", "33", "34", "35", "36"]


def test_a_fine_tuning_that_did_not_end_is_begun_again(folder, monkeypatch):
    from mlcalc.molecules.language import finetuning

    config, output = folder / "solubility.toml", folder / "stopped"
    with pytest.raises(InputError, match="fine exists already"):
        finetuning.finetune(config, folder / "pre", folder / "fine", False, {})
    fit = finetuning.fit
    monkeypatch.setattr(finetuning, "fit", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        finetuning.finetune(config, folder / "pre", output, False, {"epochs": 2})
    monkeypatch.setattr(finetuning, "fit", fit)
    finetuning.finetune(config, folder / "pre", output, False, {})
    for name in ("model.safetensors", "predictions.csv", "config.toml", "refused.csv"):
        assert (output / name).read_bytes() == (folder / "fine" / name).read_bytes()


def test_pretraining_resumes_to_the_bit(folder, monkeypatch):
    from mlcalc.molecules.language.pretraining import Pretrainer, pretrain

    config, output = folder / "pretrain.toml", folder / "killed"
    advance = Pretrainer.advance

    def killed(self, *batch):
        if self.step == 6:
            raise KeyboardInterrupt
        return advance(self, *batch)

    monkeypatch.setattr(Pretrainer, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, output)
    monkeypatch.undo()
    with (output / "log.jsonl").open("a") as log:
        log.write('{"step": 6, "lo')  # killed while it wrote
    with pytest.raises(InputError, match="was begun with seed = 1"):
        pretrain(config, output, resume=True, overrides={"seed": 2})
    with alone(output, "another"), pytest.raises(InputError, match="is at work"):
        pretrain(config, output, resume=True)
    assert (output / "log.jsonl").read_text().endswith('"lo')  # that of the other
    pretrain(config, output, resume=True)
    for name in ("model.safetensors", "state.safetensors", "corpus.safetensors"):
        assert (output / name).read_bytes() == (folder / "pre" / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (output / "log.jsonl").read_text().splitlines()]
    assert steps == [4, 8, 12]


def test_a_pretraining_that_diverges_keeps_its_last_state(folder, monkeypatch):
    from mlcalc.molecules.language.pretraining import Pretrainer, pretrain

    config, output = folder / "pretrain.toml", folder / "diverged"
    advance = Pretrainer.advance

    def diverging(self, *batch):
        if self.step == 7:  # the last step before a checkpoint: its loss is finite, its weights are not
            found = advance(self, *batch)
            torch.nn.init.constant_(self.average.module.bias, torch.nan)
            return found
        return advance(self, *batch)

    monkeypatch.setattr(Pretrainer, "advance", diverging)
    with pytest.raises(InputError, match=r"held-out molecules is nan at step 8: lower learning_rate \(0.001\)"):
        pretrain(config, output)
    monkeypatch.undo()
    pretrain(config, output, resume=True)
    assert (output / "model.safetensors").read_bytes() == (folder / "pre" / "model.safetensors").read_bytes()


def test_molecules_without_random_writings_have_the_canonical_one(tmp_path):
    """RDKit writes dative bonds from either end, and one of the arrows is no token."""
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.corpus import build_corpus

    (tmp_path / "set.csv").write_text("SMILES\nN->[Pt](Cl)Cl\nCCO\n")
    corpus, refused = build_corpus([tmp_path / "set.csv"], 8, 24, 1, 1)
    assert len(corpus) == 2 and not refused


def test_pretraining_learns(folder):
    from mlcalc.molecules.language.pretraining import pretrain

    overrides = {
        "steps": 200,
        "learning_rate": 0.005,
        "warmup_steps": 10,
        "ema_decay": 0.9,
        "checkpoint_every_steps": 100,
    }
    pretrain(folder / "pretrain.toml", folder / "longer", overrides=overrides)
    logs = [json.loads((folder / name / "log.jsonl").read_text().splitlines()[-1]) for name in ("pre", "longer")]
    assert logs[1]["masked_cross_entropy"] < 0.8 * logs[0]["masked_cross_entropy"]


def test_batches_hold_every_molecule_once_an_epoch_within_the_limit():
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.corpus import batches_by_length

    lengths = np.random.default_rng(0).integers(3, 50, 500)
    seen, batches = [], batches_by_length(lengths, 200, seed=1)
    while len(seen) < len(lengths):
        rows = next(batches)
        assert len(rows) * lengths[rows].max() <= 200
        seen += rows.tolist()
    assert sorted(seen) == list(range(500))


def test_batches_of_an_epoch_hold_molecules_of_about_equal_length():
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.finetuning import _batches

    rng = np.random.default_rng(0)
    lengths, rows = rng.geometric(0.05, 4000), np.arange(0, 4000, 2)
    batches = _batches(lengths, rows, 32, rng)
    seen = np.concatenate(batches)
    assert [len(batch) for batch in batches] == [32] * (2000 // 32)
    assert len(set(seen)) == len(seen) and set(seen) <= set(rows)
    padded, at_random = (sum(lengths[batch].max() for batch in all_) for all_ in (batches, np.split(rows[:1984], 62)))
    assert padded < 0.5 * at_random
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(62))[0, 1]) < 0.3  # long ones are not last


@pytest.mark.parametrize("kind", ["random", "scaffold"])
def test_no_group_is_on_two_sides_of_a_split(kind):
    pytest.importorskip("rdkit", reason=RDKIT)
    from mlcalc.molecules.language.dataset import groups_of, split_groups
    from mlcalc.molecules.language.tables import Solubility
    from mlcalc.molecules.language.writing import canonical, molecule_of

    rings = [
        "c1ccccc1",
        "C1CCCCC1",
        "c1ccncc1",
        "C1CCOC1",
        "c1ccoc1",
        "C1CC1",
        "C1CCC1",
        "c1ccsc1",
        "C1CCNC1",
        "c1cc[nH]c1",
    ]
    smiles = ["C" * n + ring for ring in rings for n in range(1, 7)]
    entries = [Solubility(canonical(molecule_of(one)), 0.0, s, "") for one in smiles for s in ("water", "ethanol")]
    groups = np.array(groups_of(entries, kind))
    assert len(set(groups)) == (60 if kind == "random" else 10)
    split = split_groups(groups.tolist(), 0.25, 0.25, np.random.default_rng(0))
    assert sorted(np.concatenate(split)) == list(range(120))
    sides = [set(groups[part]) for part in split]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_predictions(folder, capsys):
    model = str(folder / "fine")
    capsys.readouterr()
    assert main(["molecules", "predict", model, "OCC", "CCO"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[0].split()[1] == rows[1].split()[1]  # two writings of one molecule
    for word, why in (
        ("C.C", "fragments"),
        ("[U]", r"\[U\] was never seen"),
        ("C" * 40, "40 tokens: expected at most 21"),
        ("C1", "RDKit"),
    ):
        assert main(["molecules", "predict", model, word]) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and why.replace("\\", "") in error[0]
    assert main(["molecules", "predict", model, "CCO", "--solvent", "benzene"]) == 2
    assert "'benzene': not trained; this network knows water" in capsys.readouterr().err
    assert main(["molecules", "predict", model, "--file", str(folder / "set.csv"), "-o", str(folder / "out.csv")]) == 1
    captured = capsys.readouterr()
    assert (
        captured.out.splitlines()[-1] == f"{len(SMILES) + 2} molecules in water, 2 rows refused"
    )  # CCS and CCF have no value
    assert len((folder / "out.csv").read_text().splitlines()) == len(SMILES) + 3
    assert all("line " in line for line in captured.err.splitlines())


def test_files_of_other_kinds_are_refused(folder, tmp_path, capsys):
    damaged = (folder / "fine" / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(damaged[:-100])
    (tmp_path / "text.safetensors").write_bytes(b"not a model at all")
    for path in (
        folder / "pre",
        tmp_path / "cut.safetensors",
        tmp_path / "text.safetensors",
        tmp_path / "none",
        tmp_path,
    ):
        assert main(["molecules", "predict", str(path), "C"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_comparison(folder, capsys):
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install 'mlcalc[molecules]'")
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccoc1", "C1CC1", "C1CCC1", "C1CCNC1"]
    rows = [f"{'C' * n}{ring},{-0.5 * n}" for n in range(1, 5) for ring in rings]
    (folder / "rings.csv").write_text("\n".join(["SMILES,LogS", *rows, "CCO,x", ""]))
    text = (
        (folder / "solubility.toml").read_text().replace("set.csv", "rings.csv").replace("share = 0.2", "share = 0.3")
    )
    (folder / "rings.toml").write_text(text)
    command = [
        "molecules",
        "compare",
        str(folder / "rings.toml"),
        "--init",
        str(folder / "pre"),
        "-o",
        str(folder / "compared"),
    ]
    assert main([*command, "--splits", "2"]) == 0
    first, written = capsys.readouterr().out, (folder / "compared" / "results.json").read_bytes()
    assert "ECFP, random forest" in first and first.count("scaffold") >= 7
    assert (
        "28 molecules, 0 rows repeat one and are averaged; 5 rows refused (4 never seen token, 1 no solubility)"
        in first
    )
    assert (folder / "compared" / "refused.csv").read_text().splitlines()[1].split(",")[1] == "34"
    assert main([*command, "--splits", "2"]) == 0  # nothing is computed again
    assert (folder / "compared" / "results.json").read_bytes() == written
    for old, new, why in (
        (json.loads(written)["results"][0]["weights_sha256"], 64 * "0", "results of another pre-trained network"),
        ("epochs = 4", "epochs = 5", "results of other settings"),
        (json.loads(written)["data_sha256"], 64 * "0", "results of other data"),
        ("{", "", "results.json: not JSON"),
    ):
        (folder / "compared" / "results.json").write_bytes(written.replace(old.encode(), new.encode(), 1))
        assert main([*command, "--splits", "2"]) == 2
        assert why in capsys.readouterr().err
