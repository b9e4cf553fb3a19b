"""Training: what is learnt, what is kept apart, what resuming means, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.cli import main
from mlcalc.common.locks import alone
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.model_file import load_model
from mlcalc.training.dataset import read_dataset
from mlcalc.training.domain import distance_range
from mlcalc.training.evaluation import evaluate
from mlcalc.training.plots import plot_learning_curve
from mlcalc.training.settings import TrainingSettings, split_frames
from mlcalc.training.trainer import Trainer
from mlcalc.training.validation import Deviations
from tests.conftest import SCHNETPACK_DIALECT, random_model

TEACHER = random_model(SCHNETPACK_DIALECT, priors={})
FAST = """
n_features = 16
n_interactions = 2
n_rbf = 12
cutoff_A = 4.0
steps = 300
warmup_steps = 20
validation_every_steps = 100
validation_fraction = 0.1
test_fraction = 0.1
ema_decay = 0.95
learning_rate = 3e-3
compile = false
seed = 5
"""


def labelled(n: int, seed: int, shift: float = 0.0) -> list:
    """Shaken acetylenes with the labels of a random network."""
    atoms, rng, frames = molecule("C2H2"), np.random.default_rng(seed), []
    kernel = SchNetKernel(TEACHER, atoms.numbers, "float64")
    for k in range(n):
        frame = atoms.copy()
        frame.positions += rng.normal(0, 0.06, (4, 3))
        energies, forces = kernel(frame.positions[None])
        frame.calc = SinglePointCalculator(frame, energy=float(energies[0]) + shift, forces=forces[0])
        frame.info["trajectory"] = f"t{k // 10}"
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    write(folder / "train.xyz", labelled(200, 1), format="extxyz")
    write(folder / "other.xyz", labelled(20, 2, shift=5.0), format="extxyz")
    write(folder / "test.xyz", labelled(40, 3), format="extxyz")
    (folder / "net.toml").write_text(
        'data = ["train.xyz", "other.xyz"]\nenergy_zeros = "file"\nrepeat = [1, 2]\ntest_data = ["test.xyz"]\n' + FAST
    )
    assert main(["train", str(folder / "net.toml"), "-o", str(folder / "net")]) == 0
    return folder


def log(path) -> list[dict]:
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def test_forces_are_learnt(folder):
    """From typical forces of an eV/Å to a fraction of them; the second file's other zero of energy does no harm."""
    errors = evaluate(folder / "net" / "model.safetensors", folder / "test.xyz").total
    dataset = read_dataset([folder / "test.xyz"])
    assert errors.force_mae_eV_per_A < 0.15 * np.abs(dataset.forces).mean()
    records = log(folder / "net")
    assert [record["step"] for record in records] == [100, 200, 300]
    assert records[-1]["loss"] < records[0]["loss"]
    assert (folder / "net" / "learning_curve.png").stat().st_size > 5_000


@pytest.mark.parametrize("error", [0.0, None], ids=["free atoms", "none"])
def test_a_learning_curve_without_force_errors(tmp_path, error):
    """Of energies alone: no warning, whether the forces of free atoms are known or none."""
    keys = {f"validation_force_{kind}_eV_per_A": error for kind in ("mae", "rmse")}
    (tmp_path / "log.jsonl").write_text(json.dumps({"step": 1, "loss": 0.1} | keys) + "\n")
    plot_learning_curve(tmp_path / "log.jsonl", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_model_file_says_where_it_comes_from(folder):
    model = load_model(folder / "net" / "model.safetensors")
    test = evaluate(folder / "net" / "model.safetensors", folder / "test.xyz").total
    assert model.metadata["test_errors"]["test.xyz"]["force_mae_eV_per_A"] == pytest.approx(test.force_mae_eV_per_A)
    provenance = model.metadata["provenance"]
    assert provenance["training_files_sha256"].keys() == {"train.xyz", "other.xyz"}
    split = json.loads((folder / "net" / "split.json").read_text())
    dataset = read_dataset([folder / "train.xyz", folder / "other.xyz"])
    expected = distance_range(dataset, np.array(split["train"]), 4.0)
    assert {key: model.domain[key] for key in expected} == expected


def test_parts_do_not_share_trajectories(folder):
    dataset = read_dataset([folder / "train.xyz"])
    values = {"data": ["train.xyz"], "validation_fraction": 0.2, "test_fraction": 0.1}
    split = split_frames(dataset, build_settings(TrainingSettings, values, "t"))
    parts = [set(dataset.trajectories[part]) for part in (split.train, split.validation, split.test)]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert len(set.union(*parts)) == 20
    random = split_frames(dataset, build_settings(TrainingSettings, values | {"split": "random"}, "t"))
    assert [len(part) for part in (random.train, random.validation, random.test)] == [140, 40, 20]


@pytest.mark.slow
def test_resuming_changes_nothing(folder, tmp_path):
    """Killed after a checkpoint and resumed: the same weights, to the bit, as in one go."""
    from mlcalc.training.start import train

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(folder / "net.toml", whole)
    validate = Trainer._validate_and_save

    def killed(self, *arguments):
        validate(self, *arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "_validate_and_save", killed)
        train(folder / "net.toml", parts)
    assert log(parts)[-1]["step"] == 100
    train(folder / "net.toml", parts, resume=True)
    assert [record["step"] for record in log(parts)] == [100, 200, 300]
    weights = [load_model(run / "model.safetensors").weights for run in (whole, parts)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_orthogonal_factors_keep_the_singular_vectors():
    """Newton–Schulz pushes all singular values to about one and turns nothing: Uᵀ(result)V is near the unit matrix."""
    from mlcalc.training.muon import orthogonal_factors

    rng = np.random.default_rng(0)
    for shape in ((8, 8), (12, 5), (5, 12)):
        stack = torch.tensor(rng.normal(size=(3, *shape)))
        for matrix, found in zip(stack.numpy(), orthogonal_factors(stack).numpy(), strict=True):
            u, singular, vt = np.linalg.svd(matrix, full_matrices=False)
            core = u.T @ found @ vt.T
            # The quintic's published band, for values that five iterations (a factor 3.4445 each) can lift to it.
            lifted = singular > 0.01 * np.linalg.norm(singular)
            np.testing.assert_allclose(np.diag(core)[lifted], 1.0, atol=0.35)
            np.testing.assert_allclose(core - np.diag(np.diag(core)), 0.0, atol=1e-10)


@pytest.mark.parametrize("weight_decay", [0.0, 2.0])
def test_batched_muon_is_torchs_muon(weight_decay):
    """Ten steps from the same gradients, against torch.optim.Muon, which iterates in bfloat16 (three digits)."""
    from mlcalc.training.muon import Muon

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("needs torch 2.9 for torch.optim.Muon")
    start = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(1))
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    optimizers = (
        Muon(ours, lr=1e-2, weight_decay=weight_decay),
        torch.optim.Muon(theirs, lr=1e-2, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
    )
    for k in range(10):
        generator = torch.Generator().manual_seed(k)
        for pair in zip(ours, theirs, strict=True):
            gradient = torch.randn(16, 24, generator=generator)
            for parameter in pair:
                parameter.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = (theirs[0] - start[0]).abs().mean()
    assert (ours[0] - theirs[0]).abs().mean() < 0.02 * moved


@pytest.mark.slow
def test_adamw_alone(folder, tmp_path):
    """Asked for on the command line, and noted as if it stood in the file."""
    config = folder / "net.toml"
    assert main(["train", str(config), "-o", str(tmp_path / "adamw"), "--set", "optimizer=adamw"]) == 0
    assert read_toml(tmp_path / "adamw" / "config.toml")["optimizer"] == "adamw"
    losses = [record["loss"] for record in log(tmp_path / "adamw")]
    assert losses[-1] < losses[0]


def test_init_starts_from_a_model(folder, tmp_path):
    config = folder / "short.toml"
    config.write_text(
        (folder / "net.toml").read_text().replace("steps = 300", "steps = 1").replace("warmup_1", "warmup_20")
    )
    model = folder / "net" / "model.safetensors"
    assert main(["train", str(config), "-o", str(tmp_path / "more"), "--init", str(model)]) == 0
    before, after = (
        evaluate(path, folder / "test.xyz").total for path in (model, tmp_path / "more" / "model.safetensors")
    )
    assert after.force_mae_eV_per_A == pytest.approx(before.force_mae_eV_per_A, rel=0.2)


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_compiled_loss_is_the_same(folder, tmp_path, capsys, threads):
    for name in ("false", "true"):
        short = [f"compile={name}", "steps=20", "validation_every_steps=20", f"threads={threads}"]
        options = [part for assignment in short for part in ("--set", assignment)]
        assert main(["train", str(folder / "net.toml"), "-o", str(tmp_path / name), *options]) == 0
    losses = [log(tmp_path / name)[0]["loss"] for name in ("false", "true")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # float32, 20 steps apart
    assert "cannot compile" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 300", "stepps = 300"), "did you mean 'steps'"),
        (("n_rbf = 12", "n_rbf = 0"), "n_rbf = 0"),
        (("learning_rate = 3e-3", "learning_rate = -1.0"), "learning_rate = -1.0: expected more than 0"),
        (("validation_fraction = 0.1", "validation_fraction = 0.0"), "validation_fraction = 0.0: expected more than 0"),
        (("repeat = [1, 2]", "repeat = [1]"), "one whole number of at least 1 for each data file"),
        (('"other.xyz"]', '"none.xyz"]'), "no such file"),
        (('["test.xyz"]', '["none.xyz"]'), "no such file"),
        (("test_fraction = 0.1", "test_fraction = 0.95"), "leave nothing to train on"),
        (("cutoff_A = 4.0", 'precision = "float16"'), "expected one of float32, float64"),
    ],
)
def test_refusals_write_nothing(folder, tmp_path, capsys, change, message):
    config = folder / "bad.toml"
    config.write_text((folder / "net.toml").read_text().replace(*change))
    assert main(["train", str(config), "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("keep", "step"), [("best", 100), pytest.param("last", 300, marks=pytest.mark.slow)])
def test_which_weights_are_kept(folder, tmp_path, monkeypatch, keep, step):
    """With a validation score that only grows, the best weights are the first."""
    growing = iter(range(1, 100))
    monkeypatch.setattr(Deviations, "score", lambda *_: float(next(growing)))
    config = folder / f"{keep}.toml"
    config.write_text(f'keep = "{keep}"\n' + (folder / "net.toml").read_text())
    assert main(["train", str(config), "-o", str(tmp_path / keep)]) == 0
    assert load_model(tmp_path / keep / "model.safetensors").metadata["provenance"]["steps"] == step


def test_folders_are_not_mixed_up(folder, tmp_path, capsys):
    config = str(folder / "net.toml")
    assert main(["train", config, "-o", str(folder / "net")]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", config, "-o", str(tmp_path / "new"), "--resume"]) == 2
    assert "holds no state" in capsys.readouterr().err
    other = random_model(SCHNETPACK_DIALECT)
    from mlcalc.model_file import save_model

    save_model(other, tmp_path / "other.safetensors")
    assert main(["train", config, "-o", str(tmp_path / "new"), "--init", str(tmp_path / "other.safetensors")]) == 2
    assert "is not the configured one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"step": 300', b'"step": -30'),
        (b'"step": 300', b'"step": 3e2'),
        (b'"since_best"', b'"since_worst'[:12]),
        (b'"offsets"', b'"offsetz"'),
        (b"optimizer.0.0.", b"optimizer.0.x."),
        (b"{", b"["),
    ],
)  # fmt: skip
def test_a_state_that_is_not_one_is_refused(folder, tmp_path, capsys, old, new):
    """Lengths stay: what is wrong is what the file says, not that it cannot be parsed."""
    shutil.copytree(folder / "net", tmp_path / "net")
    state = tmp_path / "net" / "state.safetensors"
    content = state.read_bytes()
    escaped = (
        (old.replace(b'"', b'\\"'), new.replace(b'"', b'\\"')) if old.startswith((b'"step', b'"since')) else (old, new)
    )
    assert escaped[0] in content
    state.write_bytes(content.replace(*escaped, 1))
    assert main(["train", str(folder / "net.toml"), "-o", str(tmp_path / "net"), "--resume"]) == 2
    assert "state.safetensors: " in capsys.readouterr().err


def test_two_trainings_do_not_share_a_folder(folder, tmp_path, capsys):
    """Nothing changes while another process is at work there, and its lock goes when it ends."""
    shutil.copytree(folder / "net", tmp_path / "net")
    before = {path.name: path.read_bytes() for path in (tmp_path / "net").iterdir()}
    command = ["train", str(folder / "net.toml"), "-o", str(tmp_path / "net"), "--resume"]
    with alone(tmp_path / "net", "mlcalc train"):
        assert main(command) == 2
    assert "another 'mlcalc train' is at work there" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "net").iterdir()} == before
    assert main(command) == 0
