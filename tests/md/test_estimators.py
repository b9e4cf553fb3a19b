"""Estimators of one configuration against loops written straight from the formulas."""

import numpy as np
import pytest
from ase import units

from md.estimators import ESTIMATORS, Sample
from md.potentials import Morse
from md.ring_polymer import HBAR, RingPolymer

T, P, N = 250.0, 5, 2
BETA = 1 / (units.kB * T)


@pytest.fixture(params=[False, True], ids=["free", "com held"])
def sample(request) -> Sample:
    rng = np.random.default_rng(1)
    positions = np.array([[0, 0, 0], [0, 0, 1.3]]) + rng.normal(0, 0.1, (P, N, 3))
    state = RingPolymer(positions, rng.normal(0, 3.0, (P, N, 3)), np.array([12.0, 1.0]))
    energies, forces = Morse(4.0, 2.0, 1.3)(positions)
    return Sample(10, 5.0, state, energies, forces, T, request.param, heat=0.7)


def test_against_loops(sample):
    q, p, m = sample.ring_polymer
    com = 3 if sample.remove_com else 0
    omega = P / (BETA * HBAR)
    spring = virial = kinetic = spread = 0.0
    for i in range(N):
        centroid = sum(q[j, i] for j in range(P)) / P
        for j in range(P):
            after = q[(j + 1) % P, i]
            spring += 0.5 * m[i] * omega**2 * np.dot(q[j, i] - after, q[j, i] - after) / P
            virial -= np.dot(q[j, i] - centroid, sample.forces[j, i]) / (2 * P)
            kinetic += np.dot(p[j, i], p[j, i]) / (2 * m[i])
            spread += np.dot(q[j, i] - centroid, q[j, i] - centroid) / (N * P)
    potential = sum(sample.potential_energies) / P
    expected = {
        "temperature_K": 2 * kinetic / ((3 * N * P - com) * units.kB * P),
        "potential_eV": potential,
        "kinetic_virial_eV": (3 * N - com) / (2 * BETA) + virial,
        "kinetic_primitive_eV": (3 * N * P - com) / (2 * BETA) - spring,
        "conserved_eV": (kinetic + 0.7) / P + spring + potential,
        "gyration_radius_A": np.sqrt(spread),
    }
    assert list(sample.properties) == list(expected)
    for name, value in expected.items():
        assert sample.properties[name] == pytest.approx(value, rel=1e-12), name


def test_units_are_in_the_names():
    assert all(name.rpartition("_")[2] in {"K", "eV", "A"} for name in ESTIMATORS)
