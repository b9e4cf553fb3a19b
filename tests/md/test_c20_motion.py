"""C20 on the shipped network: motion against the harmonic vibrations of the same network, at two temperatures and two masses.

Rotation is held, so that the kinetic energy is that of 54 vibrations, half of their energy were they harmonic.
"""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read

from md.dynamics.ring_polymer import thermal_ring_polymer
from md.observables.statistics import Mean, block_average
from md.potentials import find_model, load_model, make_potential
from md.simulation import Dynamics, simulate
from mlcalc.modes import relaxed_modes
from mlcalc.vibrations import vibrational_energy

C20 = read(Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz")
MODEL = load_model(find_model("c20"))
C13 = 13.00335


@pytest.fixture(scope="module")
def modes():
    return relaxed_modes(C20, MODEL)


def kinetic_energy(n_beads: int, temperature_K: float, masses: np.ndarray, steps: int = 8000) -> Mean:
    """Mean of the centroid-virial estimator in eV, BCOCB and PILE-L, rotation held."""
    rng, series = np.random.default_rng(n_beads), []
    state = thermal_ring_polymer(C20.positions, masses, n_beads, temperature_K, rng)
    dynamics = Dynamics(temperature_K, 0.5, "BCOCB", remove_rotation=True)
    for sample in simulate(state, make_potential(MODEL, C20), dynamics, rng, steps, 20):
        if sample.step >= 2000:
            series.append(sample.properties["kinetic_virial_eV"])
    return block_average(series)


@pytest.mark.parametrize(
    ("temperature_K", "excess"), [(300.0, 1.17), pytest.param(1000.0, 0.149, marks=pytest.mark.slow)]
)
def test_quantum_kinetic_energy_and_its_classical_limit(modes, temperature_K, excess):
    """At P = 8 the excess over 54·k_BT/2 is the harmonic one within anharmonicity; it fades as the temperature rises."""
    found = kinetic_energy(8, temperature_K, C20.get_masses())
    classical = 54 * units.kB * temperature_K / 2
    harmonic = vibrational_energy(modes.energies, temperature_K, 8) / 2
    assert harmonic / classical - 1.0 == pytest.approx(excess, abs=0.01)
    assert found.error < 0.01 * found.value
    assert found.value == pytest.approx(harmonic, rel=0.02, abs=4.0 * found.error)


def test_isotope_shift_of_the_zero_point_energy(modes):
    """All frequencies go with the root of the mass; one heavier atom lowers the sum as perturbation says."""
    heavy, one = C20.copy(), C20.copy()
    light = C20.copy()
    light.set_masses(np.full(20, 12.0))
    heavy.set_masses(np.full(20, C13))
    one.set_masses([12.1] + [12.0] * 19)
    zero = [relaxed_modes(atoms, MODEL) for atoms in (light, heavy, one)]
    energies = [found.zero_point_energy for found in zero]
    assert energies[1] / energies[0] == pytest.approx(np.sqrt(12.0 / C13), rel=1e-6)
    # dE₀/dm_i = −½ Σ_k ħω_k |v_ki|²/2m_i: the share of atom i in every mode.
    slope = -0.25 * (zero[0].energies * (zero[0].vectors[:, 0] ** 2).sum(axis=1)).sum() / 12.0
    assert energies[2] - energies[0] == pytest.approx(0.1 * slope, rel=0.01)


@pytest.mark.slow
def test_isotope_effect_of_the_ring_polymer(modes):
    """F(¹³C₂₀) − F(¹²C₂₀) by integrating −K/m over the mass, against harmonic vibrations of the same number of beads."""
    nodes, weights = np.polynomial.legendre.leggauss(2)
    masses = 12.0 + (C13 - 12.0) * (nodes + 1.0) / 2.0
    means = [kinetic_energy(8, 300.0, np.full(20, mass)) for mass in masses]
    slopes = np.array([-mean.value / mass for mean, mass in zip(means, masses, strict=True)])
    errors = np.array([mean.error / mass for mean, mass in zip(means, masses, strict=True)])
    found = (C13 - 12.0) / 2.0 * weights @ slopes
    error = (C13 - 12.0) / 2.0 * np.sqrt(weights**2 @ errors**2)

    def free_energy(mass: float) -> float:
        """k_BT Σ ln 2 sinh Pu, whose factor of beads' momenta is that of dF/dm = −K/m."""
        s = modes.energies * np.sqrt(12.011 / mass) / (units.kB * 300.0) / 16.0
        return units.kB * 300.0 * np.log(2.0 * np.sinh(8.0 * np.arcsinh(s))).sum()

    exact = free_energy(C13) - free_energy(12.0)
    assert error < 0.02 * abs(exact)
    assert found == pytest.approx(exact, rel=0.02, abs=4.0 * error)
