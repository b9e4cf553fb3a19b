"""How the pairs of a structure lie: the density P(r) of pair distances of a molecule, g(r) of a periodic structure."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from MDAnalysis.lib.distances import self_distance_array

from mlcalc.errors import InputError

BIN_A, LIQUID_BIN_A = 0.02, 0.05  # peaks of molecules are sharp, those of liquids broad
_SMOOTH_A = 0.15  # on either side
_RISE = 0.03  # of the first peak: what ends the search for the minimum behind it


class Density(NamedTuple):
    """A distribution over bins with its standard error: of distances (1/Å), of angles (1/degree), or g(r)."""

    edges: np.ndarray
    value: np.ndarray
    error: np.ndarray


def distance_edges(structure: Atoms, positions: np.ndarray) -> np.ndarray:
    """Edges of bins for positions (n_frames, replicas, N, 3): up to the longest distance, or half the least height of the cell."""
    if structure.pbc.any():
        farthest = 0.5 * (structure.get_volume() / _face_areas(structure)).min()
        return np.arange(0.0, farthest + 1e-9, LIQUID_BIN_A)
    replicas = positions.reshape(-1, *positions.shape[2:])
    farthest = 1.02 * max(_pair_distances(structure, replica).max(initial=0.0) for replica in replicas)
    return np.arange(0.0, farthest + BIN_A, BIN_A)


def _face_areas(structure: Atoms) -> np.ndarray:
    a, b, c = structure.cell.array
    return np.linalg.norm([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)


def _pair_distances(structure: Atoms, positions: np.ndarray) -> np.ndarray:
    """All distances of a replica, of nearest images where it is periodic."""
    box = structure.cell.cellpar().astype(np.float32) if structure.pbc.any() else None
    return self_distance_array(positions.astype(np.float32), box=box)


def pair_density(structure: Atoms, positions: np.ndarray, edges: np.ndarray) -> Density:
    """P(r) of a molecule, g(r) of a periodic structure, from positions (n_frames, replicas, N, 3); errors: scatter of frames."""
    return with_scatter(edges, pair_densities(structure, positions, edges))


def pair_densities(structure: Atoms, positions: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The same frame by frame, (n_frames, n_bins)."""
    counts = np.array([
        sum(np.histogram(_pair_distances(structure, replica), edges)[0] for replica in frame) for frame in positions
    ])  # fmt: skip
    n_atoms = positions.shape[2]
    pairs = positions.shape[1] * n_atoms * (n_atoms - 1) / 2
    if structure.pbc.any():
        volumes = 4.0 / 3.0 * np.pi * np.diff(edges**3)
        return counts / (pairs * volumes / structure.get_volume())
    return counts / (pairs * np.diff(edges))


def with_scatter(edges: np.ndarray, densities: np.ndarray) -> Density:
    """Mean of independent densities (n, n_bins) and its standard error."""
    return Density(edges, densities.mean(axis=0), densities.std(axis=0, ddof=1) / np.sqrt(len(densities)))


def first_minimum(density: Density) -> float:
    """Å, where the distribution is lowest between its first peak and the next; in the middle of a gap if there is one.

    Raises:
        InputError: There is no minimum; the message says how to set one.
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
            "the pairs' distribution has no minimum behind its first peak: set the end of the first shell by --shell"
        )
    valley = smooth[peak : peak + int(np.argmax(risen)) + 1]
    deep = np.flatnonzero(valley <= valley.min() + 1e-3 * smooth[peak])
    centres = 0.5 * (density.edges[1:] + density.edges[:-1])
    return float(centres[peak + int(round(deep.mean()))])
