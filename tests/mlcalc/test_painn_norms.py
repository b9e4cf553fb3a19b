"""Norms of a PaiNN's vector features: what their ε does, and that the compiled kernel takes any."""

import numpy as np
import pytest
from ase import Atoms

from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.common.errors import InputError
from mlcalc.potential import build_potential
from tests.conftest import random_model

MIDDLE = 1  # of a linear molecule with a centre of inversion: its vectors are zero by symmetry


def bent(shift: float) -> Atoms:
    """O=C=O, the carbon pushed off the axis by so many Å."""
    return Atoms("OCO", [[0, 0, -1.16], [shift, 0, 0], [0, 0, 1.16]])


def stiffness(epsilon: float, backend: str, shifts: np.ndarray) -> np.ndarray:
    """−F/shift of the carbon, eV/Å²: a constant for small shifts, if the energy has no cusp."""
    model = random_model(PaiNNConfig((6, 8), n_features=16, n_rbf=12, cutoff=4.0, norm_epsilon=epsilon), 2, np.float64)
    potential = build_potential(model, bent(0.0).numbers, "float64", backend)
    _, forces = potential(np.array([bent(shift).positions for shift in shifts]))
    return -forces[:, MIDDLE, 0] / shifts


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_symmetric_molecule_has_no_cusp_within_epsilon(backend):
    shifts = np.array([1e-4, 1e-3, 5e-3])
    smooth = stiffness(4.0, backend, shifts)
    np.testing.assert_allclose(smooth, smooth[0], rtol=0, atol=0.01 * np.abs(smooth[0]))
    sharp = stiffness(1e-8, backend, shifts)
    assert np.ptp(sharp) > 0.1 * np.abs(sharp).max()


@pytest.mark.parametrize("epsilon", [1e-8, 1e-4, 0.05, 10.0])
def test_the_kernel_takes_any_epsilon(epsilon):
    """It has one of its own, to which weights are scaled: to rounding and the error of its tables the same function."""
    shifts = np.array([0.02, 0.1, 0.3])
    found, expected = (stiffness(epsilon, backend, shifts) for backend in ("numba", "torch"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert (
        np.abs(found - stiffness(2.0 * epsilon, "torch", shifts)).max() > 1e-3 * np.abs(found).max() or epsilon < 1e-3
    )


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), 1e9, "small"])
def test_unusable_ones_are_refused(epsilon):
    with pytest.raises(InputError, match="norm_epsilon = "):
        PaiNNConfig((1, 6), norm_epsilon=epsilon)
