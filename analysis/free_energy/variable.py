"""The variable along which a free energy is computed, and whose values are taken: of beads, of their mean, or of the centroid."""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from md.bias.settings import VARIABLE_KINDS, BiasSettings
from md.bias.terms import EXPONENT
from md.bias.variables import Coordinate, mean_value
from mlcalc.common.errors import InputError

UNITS = {"A": "Å", "deg": "°", "1": ""}


class Variable(NamedTuple):
    """A variable of certain atoms, as in a ``[[bias]]`` table (md/bias/settings.py)."""

    name: str
    atoms: tuple[int, ...]
    to_atoms: tuple[int, ...] = ()
    radius_A: float | None = None
    exponent: int | None = None

    def __str__(self) -> str:
        to = f" to {', '.join(map(str, self.to_atoms))}" if self.to_atoms else ""
        return f"{self.name} of atoms {', '.join(map(str, self.atoms))}{to}"

    @property
    def unit(self) -> str:
        """As keys end: A, deg or 1."""
        return VARIABLE_KINDS[self.name].unit

    @property
    def period(self) -> float:
        """In its unit; 0 for none."""
        return VARIABLE_KINDS[self.name].period

    def of(self, structure: Atoms, positions: np.ndarray, on: str) -> np.ndarray:
        """Values in frames of a run.

        Args:
            structure: The reference structure, whose cell and periods hold for all frames.
            positions: (n, P, N, 3) Å.
            on: bead, mean or centroid.

        Returns:
            (n, P) values for beads, else (n, 1).
        """
        coordinate = Coordinate(
            self.name, self.atoms, structure.pbc, self.to_atoms, self.radius_A or 0.0, self.exponent or EXPONENT
        )
        cell = structure.cell.array if structure.pbc.any() else None
        chosen = positions.mean(axis=1, keepdims=True) if on == "centroid" else positions
        values = coordinate(chosen.reshape(-1, *positions.shape[2:]), cell)[0].reshape(chosen.shape[:2])
        return mean_value(values, self.period)[:, None] if on == "mean" else values


def variable_of(bias: BiasSettings) -> Variable:
    """The variable of a bias."""
    return Variable(bias.variable, bias.atoms, bias.to_atoms, bias.radius_A, bias.exponent)


def read_variable(name: str, atoms: str, structure: Atoms) -> Variable:
    """A variable by its name and indices ``I,J,…`` of its atoms, from 0.

    Raises:
        InputError: Not as many atoms as the variable has, or atoms that the structure does not have.
    """
    n = VARIABLE_KINDS[name].n_atoms
    words = atoms.split(",")
    if not n:
        raise InputError(f"--variable {name}: atoms alone do not define it; it can only be the one of the first bias")
    if not all(word.strip().isdecimal() and int(word) < len(structure) for word in words) or len(set(words)) != n:
        raise InputError(f"--atoms {atoms}: expected {n} different indices from 0 to {len(structure) - 1}: I,J,…")
    return Variable(name, tuple(int(word) for word in words))
