"""Half pairs of a batch of replicas, kept while atoms move little: Verlet's list with a skin.

Pairs of a replica are sorted by (first, second, lattice translation), and what lies beyond the cutoff is skipped by the kernel.
A sum over them therefore depends only on the positions, to the last bit, and not on when the list was built.
"""

from typing import NamedTuple

import numpy as np

from mlcalc.common.compiled import njit
from mlcalc.common.errors import InputError
from mlcalc.geometry.pairs import half_pairs, pairs_within

_FEW_ATOMS = 64  # of a molecule: all pairs, listed once, cost less than rebuilt lists
_LONG_ROW = 1000  # pairs of an atom; insertion sort, for short rows, takes the square of them


class Pairs(NamedTuple):
    """Pairs of all replicas, and the pairs of each atom. Replica b holds pairs offset[b] … offset[b + 1] of the flat arrays.

    Attributes:
        offset: (P,) first pair of each replica; count: (P,) number of pairs.
        first, second: (n,) int32 atom indices i, j.
        shift: (n, 3) Å, lattice translation: the vector is r_j − r_i + shift.
        row: (P, N + 1) pairs row[b, i] … row[b, i + 1] of replica b, counted from offset[b], have i first; empty unless requested.
        around: (P, N + 1) entries around[b, i] … around[b, i + 1] of ``link`` belong to atom i; empty unless requested.
        link: (2n,) int32, pairs of each atom, counted from offset[b]: p where the atom is first, −p − 1 where it is second.
    """

    offset: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # a tuple has a method of this name
    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray
    row: np.ndarray
    around: np.ndarray
    link: np.ndarray


class NeighbourList:
    """Pairs of replicas of one system.

    Args:
        cutoff: Å, or None for all pairs of a molecule.
        by_atom: Whether rows and links are needed (threads over atoms).
        skin: Å by which the list reaches beyond the cutoff; it is rebuilt when an atom has moved by half of it.
    """

    def __init__(self, cutoff: float | None, by_atom: bool, skin: float):
        self.cutoff, self.by_atom, self.skin = cutoff, by_atom, skin
        self.builds = 0  # how often a list was built
        self.pairs: Pairs | None = None
        self._positions = np.empty((0, 0, 3))
        self._box: tuple = (None, None)

    def update(self, positions: np.ndarray, cell=None, pbc=None) -> Pairs:
        """Pairs of (P, N, 3) Å within the cutoff, and some beyond it.

        A small molecule, and one without a cutoff, gets all its pairs, in one list for all replicas.

        Args:
            cell: (3, 3) Å, rows are lattice vectors; pbc: three booleans; both None for a molecule.

        Raises:
            InputError: A new list is due and a position is NaN or infinite, or the cell, the number of pairs or the extent of the
                atoms cannot be searched (mlcalc/geometry/cells.py).
        """
        periodic = pbc is not None and np.any(pbc)
        fixed = not periodic and (self.cutoff is None or positions.shape[1] <= _FEW_ATOMS)
        box = (
            (np.array(cell, dtype=float), np.broadcast_to(pbc, (3,)).copy()) if periodic else (np.zeros((3, 3)), False)
        )
        if self.pairs is None or self._is_stale(positions, box, fixed):
            if not np.isfinite(positions).all():
                bad = np.argwhere(~np.isfinite(positions).all(axis=2))[0]
                raise InputError(f"positions of atom {bad[1]} in replica {bad[0]} are NaN or infinite")
            if fixed:
                lists = [half_pairs(positions[0], None)]
            else:
                lists = [pairs_within(frame, self.cutoff + self.skin, *box) for frame in positions]
            self.pairs = self._build(lists, *positions.shape[:2])
            self._positions, self._box = positions.copy(), box
            self.builds += 1
        return self.pairs

    def _is_stale(self, positions: np.ndarray, box: tuple, fixed: bool) -> bool:
        if self._positions.shape != positions.shape:
            return True
        if fixed:
            return False
        same_box = all(np.array_equal(new, old) for new, old in zip(box, self._box, strict=True))
        return not same_box or _moved(positions, self._positions, 0.5 * self.skin)

    def _build(self, lists: list, n_replicas: int, n_atoms: int) -> Pairs:
        count = np.array([len(one.first) for one in lists])
        offset = np.cumsum(count) - count
        flat = [np.concatenate(parts) for parts in zip(*lists, strict=True)]
        first, second = (part.astype(np.int32) for part in flat[:2])
        shift, rows = flat[2], np.empty((len(lists), n_atoms + 1), dtype=np.int64)
        for b, start in enumerate(offset):
            part = slice(start, start + count[b])
            _balance(first[part], second[part], shift[part])
            if count[b] > _LONG_ROW * n_atoms:
                order = np.lexsort((*shift[part].T[::-1], second[part], first[part]))
                rows[b] = np.searchsorted(first[part][order], np.arange(n_atoms + 1))
            else:
                order = _sort(first[part], second[part], shift[part], rows[b])
            for array in (first, second, shift):
                array[part] = array[part][order]
        around = np.zeros((len(lists), n_atoms + 1 if self.by_atom else 0), dtype=np.int64)
        link = np.empty(2 * len(first) if self.by_atom else 0, dtype=np.int32)
        if self.by_atom:
            for b, start in enumerate(offset):
                stop = start + count[b]
                _link(first[start:stop], second[start:stop], around[b], link[2 * start : 2 * stop])
        if len(lists) < n_replicas:  # one list for all
            repeat = np.zeros(n_replicas, dtype=np.int64)
            offset, count, rows, around = offset[repeat], count[repeat], rows[repeat], around[repeat]
        return Pairs(offset, count, first, second, shift, rows if self.by_atom else rows[:, :0], around, link)


@njit(cache=True)
def _moved(positions, reference, limit):
    """Whether any atom of any replica is further than ``limit`` from its reference."""
    for b in range(positions.shape[0]):
        for i in range(positions.shape[1]):
            square = 0.0
            for axis in range(3):
                square += (positions[b, i, axis] - reference[b, i, axis]) ** 2
            if not square <= limit * limit:  # NaN counts as moved
                return True
    return False


@njit(cache=True)
def _balance(first, second, shift):
    """Swap the atoms of pairs so that every atom is first in about half of its pairs."""
    for p in range(len(first)):
        i, j = first[p], second[p]
        if (i > j) == ((i + j) % 2 == 0) and i != j:
            first[p], second[p] = j, i
            for axis in range(3):
                shift[p, axis] = -shift[p, axis]
        elif i == j:  # an atom and its own image: the one translation of the two that points up
            up = 0.0
            for axis in range(3):
                if up == 0.0:
                    up = shift[p, axis]
            if up < 0.0:
                for axis in range(3):
                    shift[p, axis] = -shift[p, axis]


@njit(cache=True)
def _sort(first, second, shift, row):
    """Order of the pairs by (first, second, shift); fills row (N + 1,) with where each atom's pairs begin."""
    n_atoms = len(row) - 1
    row[:] = 0
    for i in first:
        row[i + 1] += 1
    for i in range(n_atoms):
        row[i + 1] += row[i]
    order, place = np.empty(len(first), dtype=np.int64), row[:-1].copy()
    for p in range(len(first)):  # insertion into the row of its first atom: rows are short
        begin, k = row[first[p]], place[first[p]]
        while k > begin and _before(p, order[k - 1], second, shift):
            order[k] = order[k - 1]
            k -= 1
        order[k] = p
        place[first[p]] += 1
    return order


@njit(cache=True)
def _before(p, other, second, shift):
    if second[p] != second[other]:
        return second[p] < second[other]
    for axis in range(3):
        if shift[p, axis] != shift[other, axis]:
            return shift[p, axis] < shift[other, axis]
    return False


@njit(cache=True)
def _link(first, second, around, link):
    """Pairs of each atom in ascending order; see Pairs."""
    around[:] = 0
    for p in range(len(first)):
        around[first[p] + 1] += 1
        around[second[p] + 1] += 1
    for i in range(len(around) - 1):
        around[i + 1] += around[i]
    place = around[:-1].copy()
    for p in range(len(first)):
        link[place[first[p]]] = p
        place[first[p]] += 1
        link[place[second[p]]] = -p - 1
        place[second[p]] += 1
