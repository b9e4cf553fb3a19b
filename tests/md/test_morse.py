"""An anharmonic bond against numerically exact quantum statistics, at finite P and in the limit; and constant-energy motion."""

import numpy as np
import pytest
from ase import units

from md.dynamics.integrators import SPLITTINGS, apply_segment, in_modes, make_laws
from md.dynamics.normal_modes import to_modes
from md.dynamics.ring_polymer import HBAR, thermal_ring_polymer
from md.observables.estimators import energy_scaled
from md.observables.heat_capacity import with_scaled_energies
from md.observables.statistics import block_average
from md.simulation import Dynamics, simulate

# O–H: depth and width of a common water model; its stretch lies at about 3700 cm⁻¹.
DEPTH, WIDTH, MASS = 5.08, 2.19, 0.9479
SOFT = 0.05  # eV/Å², holds the other two directions
N_ATOMS, T = 60, 600.0
GRID = np.linspace(-0.45, 1.2, 400)


def energy(x: np.ndarray) -> np.ndarray:
    return DEPTH * (1.0 - np.exp(-WIDTH * x)) ** 2


def morse(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every atom in a Morse well along x, a harmonic one along y and z; energies (P,), forces (P, N, 3)."""
    x, rest = q[:, :, 0], q[:, :, 1:]
    decay = np.exp(-WIDTH * x)
    forces = np.empty_like(q)
    forces[:, :, 0] = -2.0 * DEPTH * WIDTH * decay * (1.0 - decay)
    forces[:, :, 1:] = -SOFT * rest
    return energy(x).sum(axis=1) + 0.5 * SOFT * (rest**2).sum(axis=(1, 2)), forces


def exact_at_finite_beads(n_beads: int) -> tuple[float, float]:
    """⟨V⟩ and ⟨x⟩ of P beads in the Morse well: powers of the high-temperature density matrix on a grid."""
    beta = 1.0 / (units.kB * T)
    spring = MASS * (n_beads / (beta * HBAR)) ** 2
    v, step = energy(GRID), GRID[1] - GRID[0]
    exponent = 0.5 * spring * (GRID[:, None] - GRID) ** 2 + 0.5 * (v[:, None] + v)
    matrix = np.exp(-beta / n_beads * exponent) * step * np.sqrt(spring * beta / n_beads / (2.0 * np.pi))
    weights = np.diag(np.linalg.matrix_power(matrix, n_beads))
    return weights @ v / weights.sum(), weights @ GRID / weights.sum()


def exact_limit() -> tuple[float, float]:
    """⟨E⟩ and ⟨x⟩ of the quantum Morse oscillator by a sinc discrete variable representation (Colbert and Miller 1992)."""
    step, n = GRID[1] - GRID[0], len(GRID)
    difference = np.subtract.outer(np.arange(n), np.arange(n))
    kinetic = np.where(difference == 0, np.pi**2 / 3.0, 2.0 / np.where(difference == 0, 1, difference) ** 2)
    kinetic = kinetic * (-1.0) ** difference * HBAR**2 / (2.0 * MASS * step**2)
    levels, states = np.linalg.eigh(kinetic + np.diag(energy(GRID)))
    weights = np.exp(-(levels - levels[0]) / (units.kB * T))
    weights /= weights.sum()
    return weights @ levels, weights @ (states**2).T @ GRID


def harmonic_part() -> float:
    """Energy of the two soft directions of one atom, exact."""
    quantum = HBAR * np.sqrt(SOFT / MASS)
    return quantum / np.tanh(quantum / (2.0 * units.kB * T))


def sampled(n_beads: int, steps: int, timestep_fs: float) -> dict:
    """Means per atom: V of the Morse wells, x, and the total energy by the scaled-coordinate estimator."""
    rng = np.random.default_rng(n_beads)
    state = thermal_ring_polymer(np.zeros((N_ATOMS, 3)), np.full(N_ATOMS, MASS), n_beads, T, rng)
    dynamics = Dynamics(T, timestep_fs, "BCOCB", centroid_time_fs=30.0, remove_com=False)
    series = {"v": [], "x": [], "e": []}
    for sample in simulate(state, morse, dynamics, rng, steps, 10):
        if sample.step >= 2000:
            x = sample.ring_polymer.positions[:, :, 0]
            series["v"].append(energy(x).mean())
            series["x"].append(x.mean())
            series["e"].append(energy_scaled(with_scaled_energies(sample, morse)) / N_ATOMS)
    return {name: block_average(values) for name, values in series.items()}


@pytest.mark.parametrize("n_beads", [1, 4, 8])
def test_ring_polymer_of_an_anharmonic_bond(n_beads):
    means = sampled(n_beads, 20_000, 0.2)
    v, x = exact_at_finite_beads(n_beads)
    assert means["v"].error < 0.02 * v
    assert abs(means["v"].value - v) < 4.0 * means["v"].error
    assert abs(means["x"].value - x) < 4.0 * means["x"].error


def test_finite_beads_tend_to_the_discrete_variable_representation():
    """The two exact references meet: their difference falls with 1/P²."""
    _, limit = exact_limit()
    errors = [exact_at_finite_beads(p)[1] - limit for p in (32, 64)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.slow
def test_many_beads_give_quantum_thermal_averages():
    """At P = 64 a quarter of a percent is left of the error of finite P, for which 0.3 % is allowed."""
    means = sampled(64, 60_000, 0.2)
    total, x = exact_limit()
    total += harmonic_part()
    assert means["e"].error < 0.01 * total
    assert abs(means["e"].value - total) < 4.0 * means["e"].error + 0.003 * total
    assert abs(means["x"].value - x) < 4.0 * means["x"].error + 0.003 * x


def moved(state, integrator: str, steps: int, timestep_fs: float):
    dynamics = Dynamics(T, timestep_fs, integrator, "none", remove_com=False)
    for _ in simulate(state, morse, dynamics, np.random.default_rng(0), steps, steps):
        pass
    return state


def start(n_atoms: int = 3, n_beads: int = 4):
    return thermal_ring_polymer(np.zeros((n_atoms, 3)), np.full(n_atoms, MASS), n_beads, T, np.random.default_rng(1))


@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_motion_at_constant_energy_is_reversible(integrator):
    state = moved(start(), integrator, 500, 0.2)
    state.momenta[:] *= -1.0
    moved(state, integrator, 500, 0.2)
    begin = start()
    np.testing.assert_allclose(state.positions, begin.positions, atol=1e-9)
    np.testing.assert_allclose(state.momenta, -begin.momenta, atol=1e-8)


@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_a_step_is_symplectic(integrator):
    """MᵀJM = J for the Jacobian of a step in normal modes, by central differences."""
    laws, n_beads = make_laws(Dynamics(T, 0.3, integrator, "none", remove_com=False), 3), 3
    begin = moved(start(1, n_beads), integrator, 50, 0.2)

    def step(z: np.ndarray) -> np.ndarray:
        modes = in_modes(begin, laws)
        modes.positions[:], modes.momenta[:] = z.reshape(2, n_beads, 1, 3)
        beads, silence = laws.transform.T @ modes.positions.reshape(n_beads, 3), np.empty((0, 0))
        beads = np.ascontiguousarray(beads).reshape(n_beads, 1, 3)
        to_modes(laws.transform, morse(beads)[1], modes.forces)
        apply_segment(0, modes, laws, silence, beads, modes.forces)
        apply_segment(1, modes, laws, silence, beads, morse(beads)[1])
        return np.concatenate([modes.positions.ravel(), modes.momenta.ravel()])

    modes = in_modes(begin, laws)
    z, h = np.concatenate([modes.positions.ravel(), modes.momenta.ravel()]), 1e-5
    jacobian = np.array([(step(z + h * e) - step(z - h * e)) / (2.0 * h) for e in np.eye(len(z))]).T
    half = len(z) // 2
    j = np.block([[np.zeros((half, half)), np.eye(half)], [-np.eye(half), np.zeros((half, half))]])
    np.testing.assert_allclose(jacobian.T @ j @ jacobian, j, atol=1e-7)
