"""Energies of atoms by several models: each atom's share of the network and of the priors, without the constant of its element."""

from typing import Any

import numpy as np
from ase import Atoms

from analysis.atoms.values import AtomValues, values_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model
from mlcalc.potential import build_potential, check_fits


def atom_energies(models: dict[str, Model], frames: list[Atoms], source: str, shells: int = 1) -> AtomValues:
    """Energies of all atoms of structures by each model, eV, in float64.

    Args:
        models: By name; source: What the structures are called in messages; shells: of neighbours in environments.

    Raises:
        InputError: A model that does not support a structure, or is a correction to an engine.
    """
    energies = [_energies(name, model, frames, source) for name, model in models.items()]
    return values_of(list(models), energies, frames, shells)


def _energies(name: str, model: Model, frames: list[Atoms], source: str) -> np.ndarray:
    constants = dict(zip(model.config.elements, model.weights["energy_shift"].tolist(), strict=True))
    found: list[np.ndarray] = []
    before: Any = None  # composition and cell of the structure before
    potential: Any = None
    for number, atoms in enumerate(frames, start=1):
        cell, pbc = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)
        try:
            check_fits(model, atoms)
            if kind_of(atoms) != before:  # one network for a trajectory
                before = kind_of(atoms)
                potential = build_potential(model, atoms.numbers, "float64", "torch", cell=cell, pbc=pbc)
        except InputError as error:
            raise InputError(f"{source}: structure {number} with the model {name}: {error}") from error
        energies = potential.evaluate(atoms.positions[None])["atomic_energies"][0]
        if not np.isfinite(energies).all():
            raise InputError(f"{source}: structure {number} with the model {name}: its energies are not finite numbers")
        found.append(energies - [constants[z] for z in atoms.numbers.tolist()])
    return np.concatenate(found)


def kind_of(atoms: Atoms) -> tuple:
    """Equal for structures that one potential serves."""
    return atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes()
