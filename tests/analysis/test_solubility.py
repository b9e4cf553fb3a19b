"""Relevances of atoms for solubilities: conservation, efficiency, twins, the judgement, the commands."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

pytest.importorskip("rdkit", reason="needs RDKit: pip install 'mlcalc[molecules]'")

from analysis.__main__ import main
from analysis.molecules.language.judgement import RANDOM, Measures, crippen, curves, judge_one
from analysis.molecules.language.methods import METHODS, gradient_times_input, lrp, rollout, shapley
from analysis.molecules.language.question import question
from mlcalc.common.errors import InputError
from mlcalc.molecules.language.model_file import LanguageModel, save_language_model
from mlcalc.molecules.language.network import EncoderConfig, SolubilityNetwork, Trace
from mlcalc.molecules.language.tokens import tokenize, vocabulary_of
from mlcalc.molecules.language.writing import canonical, molecule_of, random_writing

PHENOL = "Oc1ccccc1C"


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    """Random weights of a size at which all layers matter."""
    vocabulary = vocabulary_of([tokenize("CC(=O)Nc1ccc(O)cc1C2CC#N")])
    torch.manual_seed(3)
    network = SolubilityNetwork(
        EncoderConfig(len(vocabulary.tokens), width=16, layers=2, heads=4, hidden=32, window=40)
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    network.mean.fill_(-2.0)
    return LanguageModel(network.double(), vocabulary, ("water", "acetone"))


@pytest.fixture(scope="module")
def asked(model):
    return question(model, canonical(molecule_of(PHENOL)), "water")


def test_atoms_are_found_whatever_the_writing(model):
    molecule = molecule_of(PHENOL)
    for writing in (canonical(molecule), *(random_writing(molecule, seed) for seed in range(5))):
        found = question(model, writing, "water")
        symbols = [model.vocabulary.tokens[found.solute[place]].upper() for place in found.places]
        assert symbols == [atom.GetSymbol() for atom in molecule.GetAtoms()]


def test_lrp_conserves_with_the_share_of_the_biases(asked):
    """No part is computed from the prediction."""
    found = lrp(asked)
    assert found.total() == pytest.approx(asked.prediction(), abs=1e-12)
    assert abs(found.rest - asked.prediction()) > 0.1
    assert abs(found.atoms).max() > 1e-3


def test_lrp_is_exact_without_biases_and_gradients_are_not(model):
    network = SolubilityNetwork(model.config).double()
    network.load_state_dict(model.network.state_dict())
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    network.mean.zero_()
    bare = question(LanguageModel(network, model.vocabulary, ("water",)), canonical(molecule_of(PHENOL)), "water")
    assert lrp(bare).rest == pytest.approx(0.0, abs=1e-12)
    by_gradient = gradient_times_input(bare)
    assert abs(by_gradient.atoms.sum() + by_gradient.others - bare.prediction()) > 1e-3 and math.isnan(by_gradient.rest)


def test_gradient_times_input_is_a_finite_difference(asked):
    """Scaling the embedding of one atom by 1 + h changes the prediction by h times its relevance."""
    network, batch, h = asked.network, asked.batch(), 1e-5
    embedded = network.encoder.embed(batch).detach()
    for atom, place in enumerate(asked.places):
        up, down = embedded.clone(), embedded.clone()
        up[0, place] *= 1 + h
        down[0, place] *= 1 - h
        slope = (network.read(up, batch.real) - network.read(down, batch.real)).item() / (2 * h)
        assert gradient_times_input(asked).atoms[atom] == pytest.approx(slope, abs=1e-7)


def test_rollout_of_one_layer_is_its_positive_part(model):
    """Of one layer R = 1 + mean over heads of max(A ∘ ∂y/∂A, 0): finite differences of the attention of <REG>."""
    network = SolubilityNetwork(
        EncoderConfig(len(model.vocabulary.tokens), width=16, layers=1, heads=4, hidden=32, window=40)
    )
    torch.manual_seed(5)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    one = question(
        LanguageModel(network.double(), model.vocabulary, ("water",)), canonical(molecule_of(PHENOL)), "water"
    )
    batch, trace = one.batch(), Trace()
    y = network.read(network.encoder.embed(batch), batch.real, trace)
    (gradient,) = torch.autograd.grad(y[0], trace.attention)
    expected = (trace.attention[0] * gradient)[0, :, 0].clamp(min=0).mean(0).detach().numpy()
    assert rollout(one).atoms == pytest.approx(expected[one.places])
    assert (rollout(one).atoms >= 0).all() and rollout(one).atoms.max() > 0


def test_shapley_values_are_those_of_all_subsets(model):
    pytest.importorskip("shap", reason="needs shap: pip install 'mlcalc[molecules]'")
    small = question(model, canonical(molecule_of("CC(C)O")), "acetone")
    n = 4
    subsets = np.array(list(itertools.product([False, True], repeat=n)))
    values = dict(zip(map(tuple, subsets.tolist()), small.masked(subsets), strict=True))
    exact = np.zeros(n)
    for kept, k in itertools.product(values, range(n)):
        if not kept[k]:
            weight = math.factorial(sum(kept)) * math.factorial(n - 1 - sum(kept)) / math.factorial(n)
            exact[k] += weight * (values[(*kept[:k], True, *kept[k + 1 :])] - values[kept])
    found = [shapley(small, seed) for seed in range(8)]
    for one in found:
        assert one.total() == pytest.approx(small.prediction(), abs=1e-9)
        assert one.rest == pytest.approx(values[(False,) * n], abs=1e-9)
    atoms = np.array([one.atoms for one in found])
    error = atoms.std(axis=0, ddof=1) / np.sqrt(len(atoms))
    assert (np.abs(atoms.mean(axis=0) - exact) < 4 * error + 1e-9).all()


def test_contributions_add_up_to_logp():
    from rdkit.Chem.Crippen import MolLogP

    for smiles in (PHENOL, "CC(=O)Nc1ccc(O)cc1", "[NH3+]CC(=O)[O-]"):
        molecule = molecule_of(smiles)
        assert crippen(molecule).sum() == pytest.approx(MolLogP(molecule), abs=1e-9)
        assert len(crippen(molecule)) == molecule.GetNumAtoms()


def test_curves_end_where_they_should(asked):
    order = np.arange(len(asked.places))[::-1]
    deletion, insertion = curves(asked, order)
    assert deletion[0] == insertion[-1] == pytest.approx(asked.prediction(), abs=1e-12)
    assert deletion[-1] == pytest.approx(insertion[0], abs=1e-12)
    kept = np.ones((1, len(order)), dtype=bool)
    kept[0, order[0]] = False
    assert deletion[1] == pytest.approx(asked.masked(kept)[0], abs=1e-12)


def test_judgement_of_one_molecule(model):
    signed, unsigned = (judge_one(model, PHENOL, "water", name, 3, 0) for name in ("lrp", "rollout"))
    assert all(math.isfinite(value) for value in signed)
    assert 0 <= signed.signs <= 1 and -1 <= signed.stability <= 1
    assert math.isnan(unsigned.signs) and math.isnan(unsigned.deletion) and unsigned.change >= 0


def test_chance_is_chance(model):
    """Signs agree in half of the atoms, ranks and writings not at all; no molecule has the numbers of another."""
    ends = ("O", "N", "=O", "#N", "c1ccccc1", "C(=O)N", "C(C)(C)O", "OC", "NC(C)=O", "c1ccc(O)cc1")
    molecules = [f"{start}{'C' * n}{end}" for n in range(2, 5) for start in ("C", "OC", "NC", "CC(C)C") for end in ends]
    found = Measures(*np.transpose([judge_one(model, one, "water", RANDOM, 3, 0) for one in molecules]))
    for values, expected in ((found.signs, 0.5), (found.ranks, 0.0), (found.stability, 0.0)):
        assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert found.stability.std() > 0.1


def test_solvents_that_were_not_trained_and_molecules_that_are_too_long(model):
    with pytest.raises(InputError, match="'benzene': not trained; this network knows water, acetone"):
        question(model, canonical(molecule_of("CC")), "benzene")
    with pytest.raises(InputError, match="50 tokens: expected at most 37"):
        question(model, canonical(molecule_of("C" * 50)), "water")


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    network = SolubilityNetwork(model.config)
    network.load_state_dict(model.network.state_dict())
    save_language_model(LanguageModel(network, model.vocabulary, model.solvents), path)
    return str(path)


@pytest.mark.parametrize("method", METHODS)
def test_command(model_file, tmp_path, capsys, method):
    if method == "shapley":
        pytest.importorskip("shap", reason="needs shap: pip install 'mlcalc[molecules]'")
    picture = tmp_path / "phenol.png"
    command = ["solubility", PHENOL, "CC", "--model", model_file, "--method", method, "-o", str(picture), "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(one["atoms"]) for one in found] == [8, 2]
    if METHODS[method].rest:
        for one in found:
            assert sum(one["atoms"]) + one["others"] + one["rest"] == pytest.approx(one["log_s"], abs=1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG") and "relevance" in picture.with_suffix(".txt").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["C.C"], "2 fragments"), (["C1"], "RDKit cannot read"), (["[U]"], "[U] was never seen"),
        (["C", "--method", "guess"], "expected one of rollout, lrp, gradient, shapley"),
        (["C", "--solvent", "oil"], "'oil': not trained"), (["C", "-o", "x.pdf"], "ends in .png"),
    ],
)  # fmt: skip
def test_bad_input(model_file, tmp_path, monkeypatch, capsys, words, why):
    monkeypatch.chdir(tmp_path)
    assert main(["solubility", *words, "--model", model_file]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and why in error[0]
    assert not list(tmp_path.iterdir())


def test_judging_command(model_file, tmp_path, capsys):
    pytest.importorskip("shap", reason="needs shap: pip install 'mlcalc[molecules]'")
    (tmp_path / "set.csv").write_text("smiles\nCCCCO\nCC(=O)NC\nC.C\nCCCC(C)=O\nC\n")
    command = ["explanations", str(tmp_path / "set.csv"), "--model", model_file, "--number", "9", "--writings", "2"]
    assert main([*command, "-o", str(tmp_path / "judged.txt")]) == 0
    text = capsys.readouterr().out
    assert "3 molecules, 2 refused" in text
    assert [line.split("  ")[0] for line in text.splitlines()[2:7]] == [
        "attention × gradient", "LRP", "gradient × input", "Shapley", "chance",
    ]  # fmt: skip
    assert set(json.loads((tmp_path / "judged.json").read_text())["methods"]) == {*METHODS, "random"}
