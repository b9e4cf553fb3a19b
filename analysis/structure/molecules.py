"""Find the bonds of a structure, and separate a single molecule from its periodic cell."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import find_bonds
from mlcalc.geometry.minimum_image import Lattice, lattice_of, minimum_images
from mlcalc.geometry.pairs import distances_within

_SAME_A = 1e-6  # vectors that differ by less point to the same image of an atom
_CLOSE_A = 0.5  # allowance for distances to a molecule's images that shrink


def bonded_pairs(atoms: Atoms) -> np.ndarray:
    """Nearest-neighbour bonds: pairs closer than 1.25 times the sum of their covalent radii (ase.data), by nearest images.

    A pair bonded through several images, as in a cell of a few atoms, has no unique distance and is left out, and so are bonds
    of an atom with its own images.

    Args:
        atoms: Reference structure, N atoms, positions in Å.

    Returns:
        (n_bonds, 2) atom indices, i < j. 30 for C20.
    """
    bonds = find_bonds(atoms)
    pairs, images = np.unique(np.stack(bonds[:2], axis=1), axis=0, return_counts=True)
    return pairs[(images == 1) & (pairs[:, 0] != pairs[:, 1])]


class Molecule(NamedTuple):
    """One finite molecule connected by bonds: (N − 1,) every atom except the root, and its bonded predecessor.

    Every predecessor comes before its atom in this order.
    """

    atoms: np.ndarray
    before: np.ndarray

    def whole(self, positions: np.ndarray, lattice: Lattice | None) -> np.ndarray:
        """Positions (…, N, 3) Å with every atom at its image nearest to its bonded predecessor."""
        if lattice is None:
            return positions
        bonds = positions[..., self.atoms, :] - positions[..., self.before, :]
        images = minimum_images(bonds, lattice)
        if images is bonds:
            return positions
        joined = positions.copy()
        for k, (atom, before) in enumerate(zip(self.atoms.tolist(), self.before.tolist(), strict=True)):
            joined[..., atom, :] = joined[..., before, :] + images[..., k, :]
        return joined


def molecule_of(atoms: Atoms) -> Molecule | None:
    """The atoms as one molecule; None if bonds do not connect them all, or connect them with their images as in a crystal."""
    bonds, n_atoms = find_bonds(atoms), len(atoms)
    graph = coo_array((np.ones(len(bonds.first)), (bonds.first, bonds.second)), shape=(n_atoms, n_atoms))
    order, before = breadth_first_order(graph.tocsr(), 0, directed=False) if n_atoms else (np.zeros(0, int),) * 2
    if len(order) < n_atoms or not n_atoms:
        return None
    molecule = Molecule(order[1:], before[order[1:]])
    whole = molecule.whole(atoms.positions, lattice_of(atoms.cell.array, atoms.pbc))
    unlike = np.abs(whole[bonds.second] - whole[bonds.first] - bonds.vectors) > _SAME_A
    return None if unlike.any() else molecule


def isolated(atoms: Atoms, cutoff: float | None) -> Atoms:
    """An isolated molecule: unchanged without pbc; without its cell if no image is within the cutoff of the potential.

    Args:
        cutoff: Å, of the potential; None for one without a cutoff.

    Raises:
        InputError: Several molecules or a crystal; images within the cutoff.
    """
    if not atoms.pbc.any():
        return atoms
    molecule = molecule_of(atoms)
    if molecule is None:
        raise InputError("normal modes require one molecule, but this cell holds several molecules or a crystal")
    alone = atoms.copy()
    alone.positions = molecule.whole(atoms.positions, lattice_of(atoms.cell.array, atoms.pbc))
    alone.set_cell(None)
    alone.pbc = False
    reach = np.inf if cutoff is None else cutoff + _CLOSE_A
    periodic = distances_within(atoms.positions, reach, atoms.cell.array, atoms.pbc) if np.isfinite(reach) else ()
    if cutoff is None or len(periodic) > (alone.get_all_distances()[np.triu_indices(len(alone), 1)] < reach).sum():
        raise InputError(
            "normal modes require an isolated molecule, but in this cell its images are within the model's cutoff"
        )
    return alone
