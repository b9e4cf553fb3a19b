"""The minimum image: the shortest of the vectors between two atoms and their periodic images, exact for every cell.

Cells may be skewed, left-handed, turned, and periodic in one, two or three directions. In Minkowski-reduced lattice vectors
(ase.geometry) a vector whose coordinates are rounded off is at most one period from the shortest one in each direction.
"""

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from ase.geometry import complete_cell, minkowski_reduce

from mlcalc.common.compiled import njit
from mlcalc.common.errors import InputError

_STEPS = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])
_FLAT = 1e-6  # of the product of the lengths: vectors that span less are dependent


class Lattice(NamedTuple):
    """The periods of a cell.

    Attributes:
        vectors: (3, 3) Å, rows are reduced lattice vectors, 0 where there is no period; inverse: (3, 3) their pseudo-inverse, 1/Å.
        neighbours: (n, 3) Å, the lattice points next to the origin.
        shortest: Å from an atom to its nearest image.
        height: Å, least distance of opposite faces: within half of it, every atom has only one image.
    """

    vectors: np.ndarray
    inverse: np.ndarray
    neighbours: np.ndarray
    shortest: float
    height: float


def lattice_of(cell, pbc=True) -> Lattice | None:
    """The periods of a cell (3, 3) Å, rows are lattice vectors, in the directions ``pbc`` (3,); None without any.

    Raises:
        InputError: The vector of a period is missing, not finite, or depends on the others.
    """
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    return (
        _lattice(np.ascontiguousarray(cell, dtype=float).tobytes(), tuple(periodic.tolist())) if any(periodic) else None
    )


@lru_cache(maxsize=64)
def _lattice(cell: bytes, pbc: tuple[bool, ...]) -> Lattice:
    given, periodic = np.frombuffer(cell).reshape(3, 3), np.array(pbc)
    check_periods(given, periodic)
    alone = np.where(periodic[:, None], given, 0.0)
    reduced, _ = minkowski_reduce(complete_cell(alone), pbc=periodic)
    vectors = np.where(periodic[:, None], np.asarray(reduced), 0.0)
    inverse = np.linalg.pinv(vectors)
    neighbours = _STEPS[~_STEPS[:, ~periodic].any(axis=1)] @ vectors
    heights = 1.0 / np.linalg.norm(inverse[:, periodic], axis=0)
    return Lattice(vectors, inverse, neighbours, float(np.linalg.norm(neighbours, axis=1).min()), float(heights.min()))


def check_periods(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise InputError unless the vectors of a cell (3, 3) in the directions ``pbc`` (3,) are finite and independent."""
    vectors = cell[pbc]
    lengths = np.linalg.norm(vectors, axis=1)
    spanned = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0)) if np.isfinite(vectors).all() else np.nan
    if not spanned > _FLAT * lengths.prod() or not lengths.all():
        raise InputError(
            f"pbc = {pbc.tolist()} with cell {cell.tolist()} Å: expected a vector of its own for each period"
        )


def minimum_images(vectors: np.ndarray, lattice: Lattice) -> np.ndarray:
    """The shortest periodic image of each vector (…, 3) Å, float64; the array itself if all are shortest already."""
    flat = vectors.reshape(-1, 3)
    safe = 0.25 * lattice.shortest**2
    if not np.einsum("ni,ni->n", flat, flat).max(initial=0.0) > safe:
        return vectors
    shortest = np.array(flat, dtype=np.float64)
    _shorten(shortest, *lattice[:3], safe)
    return shortest.reshape(vectors.shape)


@njit(cache=True)
def _shorten(vectors, periods, inverse, neighbours, safe):
    """Replace vectors (n, 3) by their shortest images; those whose square is at most ``safe`` are shortest."""
    for n in range(len(vectors)):
        x, y, z = vectors[n]
        if not x * x + y * y + z * z > safe:
            continue
        for k in range(3):
            steps = np.rint(
                vectors[n, 0] * inverse[0, k] + vectors[n, 1] * inverse[1, k] + vectors[n, 2] * inverse[2, k]
            )
            x, y, z = x - steps * periods[k, 0], y - steps * periods[k, 1], z - steps * periods[k, 2]
        vectors[n, 0], vectors[n, 1], vectors[n, 2] = x, y, z
        least = x * x + y * y + z * z
        if not least > safe:
            continue
        for k in range(len(neighbours)):
            u, v, w = x + neighbours[k, 0], y + neighbours[k, 1], z + neighbours[k, 2]
            square = u * u + v * v + w * w
            if square < least:
                least = square
                vectors[n, 0], vectors[n, 1], vectors[n, 2] = u, v, w


def close_distances(positions: np.ndarray, lattice: Lattice, within: float) -> np.ndarray:
    """(n,) Å of all pairs among atoms (N, 3) Å whose nearest images are closer than ``within``, at most half the least height.

    Raises:
        InputError: ``within`` is larger: an atom has several images within it.
    """
    if within > 0.5 * lattice.height * (1.0 + 1e-9):
        raise InputError(
            f"within = {within:g} Å: expected at most {0.5 * lattice.height:g} Å, half the least height of the cell"
        )
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    squares = np.empty(len(positions) * (len(positions) - 1) // 2)
    return np.sqrt(squares[: _close_squares(positions, lattice.vectors, lattice.inverse, within**2, squares)])


@njit(cache=True)
def _close_squares(positions, periods, inverse, limit, squares):
    """Fill in squared distances below ``limit``, and return their number; rounding coordinates suffices for images that near."""
    found = 0
    for i in range(len(positions)):
        for j in range(i):
            a, b, c = (
                positions[i, 0] - positions[j, 0],
                positions[i, 1] - positions[j, 1],
                positions[i, 2] - positions[j, 2],
            )
            x, y, z = a, b, c
            for k in range(3):
                steps = np.rint(a * inverse[0, k] + b * inverse[1, k] + c * inverse[2, k])
                x, y, z = x - steps * periods[k, 0], y - steps * periods[k, 1], z - steps * periods[k, 2]
            square = x * x + y * y + z * z
            if square < limit:
                squares[found] = square
                found += 1
    return found


def joined_beads(positions: np.ndarray, lattice: Lattice | None) -> np.ndarray:
    """Positions (…, P, N, 3) Å of ring polymers with every bead at its image nearest to the atom's first bead."""
    if lattice is None or positions.shape[-3] == 1:
        return positions
    first = positions[..., :1, :, :]
    from_first = positions - first
    images = minimum_images(from_first, lattice)
    return positions if images is from_first else first + images
