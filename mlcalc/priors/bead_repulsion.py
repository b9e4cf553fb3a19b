"""Repulsion between beads of a chain that are no close neighbours along it.

E = Σ_{i<j} ε (d_ij/r_ij)⁶ S(r_ij)     ε strength, eV; d distance, Å, of the types of both beads

over pairs of beads of which none or only one is in the chain of the other, or that are more than ``excluded`` places apart along
it: with 3, beads i and i + 1, i + 2, i + 3, which bonds, angles and dihedral angles hold, do not repel, and i and i + 4 do. S is
the switch of mlcalc/priors/repulsion.py: 1 up to half of the cutoff, 0 from the cutoff on, and smooth.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numba import prange

from mlcalc.common.compiled import Threaded, njit
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance


@dataclass(frozen=True)
class BeadRepulsion:
    """ε eV, types of beads as they stand in the files (atomic numbers), d Å of pairs of types, and the cutoff, Å.

    Attributes:
        distances: A row for each type, symmetric; 0 for types that do not repel one another.
        n_beads: Beads of a chain; excluded: places along the chain up to which beads do not repel.

    Raises:
        InputError: Numbers out of bounds.
    """

    strength: float
    types: tuple[int, ...]
    distances: tuple[tuple[float, ...], ...]
    n_beads: int
    excluded: int
    cutoff: float

    def __post_init__(self):
        check_distance("bead_repulsion: cutoff", self.cutoff)
        n = len(self.types)
        if not 0 < self.strength < math.inf or self.n_beads < 1 or self.excluded < 0:
            raise InputError(
                f"bead_repulsion: strength = {self.strength!r} eV, n_beads = {self.n_beads!r}, excluded = {self.excluded!r}: "
                "expected a strength above 0, at least one bead, and at least 0 excluded"
            )
        if not n or len(set(self.types)) < n or min(self.types) < 1:
            raise InputError(f"bead_repulsion: types = {self.types}: expected different whole numbers from 1")
        if [len(row) for row in self.distances] != [n] * n:
            raise InputError(f"bead_repulsion: distances of {n} types: expected {n} rows of {n}")
        sound = all(0 <= d < self.cutoff for row in self.distances for d in row)
        if not sound or any(self.distances[i][j] != self.distances[j][i] for i in range(n) for j in range(i)):
            raise InputError(
                f"bead_repulsion: distances: expected a symmetric table from 0 to less than the cutoff of {self.cutoff:g} Å"
            )

    def __str__(self) -> str:
        return f"repulsion between beads more than {self.excluded} apart along the chain, below {self.cutoff:g} Å"

    def of_atoms(self, numbers: np.ndarray) -> np.ndarray:
        """(N,) row of each atom in ``distances``; InputError for atomic numbers that are no type."""
        known = {number: row for row, number in enumerate(self.types)}
        if missing := sorted({int(z) for z in numbers} - known.keys()):
            raise InputError(f"bead_repulsion: a bead of type {missing[0]}: expected one of {sorted(known)}")
        return np.array([known[int(z)] for z in numbers])


def make_repulsion_kernel(prior: BeadRepulsion, numbers: np.ndarray):
    """The compiled form, see Prior.make_kernel."""
    return partial(
        _add, prior.of_atoms(numbers), np.array(prior.distances), prior.strength, (prior.n_beads, prior.excluded), prior.cutoff
    )  # fmt: skip


def _add(rows, distances, strength, chain, cutoff, threads, q, pairs, result):
    _add_to_replicas(
        threads, q, pairs, rows, distances, strength, *chain, cutoff, result.energies, result.forces, result.atomic_energies,
        result.virials,
    )  # fmt: skip


@Threaded
def _add_to_replicas(q, pairs, rows, distances, strength, n_beads, excluded, cutoff, energies, forces, atomic, virials):
    """As angular._add_to_replicas."""
    for b in prange(len(q)):
        energies[b] += _add_to_replica(
            q[b], pairs.offset[b], pairs.count[b], pairs, rows, distances, strength, n_beads, excluded, cutoff, forces[b],
            atomic[b], virials[b],
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _add_to_replica(
    q, begin, count, pairs, rows, distances, strength, n_beads, excluded, cutoff, forces, atomic, virial
):
    """As _add_to_replicas, for one replica; returns its energy."""
    vector, total = np.empty(3), 0.0
    for p in range(begin, begin + count):
        i, j = pairs.first[p], pairs.second[p]
        if i // n_beads == j // n_beads and abs(i - j) <= excluded:
            continue
        r2 = 0.0
        for axis in range(3):
            vector[axis] = q[j, axis] - q[i, axis] + pairs.shift[p, axis]
            r2 += vector[axis] ** 2
        r = math.sqrt(r2)
        if r >= cutoff:
            continue
        u = max(2.0 * r / cutoff - 1.0, 0.0)
        switch = 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        bare = strength * (distances[rows[i], rows[j]] / r) ** 6
        slope = -6.0 * bare * switch / r - bare * 60.0 * (u * (1.0 - u)) ** 2 / cutoff
        total += bare * switch
        atomic[i] += 0.5 * bare * switch
        atomic[j] += 0.5 * bare * switch
        for axis in range(3):
            gradient = slope * vector[axis] / r
            forces[i, axis] += gradient
            forces[j, axis] -= gradient
            for other in range(3):
                virial[other, axis] += vector[other] * gradient
    return total
