"""The largest time step at which a splitting is stable for a ring polymer.

Per normal mode of the ring (frequency ω_k) in a well of frequency Ω, a step is a linear map of (q, p, extra momenta) and noise. The
motion is stable while no eigenvalue of the map, friction included, is larger than one. With the exact flow of the free ring
instability begins at resonance, a little below Δt = π/ω_k, where friction slows but does not prevent it; with the Cayley map it
begins at Δt = 2/Ω, for any number of beads.

Source: Korol, Bou-Rabee, Miller, J. Chem. Phys. 151, 124103 (2019), doi:10.1063/1.5120282.
"""

import numpy as np
from ase import units
from scipy.linalg import eigh_tridiagonal, expm

from md.dynamics.integrators import word_of
from md.dynamics.normal_modes import cayley_propagator, exact_propagator, mode_frequencies
from md.dynamics.ring_polymer import ring_frequency
from md.dynamics.settings import Dynamics
from md.dynamics.thermostats import THERMOSTATS

_ROUNDING = 1e-9
_DISPLACEMENT_A = 0.01
_BISECTIONS = 40
_ITERATIONS, _SETTLED = 40, 0.003


def stability_limit(dynamics: Dynamics, n_beads: int, stiffest: float) -> float:
    """Δt in fs up to which ``dynamics`` is stable with P beads; infinite if it is stable at its own Δt and all smaller ones.

    Args:
        stiffest: Ω, the largest frequency of the potential, 1 / ASE time.
    """
    frequencies = mode_frequencies(n_beads, ring_frequency(n_beads, dynamics.temperature_K))
    drifts = THERMOSTATS[dynamics.thermostat](frequencies, dynamics).drift
    timestep = dynamics.timestep_fs * units.fs
    unstable = []
    for omega, drift in zip(frequencies, drifts, strict=True):
        for candidate in (timestep, _first_resonance(omega, stiffest)):
            if (
                candidate <= timestep
                and _growth(dynamics.integrator, candidate, omega, drift, stiffest) > 1 + _ROUNDING
            ):
                unstable.append((candidate, omega, drift))
    if not unstable:
        return np.inf
    high, omega, drift = min(unstable, key=lambda entry: entry[0])
    low = 0.0
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        if _growth(dynamics.integrator, middle, omega, drift, stiffest) > 1 + _ROUNDING:
            high = middle
        else:
            low = middle
    return low / units.fs


def _first_resonance(omega: float, stiffest: float) -> float:
    """The middle of the first band of time steps in which exact flow and kicks drive each other."""
    if omega == 0.0:
        return np.inf
    return (np.pi - np.arctan(0.5 * np.pi * (stiffest / omega) ** 2)) / omega


def _growth(integrator: str, timestep: float, omega: float, drift: np.ndarray, stiffest: float) -> float:
    """Largest modulus of the eigenvalues of one step's map of (q, p, extra momenta), for unit mass."""
    word = word_of(integrator).replace("F", "")  # forces of a harmonic well follow from the positions
    propagator = cayley_propagator if "C" in word else exact_propagator
    share = {letter: timestep / word.count(letter) for letter in set(word)}
    size = 1 + len(drift)
    flow, kick, friction = np.eye(size), np.eye(size), np.eye(size)
    flow[:2, :2] += propagator(np.array([omega]), share.get("A") or share.get("C"))[0]
    kick[1, 0] = -(stiffest**2) * share["B"]
    friction[1:, 1:] = expm(-share.get("O", 0.0) * drift)
    letters = {"A": flow, "C": flow, "B": kick, "O": friction}
    step = np.eye(size)
    for letter in word:
        step = letters[letter] @ step
    return float(np.abs(np.linalg.eigvals(step)).max())


def stiffest_frequency(potential, positions: np.ndarray, masses: np.ndarray) -> float:
    """Ω of a structure (N, 3) Å, 1 / ASE time, to a few percent: the root of the largest eigenvalue of the mass-weighted Hessian.

    Lanczos' iteration runs until Ω changes by less than 0.3 % in two steps (about ten evaluations of two configurations for any
    number of atoms) and applies the Hessian by differences of forces. 0 if nothing binds.
    """
    weights = 1.0 / np.sqrt(masses)[:, None]
    direction = np.random.default_rng(0).standard_normal(positions.shape)
    direction /= np.linalg.norm(direction)
    before, coupling, found = np.zeros_like(direction), 0.0, [0.0, 0.0]
    diagonal: list[float] = []
    couplings: list[float] = []
    for _ in range(min(_ITERATIONS, positions.size)):
        scale = _DISPLACEMENT_A / np.abs(weights * direction).max()
        shift = scale * weights * direction
        behind, ahead = potential(np.stack([positions - shift, positions + shift]))[1]
        applied = weights * (behind - ahead) / (2.0 * scale)
        diagonal.append(float((direction * applied).sum()))
        rest = applied - diagonal[-1] * direction - coupling * before
        coupling = float(np.linalg.norm(rest))
        found.append(float(np.sqrt(max(eigh_tridiagonal(diagonal, couplings, eigvals_only=True)[-1], 0.0))))
        if abs(found[-1] - found[-3]) <= _SETTLED * found[-1] or coupling <= _ROUNDING * np.linalg.norm(applied):
            break
        couplings.append(coupling)
        before, direction = direction, rest / coupling
    return found[-1]
