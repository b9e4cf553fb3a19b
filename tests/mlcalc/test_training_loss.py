"""The loss of training: plain squares, Huber's function of vectors, weights of frames; closed forms, and what is refused."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.training.dataset import frame_weights, read_dataset
from mlcalc.training.energy_zero import energy_levels, fit_zeros
from mlcalc.training.loss import Term, batch_loss, predicted
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.trainer import Trainer

KEYS = {"n_features": 8, "n_interactions": 1, "n_rbf": 6, "cutoff_A": 4.0, "compile": False, "split": "random",
        "precision": "float64", "test_fraction": 0.0, "validation_fraction": 0.2}  # fmt: skip


def frames(n: int = 10, **info) -> list[Atoms]:
    """Shaken acetylenes with labels at random; ``info``: a list of values for each name, None for a frame without."""
    rng, found = np.random.default_rng(4), []
    for k in range(n):
        atoms = molecule("C2H2")
        atoms.positions += rng.normal(0, 0.06, (4, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=rng.normal(0, 2.0, (4, 3)))
        atoms.info |= {name: values[k] for name, values in info.items() if values[k] is not None}
        found.append(atoms)
    return found


def trainer_of(folder, structures, **keys) -> Trainer:
    write(folder / "train.xyz", structures, format="extxyz")
    settings = build_settings(TrainingSettings, KEYS | {"data": ["train.xyz"]} | keys, "train.toml")
    return Trainer(settings, read_dataset([folder / "train.xyz"]))


def loss_of(trainer: Trainer, indices, terms=None) -> torch.Tensor:
    batch = trainer.batches.make(np.array(indices))
    return batch_loss(trainer.network, trainer.priors, trainer.parameters, batch, terms or trainer._terms)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_by_default_the_loss_is_that_of_plain_squares_to_the_bit(tmp_path, precision):
    trainer = trainer_of(tmp_path, frames(), precision=precision)
    batch = trainer.batches.make(np.arange(5))
    found = predicted(trainer.network, trainer.priors, dict(trainer.network.named_parameters()), batch)
    energy, forces = (found[name] - batch.labels[name] for name in ("energy", "forces"))
    expected = 0.05 * energy.square().mean() + 1.0 * forces.square().sum(-1).mean()
    assert torch.equal(loss_of(trainer, np.arange(5)), expected)


@pytest.mark.parametrize("rank", [0, 1])
def test_huber_in_closed_form(rank):
    """x² up to the threshold and 2δx − δ² beyond, x the length of a vector; derivatives are those, 2x and 2δ along it, at 0 too."""
    term, rng = Term(1.0, huber=0.7), np.random.default_rng(1)
    lengths = np.array([0.0, 0.1, 0.69, 0.7, 0.71, 3.0, 4e3])
    directions = rng.normal(size=(len(lengths), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    signs = np.sign(directions[:, 0])
    residual = torch.tensor(lengths[:, None] * directions if rank else lengths * signs)
    expected = np.where(lengths <= 0.7, lengths**2, 1.4 * lengths - 0.49)
    np.testing.assert_allclose(term.of_rows(residual, rank), expected, rtol=1e-14)
    slopes = np.where(lengths <= 0.7, 2 * lengths, 1.4)
    gradient = torch.func.grad(lambda x: term.of_rows(x, rank).sum())(residual)
    np.testing.assert_allclose(gradient, slopes[:, None] * directions if rank else slopes * signs, rtol=1e-14)
    assert not term.of_rows(torch.full_like(residual, torch.nan), rank).any()


def test_huber_thresholds_reach_their_outputs(tmp_path):
    """Thresholds that nothing exceeds change nothing; that of forces bounds what one wrecked atom adds to the loss."""
    trainer = trainer_of(tmp_path, frames(), force_huber_eV_per_A=0.5, energy_huber_eV=0.2)
    assert trainer._terms == {"energy": Term(0.05, 0.2), "forces": Term(1.0, 0.5)}
    plain = loss_of(trainer, range(5), {"energy": Term(0.05), "forces": Term(1.0)})
    wide = loss_of(trainer, range(5), {"energy": Term(0.05, 1e5), "forces": Term(1.0, 1e5)})
    assert torch.equal(plain, wide)
    before = loss_of(trainer, range(5))
    trainer.batches._labels["forces"][2, 1] += 1000.0
    grown = (loss_of(trainer, range(5)) - before).item()
    assert grown == pytest.approx(2 * 0.5 * 1000.0 / 20, rel=0.02)  # of 20 atoms; with squares 50 000


def test_a_frame_of_twice_the_weight_counts_as_two(tmp_path):
    structures = frames(weight=[2, 1.0, *[0.5] * 8])
    weighted, plain = trainer_of(tmp_path, structures, weight_key="weight"), trainer_of(tmp_path, structures)
    plain.network.load_state_dict(weighted.network.state_dict())
    plain.batches._labels = weighted.batches._labels
    assert 2 * loss_of(weighted, [0, 1]).item() == pytest.approx(3 * loss_of(plain, [0, 0, 1]).item(), rel=1e-13)
    assert 4 * loss_of(weighted, [2, 3]).item() == pytest.approx(2 * loss_of(plain, [2, 3]).item(), rel=1e-13)


def test_weights_reach_the_zero_of_energy_and_the_score(tmp_path):
    """The zero is the weighted mean, here of one element; a validation frame of twice the weight has twice the score."""
    helium = [Atoms("He2", [[0, 0, 0], [0, 0, 3.0]]) for _ in range(4)]
    for atoms, energy, weight in zip(helium, [1.0, 2.0, 3.0, 4.0], [1, 2, 3, 4], strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((2, 3)))
        atoms.info["w"] = weight
    write(tmp_path / "he.xyz", helium, format="extxyz")
    data = read_dataset([tmp_path / "he.xyz"])
    arguments = data, energy_levels(data, "one", ()), np.arange(4), [2], lambda indices: np.zeros(len(indices))
    assert fit_zeros(*arguments, frame_weights(data, "w"))[0, 0] == pytest.approx(30 / 10 / 2)
    assert fit_zeros(*arguments)[0, 0] == pytest.approx(2.5 / 2)
    trainer = trainer_of(tmp_path, frames(weight=[1.0] * 5 + [2.0] * 5), weight_key="weight")
    score = trainer._deviations(trainer.network, np.arange(10)).score(trainer._terms)
    assert score == pytest.approx(loss_of(trainer, range(10)).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([None], "has no weight"),
        ([-1.0], "has the weight -1.0"),
        ([0], "has the weight 0"),
        ([np.nan], "has the weight nan"),
        ([np.inf], "has the weight inf"),
        (["high"], "has the weight high"),
        ([True], "has the weight True"),
        ([np.array([1.0, 2.0])], r"has the weight \[1. 2.\]"),
    ],
)
def test_a_weight_that_is_none_is_refused(tmp_path, values, found):
    """By its file and its number there, the second file's third structure."""
    write(tmp_path / "good.xyz", frames(3, weight=[1, 2, 3]), format="extxyz")
    write(tmp_path / "bad.xyz", frames(4, weight=[1, 2, *values, 4]), format="extxyz")
    data = read_dataset([tmp_path / "good.xyz", tmp_path / "bad.xyz"])
    with pytest.raises(InputError, match=rf"^bad.xyz: structure 3 {found}: weight_key expects a number above 0"):
        frame_weights(data, "weight")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("force_huber_eV_per_A=-1.0", "force_huber_eV_per_A = -1.0: expected at least 1e-06"),
        ("energy_huber_eV=1e-9", "energy_huber_eV = 1e-09: expected at least 1e-06"),
        ("weight_key=importance", "train.xyz: structure 1 has no importance: weight_key expects"),
    ],
)
def test_refusals_write_nothing(tmp_path, capsys, key, message):
    write(tmp_path / "train.xyz", frames(), format="extxyz")
    (tmp_path / "net.toml").write_text('data = ["train.xyz"]\nsplit = "random"\n')
    assert main(["train", str(tmp_path / "net.toml"), "-o", str(tmp_path / "net"), "--set", key]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_a_threshold_of_energies_that_are_not_learnt_is_refused():
    with pytest.raises(InputError, match="energy_huber_eV = 0.1 beside energy_weight = 0"):
        build_settings(TrainingSettings, {"data": ["a"], "energy_weight": 0.0, "energy_huber_eV": 0.1}, "t")


def test_a_training_with_all_of_it(tmp_path):
    """From the command line; the model file says how it was trained."""
    write(tmp_path / "train.xyz", frames(20, weight=[1.0, 2.0] * 10), format="extxyz")
    keys = KEYS | {"steps": 4, "validation_every_steps": 2, "warmup_steps": 1, "force_huber_eV_per_A": 0.5}
    (tmp_path / "net.toml").write_text(
        'data = ["train.xyz"]\nweight_key = "weight"\n' + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
    )
    assert main(["train", str(tmp_path / "net.toml"), "-o", str(tmp_path / "net")]) == 0
    from mlcalc.model_file import load_model

    noted = load_model(tmp_path / "net" / "model.safetensors").metadata["provenance"]["settings"]
    assert (noted["force_huber_eV_per_A"], noted["weight_key"]) == (0.5, "weight")
