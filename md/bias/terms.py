"""From the ``[[bias]]`` tables of an input and a structure to the terms of a biased potential."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from md.bias.biased import BiasedPotential, Term
from md.bias.laws import Law, Metadynamics, Umbrella, Wall
from md.bias.settings import BiasSettings
from md.bias.variables import Coordinate
from mlcalc.common.errors import InputError

EXPONENT = 6  # n of the switching function of a coordination number, unless a table says another


def check_atoms(biases: Sequence[BiasSettings], atoms: Atoms, moving: np.ndarray, source: str) -> None:
    """Raise InputError if a variable is of atoms that a structure does not have, or does not move; ``source`` is named."""
    for bias in biases:
        indices = [*bias.atoms, *bias.to_atoms]
        what = f"bias on the {bias.variable} of atoms {indices}"
        if missing := [index for index in indices if not 0 <= index < len(atoms)]:
            raise InputError(f"{what}: {source} has no atom {missing[0]}; expected 0 to {len(atoms) - 1}")
        if held := [index for index in indices if index not in moving]:
            raise InputError(f"{what}: a constraint of {source} holds atom {held[0]}; expected atoms that move")


def biased(
    potential: Any, biases: Sequence[BiasSettings], pbc: Sequence[bool], moving: np.ndarray, temperature_K: float
) -> BiasedPotential:
    """A potential of moving atoms with biases, without hills yet.

    Args:
        potential: As potential.Potential; biases: checked by check_atoms.
        pbc: Periodic directions of the structure; moving: (n,) indices of the atoms of the potential in it.
    """
    terms = [Term(coordinate_of(bias, pbc, moving), bias.on, law_of(bias, temperature_K)) for bias in biases]
    return BiasedPotential(potential, terms)


def coordinate_of(bias: BiasSettings, pbc: Sequence[bool], moving: np.ndarray) -> Coordinate:
    """The variable of a bias for positions of the moving atoms, given by their indices (n,) in the structure, in order."""
    atoms, to_atoms = (np.searchsorted(moving, group).tolist() for group in (bias.atoms, bias.to_atoms))
    return Coordinate(bias.variable, atoms, pbc, to_atoms, bias.radius_A or 0.0, bias.exponent or EXPONENT)


def law_of(bias: BiasSettings, temperature_K: float) -> Law:
    """W(ξ) of a bias, without hills yet."""
    if bias.kind == "metadynamics":
        return Metadynamics(bias.height_eV, bias.width, bias.bias_factor, temperature_K, bias.row.period)
    if bias.kind == "harmonic":
        return Umbrella(bias.at, bias.force_constant, bias.row.period)
    return Wall(bias.at, bias.force_constant, -1 if bias.kind == "lower" else 1)
