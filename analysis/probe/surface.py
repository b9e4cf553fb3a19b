"""The surface Σ_i‖r − r_i‖⁻² = level around a molecule, as triangles.

Cubes of a grid are cut into six tetrahedra each; where the corners of one lie on both sides, it contributes one or two triangles
(marching tetrahedra). Their corners lie on the edges of the grid, exactly on the surface, and neighbours share them: each piece of
the surface is closed.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError

_MOST_POINTS = 1 << 23  # of the grid
_HALVINGS = 50
# Kuhn's six tetrahedra of a cube: the corners passed from (0, 0, 0) to (1, 1, 1) along the axes, in every order.
_TETRAHEDRA = np.array(
    [np.vstack([np.zeros(3, int), np.eye(3, dtype=int)[list(p)].cumsum(axis=0)]) for p in permutations(range(3))]
)
# Edges that the surface cuts, by the number of corners inside, of a tetrahedron with these first; three for each triangle.
_CUT_EDGES = {
    1: [[(0, 1), (0, 2), (0, 3)]],
    2: [[(0, 2), (0, 3), (1, 3)], [(0, 2), (1, 3), (1, 2)]],
    3: [[(0, 3), (1, 3), (2, 3)]],
}  # fmt: skip


class Surface(NamedTuple):
    """Points (n, 3) Å and triangles (m, 3), rows of points, counter-clockwise as seen from outside."""

    points: np.ndarray
    triangles: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        """(m, 3) outward, as long as twice the area of each triangle in Å²."""
        return _normals(self.points, self.triangles)

    @property
    def areas(self) -> np.ndarray:
        """(m,) Å²."""
        return 0.5 * np.linalg.norm(self.normals, axis=1)

    @property
    def shares(self) -> np.ndarray:
        """(n,) share of each point in the area; their sum is 1."""
        areas = np.bincount(self.triangles.ravel(), np.repeat(self.areas, 3), minlength=len(self.points))
        return areas / areas.sum()

    def mean(self, values: np.ndarray) -> float:
        """Mean over the area of values (n,) at the points."""
        return float(self.shares @ values)


def isosurface(positions: np.ndarray, level: float, spacing: float) -> Surface:
    """The surface around atoms at ``positions`` (N, 3) Å; level in Å⁻², spacing of the grid in Å.

    Raises:
        InputError: A grid of too many points.
    """
    # No point farther than this from all atoms reaches the level.
    axes = grid_axes(positions, np.sqrt(len(positions) / level), spacing)
    values = nearness(grid_points(axes), positions).reshape([len(axis) for axis in axes])
    corners = _cut_tetrahedra(values > level)
    inside = values.ravel()[corners] > level
    corners = np.take_along_axis(corners, np.argsort(~inside, axis=1, kind="stable"), axis=1)
    n_inside = inside.sum(axis=1)
    edges = np.concatenate([
        corners[n_inside == count][:, np.array(triangle)] for count, parts in _CUT_EDGES.items() for triangle in parts
    ])  # fmt: skip
    unique, triangles = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
    ends = np.stack(
        [axis[index] for axis, index in zip(axes, np.unravel_index(unique, values.shape), strict=True)], axis=-1
    )
    points = _crossings(ends[:, 0], ends[:, 1], positions, level)
    return Surface(points, _outward(points, triangles.reshape(-1, 3), positions))


def nearness(points: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Σ_i‖r − r_i‖⁻² in Å⁻² at points (n, 3) Å; infinite on a nucleus."""
    found = np.zeros(len(points))
    with np.errstate(divide="ignore"):
        for position in positions:
            found += 1.0 / np.square(points - position).sum(axis=1)
    return found


def grid_axes(positions: np.ndarray, margin: float, spacing: float) -> tuple[np.ndarray, ...]:
    """Coordinates in Å along x, y and z of a grid that reaches at least ``margin`` beyond all atoms, at its centre."""
    low, high = positions.min(axis=0) - margin, positions.max(axis=0) + margin
    counts = np.ceil((high - low) / spacing).astype(int) + 1
    if np.prod(counts.astype(float)) > _MOST_POINTS:
        raise InputError(
            f"a grid of {' × '.join(map(str, counts))} points, {spacing:g} Å apart: expected at most {_MOST_POINTS} of them; "
            "choose a wider spacing"
        )
    middle = 0.5 * (low + high)
    return tuple(m + spacing * (np.arange(n) - 0.5 * (n - 1)) for m, n in zip(middle, counts, strict=True))


def grid_points(axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """(n, 3) Å, z fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _cut_tetrahedra(inside: np.ndarray) -> np.ndarray:
    """(n, 4) flat indices of the corners of all tetrahedra with corners on both sides."""
    n_inside = sum(inside[tuple(slice(s, s - 1 or None) for s in corner)].astype(int) for corner in np.ndindex(2, 2, 2))
    cubes = np.argwhere((n_inside > 0) & (n_inside < 8))
    corners = np.moveaxis(cubes[:, None, None] + _TETRAHEDRA, -1, 0)
    flat = np.ravel_multi_index(tuple(corners), inside.shape).reshape(-1, 4)
    n_inside = inside.ravel()[flat].sum(axis=1)
    return flat[(n_inside > 0) & (n_inside < 4)]


def _crossings(inner: np.ndarray, outer: np.ndarray, positions: np.ndarray, level: float) -> np.ndarray:
    """Points (n, 3) of the surface between a point inside and one outside."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (inner + outer)
        is_inside = (nearness(middle, positions) > level)[:, None]
        inner, outer = np.where(is_inside, middle, inner), np.where(is_inside, outer, middle)
    return inner


def _normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def _outward(points: np.ndarray, triangles: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The triangles, those turned whose normal points to where Σ_i‖r − r_i‖⁻² grows."""
    centres = points[triangles].mean(axis=1)
    growth = np.zeros_like(centres)
    for position in positions:
        away = centres - position
        growth -= away / np.square(away).sum(axis=1, keepdims=True) ** 2
    inward = np.einsum("mx,mx->m", _normals(points, triangles), growth) > 0
    return np.where(inward[:, None], triangles[:, ::-1], triangles)
