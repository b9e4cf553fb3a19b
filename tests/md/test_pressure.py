"""The pressure of a periodic ring polymer against a derivative."""

import numpy as np
import pytest
from ase import units

from md.dynamics.ring_polymer import RingPolymer
from md.observables.estimators import Sample, pressure
from mlcalc.architectures.schnet.kernel import SchNetKernel
from tests.conftest import SCHNETPACK_DIALECT, random_model

T = 250.0


def test_pressure_is_a_derivative():
    """−d/dΩ of the bead-averaged energy when the cell scales and carries the centroids along, plus the ideal gas of centroids."""
    rng = np.random.default_rng(2)
    model, numbers = random_model(SCHNETPACK_DIALECT), np.array([6, 1, 1, 6, 1, 6, 1, 6])
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3) * 2.0
    q = corners + 0.3 + rng.normal(0, 0.1, (3, 8, 3))
    cell, centroid = 4.3 * np.eye(3) + 0.2 * np.eye(3, k=1), q.mean(axis=0)

    def energy(scale: float) -> float:
        kernel = SchNetKernel(model, numbers, "float64", cell=scale * cell, pbc=np.ones(3, bool))
        return kernel(q + (scale - 1.0) * centroid)[0].mean()

    kernel = SchNetKernel(model, numbers, "float64", cell=cell, pbc=np.ones(3, bool))
    result, volume, h = kernel.evaluate(q), np.linalg.det(cell), 1e-5
    state = RingPolymer(q, np.zeros_like(q), np.where(numbers == 1, 1.008, 12.011), cell=cell)
    sample = Sample(0, 0.0, state, result["energies"], result["forces"], T, True, 0.0, virials=result["virials"])
    slope = (energy(1 + h) - energy(1 - h)) / (2 * h)  # dE/dln(length) = 3Ω dE/dΩ
    expected = (8 * units.kB * T / volume - slope / (3 * volume)) / units.GPa
    assert pressure(sample) == pytest.approx(expected, rel=1e-5)
    assert "pressure_GPa" in sample.properties
    assert "kinetic_virial_com_eV" not in sample.properties
