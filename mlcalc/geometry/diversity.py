"""Selection of the most different of many structures of one composition, those that are most worth a label."""

from collections.abc import Iterator, Sequence

import numpy as np

from mlcalc.geometry.minimum_image import lattice_of, minimum_images

_MOST_NUMBERS = 512  # of a fingerprint


def fingerprints(positions: np.ndarray, cell=None, pbc=False) -> np.ndarray:
    """(M, D) Å: sorted distances of all pairs in structures (M, N, 3) Å, of nearest images if periodic.

    They do not change with rotation or the order of atoms of one element. More than 512 pairs are reduced to that many quantiles.
    """
    lattice = lattice_of(cell, pbc) if np.any(pbc) else None
    first, second = np.triu_indices(positions.shape[1], 1)
    kept = np.unique(np.linspace(0, len(first) - 1, min(len(first), _MOST_NUMBERS)).round().astype(int))
    found = np.empty((len(positions), len(kept)))
    for row, structure in zip(found, positions, strict=True):
        vectors = structure[second] - structure[first]
        if lattice is not None:
            vectors = minimum_images(vectors, lattice)
        row[:] = np.sort(np.linalg.norm(vectors, axis=1))[kept]
    return found


def farthest_first(prints: np.ndarray, first: int | Sequence[int], least: float) -> Iterator[int]:
    """Indices of structures in the order of greedy farthest-point sampling, after ``first``, one or several chosen already.

    Yields those too. Ends where every structure is within ``least`` Å (root of the mean squared difference of fingerprints) of a
    chosen one.
    """
    scale, given = max(prints.shape[1], 1), np.atleast_1d(first).tolist()
    apart = np.full(len(prints), np.inf)
    while given or apart.max() > least**2:
        chosen = given.pop(0) if given else int(apart.argmax())
        yield chosen
        apart = np.minimum(apart, ((prints - prints[chosen]) ** 2).sum(axis=1) / scale)
        apart[chosen] = 0.0
