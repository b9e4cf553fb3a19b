"""What every architecture owes, whatever its form: a new one passes by its row in architectures.py, and nothing here names any.

Tolerances: a sum of a few hundred terms of some eV, rounded to 6e-8 (float32) or 1e-16 (float64); forces of compiled kernels follow
the slope error of their tables besides, 1e-7 of the largest slope for each of some ten pairs.
"""

import json
from dataclasses import replace
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from scipy.spatial.transform import Rotation

from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.model_file import FORMAT_VERSION, load_model, save_model
from mlcalc.torch_potential import model_of as model_of_network
from mlcalc.torch_potential import network_of
from mlcalc.training.dataset import Batches, read_dataset
from mlcalc.training.schedule import frame_order
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.state import load_state, save_state
from mlcalc.training.trainer import Trainer
from tests.mlcalc.architectures import (
    ATOM_ENERGIES,
    BY_NAME,
    CUTOFF,
    ELEMENTS,
    FILES,
    OUTPUTS,
    ROWS,
    Case,
    atomic_energies,
    cases,
    make_potential,
    model_of,
    outputs_of,
    potential_of,
    reference,
)

ROUNDING = {"float64": 1e-10, "float32": 5e-5}  # relative to the largest of an output, and to 1 eV or eV/Å
TABLE = {"float64": 1e-6, "float32": 5e-5}
ENERGY = {"float64": 1e-8, "float32": 1e-5}  # constants of 1e4 eV would bring 5e-4 eV for each atom
FAR = 10.0 * CUTOFF
DTYPES = ("float32", "float64")

every_case = pytest.mark.parametrize("case", cases(), ids=str)
every_periodic_case = pytest.mark.parametrize("case", cases(periodic=True), ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def rows(which=lambda row: True):
    return pytest.mark.parametrize("row", [row for row in ROWS if which(row)], ids=lambda row: row.name)


def agree(found: dict, expected: dict, tolerance: float, names=tuple(OUTPUTS)) -> None:
    """Outputs are the same within a tolerance of the largest number of each."""
    for name in names:
        assert found[name].shape == expected[name].shape, name
        scale = max(1.0, np.abs(expected[name]).max())
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * scale, err_msg=name)


def same_bits(found: dict, expected: dict) -> None:
    for name in OUTPUTS:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


# Derivatives


def directions(shape, n: int = 3) -> np.ndarray:
    """(n, *shape) at random: what is wrong in any component is wrong along them."""
    return np.random.default_rng(11).normal(size=(n, *shape))


@every_case
def test_forces_are_minus_the_gradient(case):
    """Central differences of the float64 energy; their error h²/6·E''' is below 1e-6 for h = 3e-5 Å.

    E''' is some 1e3 eV/Å³ where vector features almost cancel, as in a crystal, and their norms turn within √ε = 1e-4.
    """
    positions, step = case.atoms.positions, 3e-5
    along = directions(positions.shape)
    moved = np.concatenate([positions + sign * step * along for sign in (1, -1)])
    plus, minus = np.split(outputs_of(case, positions=moved, dtype="float64")["energies"], 2)
    forces = reference(case)["forces"][0]
    assert np.abs(forces).max() > 0.05
    scale = max(1.0, np.abs(forces).max()) * np.sqrt(positions.size)
    found = -np.einsum("nia,ia->n", along, forces)
    np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=0, atol=scale * TABLE[case.dtype])


@every_case
def test_virial_is_the_derivative_by_strain(case):
    """Atoms and cell are strained by any matrix, rotations among them."""
    step, atoms = 1e-5, case.atoms
    virial = reference(case)["virials"][0]
    assert np.abs(virial).max() > 0.05
    scale = max(1.0, np.abs(virial).max())
    for along in directions((3, 3), 2):
        energies = []
        for sign in (1, -1):
            strained, deformation = atoms.copy(), np.eye(3) + sign * step * along
            strained.set_cell(atoms.cell.array @ deformation)
            strained.positions = atoms.positions @ deformation
            energies.append(outputs_of(case, strained, dtype="float64")["energies"][0])
        slope = (energies[0] - energies[1]) / (2 * step)
        assert (virial * along).sum() == pytest.approx(slope, abs=10 * scale * TABLE[case.dtype])


# Symmetries


def turned(name: str, array: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    for axis in range(array.ndim - OUTPUTS[name].rank, array.ndim):
        array = np.moveaxis(np.tensordot(array, rotation, (axis, 0)), -1, axis)
    return array


@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
@every_case
def test_outputs_turn_with_the_atoms(case, improper):
    """By rank: scalars stay, vectors and tensors turn; the cell turns too."""
    rotation = Rotation.random(random_state=5).as_matrix() * (-1.0 if improper else 1.0)
    atoms = case.atoms
    atoms.set_cell(atoms.cell.array @ rotation)
    atoms.positions = atoms.positions @ rotation
    expected = {name: turned(name, array, rotation) for name, array in reference(case).items()}
    agree(outputs_of(case, atoms), expected, ROUNDING[case.dtype])


@every_case
def test_nothing_depends_on_the_origin_or_on_which_image_an_atom_is(case):
    atoms = case.atoms
    atoms.positions += [1e3, -2e3, 3e3]
    if atoms.pbc.any():
        steps = np.random.default_rng(6).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        atoms.positions += steps @ atoms.cell.array
    # Positions of 4000 Å are rounded to 5e-13 Å, before the network's precision matters.
    agree(outputs_of(case, atoms), reference(case), ROUNDING[case.dtype])


@every_case
def test_order_of_atoms_does_not_matter(case):
    order = np.roll(np.arange(len(case.atoms)), 1)
    expected = {k: x[:, order] if OUTPUTS[k].per_atom else x for k, x in reference(case).items()}
    agree(outputs_of(case, case.atoms[order]), expected, ROUNDING[case.dtype])


@every_periodic_case
def test_a_repeated_cell_has_as_many_times_the_energy(case):
    repeats = np.where(case.atoms.pbc, (2, 1, 2), 1)
    n = int(repeats.prod())
    expected = {
        name: np.tile(array, (1, n) + (1,) * (array.ndim - 2)) if OUTPUTS[name].per_atom else n * array
        for name, array in reference(case).items()
    }
    agree(outputs_of(case, case.atoms.repeat(repeats)), expected, ROUNDING[case.dtype])


@pytest.mark.parametrize("case", [case for case in cases(periodic=True) if not case.atoms.pbc.all()], ids=str)
def test_there_are_no_images_in_a_direction_that_is_not_periodic(case):
    """Its cell vector does not matter, short or long or none."""
    atoms = case.atoms
    for length in (40.0, 0.0):
        atoms.cell[2] = [0.0, 0.0, length]
        agree(outputs_of(case, atoms), reference(case), ROUNDING[case.dtype])


# Locality


@pytest.mark.parametrize("case", [case for case in cases(periodic=False) if case.row.ends], ids=str)
def test_molecules_that_are_far_apart_add_up(case):
    one, two = case.atoms, molecule("CH4")
    two.positions += [FAR, 0.3, -0.2]
    single = [outputs_of(case, atoms) for atoms in (one, two)]
    expected = {
        name: np.concatenate([x[name] for x in single], axis=1)
        if output.per_atom
        else single[0][name] + single[1][name]
        for name, output in OUTPUTS.items()
    }
    agree(outputs_of(case, one + two), expected, ROUNDING[case.dtype])


@pytest.mark.parametrize(
    ("case", "pbc"),
    [(case, pbc) for case in cases(periodic=False) for pbc in (False, True) if case.row.periodic or not pbc],
    ids=str,
)
def test_an_isolated_atom_has_the_energy_of_its_element_and_feels_nothing(case, pbc):
    for z in ELEMENTS:
        atoms = Atoms([z], [[0.1, 0.2, 0.3]], cell=np.eye(3) * FAR if pbc else None, pbc=pbc)
        found = potential_of(case, atoms).evaluate(atoms.positions[None])
        assert not found["forces"].any() and not found["virials"].any()
        assert found["energies"][0] == found["atomic_energies"][0, 0]
        free = potential_of(case, Atoms([z])).evaluate(np.zeros((1, 1, 3)))
        assert found["energies"][0] == free["energies"][0]
        network = found["energies"][0] - ATOM_ENERGIES[z]
        assert 1e-3 < abs(network) < 13.0  # of the element, not of another


@pytest.mark.parametrize(
    ("case", "end"), [(case, end) for case in cases(periodic=False) for end in case.row.ends], ids=str
)
def test_energy_and_forces_are_continuous_where_a_term_ends(case, end):
    """A pair crosses by 2h, h = 1e-4 Å: the energy changes by 2h·|F| at most, the forces by 2h·|F′| as it is on either side."""
    atoms, h = Atoms("C2H", [[0, 0, 0], [0, 0, 0], [0, 1.3, 0]]), 1e-4
    r = end + np.array([-101 * h, -h, h, 101 * h])
    positions = np.repeat(atoms.positions[None], 4, axis=0)
    positions[:, 1, 0] = r
    found = outputs_of(case, atoms, positions)
    energies, forces = found["energies"], found["forces"]
    change = np.array([np.abs(b - a).max() for a, b in pairwise(forces)])
    curvature = max(change[0], change[2]) / (100 * h)
    assert change[1] <= 2 * (2 * h * curvature) + TABLE[case.dtype]
    steepest = np.abs(forces).max()
    assert abs(energies[2] - energies[1]) <= 2 * h * steepest + ROUNDING[case.dtype] * max(1.0, np.abs(energies).max())


# Batches


@every_case
def test_replicas_are_evaluated_as_if_alone(case):
    """To the bit, and whatever number of replicas the same potential was given before."""
    atoms = case.atoms
    beads = atoms.positions + np.random.default_rng(8).normal(0.0, 0.05, (3, len(atoms), 3))
    beads[2] *= -1.0  # far from the others, as are its images
    potential = potential_of(case)
    batch = potential.evaluate(beads)
    for k in (2, 0):
        same_bits(potential.evaluate(beads[k : k + 1]), {name: array[k : k + 1] for name, array in batch.items()})
    same_bits(potential.evaluate(beads), batch)
    energies, forces = potential(beads)
    np.testing.assert_array_equal(energies, batch["energies"])
    np.testing.assert_array_equal(forces, batch["forces"])


@every_case
def test_a_position_that_is_not_a_number_stays_in_its_replica_or_is_refused(case):
    batch = np.stack([case.atoms.positions + shift for shift in (0.0, 0.1, 0.2)])
    used = potential_of(case)
    healthy = used.evaluate(batch)
    batch[1, -1, 1] = np.nan
    for potential in (used, potential_of(case)):
        try:
            found = potential.evaluate(batch)
        except InputError as refusal:
            assert "NaN" in str(refusal)
            continue
        assert np.isnan(found["energies"][1]) and np.isnan(found["forces"][1, -1]).all()
        for name, array in found.items():
            np.testing.assert_array_equal(array[[0, 2]], healthy[name][[0, 2]], err_msg=name)


class Graph(NamedTuple):
    """Two frames in one graph, as training has them; energies (2,) eV of positions (n_atoms, 3) Å."""

    positions: torch.Tensor
    energies: torch.Tensor
    frame: torch.Tensor


def graph(case: Case, folder) -> Graph:
    frames = [case.atoms, case.atoms]
    frames[1].positions[:, ::2] *= 1.01
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
    write(folder / "two.xyz", frames, format="extxyz")
    data, model = read_dataset([folder / "two.xyz"]), model_of(case.name)
    nothing, dtype = np.zeros(2), getattr(torch, case.dtype)
    batch = Batches(data, model.config.elements, model.config.cutoff, nothing.astype(int), nothing, dtype).make(
        np.arange(2)
    )
    positions = torch.tensor(data.positions, dtype=dtype, requires_grad=True)
    shift = batch.vectors - (positions[batch.second] - positions[batch.first]).detach()
    vectors = positions[batch.second] - positions[batch.first] + shift
    atomic = atomic_energies(network_of(model, dtype), model.priors, batch, vectors)
    return Graph(positions, torch.zeros(2, dtype=dtype).index_add(0, batch.frame, atomic), batch.frame)


@pytest.mark.parametrize("case", cases(backends=("torch",)), ids=str)
def test_frames_of_a_batch_do_not_see_each_other(case, tmp_path):
    """∂E_a/∂r_b is zero to the bit, ∂E_a/∂r_a are the forces, and the energy is that of the frame alone."""
    positions, energies, frame = graph(case, tmp_path)
    for k in (0, 1):
        (gradient,) = torch.autograd.grad(energies[k], positions, retain_graph=True)
        assert not gradient[frame != k].any()
        assert gradient[frame == k].abs().max() > 1e-2
    expected = reference(case)
    (gradient,) = torch.autograd.grad(energies[0], positions)
    found = {"energies": energies[:1].detach().numpy(), "forces": -gradient[frame == 0].numpy()[None]}
    # A file keeps eight decimal places of a position.
    agree(found, expected, max(1e-6, ROUNDING[case.dtype]), ("energies", "forces"))


# Precision, backends, inputs


@pytest.mark.parametrize("case", cases(dtypes=("float32",)), ids=str)
def test_float32_costs_rounding_alone(case):
    """Constants of thousands of eV do not pass through it; and float64 is another number."""
    expected = reference(case._replace(dtype="float64"))
    found = reference(case)
    agree(found, expected, ROUNDING["float32"])
    agree(found, expected, ENERGY["float32"], ("energies", "atomic_energies"))
    assert any(np.abs(found[name] - expected[name]).max() > 1e-9 for name in OUTPUTS)


@pytest.mark.parametrize("case", cases(backends=("numba",)), ids=str)
def test_the_kernel_is_the_torch_network(case):
    expected = outputs_of(case, backend="torch", dtype="float64")
    found = reference(case)
    agree(found, expected, TABLE[case.dtype])
    agree(found, expected, ENERGY[case.dtype], ("energies", "atomic_energies"))


@every_case
def test_inputs_stay_as_they_are_and_results_are_the_callers(case):
    row, atoms = case.row, case.atoms
    model = row.make_model(ELEMENTS, CUTOFF, 1)
    weights = {name: array.copy() for name, array in model.weights.items()}
    box = {"cell": atoms.cell.array.copy(), "pbc": atoms.pbc.copy()} if atoms.pbc.any() else {}
    numbers, beads = atoms.numbers.copy(), np.stack([atoms.positions, atoms.positions + 0.01])
    given = {"numbers": numbers, "positions": beads, **box}
    before = {name: array.copy() for name, array in given.items()}
    potential = make_potential(model, numbers, case.dtype, case.backend, **box)
    found = potential.evaluate(beads)
    kept = {name: array.copy() for name, array in found.items()}
    potential.evaluate(beads + 0.02)
    potential(1.01 * beads)
    for name, array in before.items():
        np.testing.assert_array_equal(given[name], array, err_msg=name)
    for name, array in weights.items():
        np.testing.assert_array_equal(model.weights[name], array, err_msg=name)
    same_bits(found, kept)


# Files


@rows()
def test_a_file_gives_back_the_same_bits(row, tmp_path):
    model = row.make_model(ELEMENTS, CUTOFF, 2)
    known = {"domain": {"elements": sorted(ELEMENTS)}, "provenance": {"text": "Å, ρ"}}
    model = replace(model, metadata=known)
    save_model(model, tmp_path / "net.safetensors")
    again = load_model(tmp_path / "net.safetensors")
    assert (again.config, again.priors, again.metadata) == (model.config, model.priors, model.metadata)
    assert again.weights.keys() == model.weights.keys()
    for name, array in model.weights.items():
        assert again.weights[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(again.weights[name], array, err_msg=name)
    atoms = molecule("C2H2")
    for backend, dtype in product(row.backends, DTYPES):
        found = [
            make_potential(m, atoms.numbers, dtype, backend).evaluate(atoms.positions[None]) for m in (model, again)
        ]
        same_bits(*found)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.safetensors")), ids=lambda path: path.stem)
def test_files_of_every_format_give_the_energies_that_they_gave(path):
    """Files and energies were written by ``python -m tests.mlcalc.architectures`` when their format was the present one."""
    recorded, model = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), load_model(path)
    positions, expected = np.array(recorded["positions_A"]), np.array(recorded["energies_eV"])
    energies, _ = make_potential(model, recorded["numbers"])(positions)
    np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-9)
    if "numba" in BY_NAME[path.stem.rpartition("-")[0]].backends:
        energies, _ = make_potential(model, recorded["numbers"], backend="numba")(positions)
        np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-7)


@rows()
def test_the_present_format_is_on_record(row):
    assert (FILES / f"{row.name}-{FORMAT_VERSION}.safetensors").is_file(), "run python -m tests.mlcalc.architectures"


# Training


@pytest.fixture
def trainer_of(tmp_path):
    """(row, precision, seed) → Trainer on labels of the row's own kind of network; batches of four acetylenes."""

    def make(row, precision: str = "float64", seed: int = 3) -> Trainer:
        path = tmp_path / "train.xyz"
        if not path.exists():
            write(path, _labelled(row), format="extxyz")
        keys = {"data": [str(path)], "precision": precision, "seed": seed, "compile": False, "batch_size": 4, "steps": 100,
                "warmup_steps": 0, "learning_rate": 1e-3, "validation_fraction": 0.2, "test_fraction": 0.0}  # fmt: skip
        return Trainer(build_settings(TrainingSettings, keys | row.training, "train.toml"), read_dataset([path]))

    return make


def _labelled(row) -> list[Atoms]:
    atoms, frames = molecule("C2H2"), []
    beads = atoms.positions + np.random.default_rng(9).normal(0.0, 0.05, (15, len(atoms), 3))
    energies, forces = make_potential(row.make_model((1, 6), CUTOFF, 5), atoms.numbers)(beads)
    for k, positions in enumerate(beads):
        frame = Atoms(atoms.symbols, positions)
        frame.calc = SinglePointCalculator(frame, energy=float(energies[k]), forces=forces[k])
        frames.append(frame)
    return frames


def _order(trainer: Trainer):
    return frame_order(trainer.settings, trainer.dataset, trainer.split.train, trainer.step)


def _train(trainer: Trainer, steps: int) -> None:
    order, loss = _order(trainer), trainer._loss_function()
    for _ in range(steps):
        trainer._advance(loss, trainer.batches.make(next(order)))


@every_dtype
@rows(lambda row: row.training)
def test_a_training_step_lowers_the_loss_and_reaches_every_weight(row, dtype, trainer_of):
    trainer = trainer_of(row, dtype)
    before = {name: parameter.detach().clone() for name, parameter in trainer.network.named_parameters()}
    batch, loss = trainer.batches.make(next(_order(trainer))), trainer._loss_function()
    first = trainer._advance(loss, batch).detach()
    assert loss(trainer.parameters, batch).detach() < first
    unmoved = [name for name, parameter in trainer.network.named_parameters() if torch.equal(parameter, before[name])]
    assert not unmoved


@every_dtype
@rows(lambda row: row.training)
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(row, dtype, trainer_of, tmp_path):
    once, begun = trainer_of(row, dtype), trainer_of(row, dtype)
    _train(once, 7)
    _train(begun, 4)
    save_state(begun, tmp_path / "state.safetensors")
    resumed = trainer_of(row, dtype)
    load_state(resumed, tmp_path / "state.safetensors")
    _train(resumed, 3)
    assert resumed.step == once.step == 7
    for found, expected in ((resumed.network, once.network), (resumed.average.module, once.average.module)):
        states = found.state_dict(), expected.state_dict()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
        assert not all(torch.equal(begun.network.state_dict()[name], states[1][name]) for name in states[1])


@rows(lambda row: row.training)
def test_a_trained_network_is_the_one_that_its_file_holds(row, trainer_of, tmp_path):
    """The energies that training sees are those of the potential made from its file, constants included."""
    trainer = trainer_of(row)
    _train(trainer, 2)
    save_model(model_of_network(trainer.network, priors=trainer.priors), tmp_path / "net.safetensors")
    model, data = load_model(tmp_path / "net.safetensors"), trainer.dataset
    batch = trainer.batches.make(np.arange(3))
    atomic = atomic_energies(trainer.network, trainer.priors, batch).detach()
    energies = torch.zeros(3, dtype=torch.float64).index_add(0, batch.frame, atomic).numpy()
    reference_energies = data.energies[:3] - batch.labels["energy"].numpy()
    positions = data.positions[: 3 * data.counts[0]].reshape(3, -1, 3)
    found, _ = make_potential(model, data.numbers[: data.counts[0]])(positions)
    np.testing.assert_allclose(found, energies + reference_energies, rtol=0, atol=1e-9)


# Relevance


@pytest.mark.parametrize("case", [case for case in cases(("float64",), ("torch",)) if case.row.relevance], ids=str)
def test_without_biases_the_sum_of_relevances_is_the_energy(case):
    """At γ = 0; biases take their share."""
    row, model = case.row, model_of(case.name)
    total, energy = row.relevance(model, case.atoms)
    assert energy == pytest.approx(reference(case)["energies"][0], abs=1e-9)
    assert abs(total - energy) > 1e-3
    weights = {name: np.zeros_like(w) if row.is_bias(name) else w for name, w in model.weights.items()}
    total, energy = row.relevance(replace(model, weights=weights), case.atoms)
    assert abs(energy) > 1e-3
    assert total == pytest.approx(energy, rel=1e-10)
