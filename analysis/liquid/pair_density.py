"""Pair distributions: g(r) of structures that are periodic in all directions, else the density P(r) of pair distances.

Distances are between nearest images, up to half the smallest distance of opposite faces of the cell, where every atom has only one
image. Each frame uses its own cell, and g(r) is relative to the density of that frame.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from MDAnalysis.lib.distances import self_distance_array

from mlcalc.common.errors import InputError
from mlcalc.geometry.minimum_image import close_distances, lattice_of

BIN_A, LIQUID_BIN_A = 0.02, 0.05  # peaks of molecules are sharp, those of liquids broad
_SMOOTH_A = 0.15  # on either side
_RISE = 0.03  # share of the first peak: a rise that ends the search for the minimum behind it


class Density(NamedTuple):
    """A distribution over bins with its standard error: of distances (1/Å), of angles (1/degree), or g(r)."""

    edges: np.ndarray
    value: np.ndarray
    error: np.ndarray


def distance_edges(structure: Atoms, positions: np.ndarray, cells: np.ndarray | None = None) -> np.ndarray:
    """Edges of bins for positions (n_frames, replicas, N, 3): up to the longest distance, or half the smallest height of the cells.

    Args:
        cells: (n_frames, replicas, 3, 3) Å; None for the structure's own in all frames.
    """
    if structure.pbc.any():
        found = [structure.cell.array] if cells is None else np.unique(cells.reshape(-1, 3, 3), axis=0)
        farthest = 0.5 * min(lattice_of(cell, structure.pbc).height for cell in found)
        return np.arange(0.0, farthest + 1e-9, LIQUID_BIN_A)
    replicas = positions.reshape(-1, *positions.shape[2:])
    farthest = 1.02 * max(_all_distances(replica).max(initial=0.0) for replica in replicas)
    return np.arange(0.0, farthest + BIN_A, BIN_A)


def _all_distances(positions: np.ndarray) -> np.ndarray:
    return self_distance_array(positions.astype(np.float32))


def pair_density(
    structure: Atoms, positions: np.ndarray, edges: np.ndarray, cells: np.ndarray | None = None
) -> Density:
    """g(r) or P(r) from positions (n_frames, replicas, N, 3), cells as in distance_edges; errors: scatter of frames."""
    return with_scatter(edges, pair_densities(structure, positions, edges, cells))


def pair_densities(
    structure: Atoms, positions: np.ndarray, edges: np.ndarray, cells: np.ndarray | None = None
) -> np.ndarray:
    """The same frame by frame, (n_frames, n_bins)."""
    (n_frames, replicas, n_atoms), pbc = positions.shape[:3], structure.pbc
    pairs = replicas * n_atoms * (n_atoms - 1) / 2
    if not pbc.any():
        counts = [sum(np.histogram(_all_distances(replica), edges)[0] for replica in frame) for frame in positions]
        return np.array(counts) / (pairs * np.diff(edges))
    if cells is None:
        cells = np.broadcast_to(structure.cell.array, (n_frames, replicas, 3, 3))
    # For g(r) a pair counts with the volume of its frame.
    weights = np.abs(np.linalg.det(cells)) if pbc.all() else np.ones(cells.shape[:2])
    densities = np.zeros((n_frames, len(edges) - 1))
    for density, *frame in zip(densities, positions, cells, weights, strict=True):
        for replica, cell, weight in zip(*frame, strict=True):
            distances = close_distances(replica, lattice_of(cell, pbc), edges[-1])
            density += weight * np.histogram(distances, edges)[0]
    return densities / (pairs * (4.0 / 3.0 * np.pi * np.diff(edges**3) if pbc.all() else np.diff(edges)))


def with_scatter(edges: np.ndarray, densities: np.ndarray) -> Density:
    """Mean of independent densities (n, n_bins) and its standard error."""
    return Density(edges, densities.mean(axis=0), densities.std(axis=0, ddof=1) / np.sqrt(len(densities)))


def first_minimum(density: Density) -> float:
    """Position of the minimum between the first peak and the next, Å; the middle of a gap if there is one.

    Raises:
        InputError: No minimum; the message tells how to set the shell.
    """
    reach = round(_SMOOTH_A / (density.edges[1] - density.edges[0]))
    window = np.ones(2 * reach + 1) / (2 * reach + 1)
    smooth = np.convolve(density.value, window, mode="same")
    high = smooth > 0.1 * smooth.max()
    start = int(np.argmax(high))
    peak = start
    while peak + 1 < len(smooth) and smooth[peak + 1] >= smooth[peak]:
        peak += 1
    lowest = np.minimum.accumulate(smooth[peak:])
    risen = smooth[peak:] > lowest + _RISE * smooth[peak]
    if not risen.any():
        raise InputError(
            "the pair distribution has no minimum behind its first peak: set the end of the first shell by --shell"
        )
    valley = smooth[peak : peak + int(np.argmax(risen)) + 1]
    deep = np.flatnonzero(valley <= valley.min() + 1e-3 * smooth[peak])
    centres = 0.5 * (density.edges[1:] + density.edges[:-1])
    return float(centres[peak + int(round(deep.mean()))])
