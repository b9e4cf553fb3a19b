"""Types of beads of a protein: residues as the atomic numbers that stand for them in all files of this project.

A bead carries its type where an atom carries its atomic number: of the one-letter codes in alphabetical order,
ACDEFGHIKLMNPQRSTVWY, residue k is number k (A 1 … Y 20), the first residue of a chain that begins with a free N-terminus is 21,
the last of one that ends with a free C-terminus 22. In a file of structures they appear as the elements of these numbers (H … Ti),
which mean nothing.
"""

import re

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.structures.residue_types import C_TERMINUS, LETTERS, N_TERMINUS
from mlcalc.structures.residue_types import name_of_type as name_of_type

_NAMES = {
    "ALA": "A", "CYS": "C", "ASP": "D", "GLU": "E", "PHE": "F", "GLY": "G", "HIS": "H", "ILE": "I", "LYS": "K", "LEU": "L",
    "MET": "M", "ASN": "N", "PRO": "P", "GLN": "Q", "ARG": "R", "SER": "S", "THR": "T", "VAL": "V", "TRP": "W", "TYR": "Y",
}  # fmt: skip
# Other names of force fields, by protonation and bridges.
_NAMES |= {"HID": "H", "HIE": "H", "HIP": "H", "ASH": "D", "GLH": "E", "LYN": "K", "CYX": "C", "CYM": "C"}


def letter_of(name: str) -> str | None:
    """One-letter code of the three letters of a residue, also in names of protonation states; None for no residue."""
    return _NAMES.get(name.upper())


def check_sequence(sequence: str) -> str:
    """The sequence; InputError unless its letters are those of residues."""
    if wrong := sorted(set(sequence) - set(LETTERS)):
        raise InputError(f"sequence: {wrong[0]!r}: expected letters of {LETTERS}")
    if not sequence:
        raise InputError("sequence: expected at least one residue")
    return sequence


def parse_mutation(text: str) -> tuple[str, int, str]:
    """Letter, number and new letter of an exchange such as K12M; InputError for other text."""
    found = re.fullmatch(rf"([{LETTERS}])([1-9][0-9]{{0,4}})([{LETTERS}])", text)
    if found is None:
        raise InputError(f"mutation {text!r}: expected letter, number, new letter, as K12M, of {LETTERS}")
    return found[1], int(found[2]), found[3]


def bead_types(sequence: str, n_terminus: bool = True, c_terminus: bool = True) -> np.ndarray:
    """(n,) types of the beads of a sequence of one-letter codes, with or without free ends; InputError for other letters."""
    types = np.array([LETTERS.index(letter) + 1 for letter in check_sequence(sequence)])
    if n_terminus:
        types[0] = N_TERMINUS
    if c_terminus:
        types[-1] = C_TERMINUS
    return types
