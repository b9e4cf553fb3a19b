"""Potentials of the ring polymer: forces are gradients, beads are independent, networks are checked at the door."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from md.potentials import AseForces, Harmonic, Morse, make_potential
from mlcalc.common.errors import InputError
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model

BEADS = np.array([[0, 0, 0], [0.1, 0, 1.2]]) + np.random.default_rng(0).normal(0, 0.1, (3, 2, 3))


def pair(model=None):
    atoms = molecule("C2H2")
    return make_potential(model or random_model(SCHNETPACK_DIALECT), atoms, "float64", "numba", 1), atoms


@pytest.mark.parametrize("potential", [Harmonic(3.0), Morse(4.0, 2.0, 1.3), AseForces(molecule("N2"), EMT())])
def test_forces_are_gradients(potential):
    _, forces = potential(BEADS)
    step = 1e-5
    for index in np.ndindex(BEADS.shape):
        up, down = BEADS.copy(), BEADS.copy()
        up[index] += step
        down[index] -= step
        slope = (potential(up)[0] - potential(down)[0])[index[0]] / (2 * step)
        assert forces[index] == pytest.approx(-slope, abs=1e-6)


def test_backends_agree_and_beads_are_independent():
    kernel, atoms = pair()
    beads = atoms.positions + np.random.default_rng(1).normal(0, 0.05, (4, 4, 3))
    energies, forces = kernel(beads)
    torch_energies, torch_forces = make_potential(random_model(SCHNETPACK_DIALECT), atoms, "float64", "torch")(beads)
    np.testing.assert_allclose(energies, torch_energies, atol=1e-5)
    np.testing.assert_allclose(forces, torch_forces, atol=1e-5)
    for bead in range(4):
        alone = kernel(beads[bead : bead + 1])
        np.testing.assert_allclose(alone[0], energies[bead], rtol=1e-13)
        np.testing.assert_allclose(alone[1][0], forces[bead], atol=1e-10)


def test_networks_are_checked_at_the_door():
    slab = bulk("C", "diamond", 3.57)
    with pytest.raises(InputError, match="molecules only"):
        make_potential(random_model(ORIGINAL_DIALECT), slab)
    slab.cell[2] = 0
    with pytest.raises(InputError, match="every periodic direction needs a cell vector"):
        make_potential(random_model(SCHNETPACK_DIALECT), slab)
    with pytest.raises(InputError, match="element N: this model knows H, C"):
        make_potential(random_model(SCHNETPACK_DIALECT), molecule("N2"))
