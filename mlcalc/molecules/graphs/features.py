"""Chemical features of atoms and pairs of atoms, from a geometry and the SMILES of the same molecule.

Bond orders, charges and aromaticity are those of the SMILES; rings, chirality and distances those of the molecule in space. The
SMILES' atoms are found in the geometry by its bonds, so that the order of atoms in a file does not matter.

The 21 + 13 features are those of weave networks (Kearnes et al., J. Comput. Aided Mol. Des. 30, 595 (2016),
doi:10.1007/s10822-016-9938-8), without those of partial charges by other models.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import BOND_FACTOR

try:
    from rdkit import Chem, RDLogger
    from rdkit.Chem import Lipinski, rdPartialCharges
except ImportError:  # reported by require_rdkit
    Chem = None

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


def require_rdkit() -> None:
    """InputError if RDKit is not installed; its warnings are silenced otherwise."""
    if Chem is None:
        raise InputError("RDKit is not installed: pip install 'mlcalc[molecules]'")
    RDLogger.DisableLog("rdApp.*")


def molecule_of(atoms: Atoms, smiles: str) -> "Chem.Mol":
    """The molecule of a SMILES with its atoms in the order of a geometry, which it carries.

    Raises:
        InputError: A SMILES that RDKit cannot read, or whose bonds, hydrogens added, are not those of the geometry.
    """
    require_rdkit()
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


def _skeleton_of(atoms: Atoms, n_bonds: int) -> "Chem.Mol":
    """Atoms and bonds of a geometry, all bonds single: as many as the molecule has, the shortest relative to covalent radii.

    A fixed limit would find bonds across small cages, whose opposite atoms are as near as a long bond.
    """
    skeleton, radii = Chem.RWMol(), covalent_radii[atoms.numbers]
    for symbol in atoms.get_chemical_symbols():
        _add_bare(skeleton, symbol)
    first, second = np.triu_indices(len(atoms), 1)
    lengths = np.linalg.norm(atoms.positions[second] - atoms.positions[first], axis=1) / (radii[first] + radii[second])
    for k in np.argsort(lengths)[:n_bonds].tolist():
        if lengths[k] < BOND_FACTOR:
            skeleton.AddBond(int(first[k]), int(second[k]), Chem.BondType.SINGLE)
    return skeleton


def _bare(molecule: "Chem.Mol") -> "Chem.Mol":
    """The same atoms and bonds without charges, bond orders and stereochemistry."""
    bare = Chem.RWMol()
    for atom in molecule.GetAtoms():
        _add_bare(bare, atom.GetSymbol())
    for bond in molecule.GetBonds():
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    return bare


def _add_bare(molecule: "Chem.RWMol", symbol: str) -> None:
    atom = Chem.Atom(symbol)
    atom.SetNoImplicit(True)
    molecule.AddAtom(atom)


def graph_of(atoms: Atoms, smiles: str) -> Graph:
    """The features of a molecule.

    Raises:
        InputError: As molecule_of; an element that is none of H, C, N, O, F.
    """
    if others := sorted(set(atoms.get_chemical_symbols()) - set(ELEMENTS)):
        raise InputError(f"element {others[0]}: expected {', '.join(ELEMENTS)}")
    molecule = molecule_of(atoms, smiles)
    return Graph(_of_atoms(molecule), _of_pairs(molecule, atoms.positions))


def _of_atoms(molecule: "Chem.Mol") -> np.ndarray:
    rdPartialCharges.ComputeGasteigerCharges(molecule)
    rings = molecule.GetRingInfo()
    bonding = [
        {k for (k,) in molecule.GetSubstructMatches(pattern)}
        for pattern in (Lipinski.HDonorSmarts, Lipinski.HAcceptorSmarts)
    ]
    hybrid = Chem.HybridizationType
    rows = []
    for k, atom in enumerate(molecule.GetAtoms()):
        code = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
        rows.append([
            *(atom.GetSymbol() == element for element in ELEMENTS),
            *(code == name for name in "RS"),
            atom.GetFormalCharge(),
            atom.GetDoubleProp("_GasteigerCharge"),
            *(rings.IsAtomInRingOfSize(k, size) for size in RINGS),
            *(atom.GetHybridization() == kind for kind in (hybrid.SP, hybrid.SP2, hybrid.SP3)),
            *(k in found for found in bonding),
            atom.GetIsAromatic(),
        ])  # fmt: skip
    return np.array(rows, dtype=np.float32)


def _of_pairs(molecule: "Chem.Mol", positions: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(positions), 1)
    found = np.zeros((len(first), N_PAIR), dtype=np.float32)
    row = {pair: k for k, pair in enumerate(zip(first.tolist(), second.tolist(), strict=True))}
    orders = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
    for bond in molecule.GetBonds():
        ends = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        found[row[*ends], orders.index(bond.GetBondType())] = 1.0
    steps = Chem.GetDistanceMatrix(molecule)[first, second]
    found[:, 4 : 4 + FARTHEST] = steps[:, None] <= np.arange(1, FARTHEST + 1)
    for ring in molecule.GetRingInfo().AtomRings():
        together = np.isin(first, ring) & np.isin(second, ring)
        found[together, -2] = 1.0
    found[:, -1] = np.linalg.norm(positions[second] - positions[first], axis=1)
    return found
