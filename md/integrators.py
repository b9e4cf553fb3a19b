"""Splitting integrators: words of three letters, each an exactly solved piece of the motion.

=======  ==========================================================================
letter   piece
=======  ==========================================================================
A        free ring polymer: normal modes rotate, the centroid flies
B        kick by the physical forces
O        Ornstein–Uhlenbeck step of every normal mode's momentum (the thermostat)
=======  ==========================================================================

A letter that appears n times in a word covers Δt/n each time. Forces are evaluated once per step, after the last A:
``SPLITTINGS`` gives the letters before and after it. P = 1 turns the same words into classical Langevin dynamics.

Sources: OBABO Bussi, Parrinello, Phys. Rev. E 75, 056707 (2007), doi:10.1103/PhysRevE.75.056707; BAOAB Leimkuhler, Matthews,
J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990; for path integrals Liu, Li, Liu, J. Chem. Phys. 145, 024103 (2016),
doi:10.1063/1.4954990.
"""

from typing import NamedTuple

import numpy as np
from ase import units
from numba import njit

from md.normal_modes import exact_propagator, mode_frequencies, transform_matrix
from md.ring_polymer import ring_frequency
from md.thermostats import THERMOSTATS

SPLITTINGS = {"OBABO": ("OBA", "BO"), "BAOAB": ("BAOA", "B")}
_CODES = {"A": 0, "B": 1, "O": 2}


class Laws(NamedTuple):
    """Everything that a step needs beside the state, computed once.

    Attributes:
        before, after: Letter codes before and after the force evaluation.
        transform: (P, P) normal-mode matrix C.
        propagator: (P, 2, 2) of one A.
        kick: Duration of one B, ASE time.
        damping, noise: (P,) c₁ = exp(−γ_k t_O) and c₂ = √((1 − c₁²) P k_B T) of one O.
        remove_com: Whether O keeps the total momentum of the centroid at zero.
    """

    before: np.ndarray
    after: np.ndarray
    transform: np.ndarray
    propagator: np.ndarray
    kick: float
    damping: np.ndarray
    noise: np.ndarray
    remove_com: bool


def make_laws(dynamics, n_beads: int) -> Laws:
    """Laws of motion for simulation.Dynamics and P beads."""
    before, after = SPLITTINGS[dynamics.integrator]
    timestep = dynamics.timestep_fs * units.fs
    share = {letter: timestep / max((before + after).count(letter), 1) for letter in _CODES}
    frequencies = mode_frequencies(n_beads, ring_frequency(n_beads, dynamics.temperature_K))
    frictions = THERMOSTATS[dynamics.thermostat](
        frequencies, dynamics.centroid_time_fs * units.fs, dynamics.friction_scale
    )
    damping = np.exp(-frictions * share["O"])
    noise = np.sqrt((1.0 - damping**2) * n_beads * units.kB * dynamics.temperature_K)
    codes = (np.array([_CODES[letter] for letter in letters]) for letters in (before, after))
    return Laws(
        *codes, transform_matrix(n_beads), exact_propagator(frequencies, share["A"]),
        share["B"], damping, noise, dynamics.remove_com,
    )  # fmt: skip


@njit(cache=True)
def advance(letters, ring_polymer, forces, laws, rng):
    """Apply the letters to the state in place; returns the energy (eV) that the thermostat took out.

    Args:
        letters: Codes; ring_polymer: RingPolymer; forces: (P, N, 3) eV/Å at the present positions; rng: numpy Generator.
    """
    taken = 0.0
    for letter in letters:
        if letter == 0:
            free_motion(ring_polymer, laws)
        elif letter == 1:
            kick(ring_polymer, forces, laws.kick)
        else:
            taken += thermostat(ring_polymer, laws, rng)
    return taken


@njit(cache=True)
def free_motion(ring_polymer, laws):
    """A: exact motion of the free ring polymer."""
    q, p, masses = ring_polymer
    q_modes, p_modes = to_modes(laws.transform, q), to_modes(laws.transform, p)
    for k in range(q.shape[0]):
        m = laws.propagator[k]
        for i in range(q.shape[1]):
            for axis in range(3):
                position, velocity = q_modes[k, i, axis], p_modes[k, i, axis] / masses[i]
                q_modes[k, i, axis] = m[0, 0] * position + m[0, 1] * velocity
                p_modes[k, i, axis] = masses[i] * (m[1, 0] * position + m[1, 1] * velocity)
    add_modes(laws.transform, q_modes, q)
    add_modes(laws.transform, p_modes, p)


@njit(cache=True)
def kick(ring_polymer, forces, duration):
    """B: momenta change by force times duration."""
    p = ring_polymer.momenta
    for j in range(p.shape[0]):
        for i in range(p.shape[1]):
            for axis in range(3):
                p[j, i, axis] += duration * forces[j, i, axis]


@njit(cache=True)
def thermostat(ring_polymer, laws, rng):
    """O: p̃_k ← c₁ p̃_k + c₂ √m ξ; returns the kinetic energy (eV) that left the system."""
    if laws.damping.min() == 1.0:
        return 0.0  # no friction anywhere: no random numbers drawn, momenta untouched to the bit
    p, masses = ring_polymer.momenta, ring_polymer.masses
    before = ring_polymer_kinetic_energy(ring_polymer)
    modes = to_modes(laws.transform, p)
    change = np.empty_like(modes)
    for k in range(p.shape[0]):
        for i in range(p.shape[1]):
            width = laws.noise[k] * np.sqrt(masses[i])
            for axis in range(3):
                change[k, i, axis] = (laws.damping[k] - 1.0) * modes[k, i, axis] + width * rng.standard_normal()
    if laws.remove_com:
        change[0] -= centre_of_mass_part(modes[0] + change[0], masses)
    add_modes(laws.transform, change, p)
    return before - ring_polymer_kinetic_energy(ring_polymer)


@njit(cache=True)
def centre_of_mass_part(momenta, masses):
    """The share of momenta (N, 3) that moves the centre of mass: m_i/M Σ p."""
    part = np.empty_like(momenta)
    for axis in range(3):
        velocity = momenta[:, axis].sum() / masses.sum()
        for i in range(len(masses)):
            part[i, axis] = masses[i] * velocity
    return part


@njit(cache=True)
def ring_polymer_kinetic_energy(ring_polymer):
    """Σ p²/2m over all beads, eV: the kinetic energy of the ring polymer, not of the quantum nuclei."""
    p, masses = ring_polymer.momenta, ring_polymer.masses
    total = 0.0
    for j in range(p.shape[0]):
        for i in range(p.shape[1]):
            for axis in range(3):
                total += p[j, i, axis] ** 2 / (2.0 * masses[i])
    return total


@njit(cache=True)
def to_modes(transform, beads):
    """(P, N, 3) beads → normal modes, a new array."""
    n_beads = beads.shape[0]
    return np.dot(transform, beads.reshape(n_beads, -1)).reshape(beads.shape)


@njit(cache=True)
def add_modes(transform, modes, beads):
    """beads (P, N, 3) += Cᵀ modes."""
    n_beads = modes.shape[0]
    beads += np.dot(transform.T, modes.reshape(n_beads, -1)).reshape(modes.shape)
