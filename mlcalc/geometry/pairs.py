"""Positions, cell and cutoff to half pairs: every unordered pair, and every periodic image of it, once."""

from typing import NamedTuple

import numpy as np

from mlcalc.geometry.cells import check_all_pairs, search_box


class HalfPairs(NamedTuple):
    """Pairs (i, j) with vectors r_j − r_i + shift; a pair of an atom with its own image appears once, not twice.

    Attributes:
        first, second: (n_pairs,) int64 atom indices i, j.
        shift: (n_pairs, 3) Å, lattice translation S·H.
    """

    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray


def half_pairs(positions: np.ndarray, cutoff: float | None, cell=None, pbc=None) -> HalfPairs:
    """Half pairs of one configuration.

    Args:
        positions: (N, 3) Å.
        cutoff: Å; None for all pairs of a molecule.
        cell: (3, 3) Å, rows are lattice vectors; pbc: three booleans or one; both None for a molecule.

    Returns:
        The pairs. A molecule gets all its pairs with i < j, beyond the cutoff too (their filters vanish there), so that
        its list never changes; a periodic system gets those within the cutoff.

    Raises:
        InputError: Too many pairs, or positions or a cell that cannot be searched (mlcalc/geometry/cells.py).
    """
    if pbc is None or not np.any(pbc):
        check_all_pairs(len(positions))
        first, second = np.triu_indices(len(positions), 1)
        return HalfPairs(first.astype(np.int64), second.astype(np.int64), np.zeros((len(first), 3)))
    return pairs_within(positions, cutoff, cell, pbc)


def pairs_within(positions: np.ndarray, cutoff: float, cell, pbc) -> HalfPairs:
    """Half pairs within the cutoff, of molecules (``pbc`` False) too; arguments as in half_pairs."""
    import vesin

    points = np.ascontiguousarray(positions, dtype=float)
    box = search_box(points, float(cutoff), np.asarray(cell, dtype=float), pbc)
    calculator = vesin.NeighborList(cutoff=float(cutoff), full_list=False)
    first, second, shift = calculator.compute(points=points, box=box, periodic=bool(np.any(pbc)), quantities="ijS")
    return HalfPairs(first.astype(np.int64), second.astype(np.int64), shift @ box)


def distances_within(positions: np.ndarray, cutoff: float, cell, pbc) -> np.ndarray:
    """(n_pairs,) Å of all pairs closer than the cutoff, periodic images included; arguments as in half_pairs."""
    pairs = pairs_within(positions, cutoff, cell, pbc)
    distances = np.linalg.norm(positions[pairs.second] - positions[pairs.first] + pairs.shift, axis=1)
    return distances[distances < cutoff]
