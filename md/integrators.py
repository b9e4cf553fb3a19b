"""Splitting integrators: words of three letters, each an exactly solved piece of the motion.

=======  ==========================================================================
letter   piece
=======  ==========================================================================
A        free ring polymer: normal modes rotate, the centroid flies
C        the same by the Cayley map, which keeps a step stable at any number of beads
B        kick by the physical forces
O        Ornstein–Uhlenbeck step of every normal mode's momentum (the thermostat)
=======  ==========================================================================

A letter that appears n times in a word covers Δt/n each time. Forces are evaluated once per step, after the last A or C:
``SPLITTINGS`` gives the letters before and after it. P = 1 turns the same words into classical Langevin dynamics.

BCOCB samples positions of a harmonic system without any error of the time step, BAOAB with a small one; the price is momenta
that are colder than they should be at the end of a step, by (ωΔt/2)² of a mode with frequency ω. OBABO spreads its error.

The state lives in normal modes, where every letter acts on each mode alone; a step transforms nothing but the new positions to
beads and their forces to modes.

Sources: OBABO Bussi, Parrinello, Phys. Rev. E 75, 056707 (2007), doi:10.1103/PhysRevE.75.056707; BAOAB Leimkuhler, Matthews,
J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990; for path integrals Liu, Li, Liu, J. Chem. Phys. 145, 024103 (2016),
doi:10.1063/1.4954990; BCOCB Korol, Rosa-Raíces, Bou-Rabee, Miller, J. Chem. Phys. 152, 104102 (2020), doi:10.1063/1.5134810.
"""

import math
from typing import NamedTuple

import numpy as np
from ase import units

from md.normal_modes import cayley_propagator, exact_propagator, mode_frequencies, to_beads, to_modes, transform_matrix
from md.ring_polymer import RingPolymer, ring_frequency
from md.thermostats import THERMOSTATS
from mlcalc.compiled import njit

SPLITTINGS = {"OBABO": ("OBA", "BO"), "BAOAB": ("BAOA", "B"), "BCOCB": ("BCOC", "B")}
_CODES = {"A": 0, "B": 1, "O": 2}


class Modes(NamedTuple):
    """A ring polymer and the forces on it in normal modes; laws of motion change the arrays in place.

    Attributes:
        positions, momenta, forces: (P, N, 3), units as in RingPolymer; forces in eV/Å.
        masses: (N,) u.
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    masses: np.ndarray


class Laws(NamedTuple):
    """Everything that a step needs beside the state, computed once.

    Attributes:
        before, after: Letter codes before and after the force evaluation; without friction there is no O among them.
        transform: (P, P) normal-mode matrix C.
        propagator: (P, 2, 2) of one A.
        kick: Duration of one B, ASE time.
        damping, noise: (P,) c₁ = exp(−γ_k t_O) and c₂ = √((1 − c₁²) P k_B T) of one O.
        rescaling: exp(−t_O/τ) of the centroid's stochastic rescaling; 1 for none.
        thermal_energy: P k_B T, eV.
        remove_com: Whether O keeps the total momentum of the centroid at zero.
    """

    before: np.ndarray
    after: np.ndarray
    transform: np.ndarray
    propagator: np.ndarray
    kick: float
    damping: np.ndarray
    noise: np.ndarray
    rescaling: float
    thermal_energy: float
    remove_com: bool

    @property
    def draws(self) -> int:
        """How many times (P, N, 3) normal numbers a step takes: one for every O."""
        return int((self.before == _CODES["O"]).sum() + (self.after == _CODES["O"]).sum())


def make_laws(dynamics, n_beads: int) -> Laws:
    """Laws of motion for simulation.Dynamics and P beads."""
    words = SPLITTINGS[dynamics.integrator]
    propagator = cayley_propagator if "C" in dynamics.integrator else exact_propagator
    words = [word.replace("C", "A") for word in words]  # one piece of code, another propagator
    timestep = dynamics.timestep_fs * units.fs
    share = {letter: timestep / max("".join(words).count(letter), 1) for letter in _CODES}
    frequencies = mode_frequencies(n_beads, ring_frequency(n_beads, dynamics.temperature_K))
    thermostat = THERMOSTATS[dynamics.thermostat](
        frequencies, dynamics.centroid_time_fs * units.fs, dynamics.friction_scale
    )
    if thermostat.is_idle:
        words = [word.replace("O", "") for word in words]
    codes = (np.array([_CODES[letter] for letter in word], dtype=np.int64) for word in words)
    damping = np.exp(-thermostat.frictions * share["O"])
    thermal_energy = n_beads * units.kB * dynamics.temperature_K
    return Laws(
        *codes, transform_matrix(n_beads), propagator(frequencies, share["A"]), share["B"],
        damping, np.sqrt((1.0 - damping**2) * thermal_energy), math.exp(-share["O"] / thermostat.rescaling_time),
        thermal_energy, dynamics.remove_com,
    )  # fmt: skip


def in_modes(ring_polymer: RingPolymer, laws: Laws) -> Modes:
    """The normal modes of a ring polymer, new arrays; the forces are still to come."""
    q, p, masses = ring_polymer
    modes = Modes(np.empty_like(q), np.empty_like(p), np.zeros_like(q), masses)
    to_modes(laws.transform, q, modes.positions)
    to_modes(laws.transform, p, modes.momenta)
    if laws.remove_com:
        modes.momenta[0] -= centre_of_mass_part(modes.momenta[0], masses)
    return modes


@njit(cache=True)
def before_forces(modes, laws, normals, beads):
    """The part of a step up to the force evaluation; returns the energy (eV) that the thermostat took out.

    Args:
        modes: Modes, changed in place; laws: Laws; normals: (draws, P, N, 3) standard normal numbers of this step.
        beads: (P, N, 3) Å, receives the new positions.
    """
    taken = apply_letters(laws.before, modes, laws, normals)
    to_beads(laws.transform, modes.positions, beads)
    return taken


@njit(cache=True)
def after_forces(modes, laws, normals, forces):
    """The rest of the step with the new forces (P, N, 3) eV/Å; normals as in before_forces. Returns the energy taken out."""
    to_modes(laws.transform, forces, modes.forces)
    used = 0
    for letter in laws.before:
        used += letter == 2
    return apply_letters(laws.after, modes, laws, normals[used:])


@njit(cache=True)
def apply_letters(letters, modes, laws, normals):
    """Apply letters in turn, each O with the next (P, N, 3) of normals; returns the energy (eV) that left the system."""
    taken, used = 0.0, 0
    for letter in letters:
        if letter == 0:
            free_motion(modes, laws.propagator)
        elif letter == 1:
            kick(modes, laws.kick)
        else:
            taken += apply_thermostat(modes, laws, normals[used])
            used += 1
    return taken


@njit(cache=True)
def free_motion(modes, propagator):
    """A: exact motion of the free ring polymer."""
    q, p, masses = modes.positions, modes.momenta, modes.masses
    for k in range(q.shape[0]):
        qq, qv, vq, vv = propagator[k, 0, 0], propagator[k, 0, 1], propagator[k, 1, 0], propagator[k, 1, 1]
        for i in range(q.shape[1]):
            m = masses[i]
            qp, pq = qv / m, vq * m
            for axis in range(3):
                position, momentum = q[k, i, axis], p[k, i, axis]
                q[k, i, axis] += qq * position + qp * momentum
                p[k, i, axis] += pq * position + vv * momentum


@njit(cache=True)
def kick(modes, duration):
    """B: momenta change by force times duration."""
    p, f = modes.momenta, modes.forces
    for k in range(p.shape[0]):
        for i in range(p.shape[1]):
            for axis in range(3):
                p[k, i, axis] += duration * f[k, i, axis]


@njit(cache=True)
def apply_thermostat(modes, laws, normals):
    """O: p̃_k ← c₁ p̃_k + c₂ √m ξ with normals ξ; centroid rescaled if so wished. Returns the kinetic energy (eV) that left."""
    p, masses = modes.momenta, modes.masses
    before = ring_polymer_kinetic_energy(modes)
    for i in range(p.shape[1]):
        root = np.sqrt(masses[i])
        for k in range(p.shape[0]):
            for axis in range(3):
                p[k, i, axis] = laws.damping[k] * p[k, i, axis] + laws.noise[k] * root * normals[k, i, axis]
    if laws.rescaling < 1.0:
        rescale_centroid(modes, laws, normals[0])
    if laws.remove_com:
        p[0] -= centre_of_mass_part(p[0], masses)
    return before - ring_polymer_kinetic_energy(modes)


@njit(cache=True)
def rescale_centroid(modes, laws, normals):
    """Stochastic velocity rescaling of the centroid with normals (N, 3), as many of them as it has degrees of freedom."""
    p, masses = modes.momenta[0], modes.masses
    twice_kinetic = 0.0
    for i in range(len(masses)):
        for axis in range(3):
            twice_kinetic += p[i, axis] ** 2 / masses[i]
    freedom = normals.size - 3 * laws.remove_com
    if twice_kinetic == 0.0 or freedom < 1:
        return
    squares, used = 0.0, 0
    for normal in normals.flat:
        if used < freedom:
            squares += normal**2
            used += 1
    c, first = laws.rescaling, normals[0, 0]
    share = (1.0 - c) * laws.thermal_energy / twice_kinetic
    scale = np.sqrt(c + share * squares + 2.0 * first * np.sqrt(c * share))
    if first + np.sqrt(c / share) < 0.0:
        scale = -scale
    p *= scale


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
def ring_polymer_kinetic_energy(state):
    """Σ p²/2m over all beads, or equally all modes, eV: that of the ring polymer, not of the quantum nuclei."""
    p, masses = state.momenta, state.masses
    total = 0.0
    for i in range(p.shape[1]):
        squares = 0.0
        for j in range(p.shape[0]):
            for axis in range(3):
                squares += p[j, i, axis] ** 2
        total += squares / (2.0 * masses[i])
    return total
