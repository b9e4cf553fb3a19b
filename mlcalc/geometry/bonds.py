"""Which atoms of a structure are bonded, and whether that changes while they move."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mlcalc.common.compiled import njit
from mlcalc.geometry.minimum_image import lattice_of, minimum_images
from mlcalc.geometry.pairs import pairs_within

BOND_FACTOR = 1.25  # of the covalent radii's sum: 1.90 Å for C–C, between C20's bonds (< 1.6 Å) and the next (> 2.1 Å)
BROKEN_FACTOR = 1.4 * BOND_FACTOR  # 2.66 Å for C–C, 1.87 Å for C–H: neither heat nor zero-point motion stretches so far
_FEW_ATOMS = 500  # all pairs of a molecule of this size are faster than a search, which would also load torch


class Bonds(NamedTuple):
    """Bonds, of which a periodic structure may have several between one pair of atoms: (n,) first, second; (n, 3) Å vectors."""

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray


class BondChange(NamedTuple):
    """A pair of atoms that was bonded and no longer is, or the reverse (``made``)."""

    first: int
    second: int
    made: bool


def find_bonds(atoms: Atoms) -> Bonds:
    """Pairs closer than 1.25 times the sum of their covalent radii (ase.data), periodic images included, in ascending order."""
    radii = covalent_radii[atoms.numbers]
    if atoms.pbc.any() and len(atoms):
        pairs = pairs_within(atoms.positions, 2.0 * BOND_FACTOR * radii.max(), atoms.cell.array, atoms.pbc)
        first, second = np.minimum(*pairs[:2]), np.maximum(*pairs[:2])
        sign = np.where(pairs.first > pairs.second, -1, 1)
        vectors = (atoms.positions[pairs.second] - atoms.positions[pairs.first] + pairs.shift) * sign[:, None]
    else:
        first, second = np.triu_indices(len(atoms), 1)
        vectors = atoms.positions[second] - atoms.positions[first]
    bonded = np.linalg.norm(vectors, axis=1) < BOND_FACTOR * (radii[first] + radii[second])
    order = np.lexsort((second[bonded], first[bonded]))
    return Bonds(*(array[bonded][order] for array in (first, second, vectors)))


class BondWatch:
    """Compares the bonds of positions with those of a start, with hysteresis.

    A bond counts as broken beyond 1.75 times the sum of the covalent radii, a new one as made below 1.25 times, so that vibrations
    about either state change nothing. Distances in periodic systems are those of nearest images.

    Args:
        start: Its bonds are the reference; at most some thousand atoms, because a table of all pairs is kept.
    """

    def __init__(self, start: Atoms):
        self._radii = covalent_radii[start.numbers]
        self._cell, self._pbc = start.cell.array.copy(), start.pbc.copy()
        self._lattice = lattice_of(start.cell.array, start.pbc)
        bonds = find_bonds(start)
        apart = bonds.first != bonds.second  # an atom and its own image stay bonded
        self._start = np.zeros((len(start),) * 2, dtype=bool)
        self._start[bonds.first[apart], bonds.second[apart]] = True
        self._now = self._start.copy()

    def changes(self, positions: np.ndarray, cell: np.ndarray | None = None) -> list[BondChange]:
        """Differences from the start at positions (N, 3) Å, given those of earlier calls; empty where nothing has changed.

        Args:
            cell: (3, 3) Å of a periodic system, if it differs from that of the previous call.
        """
        if self._lattice is not None and cell is not None and not np.array_equal(cell, self._cell):
            self._cell, self._lattice = cell.copy(), lattice_of(cell, self._pbc)
        if self._lattice is None and len(positions) <= _FEW_ATOMS:
            differing = _follow(np.ascontiguousarray(positions), self._radii, self._start, self._now)
        else:
            differing = self._search(positions)
        if not differing:
            return []
        return [BondChange(int(i), int(j), bool(self._now[i, j])) for i, j in np.argwhere(self._now != self._start)]

    def _search(self, positions: np.ndarray) -> int:
        """As _follow, for many atoms or nearest images."""
        first, second = np.nonzero(self._now)
        vectors = positions[second] - positions[first]
        if self._lattice is not None:
            vectors = minimum_images(vectors, self._lattice)
        broken = np.linalg.norm(vectors, axis=1) > BROKEN_FACTOR * (self._radii[first] + self._radii[second])
        self._now[first[broken], second[broken]] = False
        periodic = self._lattice is not None
        box, pbc = (self._cell, self._pbc) if periodic else (np.zeros((3, 3)), False)
        first, second, shift = pairs_within(positions, 2.0 * BOND_FACTOR * self._radii.max(), box, pbc)
        distances = np.linalg.norm(positions[second] - positions[first] + shift, axis=1)
        near = (distances < BOND_FACTOR * (self._radii[first] + self._radii[second])) & (first != second)
        self._now[np.minimum(first, second)[near], np.maximum(first, second)[near]] = True
        return int((self._now != self._start).sum())


@njit(cache=True)
def _follow(positions, radii, start, now):
    """Update the table of bonds ``now`` (N, N; i < j); returns the number of entries that differ from ``start``."""
    differing = 0
    for i in range(len(positions)):
        for j in range(i + 1, len(positions)):
            square = 0.0
            for axis in range(3):
                square += (positions[j, axis] - positions[i, axis]) ** 2
            reach = (radii[i] + radii[j]) * (BROKEN_FACTOR if now[i, j] else BOND_FACTOR)
            now[i, j] = square < reach * reach
            differing += now[i, j] != start[i, j]
    return differing
