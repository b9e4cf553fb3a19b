"""Averages of simulations against exact values at finite P, judged in standard errors of fixed-seed runs."""

import numpy as np
import pytest
from ase import units

from md.dynamics.integrators import SPLITTINGS
from md.dynamics.ring_polymer import HBAR, thermal_ring_polymer
from md.observables.averages import Ensemble, means
from md.observables.heat_capacity import with_scaled_energies
from md.observables.statistics import block_average
from md.potentials import Harmonic
from md.simulation import Dynamics, simulate
from mlcalc.vibrations import heat_capacity as exact_capacity
from mlcalc.vibrations import position_variance, vibrational_energy

MASS, N_ATOMS = 12.011, 50
OSCILLATOR = 1394.0 * units.invcm  # eV, the stiffest mode of C20


def stationary(integrator: str, ring: float, oscillator: float, timestep: float) -> np.ndarray:
    """Exact ⟨q²⟩ and ⟨p²⟩ of one normal mode at finite time step, in units with m = k_B T P = 1.

    Between two thermostat steps lies a reversible linear map M of determinant one; it keeps −M₁₀q² + M₀₁p², and the
    thermostat keeps any product measure with ⟨p²⟩ = 1.
    """

    def ring_flow(t: float) -> np.ndarray:
        return np.array(
            [[np.cos(ring * t), t * np.sinc(ring * t / np.pi)], [-ring * np.sin(ring * t), np.cos(ring * t)]]
        )

    def cayley_flow(t: float) -> np.ndarray:
        h = 2 * t
        return np.array([[2.0, h], [-(ring**2) * h, 2.0]]) / np.sqrt(4.0 + (ring * h) ** 2)

    def kick(t: float) -> np.ndarray:
        return np.array([[1.0, 0.0], [-(oscillator**2) * t, 1.0]])

    if integrator == "OBABO":
        between, after = kick(timestep / 2) @ ring_flow(timestep) @ kick(timestep / 2), np.eye(2)
    else:
        half = (ring_flow if integrator == "BAOAB" else cayley_flow)(timestep / 2)
        between, after = half @ kick(timestep) @ half, kick(timestep / 2) @ half
    return np.diag(after @ np.diag([-between[0, 1] / between[1, 0], 1.0]) @ after.T)


def expected(n_beads: int, integrator: str, timestep_fs: float) -> dict[str, float]:
    """Exact averages of what ``averages`` measures, for this time step and number of beads."""
    kT, omega = units.kB * 300.0, OSCILLATOR / HBAR
    ring = 2.0 * n_beads * kT / HBAR * np.sin(np.pi * np.arange(n_beads) / n_beads)
    modes = np.array([stationary(integrator, w, omega, timestep_fs * units.fs) for w in ring])
    q2, p2 = modes[:, 0] * n_beads * kT / MASS, modes[:, 1]
    spread, centroid, stiffness, n = q2.mean(), q2[0] / n_beads, MASS * omega**2, 3 * N_ATOMS
    return {
        "spread": spread,
        "centroid_spread": centroid,
        "potential_eV": n * stiffness * spread / 2,
        "kinetic_virial_eV": n * (kT + stiffness * (spread - centroid)) / 2,
        "kinetic_primitive_eV": n * (n_beads * kT - MASS * np.mean(ring**2 * q2)) / 2,
        "temperature_K": 300.0 * p2.mean(),
    }


def averages(n_beads: int, integrator: str, steps: int, thermostat: str = "PILE-L", timestep_fs: float = 0.25) -> dict:
    """Means of the estimators and of ⟨q²⟩ over 150 independent oscillators."""
    potential = Harmonic(MASS * (OSCILLATOR / HBAR) ** 2)
    rng = np.random.default_rng(n_beads)
    state = thermal_ring_polymer(np.zeros((N_ATOMS, 3)), np.full(N_ATOMS, MASS), n_beads, 300.0, rng)
    dynamics = Dynamics(300.0, timestep_fs, integrator, thermostat, centroid_time_fs=20.0, remove_com=False)
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


def check(mean, exact: float) -> None:
    """Within four standard errors, which must themselves be small enough to notice a wrong formula."""
    assert mean.error < 0.02 * abs(exact)
    assert abs(mean.value - exact) < 4.0 * mean.error


@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_the_closed_form_tends_to_the_finite_bead_one(integrator):
    """An independent route to the same numbers as the time step vanishes."""
    exact = expected(8, integrator, 1e-3)
    assert exact["spread"] == pytest.approx(position_variance(np.array([OSCILLATOR]), 300.0, 8)[0] / MASS, rel=1e-6)
    half = 3 * N_ATOMS * vibrational_energy(np.array([OSCILLATOR]), 300.0, 8) / 2
    assert exact["potential_eV"] == pytest.approx(half, rel=1e-6)
    assert exact["kinetic_primitive_eV"] == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize(
    ("n_beads", "integrator", "steps"),
    [
        (1, "OBABO", 20_000),
        (8, "OBABO", 20_000),
        (3, "BAOAB", 20_000),
        (8, "BCOCB", 20_000),
        pytest.param(8, "BAOAB", 400_000, marks=pytest.mark.slow),
        pytest.param(32, "OBABO", 200_000, marks=pytest.mark.slow),
    ],
)
def test_harmonic_oscillators(n_beads, integrator, steps):
    means = averages(n_beads, integrator, steps)
    for name, exact in expected(n_beads, integrator, 0.25).items():
        check(means[name], exact)


@pytest.mark.parametrize("n_beads", [1, 8])
def test_harmonic_oscillators_under_global_rescaling(n_beads):
    """PILE-G draws the centroids' total energy from the same distribution as PILE-L, and shares it out as it finds it."""
    means = averages(n_beads, "OBABO", 20_000, "PILE-G")
    for name, exact in expected(n_beads, "OBABO", 0.25).items():
        check(means[name], exact)


@pytest.mark.slow
def test_rescaling_makes_the_kinetic_energy_canonical():
    """Free atoms: Σp²/m of f degrees of freedom has mean f k_B T and variance 2f (k_B T)²; nothing but the scale changes."""
    rng = np.random.default_rng(13)
    state = thermal_ring_polymer(np.zeros((4, 3)), np.array([1.008, 12.011, 12.011, 15.999]), 1, 300.0, rng)
    dynamics, first, second = Dynamics(300.0, 0.5, thermostat="PILE-G", centroid_time_fs=2.0), [], []
    for sample in simulate(state, Harmonic(0.0), dynamics, rng, 100_000, 4):
        relative = sample.properties["temperature_K"] / 300.0
        first.append(relative)
        second.append((relative - 1.0) ** 2)
        if sample.step == 0:
            start = state.momenta / np.linalg.norm(state.momenta)
    check(block_average(first), 1.0)
    check(block_average(second), 2.0 / 9.0)
    np.testing.assert_allclose(np.abs(np.vdot(start, state.momenta)), np.linalg.norm(state.momenta), rtol=1e-9)


def test_thermostatted_rpmd_leaves_the_centroid_alone():
    """Free rings: momenta of the centroid to the bit as they were, internal modes at the temperature."""
    rng = np.random.default_rng(14)
    state = thermal_ring_polymer(np.zeros((100, 3)), np.full(100, 12.011), 8, 300.0, rng)
    state.momenta[:] = state.momenta.mean(axis=0)  # internal modes start cold
    dynamics, series = Dynamics(300.0, 0.5, thermostat="T-RPMD", remove_com=False), []
    start = state.momenta.mean(axis=0)
    for sample in simulate(state, Harmonic(0.0), dynamics, rng, 4000, 10):
        if sample.step >= 500:
            p = state.momenta - state.momenta.mean(axis=0)
            series.append((p**2).sum() / (12.011 * 3 * 100 * 7))
    np.testing.assert_allclose(state.momenta.mean(axis=0), start, rtol=1e-12)
    ring = 2.0 * 8 * units.kB * 300.0 / HBAR * np.sin(np.pi * np.arange(1, 8) / 8)
    exact = np.mean([stationary("OBABO", w, 0.0, 0.5 * units.fs)[1] for w in ring])
    check(block_average(series), 8 * units.kB * 300.0 * exact)


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


@pytest.mark.slow
@pytest.mark.parametrize("n_beads", [1, 4, 8])
def test_heat_capacity_of_harmonic_oscillators(n_beads):
    """At finite P, BCOCB, whose positions carry no error of the time step: 3N k_B at P = 1, frozen out at P = 8.

    Both forms; that from fluctuations is the noisier, the more so the larger P.
    """
    rng = np.random.default_rng(20 + n_beads)
    state = thermal_ring_polymer(np.zeros((N_ATOMS, 3)), np.full(N_ATOMS, MASS), n_beads, 300.0, rng)
    dynamics = Dynamics(300.0, 0.5, "BCOCB", centroid_time_fs=20.0, remove_com=False)
    potential, series = Harmonic(MASS * (OSCILLATOR / HBAR) ** 2), {}
    for sample in simulate(state, potential, dynamics, rng, 200_000, 20):
        if sample.step >= 2000:
            for name, value in with_scaled_energies(sample, potential).properties.items():
                series.setdefault(name, []).append(value)
    series = {name: np.array(values) for name, values in series.items()}
    found, frequencies = means(series, Ensemble(n_beads, N_ATOMS, 300.0)), np.full(3 * N_ATOMS, OSCILLATOR)
    check(found["energy_scaled_eV"], vibrational_energy(frequencies, 300.0, n_beads))
    exact = exact_capacity(frequencies, 300.0, n_beads) / units.kB
    for name, precision in (("heat_capacity_kB", 0.15), ("heat_capacity_fluctuation_kB", 0.5)):
        assert found[name].error < precision * exact
        assert abs(found[name].value - exact) < 4.0 * found[name].error
