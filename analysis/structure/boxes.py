"""Cells in MDAnalysis' form: six lengths and angles, the first vector along x and the second in the xy plane.

An ASE cell can have any orientation, so positions are rotated with it, by a proper rotation: no molecule becomes its mirror image.
MDAnalysis supports neither left-handed cells nor non-periodic directions, and finds the nearest image only in cells that are not
too skewed. In these cases the box uses other vectors with the same periods:

=========================  =====================================================================================
cell                       box
=========================  =====================================================================================
left-handed                the third vector is reversed
skewed                     Minkowski-reduced vectors (ase.geometry)
direction without period   perpendicular to the periods and so long that images along it never interact: 1000 Å, and at
                           least four times the extent of the structure. Its volume is meaningless.
=========================  =====================================================================================
"""

from typing import NamedTuple

import h5py
import numpy as np
from ase.geometry import cellpar_to_cell, complete_cell, minkowski_reduce
from MDAnalysis.coordinates.base import Timestep
from MDAnalysis.coordinates.H5MD import H5MDReader
from MDAnalysis.lib.util import store_init_arguments

from mlcalc.geometry.minimum_image import Lattice, check_periods, lattice_of

_EMPTY_A = 1000.0  # the box along a direction without a period; any cutoff of an analysis is shorter
_REDUCED = 1.0 + 1e-6  # vectors are kept if they exceed the reduced ones by at most this factor


class Axes(NamedTuple):
    """The common conversion of all cells of a run to boxes.

    Attributes:
        pbc: (3,) which lattice vectors are periods.
        combination: (3, 3) whole numbers, box vectors in terms of the lattice vectors; the same in all frames, so that
            displacements between frames are preserved.
        empty_A: Length of the box along directions without a period.
    """

    pbc: np.ndarray
    combination: np.ndarray
    empty_A: float


def axes_of(cell: np.ndarray, pbc: np.ndarray, positions: np.ndarray) -> Axes:
    """Axes for cells like this one (3, 3) Å, of atoms at positions (N, 3) Å.

    Raises:
        InputError: The vector of a period is missing or depends on the others.
    """
    check_periods(np.asarray(cell, dtype=float), pbc)
    empty_A = max(_EMPTY_A, 4.0 * float(np.linalg.norm(np.ptp(positions, axis=0))))
    plain = Axes(pbc, np.eye(3, dtype=int), empty_A)
    vectors = _box_vectors(np.asarray(cell, dtype=float)[None], plain)[0]
    reduced, combination = minkowski_reduce(vectors, pbc=pbc)
    lengths = (np.sort(np.linalg.norm(box, axis=1)) for box in (vectors, np.asarray(reduced)))
    longer, shorter = lengths
    combination = combination if (longer > _REDUCED * shorter).any() else np.eye(3, dtype=int)
    if np.linalg.det(combination @ vectors) < 0:
        combination = np.diag([1, 1, -1]) @ combination
    return Axes(pbc, combination, empty_A)


def _box_vectors(cells: np.ndarray, axes: Axes) -> np.ndarray:
    """(n, 3, 3) Å, the vectors of boxes before rotation."""
    periods = np.where(axes.pbc[:, None], cells, 0.0)
    if not axes.pbc.all():
        filled = np.array([complete_cell(cell) for cell in periods])
        periods = np.where(axes.pbc[:, None], filled, axes.empty_A * filled)
    return axes.combination @ periods


def boxes(cells: np.ndarray, axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    """MDAnalysis' dimensions (n, 6), Å and degrees, of cells (n, 3, 3) Å, and rotations (n, 3, 3): ``positions @ rotation``."""
    vectors = _box_vectors(cells, axes)
    a, b, c = np.moveaxis(vectors, 1, 0)
    x, z = _unit(a), _unit(np.cross(a, b))
    rotations = np.stack([x, np.cross(z, x), z], axis=-1)
    lengths = np.linalg.norm(vectors, axis=2)
    cosines = [(one * two).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1))
               for one, two in ((b, c), (a, c), (a, b))]  # fmt: skip
    return np.concatenate([lengths, np.degrees(np.arccos(np.stack(cosines, axis=1)))], axis=1), rotations


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def lattice_of_box(dimensions: np.ndarray | None) -> Lattice | None:
    """The periods of MDAnalysis' dimensions (6,), Å and degrees; a length of 0 is no period, and None no box."""
    if dimensions is None:
        return None
    periodic = dimensions[:3] > 0
    box = np.where(np.append(periodic, [True] * 3), dimensions, 1.0)
    return lattice_of(cellpar_to_cell(box), periodic)


class BeadReader(H5MDReader):
    """MDAnalysis' H5MD reader for periodic runs: positions rotate with the cell of their frame, whose periods form the box.

    Args:
        axes: Axes of the run; cell: (3, 3) Å if the file holds no cells.
    """

    format = "H5MD-OF-BEADS"

    @store_init_arguments
    def __init__(self, filename, axes: Axes, cell: np.ndarray, **kwargs):
        self._axes, self._cell, self._known = axes, cell, b""  # most cells equal that of the previous frame
        super().__init__(filename, **kwargs)

    def _read_frame(self, frame: int) -> Timestep:
        with np.errstate(invalid="ignore"):  # a missing vector: its box is set below
            ts = super()._read_frame(frame)
        cell = cells_in(self._particle_group, slice(frame, frame + 1), self._cell)
        if cell.tobytes() != self._known:
            self._known = cell.tobytes()
            (self._dimensions,), (self._rotation,) = boxes(cell, self._axes)
        ts.dimensions = self._dimensions
        if (self._rotation != np.eye(3)).any():
            for name in ("positions", "velocities", "forces"):
                if getattr(ts, f"has_{name}"):
                    setattr(ts, name, getattr(ts, name) @ self._rotation)
        return ts


def cells_in(particles: h5py.Group, frames: slice | np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Lattice vectors (n, 3, 3) Å of frames of an H5MD group; only ``cell``, (1, 3, 3), if it holds none."""
    edges = particles.get("box/edges/value")
    return np.asarray(cell, dtype=float)[None] if edges is None else edges[frames].astype(float)
