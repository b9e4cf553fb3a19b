"""Padded batches: the loss and gradients of those without padding, a few shapes for all batches, and what is compiled for them."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.common.settings import build_settings
from mlcalc.training.dataset import read_dataset
from mlcalc.training.loss import batch_loss
from mlcalc.training.padding import N_SHAPES, Largest, padded
from mlcalc.training.schedule import frame_order
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.state import load_state, save_state
from mlcalc.training.trainer import Trainer
from tests.mlcalc.architectures import BY_NAME, CUTOFF, ROWS, SYSTEMS

TRAINED = [row.name for row in ROWS if row.training]
SETS = {
    "crystal": ["crystal"] * 8,
    "molecules of two sizes": ["molecule", "methylene"] * 4,
    "a crystal, molecules and free atoms": ["crystal", "molecule", "atom", "molecule"] * 2,
}  # fmt: skip


def frames(names) -> list[Atoms]:
    rng, found = np.random.default_rng(5), []
    others = {"atom": Atoms("C"), "methylene": Atoms("CH2", [[0, 0, 0], [1.1, 0, 0], [0, 1.1, 0]])}
    for name in names:
        atoms = (SYSTEMS | others)[name].copy()
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=rng.normal(0, 2.0, (len(atoms), 3)))
        atoms.info["weight"] = rng.uniform(0.5, 2.0)
        found.append(atoms)
    return found


def trainer_of(folder, names, row: str, **keys) -> Trainer:
    write(folder / "train.xyz", frames(names), format="extxyz")
    always = {"data": ["train.xyz"], "precision": "float64", "compile": False, "split": "random", "batch_size": 3,
              "validation_fraction": 0.1, "test_fraction": 0.0}  # fmt: skip
    settings = build_settings(TrainingSettings, always | BY_NAME[row].training | keys, "train.toml")
    return Trainer(settings, read_dataset([folder / "train.xyz"]))


def loss_and_gradients(trainer: Trainer, loss, batch) -> list[torch.Tensor]:
    for parameter in trainer.parameters.values():
        parameter.grad = None
    value = loss(trainer.parameters, batch)
    value.backward()
    return [value.detach(), *(p.grad for p in trainer.parameters.values() if p.grad is not None)]


def eager(trainer: Trainer, batch) -> list[torch.Tensor]:
    def loss(parameters, batch):
        return batch_loss(trainer.network, trainer.priors, parameters, batch, trainer._terms)

    return loss_and_gradients(trainer, loss, batch)


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert len(found) == len(expected)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("weight_key", ["", "weight"])
@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
@pytest.mark.parametrize("row", TRAINED)
def test_padding_changes_neither_loss_nor_gradients(tmp_path, row, names, weight_key):
    """Of any batch, with one more atom and with many; every gradient is finite."""
    trainer = trainer_of(tmp_path, names, row, weight_key=weight_key)
    batch = trainer.batches.make(np.arange(4))
    expected = eager(trainer, batch)
    for atoms, pairs in ((1, 1), (1, 0), (9, 70)):
        shape = len(batch.species) + atoms, len(batch.first) + pairs
        more = padded(batch, shape, CUTOFF)
        assert (len(more.species), len(more.first)) == shape == (len(more.frame), len(more.vectors))
        assert_same(eager(trainer, more), expected)


@pytest.mark.parametrize("names", SETS.values(), ids=SETS)
def test_every_batch_fits_one_of_a_few_shapes(tmp_path, names):
    """In three epochs; batches of a liquid-like set, of one size and nearly as many pairs in each frame, fit one."""
    trainer = trainer_of(tmp_path, names, "schnet", repeat=[2])
    largest = Largest(*trainer.batches.largest(trainer.split.train, 3))
    order = frame_order(trainer.settings, trainer.dataset, trainer.split.train, 0)
    shapes = set()
    for _ in range(12):
        batch = trainer.batches.make(next(order))
        shape = largest.shape_of(batch)
        assert shape[0] > len(batch.species) and shape[1] >= len(batch.first)
        shapes.add(shape)
    assert len(shapes) <= (1 if names == SETS["crystal"] else N_SHAPES)


def test_shapes_by_hand():
    largest = Largest(10, 30)

    def shape(atoms: int, pairs: int) -> tuple[int, int]:
        return largest.shape_of(type("", (), {"species": range(atoms), "first": range(pairs)}))

    assert shape(10, 30) == shape(1, 23) == shape(8, 0) == (11, 30)
    assert shape(1, 0) == shape(2, 7) == (4, 8)
    assert shape(5, 15) == (6, 15)
    assert Largest(4, 0).shape_of(type("", (), {"species": range(4), "first": ()})) == (5, 1)  # free atoms


def compiled_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("schnet-repulsion", "crystal"),
        pytest.param("painn-priors", "crystal", marks=pytest.mark.slow),
        pytest.param("schnet", "a crystal, molecules and free atoms", marks=pytest.mark.slow),
    ],
)
def test_the_compiled_loss_of_periodic_frames(tmp_path, capsys, row, names):
    """The same loss and gradients as without the compiler, and no more compilations than shapes, whatever the batches."""
    torch.compiler.reset()
    keys = {"compile": True, "force_huber_eV_per_A": 1.0, "weight_key": "weight"}
    trainer = trainer_of(tmp_path, SETS[names], row, n_interactions=1, **keys)
    before, loss = compiled_graphs(), trainer._loss_function()
    order = frame_order(trainer.settings, trainer.dataset, trainer.split.train, 0)
    pairs = set()
    for _ in range(10):
        batch = trainer.batches.make(next(order))
        pairs.add(len(batch.first))
        assert_same(loss_and_gradients(trainer, loss, batch), eager(trainer, batch))
    assert len(pairs) > 3
    assert "cannot compile" not in capsys.readouterr().err
    assert 1 <= compiled_graphs() - before <= (1 if names == "crystal" else N_SHAPES)


def test_without_a_compiler_the_loss_is_not_compiled(tmp_path, capsys):
    torch.compiler.reset()
    trainer = trainer_of(tmp_path, SETS["crystal"], "schnet", n_interactions=1, compile=True)
    loss, batch = trainer._loss_function(), trainer.batches.make(np.arange(3))
    with torch._inductor.config.patch({"cpp.cxx": (None, str(tmp_path / "none"))}):
        for _ in range(2):
            assert_same(loss_and_gradients(trainer, loss, batch), eager(trainer, batch))
    note = capsys.readouterr().err
    assert note.count("note: torch cannot compile the loss (InvalidCxxCompiler") == 1 == note.count("\n")


@pytest.mark.slow
def test_a_resumed_compiled_training_is_the_uninterrupted_one_to_the_bit(tmp_path, capsys):
    def train(trainer: Trainer, steps: int) -> Trainer:
        order = frame_order(trainer.settings, trainer.dataset, trainer.split.train, trainer.step)
        loss = trainer._loss_function()
        for _ in range(steps):
            trainer._advance(loss, trainer.batches.make(next(order)))
        return trainer

    def fresh() -> Trainer:
        torch.compiler.reset()
        keys = {"compile": True, "precision": "float32", "n_interactions": 1}
        return trainer_of(tmp_path, SETS["crystal"], "schnet", **keys)

    once, begun = train(fresh(), 7), train(fresh(), 4)
    save_state(begun, tmp_path / "state.safetensors")
    resumed = fresh()
    load_state(resumed, tmp_path / "state.safetensors")
    train(resumed, 3)
    assert all(torch.equal(resumed.parameters[name], value) for name, value in once.parameters.items())
    assert "cannot compile" not in capsys.readouterr().err
