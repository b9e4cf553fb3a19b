"""Estimators of one configuration against loops written straight from the formulas."""

import numpy as np
import pytest
from ase import units

from md.dynamics.ring_polymer import HBAR, RingPolymer
from md.observables.averages import DERIVED
from md.observables.estimators import ESTIMATORS, PER_ATOM, SCALING, Sample
from md.observables.heat_capacity import with_scaled_energies
from md.potentials import Morse

T, P, N = 250.0, 5, 2
BETA = 1 / (units.kB * T)
MORSE = Morse(4.0, 2.0, 1.3)


@pytest.fixture(params=["free", "com held", "all held"])
def sample(request) -> Sample:
    rng = np.random.default_rng(1)
    positions = np.array([[0, 0, 0], [0, 0, 1.3]]) + rng.normal(0, 0.1, (P, N, 3))
    state = RingPolymer(positions, rng.normal(0, 3.0, (P, N, 3)), np.array([12.0, 1.0]))
    energies, forces = MORSE(positions)
    held = request.param
    drawn = Sample(10, 5.0, state, energies, forces, T, held != "free", 0.7, remove_rotation=held == "all held")
    return with_scaled_energies(drawn, MORSE)


def inertia(r, m):
    return sum(m * (np.dot(a, a) * np.eye(3) - np.outer(a, a)) for a in r)


def test_against_loops(sample):
    q, p, m = sample.ring_polymer[:3]
    com = 3 if sample.remove_com else 0
    omega = P / (BETA * HBAR)
    centroid = [sum(q[j, i] for j in range(P)) / P for i in range(N)]
    centre = sum(m[i] * centroid[i] for i in range(N)) / sum(m)
    tensor = sum(inertia(q[:, i] - centre, m[i]) for i in range(N))
    spring = bare = kinetic = 0.0
    by_atom, spread, frozen = np.zeros(N), np.zeros(N), np.zeros(N)
    for i in range(N):
        frozen[i] = com * m[i] / sum(m)
        if sample.remove_rotation:
            frozen[i] += np.trace(np.linalg.inv(tensor) @ inertia([centroid[i] - centre] * P, m[i]))
        for j in range(P):
            after = q[(j + 1) % P, i]
            spring += 0.5 * m[i] * omega**2 * np.dot(q[j, i] - after, q[j, i] - after) / P
            by_atom[i] -= np.dot(q[j, i] - centroid[i], sample.forces[j, i]) / (2 * P)
            bare -= np.dot(q[j, i] - centre, sample.forces[j, i]) / (2 * P)
            kinetic += np.dot(p[j, i], p[j, i]) / (2 * m[i])
            spread[i] += np.dot(q[j, i] - centroid[i], q[j, i] - centroid[i]) / P
    by_atom += (3 - frozen) / (2 * BETA)
    potential, moving = sum(sample.potential_energies) / P, 3 * N * P - com - 3 * sample.remove_rotation
    v = [np.mean(MORSE(centroid + np.sqrt(1 + s * SCALING) * (q - centroid))[0]) for s in (1, -1)]
    outer, inner, half = (1 + SCALING) * v[0], (1 - SCALING) * v[1], (3 * N - sum(frozen)) / 2
    expected = {
        "temperature_K": 2 * kinetic / (moving * units.kB * P),
        "potential_eV": potential,
        "kinetic_virial_eV": sum(by_atom),
        "kinetic_virial_com_eV": (3 - com) / (2 * BETA) + bare,
        "kinetic_primitive_eV": moving / (2 * BETA) - spring,
        "spring_eV": spring,
        "conserved_eV": (kinetic + 0.7) / P + spring + potential,
        "gyration_radius_A": np.sqrt(sum(spread) / N),
        "energy_scaled_eV": half / BETA + (outer - inner) / (2 * SCALING),
        "energy_scaled_slope_eV2": -half / BETA**2 + (outer + inner - 2 * potential) / (SCALING**2 * BETA),
    }
    assert list(sample.properties) == list(expected)
    for name, value in expected.items():
        assert sample.properties[name] == pytest.approx(value, rel=1e-10), name
    assert list(sample.per_atom) == [name for name, row in ESTIMATORS.items() if row.needs == PER_ATOM]
    np.testing.assert_allclose(sample.per_atom["kinetic_virial_per_atom_eV"], by_atom, rtol=1e-10)
    np.testing.assert_allclose(sample.per_atom["gyration_radius_per_atom_A"], np.sqrt(spread), rtol=1e-12)
    np.testing.assert_allclose(sample.per_atom["isotope_derivative_eV_per_u"], -by_atom / m, rtol=1e-10)


def test_the_table_tells_function_unit_and_reference():
    endings = {
        "eV_A": "eV/Å",
        "K": "K",
        "eV": "eV",
        "A": "Å",
        "eV2": "eV²",
        "GPa": "GPa",
        "u": "eV/u",
        "kB": "k_B",
        "A3": "Å³",
    }
    for name, row in (ESTIMATORS | DERIVED).items():
        assert next(unit for ending, unit in endings.items() if name.endswith(f"_{ending}")) == row.unit, name
        assert row.label
        assert row.reference
    assert all(row.function.__doc__ for row in ESTIMATORS.values())
