"""Types of the beads along the chain that a prior of chains belongs to, and structures that are another chain.

Terms go by the places of beads. Beads in another order, such as those of a chain that is read from its other end, would have the
terms of other beads. Single types can be exchanged: mutants keep the terms of the original.
"""

import numpy as np
from ase.data import chemical_symbols

from mlcalc.common.errors import InputError
from mlcalc.structures.residue_types import C_TERMINUS, N_TERMINUS, name_of_type

_LARGEST = len(chemical_symbols) - 1


def check_chain_types(name: str, chain_types: tuple[int, ...] | None, n_beads: int) -> None:
    """Raise InputError unless types of a chain are unknown (None), or atomic numbers, one for each of its beads."""
    if chain_types is None:
        return
    if len(chain_types) != n_beads:
        raise InputError(f"{name}: chain_types of {len(chain_types)} beads: expected one for each of {n_beads}")
    if wrong := [number for number in chain_types if not 1 <= number <= _LARGEST]:
        raise InputError(f"{name}: chain_types: {wrong[0]}: expected whole numbers from 1 to {_LARGEST}")


def check_same_chain(name: str, chain_types: tuple[int, ...], numbers: np.ndarray) -> None:
    """Raise InputError for copies of a chain that is another one, by its types (n_copies · n_beads,).

    It is another chain where more than half of its types differ, or one at an end. A single residue may be exchanged there too.
    """
    n_beads = len(chain_types)
    for start in range(0, len(numbers), n_beads):
        found = numbers[start : start + n_beads]
        places = np.flatnonzero(found != np.array(chain_types))
        if 2 * len(places) > n_beads or _differ_at_an_end(places, found, chain_types):
            first = int(places[0])
            raise InputError(
                f"{name}: {len(places)} of {n_beads} beads have other types than in the chain of the prior; the first is bead "
                f"{start + first + 1}, {_named(found[first])}: expected {_named(chain_types[first])}; is the order of beads that "
                "along the chain?"
            )


def _differ_at_an_end(places: np.ndarray, found: np.ndarray, chain_types: tuple[int, ...]) -> bool:
    ends = {0, len(chain_types) - 1} & set(places.tolist())
    types = {int(z) for end in ends for z in (found[end], chain_types[end])}
    return bool(ends) and (len(places) > 1 or not types.isdisjoint((N_TERMINUS, C_TERMINUS)))


def _named(number: int) -> str:
    return f"{name_of_type(int(number))} (type {number})"
