"""DTNN: the formulas by hand, its settings, and an architecture without compiled kernel in calculator and ring polymers.

What it shares with all architectures is in test_architectures.py.
"""

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlcalc import NetworkCalculator
from mlcalc.architectures.dtnn.config import DTNNConfig, weight_shapes
from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.model_file import save_model
from mlcalc.potential import build_potential
from mlcalc.torch_potential import TorchPotential, new_network
from mlcalc.training.settings import TrainingSettings
from tests.conftest import random_model, rpmd_run, write_acetylene

SMALL = {"elements": (1, 6), "n_features": 6, "n_factors": 5, "n_interactions": 3, "n_rbf": 7, "readout_hidden": 4}
DIALECTS = {
    "original": DTNNConfig(**SMALL),
    "blocks": DTNNConfig(**SMALL, shared_weights=False, activation="ssp"),
    "cutoff": DTNNConfig(**SMALL, cutoff=2.5),
}


def energy_by_the_book(model, numbers, positions) -> float:
    """The sums of the paper, pair by pair, eV."""
    w = {name: np.asarray(array, dtype=float) for name, array in model.weights.items()}
    config, rows = model.config, [model.config.elements.index(z) for z in numbers]
    activation = {"tanh": np.tanh, "ssp": lambda x: np.log(0.5 * np.exp(x) + 0.5)}[config.activation]
    x = w["embedding.weight"][rows]
    for t in range(config.n_interactions):
        block, messages = f"interactions.{0 if config.shared_weights else t}", np.zeros_like(x)
        for i in range(len(x)):
            for j in set(range(len(x))) - {i}:
                r = np.linalg.norm(positions[i] - positions[j])
                gaussians = np.exp(-w["radial_basis.coefficients"] * (r - w["radial_basis.centers"]) ** 2)
                of_distance = w["distance_layer.weight"] @ gaussians + w["distance_layer.bias"]
                if config.cutoff:
                    of_distance *= 0.5 * (np.cos(np.pi * r / config.cutoff) + 1.0) if r < config.cutoff else 0.0
                of_sender = w[f"{block}.in2factors.weight"] @ x[j] + w[f"{block}.in2factors.bias"]
                messages[i] += activation(w[f"{block}.factors2out.weight"] @ (of_sender * of_distance))
        x = x + messages
    hidden = np.tanh(x @ w["readout.0.weight"].T + w["readout.0.bias"])
    atomic = (hidden @ w["readout.1.weight"].T + w["readout.1.bias"])[:, 0]
    return float((w["energy_scale"] * atomic + w["energy_shift"][rows]).sum())


@pytest.mark.parametrize("name", DIALECTS)
def test_the_network_is_the_formula_by_hand(name, hydrocarbon):
    (numbers, positions), model = hydrocarbon, random_model(DIALECTS[name], 3, np.float64, {})
    energies, _ = TorchPotential(model, numbers, "float64")(positions[None])
    assert energies[0] == pytest.approx(energy_by_the_book(model, numbers, positions), abs=1e-10)


def test_the_defaults_are_those_of_the_paper():
    """30 features, 60 factors, three passes of one set of weights, Gaussians every 0.2 Å that are as wide as that."""
    config = DTNNConfig((1, 6, 7, 8, 9))
    shapes = weight_shapes(config)
    assert [name for name in shapes if "in2factors.weight" in name] == ["interactions.0.in2factors.weight"]
    assert shapes["interactions.0.factors2out.weight"] == (30, 60) and shapes["readout.0.weight"] == (15, 30)
    basis = new_network(config, torch.float64).radial_basis
    np.testing.assert_allclose(basis.centers, 0.2 * np.arange(101), rtol=1e-6)
    np.testing.assert_allclose(basis.coefficients, 0.5 / 0.2**2, rtol=1e-6)


def test_without_a_cutoff_atoms_at_any_distance_exchange_messages_that_no_longer_change():
    model, numbers = random_model(DIALECTS["original"], 1, np.float64, {}), np.array([6, 1])
    potential = TorchPotential(model, numbers, "float64")
    energies, forces = potential(np.array([[[0, 0, 0], [0, 0, r]] for r in (1.5, 60.0, 90.0)], dtype=float))
    assert energies[1] == energies[2] and not forces[1:].any() and forces[0].any()
    free = [TorchPotential(model, numbers[k : k + 1], "float64")(np.zeros((1, 1, 3)))[0][0] for k in (0, 1)]
    assert abs(energies[1] - sum(free)) > 1e-3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"n_factors": 0}, "n_factors = 0: expected a whole number from 1 to 4096"),
        ({"shared_weights": 1}, "shared_weights = 1: expected true or false"),
        ({"activation": "silu"}, "activation = 'silu': expected 'tanh' or 'ssp'"),
        ({"cutoff": -1.0}, "cutoff = -1"),
        (
            {"n_features": 4096, "n_factors": 4096, "n_interactions": 64, "shared_weights": False},
            "weights: expected at",
        ),
    ],
)
def test_configurations_that_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        DTNNConfig(**{"elements": (1,)} | keys)


def test_its_keys_in_a_training_file():
    def settings(**keys) -> TrainingSettings:
        return build_settings(TrainingSettings, {"data": ["x.xyz"]} | keys, "train.toml")

    plain = settings(architecture="dtnn", cutoff_A=5.0).network_config((1,))
    assert (plain.n_factors, plain.shared_weights, plain.activation, plain.cutoff) == (60, True, "tanh", 5.0)
    special = {"n_factors": 8, "shared_weights": False, "activation": "ssp"}
    found = settings(architecture="dtnn", **special).network_config((1,))
    assert {name: getattr(found, name) for name in special} == special
    for name, value in special.items():
        with pytest.raises(InputError, match=f"{name} = {value!r} beside architecture = 'schnet', which has none"):
            settings(**{name: value})


def test_torch_serves_an_architecture_without_kernel_whichever_backend_is_named():
    """The results are those of torch to the bit."""
    model, atoms = random_model(DIALECTS["cutoff"], 2), molecule("CH4")
    found = [build_potential(model, atoms.numbers, "float32", backend) for backend in ("numba", "torch")]
    assert all(isinstance(potential, TorchPotential) for potential in found)
    energies = [potential(atoms.positions[None])[0] for potential in found]
    np.testing.assert_array_equal(*energies)
    atoms.calc = NetworkCalculator(model)
    assert atoms.get_potential_energy() == energies[0][0]


def test_a_ring_polymer_moves_on_it(tmp_path):
    write_acetylene(tmp_path, "beads = 4\nsteps = 6\n")
    save_model(random_model(DIALECTS["original"]), tmp_path / "net.safetensors")
    assert rpmd_run(tmp_path) == 0
