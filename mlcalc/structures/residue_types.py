"""Names of types of beads: which atomic number stands for which residue, see mlcalc/data/coarse_grain/residues.py."""

from ase.data import chemical_symbols

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
N_TERMINUS, C_TERMINUS = 21, 22


def name_of_type(number: int) -> str:
    """Letter of a type, or "N-terminus", "C-terminus"; for others the symbol of the element."""
    ends = {N_TERMINUS: "N-terminus", C_TERMINUS: "C-terminus"}
    return LETTERS[number - 1] if 1 <= number <= len(LETTERS) else ends.get(number, chemical_symbols[number])
