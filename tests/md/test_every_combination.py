"""Every integrator × thermostat × barostat or contraction × estimator at finite P and Δt, wells and free rings, in standard errors.

Runs start from the distribution that the splitting itself keeps, known in closed form, so that thermostats that leave some modes
alone can be judged too: nothing may change but by chance. Thirty independent starts give the standard error of a mean.
"""

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from scipy.special import digamma

from md.components.split import Component, SplitPotential
from md.dynamics.barostats import BAROSTATS, thermal_piston
from md.dynamics.gle import Gle
from md.dynamics.integrators import SPLITTINGS
from md.dynamics.normal_modes import kept_modes, to_beads, transform_matrix
from md.dynamics.ring_polymer import HBAR, RingPolymer
from md.dynamics.settings import QUANTUM_BATH
from md.dynamics.thermostats import THERMOSTATS
from md.observables.heat_capacity import with_scaled_energies
from md.potentials import Harmonic
from md.simulation import Dynamics, simulate
from tests.md.crystals import Crystal
from tests.md.test_sampling_statistics import MASS, OSCILLATOR, stationary

T, P, N, STARTS, STEPS, TIMESTEP_FS = 300.0, 4, 150, 30, 60, 1.0
VOLUME, MODULUS, PRESSURE = 1000.0, 0.1, 4.0  # Å³, eV/Å³, GPa: of a crystal, see Crystal
CONTRACTED, FEWER, SLOW = "contracted", 3, 0.6  # in place of a barostat: beads and share of the slow part of the wells
GLE = Gle(np.array([[[5.0, 40.0], [-40.0, 60.0]]]) * 1e-3 / units.fs)


def exact(integrator: str, omega: float | np.ndarray) -> dict[str, float]:
    """Averages of all estimators from ⟨q̃²⟩ and ⟨p̃²⟩ of every normal mode; ω = ``omega`` of the wells of all modes or each (P,)."""
    kT, n, stiffness = units.kB * T, 3 * N, np.broadcast_to(MASS * omega**2, P)
    q2, p2 = mode_variances(integrator, omega)
    spread, centroid = q2.sum() / P, q2[0] / P
    bound, bound_centroid = (stiffness * q2).sum() / P, stiffness[0] * q2[0] / P
    rings = 2.0 * P * kT / HBAR * np.sin(np.pi * np.arange(P) / P)
    springs = n * MASS * (rings**2 * q2).sum() / (2 * P)
    potential = n * bound / 2
    kinetic = n * (kT + bound - bound_centroid) / 2
    return {
        "temperature_K": T * (p2 / (MASS * P * kT)).mean(),
        "potential_eV": potential,
        "kinetic_virial_eV": kinetic,
        "kinetic_virial_com_eV": 3 * kT / 2 + (n * bound - 3 * bound_centroid) / 2,
        "kinetic_primitive_eV": n * P * kT / 2 - springs,
        "spring_eV": springs,
        "conserved_eV": n * (p2 / (2 * MASS * P)).sum() + springs + potential,
        "gyration_squared": 3 * (spread - centroid),
        "energy_scaled_eV": potential + kinetic,
        "energy_scaled_slope_eV2": n * kT * (bound - bound_centroid - kT / 2),
        "kinetic_virial_per_atom_eV": kinetic / N,
        "gyration_squared_per_atom": 3 * (spread - centroid),
        "isotope_derivative_eV_per_u": -kinetic / N / MASS,
    }


def exact_at_pressure(integrator: str, barostat: str, omega: float) -> dict[str, float]:
    """The same under a barostat, whose volumes follow from the pressure alone, also where nothing holds the cell in shape."""
    found, kT, pressure = exact(integrator, omega), units.kB * T, PRESSURE * units.GPa
    if omega:
        mean, variance = VOLUME * (1.0 - pressure / MODULUS), kT * VOLUME / MODULUS
        logarithm = np.log(mean) - variance / (2.0 * mean**2)
        cold = 0.5 * MODULUS / VOLUME * ((VOLUME - mean) ** 2 + variance)
    else:
        mean, logarithm, cold = (N + 1) * kT / pressure, digamma(N + 1) + np.log(kT / pressure), 0.0
    del found["kinetic_virial_com_eV"], found["energy_scaled_eV"], found["energy_scaled_slope_eV2"]
    found["potential_eV"] += cold
    found["conserved_eV"] += cold + pressure * mean - kT * logarithm + 0.5 * kT * BAROSTATS[barostat]
    return found | {"volume_A3": mean, "pressure_GPa": PRESSURE}


def drawn_volume(omega: float, rng: np.random.Generator) -> float:
    """A volume from its distribution at PRESSURE."""
    kT, pressure = units.kB * T, PRESSURE * units.GPa
    if omega:
        return VOLUME * (1.0 - pressure / MODULUS) + np.sqrt(kT * VOLUME / MODULUS) * rng.standard_normal()
    return rng.gamma(N + 1, kT / pressure)


def mode_variances(integrator: str, omega: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """⟨q̃²⟩ and ⟨p̃²⟩ of a component in every normal mode, (P,) each; free centroids start at the origin."""
    kT = units.kB * T
    rings = 2.0 * P * kT / HBAR * np.sin(np.pi * np.arange(P) / P)
    modes = np.array(
        [
            stationary(integrator, w, well, TIMESTEP_FS * units.fs) if w or well else (0.0, 1.0)
            for w, well in zip(rings, np.broadcast_to(omega, P), strict=True)
        ]
    )
    return modes[:, 0] * P * kT / MASS, modes[:, 1] * P * kT * MASS


def start(integrator: str, omega: float | np.ndarray, rng: np.random.Generator) -> RingPolymer:
    transform, beads = transform_matrix(P), np.empty((2, P, N, 3))
    for drawn, variance in zip(beads, mode_variances(integrator, omega), strict=True):
        to_beads(transform, np.sqrt(variance)[:, None, None] * rng.standard_normal((P, N, 3)), drawn)
    extra = np.sqrt(MASS * P * units.kB * T) * rng.standard_normal((P, 1, N, 3))
    return RingPolymer(beads[0], beads[1], np.full(N, MASS), extra)


def wells_of(barostat: str, omega: float) -> float | np.ndarray:
    """ω of the wells that normal modes feel: under contraction, the last ones only the fast part."""
    if barostat != CONTRACTED:
        return omega
    share = np.full(P, 1.0 - SLOW)
    share[kept_modes(P, FEWER)] = 1.0
    return omega * np.sqrt(share)


def averages(
    integrator: str, thermostat: str, barostat: str, omega: float, rng: np.random.Generator
) -> dict[str, float]:
    """Means of one run over its second half."""
    potential = Harmonic(MASS * omega**2)
    gle = GLE if thermostat == "GLE" else None
    dynamics = Dynamics(T, TIMESTEP_FS, integrator, thermostat, centroid_time_fs=20.0, remove_com=False, gle=gle)
    state = start(integrator, wells_of(barostat, omega), rng)
    if barostat == CONTRACTED:
        potential = SplitPotential(
            Harmonic((1.0 - SLOW) * potential.force_constant),
            [Component(Harmonic(SLOW * potential.force_constant), 1.0, FEWER)],
        )
    elif barostat != "none":
        potential = Crystal(np.zeros((N, 3)), MASS * omega**2, VOLUME, MODULUS if omega else 0.0)
        dynamics = replace(dynamics, barostat=barostat, pressure_GPa=PRESSURE, barostat_time_fs=60.0)
        cell = np.cbrt(drawn_volume(omega, rng)) * np.eye(3)
        state = state._replace(cell=cell, piston=thermal_piston(dynamics, P, N, rng))
    series: dict[str, list[float]] = {}
    for sample in simulate(state, potential, dynamics, rng, STEPS, 6):
        if sample.step >= STEPS // 2:
            sample = sample if barostat not in ("none", CONTRACTED) else with_scaled_energies(sample, potential)
            found = sample.properties
            found |= {name: values.mean() for name, values in sample.per_atom.items()}
            found["gyration_squared"] = found.pop("gyration_radius_A") ** 2
            found["gyration_squared_per_atom"] = (sample.per_atom["gyration_radius_per_atom_A"] ** 2).mean()
            del found["gyration_radius_per_atom_A"]
            for name, value in found.items():
                series.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in series.items()}


@pytest.mark.parametrize("omega", [OSCILLATOR / HBAR, 0.0], ids=["harmonic", "free"])
@pytest.mark.parametrize(
    "barostat", ["none", "isotropic", pytest.param("orthorhombic", marks=pytest.mark.slow), CONTRACTED]
)
@pytest.mark.parametrize("thermostat", [name for name in THERMOSTATS if name != QUANTUM_BATH])
@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_combination(integrator, thermostat, barostat, omega):
    """Wells in a cell that moves are softer: there the time-step error of stiff ones acts on the pressure too."""
    names = [list(SPLITTINGS).index(integrator), list(THERMOSTATS).index(thermostat), int(omega > 0)]
    if barostat == CONTRACTED:
        names.append(len(BAROSTATS))
    elif barostat != "none":
        names.append(list(BAROSTATS).index(barostat))
        omega /= 4.0
    rng = np.random.default_rng(names)
    runs = [averages(integrator, thermostat, barostat, omega, rng) for _ in range(STARTS)]
    at_pressure = barostat not in ("none", CONTRACTED)
    expected = (
        exact_at_pressure(integrator, barostat, omega) if at_pressure else exact(integrator, wells_of(barostat, omega))
    )
    assert set(runs[0]) == set(expected)
    for name, value in expected.items():
        found = np.array([run[name] for run in runs])
        error = found.std(ddof=1) / np.sqrt(STARTS)
        assert error <= 0.02 * abs(value), name
        # Without forces some have no spread at all.
        assert abs(found.mean() - value) <= 4.0 * error + 1e-12 * abs(value), name
