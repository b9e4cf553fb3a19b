"""Values of atoms by several models, such as energies and charges, with the environments of the atoms."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlcalc.geometry.bonds import find_bonds


class AtomValues(NamedTuple):
    """Values of all atoms of some structures.

    Attributes:
        models: (n_models,) names; values: (n_models, n) in one unit.
        frames: (n,) structure of each atom; atoms: (n,) its index there; numbers: (n,) atomic numbers.
        environments: (n,) names as environments gives them.
    """

    models: list[str]
    values: np.ndarray
    frames: np.ndarray
    atoms: np.ndarray
    numbers: np.ndarray
    environments: np.ndarray

    def deviations(self) -> np.ndarray:
        """(n_models, n), from the mean of all atoms of the same element, in each model."""
        found = np.empty_like(self.values)
        for z in np.unique(self.numbers):
            rows = self.numbers == z
            found[:, rows] = self.values[:, rows] - self.values[:, rows].mean(axis=1, keepdims=True)
        return found


def values_of(models: list[str], values: list[np.ndarray], frames: list[Atoms], shells: int = 1) -> AtomValues:
    """The values (n,) by each model of the atoms of these structures, one structure after the other; shells of environments."""
    return AtomValues(
        models=models,
        values=np.array(values),
        frames=np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames]),
        atoms=np.concatenate([np.arange(len(atoms)) for atoms in frames]),
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        environments=np.array([name for atoms in frames for name in environments(atoms, shells)]),
    )


def environments(atoms: Atoms, shells: int = 1) -> list[str]:
    """Of each atom its element and, sorted, those of its bonded neighbours: ``C(C,C,H,H)``; ``C`` where it has none.

    Of two shells, neighbours with theirs, which tells functional groups apart: ``O(C(C,H))`` in an aldehyde, ``O(C(C,N))`` in an
    amide. Bonds are those of mlcalc.geometry.bonds, by distance, so that one stretched by a quarter is none.
    """
    bonds, symbols = find_bonds(atoms), atoms.get_chemical_symbols()
    around: list[list[int]] = [[] for _ in symbols]
    for i, j in zip(bonds.first.tolist(), bonds.second.tolist(), strict=True):
        around[i].append(j)
        around[j].append(i)

    def name(atom: int, shells: int, before: int | None = None) -> str:
        others = around[atom].copy() if shells else []
        if before in others:
            others.remove(before)  # once: other bonds may lead to its images
        beyond = [name(other, shells - 1, atom) for other in others]
        return f"{symbols[atom]}({','.join(sorted(beyond))})" if beyond else symbols[atom]

    return [name(atom, shells) for atom in range(len(symbols))]


def elements_of(found: AtomValues) -> dict[int, str]:
    """Symbols by atomic number, ascending."""
    return {int(z): chemical_symbols[z] for z in np.unique(found.numbers)}
