"""Choose the pairs of atoms that the ``distances`` command follows; without pairs, find the shortest distance."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.runs.run import Run
from analysis.runs.universe import CHUNK_FRAMES, bead_frames
from analysis.structure.bond_names import bond_groups
from analysis.structure.cages import diameter_pairs
from analysis.structure.exchange import BondWatch
from analysis.structure.molecules import Molecule, bonded_pairs, molecule_of
from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import find_bonds
from mlcalc.geometry.minimum_image import lattice_of, minimum_images
from mlcalc.geometry.pairs import distances_within

R_MAX_FACTOR = 1.5  # histograms end at this multiple of the reference structure's largest distance


class PairChoice(NamedTuple):
    """The followed pairs and bonds.

    Attributes:
        pairs: Group name → (n_pairs, 2) atom indices; molecule: The molecule that all atoms form, or None.
        r_max: End of the histograms, Å; note: Omissions and their reasons, or "".
        watch: The bonds whose partners are followed, or None; join: Whether to add groups of pairs that exchange.
    """

    pairs: dict[str, np.ndarray]
    molecule: Molecule | None
    r_max: float
    note: str
    watch: BondWatch | None = None
    join: bool = True


def automatic_groups(structure: Atoms) -> dict[str, np.ndarray]:
    """Bonds by elements and order, and the diameters of a cage."""
    return bond_groups(structure) | {"diameters": diameter_pairs(structure)}


def all_bonds(structure: Atoms) -> dict[str, np.ndarray]:
    """Bonds of all kinds as one group."""
    return {"bonds": bonded_pairs(structure)}


def choose_pairs(
    structure: Atoms,
    own: dict[str, np.ndarray] | None = None,
    automatic: Callable[[Atoms], dict[str, np.ndarray]] | None = automatic_groups,
) -> PairChoice:
    """Groups of pairs of a reference structure.

    Args:
        own: The user's groups, which come first.
        automatic: Function from the structure to further groups; None for none.

    Raises:
        InputError: A group of the user has the name of an automatic one.
    """
    pairs = {name: group for name, group in (automatic(structure) if automatic else {}).items() if len(group)}
    if taken := sorted(pairs.keys() & (own or {}).keys()):
        raise InputError(f"--pairs: group {taken[0]!r} exists automatically: expected another name, or --only-pairs")
    pairs = (own or {}) | pairs
    molecule, positions = molecule_of(structure), structure.positions
    first, second = np.triu_indices(len(structure), 1)
    lattice = lattice_of(structure.cell.array, structure.pbc)
    if molecule is not None:
        positions = molecule.whole(positions, lattice)
    vectors = positions[second] - positions[first]
    if lattice is not None and molecule is None:
        vectors = minimum_images(vectors, lattice)
    longest = float(np.linalg.norm(vectors, axis=1).max(initial=0.0))
    note = _pairs_note(structure, molecule) if automatic else ""
    return PairChoice(pairs, molecule, R_MAX_FACTOR * longest, note, BondWatch(structure), automatic is not None)


def _pairs_note(structure: Atoms, molecule: Molecule | None) -> str:
    notes, followed = [], len(bonded_pairs(structure))
    n_bonds = len(np.unique(np.stack(find_bonds(structure)[:2], axis=1), axis=0))
    if left_out := n_bonds - followed:
        notes.append(
            f"{left_out} pairs are bonded through several periodic images and left out: repeat the cell to include them"
        )
    if molecule is None:
        what = "no cage diameters" if followed else "no bonds, no cage diameters"
        notes.append(f"{what}: the atoms are not one molecule")
    if molecule is None and structure.pbc.all():
        notes[-1] += "; for g(r) and angles: python -m analysis liquid RUN -o OUT.png"
    return "; ".join(notes)


def shortest_pair(run: Run, kept: np.ndarray) -> float:
    """Shortest distance in any bead of a periodic run, Å: at most that of an atom and its own image, where the search begins."""
    shortest = np.inf
    for part in np.array_split(kept, max(1, len(kept) // CHUNK_FRAMES)):
        beads, cells = bead_frames(run, part)
        for frame, positions, cell in zip(part.tolist(), beads, cells, strict=True):
            if not np.isfinite(positions).all():
                raise InputError(f"frame {frame} holds positions that are not finite: expected a healthy trajectory")
            shortest = min(shortest, lattice_of(cell, run.structure.pbc).shortest)
            for bead in positions:
                found = distances_within(bead, shortest, cell, run.structure.pbc)
                shortest = float(found.min(initial=shortest))
    return shortest
