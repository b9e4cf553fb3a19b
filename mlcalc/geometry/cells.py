"""Checks of cells and positions before a search for pairs, whose native code would crash or never end on invalid ones."""

from functools import lru_cache
from math import prod, trunc
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce

from mlcalc.common.errors import InputError

LARGEST = 1e8  # Å, 1 cm: beyond it double precision resolves no more than 1e-8 Å
MOST_PAIRS = 30_000_000  # of one structure: about 3 GB while they are made, and some ten seconds
_MOST_PER_ATOM = 100_000  # pairs; at 0.2 atoms per Å³ those within 60 Å
_FLATTEST = 0.001  # Å between lattice planes
_MOST_BOXES = 1e5  # of vesin's grid


class _Box(NamedTuple):
    """The periodic vectors of a cell, and unit vectors orthogonal to them and to one another for the other directions.

    Attributes:
        vectors: (3, 3) Å, in rows.
        heights: Å between lattice planes.
        inverse: (3, 3) 1/Å.
    """

    vectors: np.ndarray
    heights: tuple[float, ...]
    inverse: np.ndarray


def check_cell(cell, pbc, cutoff: float | None) -> None:
    """Raise InputError unless a model with this cutoff can serve a cell.

    Args:
        cell: (3, 3) Å, rows are lattice vectors, or None; pbc: three booleans, one, or None for a molecule.
        cutoff: Å; None for a model that connects all pairs.

    Raises:
        InputError: Periodic, and a vector is missing, NaN, infinite or longer than 1 cm, or lies in the plane of the others;
            or periodic, and the model has no cutoff.
    """
    periodic = _periodic(pbc)
    if not any(periodic):
        return
    _box(np.asarray(cell, dtype=float).tobytes(), periodic)
    if cutoff is None:
        raise InputError("this model connects all pairs (no cutoff): it serves molecules only, not pbc")


def check_positions(positions: np.ndarray, what: str = "positions of atom") -> None:
    """Raise InputError for positions (N, 3) Å, of atoms or other points, that are NaN, infinite, or over 1 cm from the origin."""
    if not np.abs(positions).max(initial=0.0) <= LARGEST:  # true for NaN
        finite = np.isfinite(positions).all(axis=1)
        if not finite.all():
            raise InputError(f"{what}(s) {np.flatnonzero(~finite)[:5].tolist()} are NaN or infinite")
        far = int(np.abs(positions).max(axis=1).argmax())
        raise InputError(f"{what} {far}: {positions[far].tolist()} Å: expected at most {LARGEST:g} Å from the origin")


def check_all_pairs(n_atoms: int) -> None:
    """Raise InputError unless all pairs of a molecule can be held in memory."""
    if (n_pairs := n_atoms * (n_atoms - 1) // 2) > MOST_PAIRS:
        raise InputError(f"{n_atoms} atoms without a cutoff have {n_pairs} pairs: expected at most {MOST_PAIRS}")


def search_box(positions: np.ndarray, cutoff: float, cell: np.ndarray, pbc) -> np.ndarray:
    """A cell in which vesin finds the pairs of a system in seconds and a few GB.

    Directions that are not periodic, beside others that are, get a vector orthogonal to these, too long for any pair across
    it, so that all three can be periodic: otherwise vesin searches them from end to end, which practically never finishes
    when an atom has left a surface.

    Args:
        positions: (N, 3) Å; cutoff: Å; cell: (3, 3) Å; pbc: three booleans or one.

    Returns:
        (3, 3) Å, rows are vectors; those of the periodic directions are the cell's own.

    Raises:
        InputError: As check_cell and check_positions; more than 30 million pairs, or 100,000 for each atom; lengths so
            different that the search cannot be divided into boxes.
    """
    check_positions(positions)
    periodic = _periodic(pbc)
    if any(periodic):
        vectors, lengths, inverse = _box(cell.tobytes(), periodic)
        if not all(periodic):
            scale = np.where(periodic, 1.0, 1.01 * _widths(positions @ inverse) + 1.01 * cutoff)
            vectors, lengths = vectors * scale[:, None], tuple((np.array(lengths) * scale).tolist())
    else:
        lengths = tuple(max(1.01 * width, 1.0) for width in _widths(positions).tolist())  # vesin's own margin
        vectors = np.diag(lengths)
    _grid(lengths, cutoff)
    most = min(MOST_PAIRS, _MOST_PER_ATOM * len(positions))
    if _images(lengths, cutoff) * len(positions) ** 2 <= most:  # an upper bound, even if all atoms are in one place
        return vectors
    vectors, _ = minkowski_reduce(vectors, periodic)  # in a skewed cell most images that are searched are far away
    lengths = tuple(_heights(vectors).tolist())
    n_pairs = _images(lengths, cutoff) * _sum_of_squares(positions @ np.linalg.inv(vectors), _grid(lengths, cutoff))
    if n_pairs > most:
        raise InputError(
            f"about {n_pairs:.0e} pairs of atoms within {cutoff:g} Å, in a cell with planes {_listed(lengths)} Å "
            f"apart: expected at most {most}; are positions and cell in Å?"
        )
    return vectors


def _widths(positions: np.ndarray) -> np.ndarray:
    return positions.max(axis=0) - positions.min(axis=0) if len(positions) else np.zeros(3)


def _images(lengths: tuple[float, ...], cutoff: float) -> float:
    """Approximate number of pairs divided by the squared number of atoms, in a box as wide as the cutoff or the cell."""
    return 2.0 * prod(max(1.0, cutoff / length) for length in lengths)


def _heights(vectors: np.ndarray) -> np.ndarray:
    """(3,) Å between lattice planes; NaN between those of parallel vectors."""
    areas = np.linalg.norm(np.cross(vectors[[1, 2, 0]], vectors[[2, 0, 1]]), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(np.linalg.det(vectors)) / areas


def _periodic(pbc) -> tuple[bool, bool, bool]:
    if pbc is None:
        return (False, False, False)
    a, b, c = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)).tolist()
    return a, b, c


@lru_cache(maxsize=64)
def _box(content: bytes, periodic: tuple[bool, bool, bool]) -> _Box:
    """The box of a cell as bytes, cached, because replicas and rebuilt lists need the same one again and again."""
    cell = np.frombuffer(content).reshape(3, 3)
    if not np.abs(cell).max() <= LARGEST:
        raise InputError(f"cell = {cell.tolist()} Å: expected finite numbers of at most {LARGEST:g}")
    if (np.array(periodic) & ~cell.any(axis=1)).any():
        raise InputError(
            f"pbc = {list(periodic)} but the cell lengths are {np.linalg.norm(cell, axis=1).tolist()} Å: "
            "every periodic direction needs a cell vector"
        )
    vectors = _completed(cell, periodic)
    planes = _heights(vectors)
    if not (planes[list(periodic)] >= _FLATTEST).all():  # true for NaN
        raise InputError(
            f"cell = {cell.tolist()} Å is flat or too small: its lattice planes are {_listed(planes)} Å apart, expected at "
            f"least {_FLATTEST:g} Å"
        )
    return _Box(vectors, tuple(planes.tolist()), np.linalg.inv(vectors))


def _completed(cell: np.ndarray, periodic: tuple[bool, bool, bool]) -> np.ndarray:
    vectors = np.where(np.array(periodic)[:, None], cell, 0.0)
    missing = [axis for axis in range(3) if not periodic[axis]]
    if missing:
        vectors[missing] = np.linalg.svd(vectors)[2][3 - len(missing) :]
    return vectors


def _grid(lengths: tuple[float, ...], cutoff: float) -> tuple[int, ...]:
    """Boxes of vesin's grid along each direction, by its own rule, which divides by 0 when one length far exceeds the others."""
    boxes = [max(1, trunc(length / cutoff)) for length in lengths]
    if prod(boxes) > _MOST_BOXES:
        x_to_y, y_to_z = boxes[0] / boxes[1], boxes[1] / boxes[2]
        boxes[2] = trunc((_MOST_BOXES / (x_to_y * y_to_z * y_to_z)) ** (1 / 3))
        boxes[1] = trunc(y_to_z * boxes[2])
        boxes[0] = trunc(x_to_y * boxes[1])
    if min(boxes) < 1:
        raise InputError(
            f"the atoms or the cell extend over {_listed(lengths)} Å: expected lengths closer to one another, to search for "
            f"neighbours within {cutoff:g} Å; has an atom left the others?"
        )
    return tuple(boxes)


def _sum_of_squares(fractional: np.ndarray, shape: tuple[int, ...]) -> float:
    """Σ n² over boxes with n atoms: about half as many pairs are within the width of a box, in a dense cluster and in a liquid."""
    places = np.floor(fractional * shape).astype(np.int64) % shape
    return float(np.square(np.bincount(np.ravel_multi_index(tuple(places.T), shape)), dtype=float).sum())


def _listed(lengths) -> str:
    return ", ".join(f"{length:.4g}" for length in lengths)
