"""Wedges: pairs of edges that leave the same atom and so form triples, and the angles between them."""

import numpy as np

BIN_DEGREES = 2.0
ANGLE_EDGES = np.arange(0.0, 180.0 + BIN_DEGREES, BIN_DEGREES)


def wedge_count(source: np.ndarray) -> int:
    """Number of wedges for edges given by the atoms (n_edges,) that they leave."""
    degree = np.bincount(source)
    return int((degree * (degree - 1) // 2).sum())


def wedges(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the two edges of every wedge, (n_wedges,) each."""
    order = np.argsort(source, kind="stable")
    end = np.cumsum(np.bincount(source))[source[order]]  # end of the edges of the same atom
    place = np.arange(len(order))
    later = end - place - 1
    first = np.repeat(place, later)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later)
    return order[first], order[second]


def angles_between(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(n,) degrees between vectors (n, 3)."""
    cosine = (one * two).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
