"""Does a structure fit a model? The check at the door, shared by the calculator, the simulations and the client."""

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr

from mlcalc.errors import InputError
from mlcalc.pairs import half_pairs, pairs_within

COINCIDENT = 0.1  # Å; no two nuclei of matter at rest come near this
_FEW_ATOMS = 500  # all pairs of a molecule of this size are faster than a search, which would also load torch
# A network interpolates somewhat beyond the distances it was trained on; the nuclear repulsion guards what lies below.
_SLACK_SHORT, _SLACK_LONG = 0.9, 1.15


def shortest_allowed(domain) -> float:
    """Å, the smallest distance that a model with this training domain may be asked for."""
    return domain["min_distance_A"] * _SLACK_SHORT if domain.get("min_distance_A") else COINCIDENT


def check_structure(numbers, positions, cell, pbc, elements, domain) -> None:
    """Raise InputError unless a model with these elements and this training domain can say something about a structure.

    Args:
        numbers: (N,) atomic numbers; positions: (N, 3) Å; cell: (3, 3) Å; pbc: three booleans.
        elements: Atomic numbers that the model knows.
        domain: ``min_distance_A`` and ``max_nearest_distance_A`` of the training set, as far as recorded. Distances may
            lie 10 % below the one and 15 % above the other; a whole structure off by 0.529 is named as Bohr against Å.
    """
    if len(numbers) == 0:
        raise InputError("the structure holds no atoms: expected at least one")
    bad = ~np.isfinite(positions).all(axis=1)
    if bad.any():
        raise InputError(f"positions of atom(s) {np.flatnonzero(bad)[:5].tolist()} are NaN or infinite")
    unknown = sorted({int(z) for z in numbers} - set(elements))
    if unknown:
        known = ", ".join(chemical_symbols[z] for z in elements)
        raise InputError(f"element {', '.join(chemical_symbols[z] for z in unknown)}: this model knows {known}")
    nearest, pair = nearest_distances(positions, cell, pbc)
    if not np.isfinite(nearest).any():
        return  # nobody has a neighbour
    smallest = nearest.min()
    if smallest < COINCIDENT:
        raise InputError(f"atoms {pair[0]} and {pair[1]} are {smallest:.4f} Å apart: they coincide")
    shortest, longest = domain.get("min_distance_A"), domain.get("max_nearest_distance_A")
    typical = float(np.median(nearest[np.isfinite(nearest)]))
    if shortest and longest:
        for factor, meaning in ((Bohr, "positions in Bohr, read as Å"), (1 / Bohr, "positions in Å, converted twice")):
            outside = not shortest * _SLACK_SHORT <= typical <= longest * _SLACK_LONG
            if outside and shortest <= typical * factor <= longest:
                raise InputError(
                    f"the typical nearest-neighbour distance is {typical:.3f} Å, the model was trained on {shortest:.3f} to "
                    f"{longest:.3f} Å; times {factor:.4f} it would fit: {meaning}?"
                )
    if shortest and smallest < shortest_allowed(domain):
        raise InputError(
            f"atoms {pair[0]} and {pair[1]} are {smallest:.3f} Å apart, closer than anything this model was trained on "
            f"(smallest distance {shortest:.3f} Å, allowed from {shortest_allowed(domain):.3f} Å)"
        )


def nearest_distances(positions, cell, pbc) -> tuple[np.ndarray, tuple[int, int]]:
    """(N,) Å distance of each atom to its nearest neighbour (infinite without one), and the closest pair."""
    periodic = pbc is not None and np.any(pbc)
    nearest = np.full(len(positions), np.inf)
    if periodic or len(positions) > _FEW_ATOMS:
        # Nothing within 5 Å is as good as no neighbour for a check of units and collisions.
        pairs = pairs_within(positions, 5.0, cell if periodic else np.zeros((3, 3)), pbc if periodic else False)
    else:
        pairs = half_pairs(positions, None)
    if len(pairs.first) == 0:
        return nearest, (0, 0)
    distance = np.linalg.norm(positions[pairs.second] - positions[pairs.first] + pairs.shift, axis=1)
    np.minimum.at(nearest, pairs.first, distance)
    np.minimum.at(nearest, pairs.second, distance)
    closest = int(distance.argmin())
    return nearest, (int(pairs.first[closest]), int(pairs.second[closest]))
