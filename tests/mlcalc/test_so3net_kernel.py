"""The compiled SO3net beside its definition in torch, and the tables and scalars of pairs from which its code is made."""

import numpy as np
import pytest
from ase.build import bulk

from mlcalc.architectures.so3net import SO3netConfig
from mlcalc.architectures.so3net.angles import set_scalars, turned
from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees, harmonics
from mlcalc.architectures.so3net.tables import couplings, pair_scalars, polynomials
from mlcalc.common.compiled import njit
from mlcalc.potential import build_potential
from mlcalc.torch_potential import TorchPotential
from tests.conftest import random_model

every_lmax = pytest.mark.parametrize("lmax", [1, 2, 3])


def so3net(lmax: int, n_interactions: int = 3):
    config = SO3netConfig(
        elements=(1, 6), n_features=21, n_interactions=n_interactions, lmax=lmax, n_rbf=12, cutoff=4.0, readout_hidden=8
    )
    return random_model(config, seed=lmax, dtype=np.float64)


@pytest.mark.parametrize("lmax", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_interactions", [1, 2, 3])  # a layer may be the first, the last, both, or neither
def test_it_is_the_torch_network(lmax, n_interactions, hydrocarbon, monkeypatch):
    """With tables whose slopes err by less than 1e-10; table errors are those of test_kernel.py otherwise."""
    monkeypatch.setattr("mlcalc.architectures.kernels.filter_table._FIRST_KNOTS", 16384)
    (numbers, positions), model = hydrocarbon, so3net(lmax, n_interactions)
    kernel = build_potential(model, numbers, "float64", "numba", 1)
    assert kernel.table.slope_error < 1e-10
    beads = positions + np.random.default_rng(3).normal(0.0, 0.05, (2, *positions.shape))
    found, expected = kernel.evaluate(beads), TorchPotential(model, numbers, "float64").evaluate(beads)
    for name in expected:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-9 * scale, err_msg=name)


def test_blocks_and_replicas_give_the_same_bits_where_atoms_meet_their_own_images(monkeypatch):
    monkeypatch.setattr("mlcalc.architectures.kernels.potential._BLOCK", 1)
    atoms, results = bulk("CH", "rocksalt", 3.4), []
    beads = atoms.positions + np.random.default_rng(4).normal(0.0, 0.05, (2, *atoms.positions.shape))
    for block_cost in (0.0, 1e9):
        monkeypatch.setattr("mlcalc.architectures.kernels.potential._BLOCK_COST", block_cost)
        kernel = build_potential(
            so3net(2), atoms.numbers, "float64", "numba", 1, atoms.cell.array, np.array([True] * 3)
        )
        results.append(kernel.evaluate(beads))
        assert kernel._shape == (2, block_cost == 0.0)
    assert (kernel._neighbours.pairs.first == kernel._neighbours.pairs.second).any()
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name], err_msg=name)


@njit()
def scalars_of(unit, degrees, scalars):
    set_scalars(unit[0], unit[1], unit[2], scalars, 0, degrees)
    return turned(unit[0], unit[1], unit[2], scalars, 0, degrees)


@every_lmax
def test_scalars_of_a_pair(lmax):
    """Harmonics and couplings are those of the definition; derivatives by a complex step, which has no rounding error."""
    unit = np.random.default_rng(lmax).normal(size=3)
    unit /= np.linalg.norm(unit)
    size, scalars = (lmax + 1) ** 2, np.full(pair_scalars(lmax), np.nan)
    turn = scalars_of(unit, tuple(range(lmax + 1)), scalars)
    y = np.array(harmonics(*unit, lmax))
    np.testing.assert_allclose(scalars[:size], [1.0, *y[1:]], rtol=0, atol=1e-14)
    assert not scalars[size : 2 * size].any()
    of_degree = degrees(lmax)
    expected = np.stack([np.einsum("abs,a,a->sb", clebsch_gordan(lmax), y, of_degree == n) for n in range(lmax + 1)])
    found = np.zeros_like(expected)
    found[0] = np.eye(size) * y[0]  # in the kernel Y_0 is a factor of the filters
    for one, value in zip(couplings(lmax), scalars[2 * size :], strict=True):
        found[one.degree, one.s, one.s2] = value
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    for axis in range(3):
        moved = unit + 1e-200j * np.eye(3)[axis]
        slopes = np.imag(harmonics(*moved, lmax)) * 1e200
        assert turn[axis] == pytest.approx(y[1:] @ slopes[1:], abs=1e-13)


def test_polynomials_have_as_many_terms_as_written():
    assert [len(one.coefficients) for one in polynomials(2)] == [1, 1, 1, 1, 1, 1, 2, 1, 2]
    assert not polynomials(2)[0].derivative(0).coefficients
