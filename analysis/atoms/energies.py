"""Energies of atoms by several models: each atom's share of the network and of the priors, without the constant of its element."""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import find_bonds
from mlcalc.model import Model
from mlcalc.potential import build_potential, check_fits


class AtomEnergies(NamedTuple):
    """Energies of all atoms of some structures.

    Attributes:
        models: (n_models,) names; energies: (n_models, n) eV.
        frames: (n,) structure of each atom; atoms: (n,) its index there; numbers: (n,) atomic numbers.
        environments: (n,) names as environments gives them.
    """

    models: list[str]
    energies: np.ndarray
    frames: np.ndarray
    atoms: np.ndarray
    numbers: np.ndarray
    environments: np.ndarray

    def deviations(self) -> np.ndarray:
        """(n_models, n) eV, from the mean of all atoms of the same element, in each model."""
        found = np.empty_like(self.energies)
        for z in np.unique(self.numbers):
            rows = self.numbers == z
            found[:, rows] = self.energies[:, rows] - self.energies[:, rows].mean(axis=1, keepdims=True)
        return found


def environments(atoms: Atoms) -> list[str]:
    """Of each atom its element and those of its bonded neighbours, sorted: ``C(C,C,H,H)``; ``C`` where it has none.

    Bonds are those of mlcalc.geometry.bonds, by distance, so that one stretched by a quarter is none.
    """
    bonds, symbols = find_bonds(atoms), atoms.get_chemical_symbols()
    around: list[list[str]] = [[] for _ in symbols]
    for i, j in zip(bonds.first.tolist(), bonds.second.tolist(), strict=True):
        around[i].append(symbols[j])
        around[j].append(symbols[i])
    return [
        f"{symbol}({','.join(sorted(near))})" if near else symbol for symbol, near in zip(symbols, around, strict=True)
    ]


def atom_energies(models: dict[str, Model], frames: list[Atoms], source: str) -> AtomEnergies:
    """Energies of all atoms of structures by each model, in float64.

    Args:
        models: By name; source: What the structures are called in messages.

    Raises:
        InputError: A model that does not support a structure, or is a correction to an engine.
    """
    return AtomEnergies(
        models=list(models),
        energies=np.array([_energies(name, model, frames, source) for name, model in models.items()]),
        frames=np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames]),
        atoms=np.concatenate([np.arange(len(atoms)) for atoms in frames]),
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        environments=np.array([name for atoms in frames for name in environments(atoms)]),
    )


def _energies(name: str, model: Model, frames: list[Atoms], source: str) -> np.ndarray:
    constants = dict(zip(model.config.elements, model.weights["energy_shift"].tolist(), strict=True))
    found: list[np.ndarray] = []
    before: Any = None  # composition and cell of the structure before
    potential: Any = None
    for number, atoms in enumerate(frames, start=1):
        cell, pbc = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)
        try:
            check_fits(model, atoms)
            if _key(atoms) != before:  # one network for a trajectory
                before = _key(atoms)
                potential = build_potential(model, atoms.numbers, "float64", "torch", cell=cell, pbc=pbc)
        except InputError as error:
            raise InputError(f"{source}: structure {number} with the model {name}: {error}") from error
        energies = potential.evaluate(atoms.positions[None])["atomic_energies"][0]
        if not np.isfinite(energies).all():
            raise InputError(f"{source}: structure {number} with the model {name}: its energies are not finite numbers")
        found.append(energies - [constants[z] for z in atoms.numbers.tolist()])
    return np.concatenate(found)


def _key(atoms: Atoms) -> tuple:
    return atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes()


def elements_of(found: AtomEnergies) -> dict[int, str]:
    """Symbols by atomic number, ascending."""
    return {int(z): chemical_symbols[z] for z in np.unique(found.numbers)}
