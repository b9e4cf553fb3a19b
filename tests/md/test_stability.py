"""The limit of the time step against closed forms, and against motion just below and above it."""

import numpy as np
import pytest
from ase import units

from md.dynamics.ring_polymer import HBAR, RingPolymer
from md.dynamics.stability import stability_limit, stiffest_frequency
from md.guards.endings import SimulationError
from md.potentials import Harmonic
from md.simulation import Dynamics, simulate
from mlcalc.vibrations import normal_modes

STIFF = 1394.0 * units.invcm / HBAR


@pytest.mark.parametrize("n_beads", [1, 8, 64])
@pytest.mark.parametrize("thermostat", ["none", "centroid"])
def test_cayley_is_stable_up_to_two_over_omega(n_beads, thermostat):
    """Friction on the centroid moves its own limit up, but internal modes have none here."""
    limit = stability_limit(Dynamics(300.0, 15.0, "BCOCB", thermostat), n_beads, STIFF)
    if (n_beads, thermostat) != (1, "centroid"):
        assert limit == pytest.approx(2.0 / STIFF / units.fs, rel=1e-6)


@pytest.mark.parametrize("integrator", ["OBABO", "BAOAB"])
@pytest.mark.parametrize("n_beads", [8, 64])
def test_exact_flow_ends_before_the_first_resonance(integrator, n_beads):
    """|tr M|/2 = 1 where cos φ − a sin φ = −1: φ + 2 arctan a = π with φ = ωΔt, a = Ω²Δt/2ω of the fastest mode."""
    limit = stability_limit(Dynamics(300.0, 15.0, integrator, "none"), n_beads, STIFF) * units.fs
    fastest = 2.0 * n_beads * units.kB * 300.0 / HBAR
    angle = fastest * limit + 2.0 * np.arctan(0.5 * STIFF**2 * limit / fastest)
    assert angle == pytest.approx(np.pi, rel=1e-6)


def test_one_bead_is_velocity_verlet():
    assert stability_limit(Dynamics(300.0, 10.0, "OBABO", "none"), 1, STIFF) * units.fs == pytest.approx(2.0 / STIFF)


def test_below_the_limit_there_is_none():
    for integrator in ("OBABO", "BAOAB", "BCOCB"):
        for thermostat in ("none", "T-RPMD", "PILE-L", "PILE-G"):
            assert stability_limit(Dynamics(300.0, 0.5, integrator, thermostat), 8, STIFF) == np.inf


@pytest.mark.parametrize(("integrator", "n_beads"), [("OBABO", 8), ("BAOAB", 16), ("BCOCB", 8), ("OBABO", 1)])
@pytest.mark.parametrize("thermostat", ["none", "PILE-L"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_motion_agrees(integrator, n_beads, thermostat):
    """Oscillators at 0.99 of the limit stay where they are for 20 000 steps; at 1.02 of it they run away.

    Friction makes that slow: at a resonance it removes in every step nearly the energy that the resonance adds.
    """
    stiffness = 12.011 * STIFF**2
    limit = stability_limit(Dynamics(300.0, 20.0, integrator, thermostat), n_beads, STIFF)

    def furthest(timestep: float) -> float:
        rng = np.random.default_rng(1)
        start = RingPolymer(rng.normal(0, 0.05, (n_beads, 4, 3)), np.zeros((n_beads, 4, 3)), np.full(4, 12.011))
        dynamics = Dynamics(300.0, timestep, integrator, thermostat, remove_com=False)
        try:
            *_, last = simulate(start, Harmonic(stiffness), dynamics, rng, 20_000, 20_000)
        except SimulationError:  # energies overflow
            return np.inf
        return np.abs(last.ring_polymer.positions).max()

    assert furthest(0.99 * limit) < 10.0
    assert furthest(1.02 * limit) > 1e3


def test_stiffest_frequency_of_c20():
    from pathlib import Path

    from ase.io import read

    from md.potentials import find_model, load_model, make_potential

    atoms = read(Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz")
    potential = make_potential(load_model(find_model("c20")), atoms, "float64")
    exact = normal_modes(atoms, potential).energies.max() / HBAR
    assert stiffest_frequency(potential, atoms.positions, atoms.get_masses()) == pytest.approx(exact, rel=0.03)
    assert stiffest_frequency(Harmonic(0.0), atoms.positions, atoms.get_masses()) == 0.0


def test_stiffest_frequency_in_few_evaluations():
    """Of random Hessians, of which some have the largest eigenvalue close to the next ones, and of many equal wells."""
    rng = np.random.default_rng(3)
    for n_atoms in (1, 4, 300):
        turn = np.linalg.qr(rng.normal(size=(3 * n_atoms,) * 2))[0]
        hessian = turn @ np.diag(rng.uniform(0, 50, 3 * n_atoms)) @ turn.T
        masses, calls = rng.uniform(1, 16, n_atoms), []

        def springs(q, hessian=hessian, calls=calls):
            calls.append(len(q))
            return np.zeros(len(q)), -(q.reshape(len(q), -1) @ hessian).reshape(q.shape)

        scale = np.repeat(1.0 / np.sqrt(masses), 3)
        exact = np.sqrt(np.linalg.eigvalsh(scale[:, None] * hessian * scale).max())
        assert stiffest_frequency(springs, np.zeros((n_atoms, 3)), masses) == pytest.approx(exact, rel=0.02)
        assert len(calls) <= 25
    wells = stiffest_frequency(Harmonic(7.0), np.zeros((50, 3)), np.full(50, 12.0))
    assert wells == pytest.approx(np.sqrt(7.0 / 12.0), rel=1e-6)
