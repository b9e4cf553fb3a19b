"""Chemical features of atoms and pairs of atoms, from a geometry and the SMILES of the same molecule.

Bond orders, charges and aromaticity are those of the SMILES; rings, chirality and distances those of the molecule in space. The
SMILES' atoms are found in the geometry by its bonds, so that the order of atoms in a file does not matter.

The 21 + 13 features are those of weave networks (Kearnes et al., J. Comput. Aided Mol. Des. 30, 595 (2016),
doi:10.1007/s10822-016-9938-8), without those of partial charges by other models.
"""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import BOND_FACTOR
from mlcalc.molecules.toolkit import rdkit

ELEMENTS = ("H", "C", "N", "O", "F")
RINGS = range(3, 9)
FARTHEST = 7  # bonds between two atoms, beyond which graph distances are not told apart
# Types of features, in the order of the columns: name and number of columns.
ATOM_TYPES = {
    "element": len(ELEMENTS), "chirality": 2, "formal charge": 1, "Gasteiger charge": 1, "ring sizes": len(RINGS),
    "hybridisation": 3, "hydrogen bonds": 2, "aromatic": 1,
}  # fmt: skip
PAIR_TYPES = {"bond type": 4, "graph distance": FARTHEST, "same ring": 1, "distance": 1}
N_ATOM, N_PAIR = sum(ATOM_TYPES.values()), sum(PAIR_TYPES.values())


class Graph(NamedTuple):
    """A molecule of N atoms: (N, 21) features of atoms, (N(N−1)/2, 13) of pairs i < j, row by row; the last one is r_ij in Å."""

    atoms: np.ndarray
    pairs: np.ndarray


def molecule_of(atoms: Atoms, smiles: str) -> Any:
    """The molecule of a SMILES with its atoms in the order of a geometry, which it carries.

    Raises:
        InputError: A SMILES that RDKit cannot read, or whose bonds, hydrogens added, are not those of the geometry.
    """
    Chem = rdkit()
    written = Chem.MolFromSmiles(smiles)
    if written is None:
        raise InputError(f"SMILES {smiles[:80]!r}: RDKit cannot read it")
    full = Chem.AddHs(written)
    order = _skeleton_of(atoms, full.GetNumBonds()).GetSubstructMatch(_bare(full))
    if not len(order) == len(atoms) == full.GetNumAtoms():
        raise InputError(
            f"SMILES {smiles[:80]!r}: not the bonds of the geometry of {atoms.get_chemical_formula()}: expected the same molecule"
        )
    # order[k] is the atom of the geometry that is the k-th of the SMILES.
    molecule = Chem.RenumberAtoms(full, np.argsort(order).tolist())
    conformer = Chem.Conformer(len(atoms))
    for k, position in enumerate(atoms.positions.tolist()):
        conformer.SetAtomPosition(k, position)
    molecule.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(molecule)
    return molecule


def _skeleton_of(atoms: Atoms, n_bonds: int) -> Any:
    """Atoms and bonds of a geometry, all bonds single: as many as the molecule has, the shortest relative to covalent radii.

    A fixed limit would find bonds across small cages, whose opposite atoms are as near as a long bond.
    """
    skeleton, radii = rdkit().RWMol(), covalent_radii[atoms.numbers]
    for symbol in atoms.get_chemical_symbols():
        _add_bare(skeleton, symbol)
    first, second = np.triu_indices(len(atoms), 1)
    lengths = np.linalg.norm(atoms.positions[second] - atoms.positions[first], axis=1) / (radii[first] + radii[second])
    for k in np.argsort(lengths)[:n_bonds].tolist():
        if lengths[k] < BOND_FACTOR:
            skeleton.AddBond(int(first[k]), int(second[k]), rdkit().BondType.SINGLE)
    return skeleton


def _bare(molecule: Any) -> Any:
    """The same atoms and bonds without charges, bond orders and stereochemistry."""
    bare = rdkit().RWMol()
    for atom in molecule.GetAtoms():
        _add_bare(bare, atom.GetSymbol())
    for bond in molecule.GetBonds():
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), rdkit().BondType.SINGLE)
    return bare


def _add_bare(molecule: Any, symbol: str) -> None:
    atom = rdkit().Atom(symbol)
    atom.SetNoImplicit(True)
    molecule.AddAtom(atom)


def graph_of(atoms: Atoms, smiles: str) -> Graph:
    """The features of a molecule.

    Raises:
        InputError: As molecule_of; an element that is none of H, C, N, O, F; an atom for which RDKit has no Gasteiger charge.
    """
    if others := sorted(set(atoms.get_chemical_symbols()) - set(ELEMENTS)):
        raise InputError(f"element {others[0]}: expected {', '.join(ELEMENTS)}")
    molecule = molecule_of(atoms, smiles)
    found = Graph(_of_atoms(molecule), _of_pairs(molecule, atoms.positions))
    if not np.isfinite(found.atoms).all():  # of O+ in three bonds, for one
        raise InputError(f"SMILES {smiles[:80]!r}: RDKit has no Gasteiger charges for it")
    return found


def _of_atoms(molecule: Any) -> np.ndarray:
    from rdkit.Chem import HybridizationType as Hybrid
    from rdkit.Chem import Lipinski, rdPartialCharges

    rdPartialCharges.ComputeGasteigerCharges(molecule)
    rings = molecule.GetRingInfo()
    bonding = [
        {k for (k,) in molecule.GetSubstructMatches(pattern)}
        for pattern in (Lipinski.HDonorSmarts, Lipinski.HAcceptorSmarts)
    ]
    rows = []
    for k, atom in enumerate(molecule.GetAtoms()):
        code = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
        rows.append([
            *(atom.GetSymbol() == element for element in ELEMENTS),
            *(code == name for name in "RS"),
            atom.GetFormalCharge(),
            atom.GetDoubleProp("_GasteigerCharge"),
            *(rings.IsAtomInRingOfSize(k, size) for size in RINGS),
            *(atom.GetHybridization() == kind for kind in (Hybrid.SP, Hybrid.SP2, Hybrid.SP3)),
            *(k in found for found in bonding),
            atom.GetIsAromatic(),
        ])  # fmt: skip
    return np.array(rows, dtype=np.float32)


def _of_pairs(molecule: Any, positions: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(positions), 1)
    found = np.zeros((len(first), N_PAIR), dtype=np.float32)
    row = {pair: k for k, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True))}
    Chem = rdkit()
    orders = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
    for bond in molecule.GetBonds():
        one, other = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        found[row[min(one, other), max(one, other)], orders.index(bond.GetBondType())] = 1.0
    steps = Chem.GetDistanceMatrix(molecule)[first, second]
    found[:, 4 : 4 + FARTHEST] = steps[:, None] <= np.arange(1, FARTHEST + 1)
    for ring in molecule.GetRingInfo().AtomRings():
        together = np.isin(first, ring) & np.isin(second, ring)
        found[together, -2] = 1.0
    found[:, -1] = np.linalg.norm(positions[second] - positions[first], axis=1)
    return found
