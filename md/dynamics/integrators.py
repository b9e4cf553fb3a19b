"""Splitting integrators, written as words; each letter is an exactly solved piece of the motion or a force evaluation.

=======  ==========================================================================
letter   piece
=======  ==========================================================================
A        free ring polymer: normal modes rotate, the centroid moves freely
C        the same by the Cayley map, which keeps a step stable at any number of beads
B        kick by the physical forces
O        Ornstein–Uhlenbeck step of every normal mode's momentum, and of extra momenta if there are any (the thermostat)
F        evaluation of the forces at the present positions, which takes no time
=======  ==========================================================================

A letter that appears n times in a word covers Δt/n each time. B kicks by the forces of the last F, which must belong to the
present positions: an F stands between A or C and the next B, and between the last A or C and the end of the word. At P = 1 the
same words give classical Langevin dynamics.

BCOCB samples positions of a harmonic system without time-step error, BAOAB with a small one; in return the momenta at the end of a
step are too cold, by (ωΔt/2)² for a mode with frequency ω. OBABO divides its error between positions and momenta.

With a barostat, A moves the cell with the centroids, and B and O act on the momentum of the cell too (barostats.py).

The state is kept in normal modes, where every letter except F acts on each mode separately; an F transforms the new positions to
beads and their forces to modes. The letters between two F's are one call of compiled code.

Sources: OBABO Bussi, Parrinello, Phys. Rev. E 75, 056707 (2007), doi:10.1103/PhysRevE.75.056707; BAOAB Leimkuhler, Matthews,
J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990; for path integrals Liu, Li, Liu, J. Chem. Phys. 145, 024103 (2016),
doi:10.1063/1.4954990; BCOCB Korol, Rosa-Raíces, Bou-Rabee, Miller, J. Chem. Phys. 152, 104102 (2020), doi:10.1063/1.5134810.
"""

import math
from typing import NamedTuple

import numpy as np
from ase import units

from md.dynamics.barostats import Piston, move_cell, piston_of, push_piston, thermalise_piston
from md.dynamics.normal_modes import (
    cayley_propagator,
    exact_propagator,
    mode_frequencies,
    to_beads,
    to_modes,
    transform_matrix,
)
from md.dynamics.ring_polymer import RingPolymer, ring_frequency
from md.dynamics.settings import Dynamics
from md.dynamics.thermostat_step import apply_thermostat, ornstein_uhlenbeck, stop_rigid_motion
from md.dynamics.thermostats import THERMOSTATS
from mlcalc.common.compiled import njit
from mlcalc.common.errors import InputError

SPLITTINGS = {"OBABO": "OBAFBO", "BAOAB": "BAOAFB", "BCOCB": "BCOCFB"}
_CODES = {"A": 0, "B": 1, "O": 2, "F": 3}
_A, _B, _O, _F = _CODES.values()


class Modes(NamedTuple):
    """A ring polymer and the forces on it in normal modes; laws of motion change the arrays in place.

    Attributes:
        positions, momenta, forces: (P, N, 3), units as in RingPolymer; forces in eV/Å.
        masses: (N,) u.
        auxiliary: (P, A, N, 3) extra momenta, see RingPolymer.
        cell: (3, 3) Å, the array of the RingPolymer; (0, 3) for a molecule, so that compiled code sees one type.
        piston: Momenta of the cell, the array of the RingPolymer; (0,) without a barostat.
        strain: (3,) eV, diagonal of Σ_j dV_j/dε of all beads at the present positions; (0,) without a barostat.
    """

    positions: np.ndarray
    momenta: np.ndarray
    forces: np.ndarray
    masses: np.ndarray
    auxiliary: np.ndarray
    cell: np.ndarray = np.zeros((0, 3))
    piston: np.ndarray = np.zeros(0)
    strain: np.ndarray = np.zeros(0)


class Laws(NamedTuple):
    """Everything that a step needs besides the state, computed once.

    Attributes:
        word: Codes of the letters of a step, without O if there is no friction.
        transform: (P, P) normal-mode matrix C.
        propagator: (P, 2, 2) of one A; with a barostat its row 0 leaves the centroids to the piston.
        kick: Duration of one B, ASE time.
        damping, noise: (P, 1 + A, 1 + A) matrices T = exp(−D t_O) and S, S Sᵀ = P k_B T (Σ − T Σ Tᵀ), of one O; D and Σ are those
            of thermostats.Thermostat. White noise has A = 0, T = exp(−γ_k t_O).
        rescaling: exp(−t_O/τ) for the centroid's stochastic rescaling; 1 for none.
        thermal_energy: P k_B T, eV.
        remove_com, remove_rotation: Whether O keeps the total momentum and the total angular momentum at zero.
        piston: Laws of the cell.
    """

    word: np.ndarray
    transform: np.ndarray
    propagator: np.ndarray
    kick: float
    damping: np.ndarray
    noise: np.ndarray
    rescaling: float
    thermal_energy: float
    remove_com: bool
    remove_rotation: bool
    piston: Piston

    @property
    def auxiliaries(self) -> int:
        """A, the number of extra momenta of every degree of freedom."""
        return self.damping.shape[1] - 1

    @property
    def moves_cell(self) -> bool:
        """Whether there is a barostat."""
        return self.piston.momenta > 0

    @property
    def kicks_before_noise(self) -> int:
        """Number of B's of a step before its first O."""
        return int((self.word[: int((self.word == _O).argmax())] == _B).sum())

    @property
    def evaluations(self) -> int:
        """Number of F's in a step."""
        return int((self.word == _F).sum())

    def draws(self, n_atoms: int) -> tuple[int, int]:
        """Shape of the normal numbers of a step: the number of O's, then the numbers that each O uses."""
        of_atoms = self.damping[:, 0].size * 3 * n_atoms
        return int((self.word == _O).sum()), of_atoms + 3 * self.remove_rotation + self.piston.momenta


def word_of(integrator: str) -> str:
    """The letters of a SPLITTINGS name, or of an explicit word.

    Raises:
        InputError: No B, neither A nor C, both A and C, another letter, or a B or an end with outdated forces.
    """
    word = SPLITTINGS.get(integrator, integrator)
    complete = set(word) <= set("ABCOF") and "B" in word and ("A" in word) != ("C" in word)
    if not (complete and _has_fresh_forces(word)):
        raise InputError(
            f"integrator = {integrator!r}: expected one of {', '.join(SPLITTINGS)}, or a word of B, O, F and either A or C, with "
            "an F after A or C and before the next B and the end, as OBAFBO"
        )
    return word


def _has_fresh_forces(word: str) -> bool:
    """Whether forces belong to the present positions at every B and after the step."""
    fresh = True  # the previous step ends with fresh forces
    for letter in word:
        if letter in "AC":
            fresh = False
        elif letter == "F":
            fresh = True
        elif letter == "B" and not fresh:
            return False
    return fresh


def make_laws(dynamics: Dynamics, n_beads: int) -> Laws:
    """Laws of motion for settings.Dynamics and P beads.

    Raises:
        InputError: A word that word_of refuses, a thermostat although the word has no O, a quantum bath with several O's.
    """
    word = word_of(dynamics.integrator)
    propagator = cayley_propagator if "C" in word else exact_propagator
    word = word.replace("C", "A")  # the same code with another propagator
    timestep = dynamics.timestep_fs * units.fs
    share = {letter: timestep / max(word.count(letter), 1) for letter in "ABO"}
    frequencies = mode_frequencies(n_beads, ring_frequency(n_beads, dynamics.temperature_K))
    thermostat = THERMOSTATS[dynamics.thermostat](frequencies, dynamics)
    piston = piston_of(dynamics, n_beads, share, thermostat.acts_on_centroids)
    if thermostat.is_idle:
        word = word.replace("O", "")
    elif "O" not in word:
        raise InputError(
            f"integrator = {dynamics.integrator!r} has no O: expected thermostat = 'none', not {dynamics.thermostat!r}"
        )
    if dynamics.has_quantum_bath and (word.count("O") > 1 or "F" in word[: word.index("O")]):
        raise InputError(
            f"integrator = {dynamics.integrator!r} with thermostat = {dynamics.thermostat!r}: expected BAOAB or BCOCB, which have "
            "one O a step, and no F before it"
        )
    codes = np.array([_CODES[letter] for letter in word], dtype=np.int64)
    thermal_energy = n_beads * units.kB * dynamics.temperature_K
    damping, noise = ornstein_uhlenbeck(thermostat, share["O"], thermal_energy)
    free = propagator(frequencies, share["A"])
    if piston.momenta > 0:
        free[0] = 0.0
    return Laws._make((
        codes, transform_matrix(n_beads), free, share["B"],
        damping, noise, math.exp(-share["O"] / thermostat.rescaling_time),
        thermal_energy, dynamics.remove_com, dynamics.remove_rotation, piston,
    ))  # fmt: skip


def in_modes(ring_polymer: RingPolymer, laws: Laws) -> Modes:
    """The normal modes of a ring polymer, without forces yet; extra momenta, cell and piston are shared, not copied.

    Raises:
        ValueError: The number of extra momenta differs from that of the thermostat; a barostat without a cell or its momentum.
    """
    q, p, masses, auxiliary, cell, piston = ring_polymer
    shape = (len(q), laws.auxiliaries, *q.shape[1:])
    if laws.auxiliaries == 0:
        auxiliary = np.zeros(shape)
    elif auxiliary.shape != shape:
        raise ValueError(f"auxiliary momenta of shape {auxiliary.shape}: this thermostat needs {shape}")
    if laws.moves_cell and (cell is None or piston.shape != (laws.piston.momenta,)):
        raise ValueError(f"a barostat needs a cell and piston, its {laws.piston.momenta} momenta")
    modes = Modes(
        np.empty_like(q),
        np.empty_like(p),
        np.zeros_like(q),
        masses,
        auxiliary,
        np.zeros((0, 3)) if cell is None else cell,
        piston,
        np.zeros(3 * laws.moves_cell),
    )
    to_modes(laws.transform, q, modes.positions)
    to_modes(laws.transform, p, modes.momenta)
    stop_rigid_motion(modes, laws)
    return modes


@njit(cache=True)
def apply_segment(index, modes, laws, normals, beads, forces):
    """Apply the letters between two F's of a step; returns the energy (eV) that the thermostat removed.

    Args:
        index: Number of F's of the step before this segment; the last segment follows the last F.
        modes: Modes, changed in place; laws: Laws; normals: Standard normal numbers of this step, of shape ``laws.draws``.
        beads: (P, N, 3) Å, receives the positions for the next F, if there is one.
        forces: (P, N, 3) eV/Å of the previous F; with index 0 ``modes`` holds them already.
    """
    if index > 0:
        to_modes(laws.transform, forces, modes.forces)
    taken, evaluated, used = 0.0, 0, 0
    for letter in laws.word:
        if letter == _F:
            evaluated += 1
        elif evaluated == index:
            if letter == _A:
                free_motion(modes, laws.propagator)
                if laws.piston.momenta > 0:
                    move_cell(modes, laws.piston)
            elif letter == _B:
                if laws.piston.momenta > 0:
                    push_piston(modes, laws.piston, laws.kick)
                kick(modes, laws.kick)
            else:
                taken += apply_thermostat(modes, laws, normals[used])
                if laws.piston.momenta > 0:
                    taken += thermalise_piston(modes, laws.piston, normals[used, -laws.piston.momenta :])
        used += letter == _O
    if index < evaluated:
        to_beads(laws.transform, modes.positions, beads)
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
