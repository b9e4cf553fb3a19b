"""The largest time step at which a splitting is stable for a ring polymer.

Per normal mode of the ring (frequency ω_k) in a well of frequency Ω, a step is a linear map of (q, p, extra momenta) and noise. The
motion is stable while no eigenvalue of the map, friction included, is larger than one. With the exact flow of the free ring
instability begins at resonance, a little below Δt = π/ω_k, where friction slows but does not prevent it; with the Cayley map it
begins at Δt = 2/Ω, for any number of beads.

With slow forces at every M-th step (md/components/split.py), impulses of these drive each motion that they act on into resonance
where it turns by half its period in an outer step, a little earlier if they bind. Friction is not counted on there. Anharmonic
motion without friction drifts, slowly, from about a third of a period on.

Sources: Korol, Bou-Rabee, Miller, J. Chem. Phys. 151, 124103 (2019), doi:10.1063/1.5120282; for impulses Ma, Izaguirre, Skeel,
SIAM J. Sci. Comput. 24, 1951 (2003).
"""

from typing import NamedTuple

import numpy as np
from ase import units
from scipy.linalg import eigh_tridiagonal, expm

from md.dynamics.integrators import word_of
from md.dynamics.normal_modes import cayley_propagator, exact_propagator, kept_modes, mode_frequencies
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


class Resonance(NamedTuple):
    """Where impulses of slow forces become unstable.

    Attributes:
        every: Largest stable number of steps between them; frequency: of the motion that is driven, 1 / ASE time.
    """

    every: int
    frequency: float


def first_resonance(
    dynamics: Dynamics, n_beads: int, stiffest: float, slow: float, beads: int, every: int
) -> Resonance | None:
    """The first resonance of slow forces up to ``every`` steps; None if there is none.

    Args:
        stiffest: Ω of the potential that acts at every step, 1 / ASE time; slow: that of the slow forces, 0 if they do not bind.
        beads: P′ on which the slow forces act; 0 for all.
    """
    timestep = dynamics.timestep_fs * units.fs
    rings = mode_frequencies(n_beads, ring_frequency(n_beads, dynamics.temperature_K))
    driven = rings[kept_modes(n_beads, beads or n_beads)]
    steps = np.array([_map(dynamics.integrator, timestep, omega, np.zeros((1, 1)), stiffest) for omega in driven])
    turned = np.arccos(np.clip(0.5 * np.trace(steps, axis1=1, axis2=2), -1.0, 1.0))
    several = steps
    for n in range(2, every + 1):
        several = several @ steps
        # Half the trace with a kick of −Ω²nΔt/2 before and after.
        half_trace = 0.5 * (np.trace(several, axis1=1, axis2=2) - slow**2 * n * timestep * several[:, 0, 1])
        unstable = (half_trace < -1.0) | (n * turned >= np.pi)
        if unstable.any():
            return Resonance(n - 1, float(turned[unstable].max()) / timestep)
    return None


def _first_resonance(omega: float, stiffest: float) -> float:
    """The middle of the first band of time steps in which exact flow and kicks drive each other."""
    if omega == 0.0:
        return np.inf
    return (np.pi - np.arctan(0.5 * np.pi * (stiffest / omega) ** 2)) / omega


def _growth(integrator: str, timestep: float, omega: float, drift: np.ndarray, stiffest: float) -> float:
    """Largest modulus of the eigenvalues of _map."""
    return float(np.abs(np.linalg.eigvals(_map(integrator, timestep, omega, drift, stiffest))).max())


def _map(integrator: str, timestep: float, omega: float, drift: np.ndarray, stiffest: float) -> np.ndarray:
    """One step's map of (q, p, extra momenta), for unit mass."""
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
    return step


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
