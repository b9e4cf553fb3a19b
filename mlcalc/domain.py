"""Does a structure fit a model? The check at the door, shared by the calculator, the simulations and the client."""

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr

from mlcalc.cells import check_positions
from mlcalc.errors import InputError, note
from mlcalc.pairs import half_pairs, pairs_within

COINCIDENT = 0.1  # Å; no two nuclei of matter at rest come near this
_FEW_ATOMS = 500  # all pairs of a molecule of this size are faster than a search, which would also load torch
# A network interpolates somewhat beyond the distances it was trained on; the nuclear repulsion guards what lies below.
_SLACK_SHORT, _SLACK_LONG = 0.9, 1.15
_SAME_MASS = 0.01  # relative


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
            ``elements``: those that it saw beside others.
    """
    if len(numbers) == 0:
        raise InputError("the structure holds no atoms: expected at least one")
    check_positions(positions)
    check_elements(numbers, elements, domain)
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


def check_elements(numbers, elements, domain, where: str = "") -> None:
    """Raise InputError for elements that a model does not know, or knows as free atoms alone; arguments as in check_structure."""
    prefix = f"{where}: " if where else ""
    present = set(np.unique(numbers).tolist())
    if unknown := sorted(present - set(elements)):
        known = ", ".join(chemical_symbols[z] for z in elements)
        raise InputError(f"{prefix}element {', '.join(chemical_symbols[z] for z in unknown)}: this model knows {known}")
    if len(numbers) > 1 and (lone := sorted(present - set(domain.get("elements", elements)))):
        names = ", ".join(chemical_symbols[z] for z in lone)
        raise InputError(
            f"{prefix}element {names}: this model was trained on it as a free atom alone, never beside others"
        )


def set_bead_masses(atoms, domain, quiet: bool = False) -> None:
    """Give atoms that say no masses those of a coarse-grained model's beads.

    A note says so, or that masses differ from those of the beads, unless ``quiet``.
    """
    masses = domain.get("bead_masses_u", {})
    if not masses:
        return
    beads = np.array([masses.get(symbol, np.nan) for symbol in atoms.symbols])
    listed = ", ".join(f"{symbol} {mass:g} u" for symbol, mass in masses.items())
    if "masses" not in atoms.arrays:
        if not quiet:
            note(f"no masses in the structure: its atoms are the beads of the model ({listed})")
        atoms.set_masses(np.where(np.isfinite(beads), beads, atoms.get_masses()))
    elif not quiet and (np.abs(atoms.get_masses() / beads - 1.0) > _SAME_MASS).any():
        odd = int(np.nanargmax(np.abs(atoms.get_masses() / beads - 1.0)))
        note(
            f"atom {odd} weighs {atoms.get_masses()[odd]:g} u in the structure, which is used; the model's beads weigh {listed}"
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
