"""Averages of simulations against exact values at finite P, judged in standard errors of fixed-seed runs."""

import numpy as np
import pytest
from ase import units

from md.potentials import Harmonic
from md.ring_polymer import HBAR, thermal_ring_polymer
from md.simulation import Dynamics, simulate
from md.statistics import block_average
from mlcalc.vibrations import position_variance, vibrational_energy

MASS, N_ATOMS = 12.011, 50
OSCILLATOR = 1394.0 * units.invcm  # eV, the stiffest mode of C20


def averages(n_beads: int, integrator: str, steps: int, timestep_fs: float = 0.25) -> dict:
    """Means of the estimators and of ⟨q²⟩ over 150 independent oscillators."""
    potential = Harmonic(MASS * (OSCILLATOR / HBAR) ** 2)
    rng = np.random.default_rng(n_beads)
    state = thermal_ring_polymer(np.zeros((N_ATOMS, 3)), np.full(N_ATOMS, MASS), n_beads, 300.0, rng)
    dynamics = Dynamics(300.0, timestep_fs, integrator, centroid_time_fs=20.0, remove_com=False)
    for _ in simulate(state, potential, dynamics, rng, 2000, 2000):
        pass
    series = {"spread": [], "centroid_spread": []}
    for sample in simulate(state, potential, dynamics, rng, steps, 20):
        for name, value in sample.properties.items():
            series.setdefault(name, []).append(value)
        q = sample.ring_polymer.positions
        series["spread"].append((q**2).mean())
        series["centroid_spread"].append((q.mean(axis=0) ** 2).mean())
    return {name: block_average(values) for name, values in series.items()}


def check(mean, exact: float, bias: float = 0.0) -> None:
    """Within four standard errors, which must themselves be small enough to notice a wrong formula."""
    assert mean.error < 0.02 * abs(exact)
    assert abs(mean.value - exact) < 4.0 * mean.error + bias * abs(exact)


@pytest.mark.parametrize(
    ("n_beads", "integrator", "steps"),
    [
        (1, "OBABO", 20_000),
        (8, "OBABO", 20_000),
        (3, "BAOAB", 20_000),
        pytest.param(8, "BAOAB", 400_000, marks=pytest.mark.slow),
        pytest.param(32, "OBABO", 200_000, marks=pytest.mark.slow),
    ],
)
def test_harmonic_oscillators(n_beads, integrator, steps):
    means = averages(n_beads, integrator, steps)
    # The time-step error of 0.25 fs: a quarter of the tabulated .0049 (OBABO) and .0006 (BAOAB) at 0.5 fs.
    bias = {"OBABO": 0.0013, "BAOAB": 0.0002}[integrator]
    half = 3 * N_ATOMS * vibrational_energy(np.array([OSCILLATOR]), 300.0, n_beads) / 2
    check(means["spread"], position_variance(np.array([OSCILLATOR]), 300.0, n_beads)[0] / MASS, bias)
    check(means["centroid_spread"], units.kB * 300.0 * HBAR**2 / (MASS * OSCILLATOR**2), bias)
    check(means["potential_eV"], half, bias)
    check(means["kinetic_virial_eV"], half, bias)
    check(means["kinetic_primitive_eV"], half, 4 * bias)  # a difference of two larger terms
    check(means["temperature_K"], 300.0, bias)


@pytest.mark.parametrize("n_beads", [2, 5, 8])
def test_free_ring_has_the_thermal_wavelength(n_beads):
    """⟨R_g²⟩ per direction = (βħ²/12m)(1 − 1/P²)."""
    rng = np.random.default_rng(11)
    state = thermal_ring_polymer(np.zeros((200, 3)), np.full(200, 1.008), n_beads, 300.0, rng)
    series = []
    for sample in simulate(state, Harmonic(0.0), Dynamics(300.0, 0.5), rng, 4000, 10):
        if sample.step >= 500:
            series.append(sample.properties["gyration_radius_A"] ** 2 / 3)
    exact = HBAR**2 / (12 * 1.008 * units.kB * 300.0) * (1 - 1 / n_beads**2)
    check(block_average(series), exact)


def test_centre_of_mass_at_rest_leaves_the_temperature_right():
    """With few atoms the missing degrees of freedom matter: 3 of 6 here."""
    rng = np.random.default_rng(12)
    state = thermal_ring_polymer(np.zeros((2, 3)), np.array([1.008, 12.011]), 1, 300.0, rng)
    series = [
        sample.properties["temperature_K"]
        for sample in simulate(state, Harmonic(5.0), Dynamics(300.0, 0.5, centroid_time_fs=10.0), rng, 60_000, 20)
    ]
    mean = block_average(series)
    assert abs(mean.value - 300.0) < 4 * mean.error
    assert mean.error < 15.0
