"""Parts of a density of states, by elements or by given atoms. The sum of all parts is the total."""

import re
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.spectrum.spectra import Spectrum
from mlcalc.common.errors import InputError

OTHERS = "other atoms"


class Part(NamedTuple):
    """The part of some atoms.

    Attributes:
        atoms: (n,) indices.
        spectra: One for each run.
        weights: (M,) share of these atoms in each harmonic vibration, Σ |e_i|² of its mass-weighted displacements; may be empty.
        harmonic: Spectrum of the harmonic vibrations with these weights; None if there are none.
    """

    atoms: np.ndarray
    spectra: list[Spectrum]
    weights: np.ndarray
    harmonic: Spectrum | None


def by_element(structure: Atoms) -> dict[str, np.ndarray]:
    """Element → indices of its atoms, in order of appearance."""
    symbols = np.array(structure.get_chemical_symbols())
    return {str(symbol): np.flatnonzero(symbols == symbol) for symbol in dict.fromkeys(symbols.tolist())}


def by_atoms(texts: list[str], structure: Atoms) -> dict[str, np.ndarray]:
    """Parse sets of atoms such as ``0,1,2``, and add one set of all others.

    Raises:
        InputError: Not a list of indices from 0 to N − 1; an atom in two sets.
    """
    n_atoms, parts = len(structure), {}
    seen: set[int] = set()
    for text in texts:
        if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
            raise InputError(f"--atoms {text!r}: expected atom indices from 0, as in 0,1,2")
        atoms = [int(index) for index in text.split(",")]
        if max(atoms) >= n_atoms:
            raise InputError(f"--atoms {text}: no atom {max(atoms)}: expected indices from 0 to {n_atoms - 1}")
        if len(set(atoms)) < len(atoms) or seen.intersection(atoms):
            raise InputError(
                f"--atoms {text}: an atom is given twice: expected each in one part, so that the parts add up to the total"
            )
        seen |= set(atoms)
        parts[f"{'atoms' if len(atoms) > 1 else 'atom'} {', '.join(map(str, atoms))}"] = np.array(atoms)
    if others := sorted(set(range(n_atoms)) - seen):
        parts[OTHERS] = np.array(others)
    return parts
