"""wACSF: symmetry functions by loops over triples, closed forms, what is measured on the training data, settings, training.

What it shares with all architectures is in test_architectures.py.
"""

from dataclasses import asdict
from itertools import combinations, product

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc import NetworkCalculator
from mlcalc.architectures.wacsf.config import WACSFConfig, weight_shapes
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.model_file import load_model, save_model
from mlcalc.potential import build_potential
from mlcalc.torch_potential import TorchPotential, new_network
from mlcalc.training.dataset import read_dataset
from mlcalc.training.schedule import frame_order
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.trainer import Trainer
from tests.conftest import random_model, rpmd_run, write_acetylene

SMALL = {"elements": (6, 1), "n_features": 6, "n_rbf": 7, "n_angular": 3, "readout_hidden": 4, "cutoff": 3.0}
DIALECTS = {"ssp": WACSFConfig(**SMALL), "tanh": WACSFConfig(**SMALL, activation="tanh")}


def neighbours(atoms: Atoms, i: int, cutoff: float) -> list[tuple[int, np.ndarray]]:
    """(atomic number, vector) of all neighbours of an atom, each image by itself."""
    shifts = product(*(range(-2, 3) if periodic else (0,) for periodic in atoms.pbc))
    vectors = [
        (atoms.numbers[j], atoms.positions[j] + np.array(shift) @ atoms.cell.array - atoms.positions[i])
        for shift in shifts
        for j in range(len(atoms))
    ]
    return [(z, vector) for z, vector in vectors if 0.0 < np.linalg.norm(vector) < cutoff]


def functions_by_loops(w, around: list[tuple[int, np.ndarray]], cutoff: float) -> np.ndarray:
    """Radial functions, then those of 1 − cos θ, then those of 1 + cos θ, of the neighbours of one atom."""
    radial = np.zeros(len(w["radial_basis.centers"]))
    angular = np.zeros((2, len(w["angular_basis.coefficients"])))

    def ending(r):
        return 0.5 * (np.cos(np.pi * r / cutoff) + 1.0)

    for z, vector in around:
        r = np.linalg.norm(vector)
        radial += z * np.exp(-w["radial_basis.coefficients"] * (r - w["radial_basis.centers"]) ** 2) * ending(r)
    for (z_j, one), (z_k, other) in combinations(around, 2):
        r, s = np.linalg.norm(one), np.linalg.norm(other)
        width = np.exp(-w["angular_basis.coefficients"] * (r**2 + s**2))
        for row, sign in enumerate((-1.0, 1.0)):
            angular[row] += z_j * z_k * (1.0 + sign * one @ other / (r * s)) * width * ending(r) * ending(s)
    return np.concatenate([radial, *angular])


def energy_by_the_book(model, atoms: Atoms) -> float:
    """Atom by atom, eV."""
    w, config, energy = {name: np.asarray(a, dtype=float) for name, a in model.weights.items()}, model.config, 0.0
    activation = {"tanh": np.tanh, "ssp": lambda x: np.log(0.5 * np.exp(x) + 0.5)}[config.activation]
    for i, z in enumerate(atoms.numbers):
        row = config.elements.index(z)
        x = functions_by_loops(w, neighbours(atoms, i, config.cutoff), config.cutoff)
        x = (x - w["mean"][row]) / w["deviation"][row]
        for layer in range(3):
            x = w[f"networks.{row}.{layer}.weight"] @ x + w[f"networks.{row}.{layer}.bias"]
            x = activation(x) if layer < 2 else x
        energy += w["energy_scale"] * x[0] + w["energy_shift"][row]
    return float(energy)


def shaken(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(4).normal(0.0, 0.05, atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("atoms", [molecule("C3H4_C3v"), bulk("CH", "rocksalt", 3.4), bulk("C", "sc", 1.8)], ids=str)
def test_the_network_is_the_formula_by_loops(name, atoms):
    """In the cells atoms meet several images of each other and of themselves."""
    atoms, model = shaken(atoms.copy()), random_model(DIALECTS[name], 3, np.float64, {})
    box = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else ()
    energies, _ = TorchPotential(model, atoms.numbers, "float64", *box)(atoms.positions[None])
    assert energies[0] == pytest.approx(energy_by_the_book(model, atoms), abs=1e-10)


def test_the_defaults_are_those_of_schnetpack():
    """22 Gaussians from 0.5 to 4.5 Å as wide as their spacing; five of 1 to 4.5 Å around the atom; 50 and 50 hidden."""
    config = WACSFConfig((1, 6))
    network, shapes = new_network(config, torch.float64), weight_shapes(config)
    np.testing.assert_allclose(network.radial_basis.centers, np.linspace(0.5, 4.5, 22), rtol=1e-6)
    np.testing.assert_allclose(network.radial_basis.coefficients, 0.5 / (4.0 / 21) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(network.angular_basis.centers, 0.0)
    np.testing.assert_allclose(network.angular_basis.coefficients, 0.5 / np.linspace(1.0, 4.5, 5) ** 2, rtol=1e-6)
    assert config.n_functions == 32
    assert [shapes[f"networks.1.{k}.weight"] for k in range(3)] == [(50, 32), (50, 50), (1, 50)]
    assert not network.mean.any() and (network.deviation == 1.0).all()


@pytest.mark.parametrize(
    ("degrees", "share"), [(0.0, (0.0, 2.0)), (60.0, (0.5, 1.5)), (90.0, (1.0, 1.0)), (180.0, (2.0, 0.0))]
)
def test_angular_functions_of_one_angle(degrees, share):
    """Two carbons at the same distance from a hydrogen, farther from each other than the cutoff or nearer."""
    config, r = WACSFConfig((1, 6), cutoff=4.0), 1.7
    network = new_network(config, torch.float64)
    angle = np.radians(degrees)
    vectors = torch.tensor([[r, 0.0, 0.0], [r * np.cos(angle), r * np.sin(angle), 0.0]], dtype=torch.float64)
    species, first, second = torch.tensor([0, 1, 1]), torch.tensor([0, 0]), torch.tensor([1, 2])
    found = network.symmetry_functions(species, first, second, vectors)[0, config.n_rbf :].reshape(2, -1)
    width = (36 * np.exp(-2.0 * network.angular_basis.coefficients.numpy() * r**2)) * (
        0.5 + 0.5 * np.cos(np.pi * r / 4)
    ) ** 2
    np.testing.assert_allclose(found, np.outer(share, width), rtol=1e-12, atol=1e-12)


# What is measured


def labelled(names: list[str], seed: int = 1) -> list[Atoms]:
    """Shaken molecules with labels of a random network."""
    rng, model, frames = np.random.default_rng(seed), random_model(WACSFConfig(**SMALL), 5, np.float64, {}), []
    for name in names:
        atoms = Atoms(name) if name in ("C", "H") else molecule(name)
        atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
        energies, forces = TorchPotential(model, atoms.numbers, "float64")(atoms.positions[None])
        atoms.calc = SinglePointCalculator(atoms, energy=float(energies[0]), forces=forces[0])
        frames.append(atoms)
    return frames


def trainer_of(folder, frames: list[Atoms], **keys) -> Trainer:
    write(folder / "train.xyz", frames, format="extxyz")
    always = {"data": ["train.xyz"], "architecture": "wacsf", "precision": "float64", "compile": False, "split": "random",
              "cutoff_A": 3.0, "batch_size": 3, "validation_fraction": 0.2, "test_fraction": 0.0, "warmup_steps": 0}  # fmt: skip
    settings = build_settings(TrainingSettings, always | keys, "train.toml")
    return Trainer(settings, read_dataset([folder / "train.xyz"], energy_only=settings.energy_only))


def functions_of(trainer: Trainer, frames) -> dict[int, np.ndarray]:
    """Symmetry functions of the atoms of each element in these frames."""
    w, data = {name: tensor.numpy() for name, tensor in trainer.network.state_dict().items()}, trainer.dataset
    found: dict[int, list[np.ndarray]] = {}
    for k in frames:
        atoms = Atoms(data.numbers[data.atoms_of(k)], data.positions[data.atoms_of(k)])
        for i, z in enumerate(atoms.numbers.tolist()):
            found.setdefault(z, []).append(functions_by_loops(w, neighbours(atoms, i, 3.0), 3.0))
    return {z: np.array(rows) for z, rows in found.items()}


def test_symmetry_functions_are_standardised_by_the_training_frames(tmp_path):
    """Element by element; functions that hardly vary keep a hundredth of the largest deviation of their kind."""
    trainer = trainer_of(tmp_path, labelled(["C2H6", "CH4", "C3H4_C3v"] * 3))
    network, n_rbf = trainer.network, trainer.network.config.n_rbf
    for z, functions in functions_of(trainer, trainer.split.train).items():
        row = network.config.elements.index(z)
        np.testing.assert_allclose(network.mean[row], functions.mean(0), rtol=1e-9, atol=1e-9)
        deviation = functions.std(0)
        for kind in (slice(None, n_rbf), slice(n_rbf, None)):
            expected = np.maximum(deviation[kind], 0.01 * deviation[kind].max())
            np.testing.assert_allclose(network.deviation[row, kind], expected, rtol=1e-7)
    others = functions_of(trainer, trainer.split.validation)[6]
    assert np.abs(others.mean(0) - network.mean[network.config.elements.index(6)].numpy()).max() > 1e-3


def test_functions_that_do_not_vary_are_not_magnified(tmp_path):
    """Angular ones of diatomic molecules; all of free atoms; those of an element without a training frame."""
    network = trainer_of(tmp_path, labelled(["CH"] * 10)).network
    n_rbf = network.config.n_rbf
    assert (network.deviation[:, n_rbf:] == 1.0).all() and (network.deviation[:, :n_rbf] != 1.0).any()
    assert network.mean[:, n_rbf:].abs().max() < 1e-12
    network = trainer_of(tmp_path, labelled(["H"] * 9 + ["C"] * 9)).network
    assert (network.deviation == 1.0).all() and not network.mean.any()
    network.measure([])
    assert (network.deviation == 1.0).all() and not network.mean.any()


def test_what_is_measured_stays(tmp_path):
    """Through steps, in the file, and in trainings that start from it with other data."""
    trainer = trainer_of(tmp_path, labelled(["C2H6", "CH4"] * 5), steps=3)
    measured = {name: getattr(trainer.network, name).numpy().copy() for name in ("mean", "deviation")}
    (tmp_path / "out").mkdir()
    trainer.run(tmp_path / "out")
    model = load_model(tmp_path / "out")
    write(tmp_path / "other.xyz", labelled(["C2H4"] * 10, 2), format="extxyz")
    settings = build_settings(TrainingSettings, trainer_keys(trainer) | {"data": ["other.xyz"]}, "train.toml")
    again = Trainer(settings, read_dataset([tmp_path / "other.xyz"]), model, model)
    for name, expected in measured.items():
        np.testing.assert_array_equal(model.weights[name], expected)
        np.testing.assert_array_equal(getattr(again.network, name), expected)
        np.testing.assert_array_equal(getattr(again.average.module, name), expected)


def trainer_keys(trainer: Trainer) -> dict:
    return {key: value for key, value in asdict(trainer.settings).items() if value is not None}


# Settings


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"n_angular": 0}, "n_angular = 0: expected a whole number from 1 to 1024"),
        ({"activation": "silu"}, "activation = 'silu': expected 'ssp' or 'tanh'"),
        ({"cutoff": None}, "cutoff = None: symmetry functions need a cutoff in Å"),
        ({"cutoff": 1.5}, "cutoff = 1.5: symmetry functions need a cutoff of more than 1.5 Å"),
        ({"cutoff": -1.0}, "cutoff = -1"),
        ({"elements": range(1, 90), "n_features": 4096, "readout_hidden": 4096}, "weights: expected at"),
    ],
)
def test_configurations_that_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        WACSFConfig(**{"elements": (1,)} | keys)


def test_its_keys_in_a_training_file():
    def settings(**keys) -> TrainingSettings:
        return build_settings(TrainingSettings, {"data": ["x.xyz"]} | keys, "train.toml")

    plain = settings(architecture="wacsf", cutoff_A=5.0).network_config((1,))
    assert (plain.n_features, plain.readout_hidden, plain.n_angular, plain.activation) == (64, 32, 5, "ssp")
    found = settings(architecture="wacsf", n_angular=3, activation="tanh").network_config((1,))
    assert (found.n_angular, found.activation) == (3, "tanh")
    with pytest.raises(InputError, match="n_angular = 3 beside architecture = 'schnet', which has none; leave it out"):
        settings(n_angular=3)
    with pytest.raises(InputError, match="n_interactions = 2 beside architecture = 'wacsf', which has none; leave"):
        settings(architecture="wacsf", n_interactions=2)


# From the training file to beads that move


FAST = """
data = ["train.xyz"]
architecture = "wacsf"
split = "random"
n_features = 16
n_rbf = 12
n_angular = 3
cutoff_A = 3.0
batch_size = 4
steps = 10
warmup_steps = 5
validation_every_steps = 10
validation_fraction = 0.1
test_fraction = 0.1
ema_decay = 0.9
learning_rate = 5e-3
compile = false
"""
LABELS = {"both": {}, "forces": {"energy_weight": 0.0}, "energies": {"energy_only": True}}


@pytest.mark.parametrize("labels", LABELS)
def test_molecules_of_several_sizes_are_learnt(tmp_path, labels):
    """By energies and forces, and by either alone."""
    frames = labelled(["C2H6", "CH4", "C2H2", "H", "C"] * 6)
    for frame in frames:
        if labels != "both":
            frame.calc.results.pop({"energies": "forces", "forces": "energy"}[labels])
    sizes = {"n_features": 16, "n_rbf": 12, "n_angular": 3, "batch_size": 4, "learning_rate": 5e-3, "steps": 60}
    trainer = trainer_of(tmp_path, frames, **sizes, **LABELS[labels])
    loss, everything = trainer._loss_function(), trainer.batches.make(trainer.split.train)
    before = loss(trainer.parameters, everything).detach()
    order = frame_order(trainer.settings, trainer.dataset, trainer.split.train, 0)
    for _ in range(60):
        trainer._advance(loss, trainer.batches.make(next(order)))
    assert loss(trainer.parameters, everything).detach() < 0.5 * before


def test_the_commands_take_it(tmp_path, capsys):
    """Trained, resumed, evaluated, described."""
    write(tmp_path / "train.xyz", labelled(["C2H6", "CH4", "C2H2"] * 8), format="extxyz")
    write(tmp_path / "test.xyz", labelled(["C2H6", "CH4"] * 3, 3), format="extxyz")
    (tmp_path / "net.toml").write_text(FAST)
    net, train = str(tmp_path / "net"), ["train", str(tmp_path / "net.toml"), "-o"]
    assert main([*train, net]) == 0
    assert main([*train, net, "--resume", "--set", "steps=20"]) == 0
    assert main(["evaluate", net, str(tmp_path / "test.xyz"), "-o", str(tmp_path / "parity.png")]) == 0
    assert main(["info", net]) == 0
    shown = capsys.readouterr().out
    assert "wACSF (16, 8) for each element, 12 radial and 6 angular functions, cutoff 3 Å, elements H C" in shown


def test_torch_serves_it_in_scripts_and_in_ring_polymers(tmp_path):
    """Whichever backend is named."""
    model, atoms = random_model(DIALECTS["ssp"], 2, priors={}), molecule("CH4")
    energies = [
        build_potential(model, atoms.numbers, "float32", b)(atoms.positions[None])[0] for b in ("numba", "torch")
    ]
    np.testing.assert_array_equal(*energies)
    atoms.calc = NetworkCalculator(model)
    assert atoms.get_potential_energy() == energies[0][0]
    write_acetylene(tmp_path, "beads = 4\nsteps = 6\n")
    save_model(model, tmp_path / "net.safetensors")
    assert rpmd_run(tmp_path) == 0
