"""Group the bonds of a structure under their chemical names: C–H, C=O, C:C.

Orders are inferred, not computed. A bond to an atom with its full number of neighbours (H 1, C 4, N 3, O 2, F 1) is single. The
other bonds of one pair of elements are split at gaps of more than 0.045 Å between their sorted lengths, and each part has the order
whose sum of radii is nearest to its mean length. If this exceeds the valence of an atom, as in benzene, the bonds are delocalised
(``:``). Elements outside the table have single bonds. So a structure far from a minimum may show fewer orders than it has, and an
amide's C–N or a nitro group's N–O is single.
"""

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from analysis.structure.molecules import bonded_pairs
from mlcalc.geometry.bonds import find_bonds

# Covalent radii of single, double and triple bonds in pm. Sources: Pyykkö, Atsumi, Chem. Eur. J. 15, 186 (2009),
# doi:10.1002/chem.200800987 and 15, 12770 (2009), doi:10.1002/chem.200901472; Pyykkö, Riedel, Patzschke, 11, 3511 (2005),
# doi:10.1002/chem.200401299.
RADII = {
    "B": (85, 78, 73), "C": (75, 67, 60), "N": (71, 60, 54), "O": (63, 57, 53), "F": (64, 59, 53), "Al": (126, 113, 111),
    "Si": (116, 107, 102), "P": (111, 102, 94), "S": (103, 94, 95), "Cl": (99, 95, 93), "Br": (114, 109, 110),
    "I": (133, 129, 125),
}  # fmt: skip
_GAP_A = 0.045  # C20's bonds of 1.41 to 1.52 Å are one kind, C60's of 1.40 and 1.46 Å two
_NEIGHBOURS = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}  # with this many, all bonds are single
_MOST = {"C": 4, "N": 4, "O": 3}  # largest sum of orders in a valid formula
_SYMBOLS = {1.0: "–", 1.5: ":", 2.0: "=", 3.0: "≡"}
_FIRST, _LAST = (
    ["B", "Si", "C", "P", "N", "S", "I", "Br", "Cl"],
    ["O", "F", "H"],
)  # order in formulae; other elements come before


def bond_groups(atoms: Atoms) -> dict[str, np.ndarray]:
    """Bonds by elements and order; all as ``"bonds"`` if there is only one kind.

    Args:
        atoms: Structure, N atoms; bonds are those of molecules.bonded_pairs.

    Returns:
        Name → (n, 2) atom indices; groups without hydrogen first.
    """
    pairs = bonded_pairs(atoms)
    symbols = atoms.get_chemical_symbols()
    orders = _orders(atoms, pairs)
    names = [
        bond_name(symbols[i], symbols[j], order) for (i, j), order in zip(pairs.tolist(), orders.tolist(), strict=True)
    ]
    found = sorted(set(names), key=lambda name: (name.endswith("H"), name))
    if len(found) <= 1:
        return {"bonds": pairs} if found else {}
    return {name: pairs[[k for k, other in enumerate(names) if other == name]] for name in found}


def pair_name(symbols: list[str], pair: tuple[int, int]) -> str:
    """``O3–H5``, atoms by element and index from 0."""
    return "–".join(f"{symbols[atom]}{atom}" for atom in sorted(pair, key=lambda atom: (_rank(symbols[atom]), atom)))


def bond_name(one: str, other: str, order: float = 1.0) -> str:
    """``C=O``, from two elements and an order of 1, 1.5, 2 or 3."""
    return _SYMBOLS[order].join(sorted((one, other), key=_rank))


def _rank(symbol: str) -> tuple[int, int]:
    for place, row in ((1, _FIRST), (2, _LAST)):
        if symbol in row:
            return place, row.index(symbol)
    return 0, chemical_symbols.index(symbol)


def _orders(atoms: Atoms, pairs: np.ndarray) -> np.ndarray:
    """(n,) 1, 1.5, 2 or 3 for each pair."""
    bonds, symbols = find_bonds(atoms), np.array(atoms.get_chemical_symbols())
    lengths = dict(
        zip(
            zip(bonds.first.tolist(), bonds.second.tolist(), strict=True),
            np.linalg.norm(bonds.vectors, axis=1).tolist(),
            strict=True,
        )
    )
    length = np.array([lengths[i, j] for i, j in pairs.tolist()])
    neighbours = np.bincount(np.concatenate(bonds[:2]), minlength=len(atoms))
    full = np.array([neighbours[k] >= _NEIGHBOURS.get(s, np.inf) for k, s in enumerate(symbols)], dtype=bool)
    open_bond = np.array(
        [not full[pair].any() and all(s in RADII for s in symbols[pair]) for pair in pairs], dtype=bool
    )
    orders, kinds = np.ones(len(pairs)), []
    elements = ["".join(sorted(symbols[pair])) for pair in pairs]
    for kind in set(elements):
        members = np.flatnonzero(open_bond & (np.array(elements) == kind))
        kinds += _by_length(members, length)
    for members in kinds:
        radii = 0.01 * sum(np.array(RADII[symbol]) for symbol in symbols[pairs[members[0]]])
        orders[members] = 1.0 + np.abs(radii - length[members].mean()).argmin()
    return _delocalised(orders, kinds, pairs, symbols)


def _by_length(members: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
    """Members split at gaps between their lengths."""
    members = members[np.argsort(length[members])]
    parts = np.split(members, np.flatnonzero(np.diff(length[members]) > _GAP_A) + 1)
    return [part for part in parts if len(part)]


def _delocalised(orders: np.ndarray, kinds: list[np.ndarray], pairs: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Orders; 1.5 for kinds of multiple bonds that would exceed the valence of an atom."""
    total = np.zeros(len(symbols))
    np.add.at(total, pairs, orders[:, None])
    most = np.array([_MOST.get(symbol, np.inf) for symbol in symbols])
    result = orders.copy()
    for members in kinds:
        if orders[members[0]] > 1.0 and (total > most)[pairs[members]].any():
            result[members] = 1.5
    return result
