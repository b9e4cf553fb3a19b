"""SO3net: its harmonics and coefficients by their defining properties and tabulated values, its settings.

What it shares with all architectures is in test_architectures.py.
"""

from math import factorial, sqrt

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.special import lpmv

from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees, harmonics
from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.torch_potential import new_network
from mlcalc.training.settings import TrainingSettings
from tests.conftest import random_model

SMALL = SO3netConfig(elements=(1, 6), n_features=6, n_interactions=2, n_rbf=6, cutoff=4.0, readout_hidden=4)
every_lmax = pytest.mark.parametrize("lmax", [1, 2, 3])


def unit_vectors(n: int = 60) -> np.ndarray:
    """(3, n)."""
    vectors = np.random.default_rng(1).normal(size=(3, n))
    return vectors / np.linalg.norm(vectors, axis=0)


def at(points: np.ndarray, lmax: int) -> np.ndarray:
    return np.array(harmonics(*points, lmax))


def representation(rotation: np.ndarray, lmax: int) -> np.ndarray:
    """D of Y(R u) = D Y(u), from many u; (S, S)."""
    points = unit_vectors()
    solution, _, _, _ = np.linalg.lstsq(at(points, lmax).T, at(rotation @ points, lmax).T)
    return solution.T


def test_harmonics_are_those_of_associated_legendre_functions():
    """Real combinations of scipy's, without the phase of Condon and Shortley; components in the order of m."""
    x, y, z = points = unit_vectors()
    angle, expected = np.arctan2(y, x), []
    for degree in range(4):
        for m in range(-degree, degree + 1):
            n = abs(m)
            ratio = factorial(degree - n) / factorial(degree + n)
            norm = sqrt((2 * degree + 1) / (4 * np.pi) * ratio * (2 if n else 1))
            around = np.sin(n * angle) if m < 0 else np.cos(n * angle)
            expected.append(norm * (-1) ** n * lpmv(n, degree, z) * around)
    np.testing.assert_allclose(at(points, 3), expected, rtol=0, atol=1e-14)
    assert degrees(3).tolist() == [0] + 3 * [1] + 5 * [2] + 7 * [3]


def test_harmonics_of_torch_are_those_of_numpy():
    points = unit_vectors()
    found = torch.stack(harmonics(*torch.from_numpy(points), 3))
    np.testing.assert_allclose(found.numpy(), at(points, 3), rtol=0, atol=1e-15)


@every_lmax
@pytest.mark.parametrize("improper", [1.0, -1.0], ids=["rotation", "reflection"])
def test_coefficients_couple_two_features_to_one_that_turns_with_them(lmax, improper):
    c = clebsch_gordan(lmax)
    d = representation(improper * Rotation.random(random_state=2).as_matrix(), lmax)
    np.testing.assert_allclose(d @ d.T, np.eye(len(d)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.einsum("abs,ax,by->xys", c, d, d), c @ d.T, rtol=0, atol=1e-12)


@every_lmax
def test_coefficients_are_orthonormal(lmax):
    """Σ_{m1 m2} C^s C^s' = δ for each pair of degrees, where parity and the triangle allow it; nothing elsewhere."""
    c, of = clebsch_gordan(lmax), degrees(lmax)
    for a, b in np.ndindex(lmax + 1, lmax + 1):
        block = c[of == a][:, of == b]
        allowed = (abs(a - b) <= of) & (of <= a + b) & ((a + b + of) % 2 == 0)
        np.testing.assert_allclose(np.einsum("abs,abt->st", block, block), np.diag(allowed), rtol=0, atol=1e-12)
    np.testing.assert_allclose(c[0], np.eye(len(c)), rtol=0, atol=1e-14)
    assert np.count_nonzero(c) == {1: 10, 2: 83, 3: 353}[lmax]
    assert not c.flags.writeable


@pytest.mark.parametrize(
    ("one", "other", "coupled", "square", "sign"),
    [
        (1, 1, 0, 1 / 3, -1), (1, 1, 2, 2 / 3, 1), (2, 1, 1, 2 / 5, -1), (2, 1, 3, 3 / 5, 1), (2, 2, 0, 1 / 5, 1),
        (2, 2, 2, 2 / 7, -1), (3, 1, 2, 3 / 7, -1), (3, 2, 3, 4 / 15, -1), (3, 3, 0, 1 / 7, -1), (3, 3, 2, 4 / 21, 1),
    ],
)  # fmt: skip
def test_tabulated_coefficients_of_m_zero(one, other, coupled, square, sign):
    """⟨l₁0 l₂0|l0⟩, the same in the real basis: they fix the sign of each block."""
    a, b, s = (degree * (degree + 1) for degree in (one, other, coupled))
    assert clebsch_gordan(3)[a, b, s] == pytest.approx(sign * sqrt(square), abs=1e-14)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lmax": 0}, "lmax = 0: expected a whole number from 1 to 3"),
        ({"lmax": 4}, "lmax = 4: expected a whole number from 1 to 3"),
        ({"lmax": True}, "lmax = True: expected"),
        ({"lmax": 2.0}, "lmax = 2.0: expected"),
        ({"cutoff": None}, "an SO3net needs a cutoff"),
        ({"readout_activation": "relu"}, "readout_activation = 'relu': expected 'silu' or 'ssp'"),
        ({"n_features": 4096, "n_interactions": 64}, "weights: expected at most"),
    ],
)
def test_configurations_that_are_refused(keys, message):
    with pytest.raises(InputError, match=message):
        SO3netConfig(**{"elements": (1,)} | keys)


def test_the_degree_in_a_training_file():
    def settings(**keys) -> TrainingSettings:
        return build_settings(TrainingSettings, {"data": ["x.xyz"]} | keys, "train.toml")

    assert settings(architecture="so3net", lmax=3).network_config((1,)).lmax == 3
    assert settings(architecture="so3net").network_config((1,)).lmax == SO3netConfig((1,)).lmax == 2
    for name in ("schnet", "painn"):
        with pytest.raises(InputError, match=f"lmax = 2 beside architecture = '{name}', which has none; leave it out"):
            settings(architecture=name, lmax=2)
    with pytest.raises(InputError, match="lmax = 4: expected a whole number from 1 to 3"):
        settings(architecture="so3net", lmax=4).network_config((1,))


def test_the_isolated_message_is_the_formula_by_hand():
    """One neighbour in the first block: Δ_s = W_l Y_s x_j, so that block and readout are a few NumPy lines."""
    model, vector = random_model(SMALL, 4, np.float64, {}), np.array([0.6, -0.7, 0.9])
    w = {name: np.asarray(array) for name, array in model.weights.items()}
    network = new_network(SMALL, torch.float64)
    network.load_state_dict({name: torch.as_tensor(array) for name, array in w.items()})
    r = np.linalg.norm(vector)
    basis = np.exp(-w["radial_basis.coefficients"] * (r - w["radial_basis.centers"]) ** 2)
    block = "interactions.0"
    filters = (w[f"{block}.filter_net.weight"] @ basis + w[f"{block}.filter_net.bias"]).reshape(3, 6)
    filters *= 0.5 * (np.cos(np.pi * r / 4.0) + 1.0)
    of, x, c = degrees(2), w["embedding.weight"], clebsch_gordan(2)
    delta = filters[of] * at(vector / r, 2)[:, None] * x[1]
    delta = delta + np.einsum("abs,af,bf->sf", c, delta, delta @ w[f"{block}.mixings.0.weight"].T)
    delta = delta @ w[f"{block}.mixings.1.weight"].T
    gates = w[f"{block}.gating.weight"] @ delta[0] + w[f"{block}.gating.bias"]
    delta = delta / (1.0 + np.exp(-gates.reshape(3, 6)[of])) @ w[f"{block}.mixings.2.weight"].T
    seen = {}
    network.interactions[0].register_forward_hook(lambda module, arguments, found: seen.update(x=found.detach()))
    network(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([1]), torch.from_numpy(vector)[None])
    expected = delta + np.vstack([x[:1], np.zeros((8, 6))])
    np.testing.assert_allclose(seen["x"][0].numpy(), expected, rtol=0, atol=1e-12)
