"""Check at every evaluation that i-PI's cell fits a non-periodic template: atoms may cross a wall at any time.

If a force field of i-PI has pbc='True', i-PI moves every atom into the cell individually: a molecule across a wall arrives in
pieces. If the cell is too small for the molecule plus the model's cutoff, periodic images would interact.
"""

import numpy as np
from ase.neighborlist import primitive_neighbor_list

_VANISHING = 1e-6  # Å³; a cell without volume counts as none
_LARGEST_A = 1e9


class CellGuard:
    """Compares distances inside a structure with distances to its images in i-PI's cell.

    Args:
        pbc: Three booleans of the template; cutoff: Å, None for a model that connects all pairs.
    """

    def __init__(self, pbc: np.ndarray, cutoff: float | None):
        self._pbc, self._cutoff = np.asarray(pbc, dtype=bool), cutoff
        self._open = np.flatnonzero(~self._pbc)
        self._known, self._normals, self._heights = b"", np.empty((0, 3)), list[float]()

    def complaint(self, q: np.ndarray, cells: np.ndarray) -> str | None:
        """Why structures q (B, N, 3) Å in cells (B, 3, 3) Å, lattice vectors in columns, cannot be evaluated; None if they can.

        Takes microseconds if the vacuum around the molecule is wider than the cutoff.
        """
        data = cells.tobytes()
        if data != self._known:
            if not (np.abs(cells) < _LARGEST_A).all():
                wrong = cells[~(np.abs(cells) < _LARGEST_A).all(axis=(1, 2))][0]
                return f"i-PI's cell {wrong.T.tolist()} Å: expected finite numbers below {_LARGEST_A:g}"
            if len(cells) > 1 and (cells != cells[0]).any():
                single = (self.complaint(q[b : b + 1], cells[b : b + 1]) for b in range(len(q)))
                return next(filter(None, single), None)
            if self._pbc.any() and not _has_volume(cells[0]):
                return f"i-PI's cell {cells[0].T.tolist()} Å has no volume, but the template is periodic"
            self._measure(cells[0])
            self._known = data
        if not self._heights:
            return None
        atoms = q.reshape(-1, 3).T
        along = np.dot(self._normals, atoms)
        extents = (np.maximum.reduce(along, axis=1) - np.minimum.reduce(along, axis=1)).tolist()
        # A model that connects all pairs reaches as far as the longest distance between two atoms.
        reach = self._cutoff if self._cutoff is not None else float(np.linalg.norm(np.ptp(atoms, axis=1)))
        for extent, height in zip(extents, self._heights, strict=True):
            if extent + reach >= height:
                break
        else:
            return None
        return next(filter(None, (self._look(one, cells[0].T, reach) for one in q)), None)

    def _measure(self, cell: np.ndarray) -> None:
        """Heights of the cell above its faces in the m directions that are not periodic, and their normals (m, 3)."""
        if not len(self._open) or not _has_volume(cell):
            self._heights = []
            return
        reciprocal = np.linalg.inv(cell)[self._open]
        lengths = np.linalg.norm(reciprocal, axis=1)
        self._heights, self._normals = (1.0 / lengths).tolist(), reciprocal / lengths[:, None]

    def _look(self, q: np.ndarray, vectors: np.ndarray, reach: float) -> str | None:
        """Check all pairs of a structure (N, 3) in a cell with lattice vectors in rows."""
        if (np.ptp(q @ self._normals.T, axis=0) + reach < self._heights).all():
            return None
        first, second, shifts, distance = primitive_neighbor_list("ijSd", [True] * 3, vectors, q, reach)
        through = shifts[:, self._open].any(axis=1)
        if self._cutoff is None:  # all pairs are connected: an image matters only if it is nearer than the atom
            through &= distance < np.linalg.norm(q[second] - q[first], axis=1)
        if not through.any():
            return None
        nearest = np.flatnonzero(through)[distance[through].argmin()]
        i, j, d = int(first[nearest]), int(second[nearest]), float(distance[nearest])
        if self._is_cut(q):
            return (
                f"the molecule is cut by i-PI's cell: atoms {i} and {j} are {d:.2f} Å apart through its wall, "
                f"{np.linalg.norm(q[j] - q[i]):.2f} Å directly: write pbc='False' in <ffsocket> or <ffdirect>, start from a "
                "structure in one piece, or give i-PI a larger cell"
            )
        lengths = " × ".join(f"{length:.4g}" for length in np.linalg.norm(vectors, axis=1))
        return (
            f"the template has no cell{'' if len(self._open) == 3 else ' along ' + self._names}, but i-PI's cell of {lengths} Å is "
            f"smaller than the molecule and the model's reach of {reach:.3g} Å: atom {i} is {d:.2f} Å from an image of atom {j}: "
            "give a template with pbc, or i-PI a larger cell"
        )

    @property
    def _names(self) -> str:
        return ", ".join("abc"[k] for k in self._open)

    def _is_cut(self, q: np.ndarray) -> bool:
        """Whether wrapped atoms leave an empty layer in every direction, so that they form one molecule.

        The layer must be wider than the cutoff, or than the molecule if all pairs are connected.
        """
        layers = (q @ self._normals.T / self._heights) % 1.0
        layers.sort(axis=0)
        gaps = np.diff(layers, axis=0, append=layers[:1] + 1.0).max(axis=0)
        needed = 0.5 if self._cutoff is None else self._cutoff / np.array(self._heights)
        return bool((gaps > needed).all())


def _has_volume(cell: np.ndarray) -> bool:
    return bool(np.isfinite(cell).all()) and abs(float(np.linalg.det(cell))) > _VANISHING
