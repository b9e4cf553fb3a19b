"""Closed cages such as C20, C60, B12: polyhedral molecules, and their diameters."""

import numpy as np
from ase import Atoms
from scipy.spatial import ConvexHull, QhullError

from analysis.structure.molecules import molecule_of
from mlcalc.geometry.bonds import find_bonds
from mlcalc.geometry.minimum_image import lattice_of

_DEPTH_A = 0.5  # how far inside the convex hull an atom of the cage may lie


def diameter_pairs(atoms: Atoms) -> np.ndarray:
    """Diameters of a cage: unbonded pairs of atoms, each the other's farthest atom.

    A cage is one molecule whose atoms, except those with a single bond, have three bonds or more and lie on their convex hull, and
    whose bonds form a polyhedron on it: V − E + F = 2. C20, C60, B12 and cubane are cages; benzene and water are not.

    Args:
        atoms: Reference structure, N atoms, positions in Å.

    Returns:
        (n_diameters, 2) atom indices, i < j. 10 for C20.
    """
    none, molecule = np.empty((0, 2), dtype=int), molecule_of(atoms)
    if molecule is None or len(atoms) < 4:
        return none
    positions = molecule.whole(atoms.positions, lattice_of(atoms.cell.array, atoms.pbc))
    bonded = np.zeros((len(atoms),) * 2, dtype=bool)
    first, second, _ = find_bonds(atoms)
    bonded[first, second] = bonded[second, first] = True
    cage = np.flatnonzero(bonded.sum(axis=1) > 1)
    positions, bonded = positions[cage], bonded[np.ix_(cage, cage)]
    if not _is_polyhedron(positions, bonded):
        return none
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    farthest, one = distances.argmax(axis=1), np.arange(len(cage))
    mutual = (farthest[farthest] == one) & (one < farthest) & ~bonded[one, farthest]
    return np.stack([cage[one[mutual]], cage[farthest[mutual]]], axis=1)


def _is_polyhedron(positions: np.ndarray, bonded: np.ndarray) -> bool:
    if len(positions) < 4 or (bonded.sum(axis=1) < 3).any():
        return False
    try:
        planes = ConvexHull(positions).equations
    except QhullError:  # in a plane
        return False
    depth = -(positions @ planes[:, :3].T + planes[:, 3]).max(axis=1)
    n_edges = int(bonded.sum()) // 2
    return depth.max() < _DEPTH_A and len(positions) - n_edges + _count_faces(positions, bonded) == 2


def _count_faces(positions: np.ndarray, bonded: np.ndarray) -> int:
    """Faces of the bonds projected on a sphere: walks that follow, at each atom, the next bond in the sense of rotation."""
    after: dict[tuple[int, int], tuple[int, int]] = {}
    for atom, outward in enumerate(positions - positions.mean(axis=0)):
        neighbours = np.flatnonzero(bonded[atom])
        vectors = positions[neighbours] - positions[atom]
        x = np.cross(outward, vectors[0])
        y = np.cross(outward, x) / np.linalg.norm(outward)
        ring = neighbours[np.argsort(np.arctan2(vectors @ y, vectors @ x))].tolist()
        for here, following in zip(ring, ring[1:] + ring[:1], strict=True):
            after[here, atom] = (atom, following)
    faces = 0
    while after:
        faces += 1
        step = next(iter(after))
        while step in after:
            step = after.pop(step)
    return faces
