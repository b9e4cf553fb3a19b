"""The atoms that are replaced: one, several together, or any one of equivalent atoms."""

import re
from typing import NamedTuple

import numpy as np
from ase import Atoms

from md.dynamics.clamped import Clamped
from mlcalc.common.errors import InputError

_SITE = re.compile(r"\d+(?:(?:\+\d+)*|(?:/\d+)*)")
_EXPECTED = "expected sites between commas, each an index from 0, I+J for atoms replaced together or I/J for any one of equivalents"


class Site(NamedTuple):
    """What is replaced.

    Attributes:
        choices: Atoms that are replaced together; several such tuples for equivalent choices, over which is averaged.
        symbol: Their element.
    """

    choices: tuple[tuple[int, ...], ...]
    symbol: str

    def __str__(self) -> str:
        return self.symbol + "/".join("+".join(map(str, choice)) for choice in self.choices)


def together(atoms: np.ndarray, structure: Atoms) -> Site:
    """The site of atoms that are replaced together.

    Raises:
        InputError: Atoms of several elements or masses, or held ones.
    """
    return _checked(Site((tuple(atoms.tolist()),), structure.get_chemical_symbols()[atoms[0]]), structure)


def read_sites(text: str, structure: Atoms) -> list[Site]:
    """Parse ``11,6/7/8,4+5`` or the symbol of an element, each of whose atoms is then a site.

    Raises:
        InputError: Anything else; atoms that are not there, are held, come twice, or have several elements or masses in one site.
    """
    symbols = structure.get_chemical_symbols()
    if text in symbols:
        text = ",".join(str(index) for index, symbol in enumerate(symbols) if symbol == text)
    words = [word.strip() for word in text.split(",")]
    if not all(_SITE.fullmatch(word) for word in words):
        raise InputError(f"--atoms {text!r}: {_EXPECTED}")
    sites = []
    for word in words:
        choices = [tuple(int(index) for index in part.split("+")) for part in word.split("/")]
        flat = [index for choice in choices for index in choice]
        if max(flat) >= len(structure) or len(set(flat)) < len(flat):
            raise InputError(f"--atoms {text}: {word}: expected different indices from 0 to {len(structure) - 1}")
        sites.append(_checked(Site(tuple(choices), symbols[flat[0]]), structure))
    if len(set(sites)) < len(sites):
        raise InputError(f"--atoms {text}: expected each site once")
    return sites


def mass_of(site: Site, structure: Atoms) -> float:
    """Mass in u of each atom of a site."""
    return float(structure.get_masses()[site.choices[0][0]])


def _checked(site: Site, structure: Atoms) -> Site:
    """The site; InputError for atoms of several elements or masses, or held ones."""
    atoms = [index for choice in site.choices for index in choice]
    elements = sorted({structure.get_chemical_symbols()[index] for index in atoms})
    masses = sorted(set(structure.get_masses()[atoms].round(6).tolist()))
    if len(elements) > 1 or len(masses) > 1:
        raise InputError(f"atoms {site}: elements {elements}, masses {masses} u: expected one element and one mass")
    if Clamped.of(structure).mask[atoms].any():
        raise InputError(f"atoms {site}: held atoms are classical points, which no isotope changes")
    return site
