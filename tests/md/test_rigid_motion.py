"""Translation and rotation held at rest: what stays zero, and that degrees of freedom are counted right."""

import numpy as np
import pytest
from ase import units
from scipy.spatial.transform import Rotation

from md.dynamics.integrators import SPLITTINGS
from md.dynamics.rigid_motion import inertia
from md.dynamics.ring_polymer import thermal_ring_polymer
from md.observables.statistics import block_average
from md.potentials import Morse
from md.simulation import Dynamics, simulate

MASSES = np.array([1.008, 15.999, 1.008])
WATER = np.array([[0.0, 0.76, 0.59], [0.0, 0.0, 0.0], [0.0, -0.76, 0.59]])


def springs(positions):
    """Three atoms held together by harmonic springs of 2 eV/Å² between all pairs."""
    energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
    for i, j in ((0, 1), (1, 2), (0, 2)):
        vector = positions[:, j] - positions[:, i]
        r = np.linalg.norm(vector, axis=1)
        stretch = r - np.linalg.norm(WATER[j] - WATER[i])
        energies += 1.0 * stretch**2
        pull = (2.0 * stretch / r)[:, None] * vector
        forces[:, i] += pull
        forces[:, j] -= pull
    return energies, forces


def angular_momentum(state):
    q, p = state.positions, state.momenta
    centre = state.masses @ q.mean(axis=0) / state.masses.sum()
    return np.cross(q - centre, p).sum(axis=(0, 1))


@pytest.mark.parametrize("thermostat", ["PILE-L", "PILE-G", "T-RPMD", "none"])
@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_nothing_turns(integrator, thermostat):
    """Zero after every step; without thermostat because springs and forces keep it, bead by bead it would not be."""
    rng = np.random.default_rng(1)
    state = thermal_ring_polymer(WATER, MASSES, 4, 300.0, rng)
    dynamics = Dynamics(300.0, 0.2, integrator, thermostat, remove_rotation=True)
    size = np.sqrt((inertia(np.repeat((WATER - WATER.mean(axis=0))[None], 4, 0), MASSES) * 4 * units.kB * 300).max())
    for sample in simulate(state, springs, dynamics, rng, 200, 10):
        np.testing.assert_allclose(angular_momentum(sample.ring_polymer) / size, 0.0, atol=1e-11)
        np.testing.assert_allclose(state.momenta.mean(axis=0).sum(axis=0), 0.0, atol=1e-11)


@pytest.mark.parametrize(("n_beads", "freedom"), [(1, 3), (4, 30)])
@pytest.mark.slow
def test_degrees_of_freedom(n_beads, freedom):
    """3PN − 6 share the energy: the temperature is right, and three routes to the kinetic energy agree."""
    rng = np.random.default_rng(2)
    state = thermal_ring_polymer(WATER, MASSES, n_beads, 300.0, rng)
    dynamics = Dynamics(300.0, 0.3, "OBABO", centroid_time_fs=10.0, remove_rotation=True)
    series = {}
    for sample in simulate(state, springs, dynamics, rng, 80_000, 16):
        if sample.step >= 1000:
            properties = sample.properties
            for name in ("kinetic_virial_eV", "kinetic_virial_com_eV"):
                series.setdefault(name, []).append(properties[name] - properties["kinetic_primitive_eV"])
            series.setdefault("temperature_K", []).append(properties["temperature_K"] - 300.0)
    temperature = block_average(series.pop("temperature_K"))
    assert abs(temperature.value) < 4.0 * temperature.error
    assert temperature.error < 300.0 / freedom / 5.0  # one degree of freedom miscounted would show
    for name, values in series.items():
        mean = block_average(values)
        assert abs(mean.value) <= 4.0 * max(mean.error, 1e-12), name
        assert mean.error < 0.5 * units.kB * 300.0 / 3.0, name  # a third of what a miscounted one would add


def test_a_diatomic_keeps_five_degrees_of_freedom_of_its_centroids():
    """The third direction of rotation is carried by the spread of the beads alone."""
    from md.observables.estimators import _frozen

    rng = np.random.default_rng(3)
    state = thermal_ring_polymer(np.array([[0, 0, 0], [0, 0, 1.3]]), np.array([12.0, 16.0]), 8, 300.0, rng)
    dynamics = Dynamics(300.0, 0.5, remove_rotation=True)
    *_, last = simulate(state, Morse(4.0, 2.0, 1.3), dynamics, rng, 500, 500)
    total, by_atom = _frozen(last)
    assert total == pytest.approx(6.0)
    assert by_atom.sum() == pytest.approx(5.0, abs=0.05)
    *_, first = simulate(
        thermal_ring_polymer(np.eye(3)[:2], np.array([12.0, 16.0]), 1, 300.0, rng),
        Morse(4.0, 2.0, 1.4),
        dynamics,
        rng,
        1,
    )
    assert _frozen(first)[0] == pytest.approx(5.0)


def test_orientation_does_not_matter():
    """A turned molecule with turned momenta moves alike; constant energy, so that no noise tells directions apart."""
    turn, ends = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix(), []
    for matrix in (np.eye(3), turn):
        state = thermal_ring_polymer(WATER, MASSES, 3, 300.0, np.random.default_rng(4))
        state.positions[:] = state.positions @ matrix.T
        state.momenta[:] = state.momenta @ matrix.T
        dynamics = Dynamics(300.0, 0.2, thermostat="none", remove_rotation=True)
        *_, last = simulate(state, springs, dynamics, np.random.default_rng(5), 100, 100)
        ends.append(last.ring_polymer.positions.copy())
    np.testing.assert_allclose(ends[1], ends[0] @ turn.T, atol=1e-10)
