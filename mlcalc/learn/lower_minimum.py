"""Whether explorations found a minimum below the one that learning started from.

The rule: of all structures visited, the eight that differ most from each other are relaxed with the network. If the lowest of
them is more than 10 meV below the start by the network and, relaxed again, by the engine, it is reported. That voids no error
measured about the start; but motion long enough ends in the lower minimum, which should be learnt from.
"""

from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlcalc.data.relaxation import relax, with_results
from mlcalc.geometry.bonds import find_bonds
from mlcalc.geometry.diversity import farthest_first, fingerprints

BELOW_EV = 0.010  # under half of k_BT at 300 K: lower minima that are nearer hardly change what is populated
_RELAXED = 8
_FORCE_EV_A, _STEPS = 0.02, 500  # of a relaxation, which may fail where a network knows nothing
_LEAST_A = 0.01


class Lower(NamedTuple):
    """A minimum below the start.

    Attributes:
        atoms: Relaxed with the engine, with energy and forces.
        below_eV: By how much.
        other_bonds: Whether its bonds differ: an isomer or fragments, no conformer.
    """

    atoms: Atoms
    below_eV: float
    other_bonds: bool


def lower_minimum(start: Atoms, visited: list[Atoms], network: Calculator, engine: Calculator) -> Lower | None:
    """The lowest minimum that the rule of this module finds; None if it is not below the start, a minimum of the engine.

    Args:
        visited: Molecules of the composition and order of atoms of the start.
    """
    if not visited:
        return None
    positions = np.array([atoms.positions for atoms in visited])
    chosen = islice(farthest_first(fingerprints(positions), 0, _LEAST_A), _RELAXED)
    reference = _relaxed(start, start.positions, network)
    found = [atoms for k in chosen if (atoms := _relaxed(start, positions[k], network))]
    if reference is None or not found:
        return None
    lowest = min(found, key=Atoms.get_potential_energy)
    if lowest.get_potential_energy() > reference.get_potential_energy() - BELOW_EV:
        return None
    confirmed, own = (_relaxed(start, place, engine) for place in (lowest.positions, start.positions))
    if confirmed is None or own is None:
        return None
    below = own.get_potential_energy() - confirmed.get_potential_energy()
    return Lower(confirmed, float(below), _bonds(confirmed) != _bonds(start)) if below > BELOW_EV else None


def _relaxed(start: Atoms, positions: np.ndarray, calculator: Calculator) -> Atoms | None:
    """The atoms of the start, relaxed from these positions, with a calculator of their own results; None if that fails."""
    atoms = start.copy()
    atoms.positions = positions
    with suppress(Exception):  # an engine may raise anything, such as where it does not converge
        return with_results(relax(atoms, calculator, _FORCE_EV_A, _STEPS), "")
    return None


def _bonds(atoms: Atoms) -> set[tuple[int, int]]:
    bonds = find_bonds(atoms)
    return set(zip(bonds.first.tolist(), bonds.second.tolist(), strict=True))
