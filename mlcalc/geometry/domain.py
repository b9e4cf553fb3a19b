"""Whether a structure fits a model: the check that the calculator, the simulations and the client share."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.units import Bohr

from mlcalc.common.errors import InputError, note
from mlcalc.geometry.cells import check_positions
from mlcalc.geometry.pairs import half_pairs, pairs_within

COINCIDENT = 0.1  # Å; no two nuclei of matter at rest come near this
CLOSEST = 0.5  # of the sum of covalent radii
_FEW_ATOMS = 500  # all pairs of a molecule of this size are faster than a search, which would also load torch
# A network extrapolates a little beyond the distances of its training; the nuclear repulsion guards those far below.
_SLACK_SHORT, _SLACK_LONG = 0.9, 1.15
# Of pairs with hydrogen. A training set of n structures reaches some √(2 ln n) = 4 standard deviations σ into the tail of a
# distance, a run of 10⁸ beads six. For heavy atoms (σ/r = 0.04) that is 0.9 of the shortest distance, for hydrogen, whose
# zero-point motion is twice as wide (0.075), 0.75: a healthy run of 100 ps with 32 beads then stops with a probability of 1 %.
_SLACK_HYDROGEN = 0.75
_SAME_MASS = 0.01  # relative


class ClosestPair(NamedTuple):
    """The pair of one configuration, or of several replicas, that is nearest to its limit, or farthest below it.

    Attributes:
        smallest: Å, smallest distance of any two atoms; infinite where there are none within the cutoff.
        distance, limit: Å, of the pair; its distance is infinite where no pair is below the largest of the limits.
        replica, first, second: Which pair it is.
    """

    smallest: float
    distance: float = np.inf
    limit: float = 0.0
    replica: int = 0
    first: int = 0
    second: int = 0


def closest_of(distances: Sequence[tuple[np.ndarray, ...]], species: np.ndarray, limits: np.ndarray) -> ClosestPair:
    """The ClosestPair of replicas.

    Args:
        distances: For every replica the (n,) first and second atoms of its pairs and their distances, Å.
        species: (N,) row of each atom in the limits, (E, E) Å.
    """
    smallest = float(min((distance.min(initial=np.inf) for _, _, distance in distances), default=np.inf))
    found, lowest = ClosestPair(smallest), np.inf
    for replica, (first, second, distance) in enumerate(distances):
        allowed = limits[species[first], species[second]]
        ratios = distance / allowed
        if ratios.min(initial=np.inf) < lowest:
            pair = int(ratios.argmin())
            lowest = ratios[pair]
            which = float(distance[pair]), float(allowed[pair]), replica, int(first[pair]), int(second[pair])
            found = ClosestPair(smallest, *which)
    return found


def physical_limits(elements: Sequence[int] | np.ndarray) -> np.ndarray:
    """(E, E) Å, half the sum of the covalent radii (ase.data) of elements: no atoms come nearer at any temperature of interest."""
    radii = covalent_radii[np.asarray(elements)]
    return CLOSEST * np.add.outer(radii, radii)


def shortest_allowed(domain) -> float:
    """Å, the smallest distance at which a model with this training domain may be evaluated, whatever the elements."""
    return domain["min_distance_A"] * _SLACK_SHORT if domain.get("min_distance_A") else COINCIDENT


def pair_name(first: int, second: int) -> str:
    """Two elements, by atomic numbers, as keys of ``min_distances_A``: "C-H"."""
    return "-".join(sorted((chemical_symbols[first], chemical_symbols[second])))


def pair_limits(domain, elements: Sequence[int]) -> np.ndarray:
    """(n, n) Å, smallest distances at which a model may be evaluated, by pair of elements (atomic numbers, in this order).

    Pairs absent from the training set, and all pairs of models that do not record them, have that of shortest_allowed.
    """
    known = tuple(domain.get("min_distances_A", {}).items())
    return _pair_limits(known, shortest_allowed(domain), tuple(elements), "bead_masses_u" in domain)


@lru_cache(maxsize=64)
def _pair_limits(known: tuple, general: float, elements: tuple[int, ...], beads: bool) -> np.ndarray:
    limits = np.full((len(elements),) * 2, general)
    for (row, a), (column, b) in product(enumerate(elements), repeat=2):
        if distance := dict(known).get(pair_name(a, b)):
            limits[row, column] = distance * (_SLACK_HYDROGEN if 1 in (a, b) and not beads else _SLACK_SHORT)
    limits.setflags(write=False)
    return limits


def check_structure(numbers, positions, cell, pbc, elements, domain) -> None:
    """Raise InputError unless a structure lies within the elements and the training domain of a model.

    Args:
        numbers: (N,) atomic numbers; positions: (N, 3) Å; cell: (3, 3) Å; pbc: three booleans.
        elements: Atomic numbers of the model's elements.
        domain: ``min_distance_A`` and ``max_nearest_distance_A`` of the training set, as far as recorded, and
            ``min_distances_A`` by pair of elements. Distances may lie 10 % below the former (25 % for pairs with hydrogen)
            and 15 % above the latter; distances all off by a factor 0.529 are reported as Bohr against Å. ``elements``: those
            with neighbours in training; ``free_elements``: those of atoms without any neighbour in training.
    """
    if len(numbers) == 0:
        raise InputError("the structure holds no atoms: expected at least one")
    check_positions(positions)
    check_elements(numbers, elements, domain)
    first, second, distance = near_pairs(positions, cell, pbc)
    if not len(distance):
        _check_free(numbers, domain)
        return
    closest = int(distance.argmin())
    if distance[closest] < COINCIDENT:
        raise InputError(
            f"atoms {first[closest]} and {second[closest]} are {distance[closest]:.4f} Å apart: they coincide"
        )
    _check_unit(_nearest(first, second, distance, len(positions)), domain)
    _check_short(numbers, (first, second, distance), domain)


def _check_unit(nearest: np.ndarray, domain) -> None:
    """Raise InputError where distances (N,) Å to nearest neighbours would fit if they were in Bohr or converted twice."""
    shortest, longest = domain.get("min_distance_A"), domain.get("max_nearest_distance_A")
    if not (shortest and longest):
        return
    typical = float(np.median(nearest[np.isfinite(nearest)]))
    for factor, meaning in ((Bohr, "positions in Bohr, read as Å"), (1 / Bohr, "positions in Å, converted twice")):
        outside = not shortest * _SLACK_SHORT <= typical <= longest * _SLACK_LONG
        if outside and shortest <= typical * factor <= longest:
            raise InputError(
                f"the typical nearest-neighbour distance is {typical:.3f} Å, the model was trained on {shortest:.3f} to "
                f"{longest:.3f} Å; times {factor:.4f} it would fit: {meaning}?"
            )


def _check_short(numbers, pairs: tuple, domain) -> None:
    """Raise InputError where a pair (first, second, distance) of atoms is below its limit."""
    if not (domain.get("min_distance_A") or domain.get("min_distances_A")):
        return
    first, second, distance = pairs
    if "min_distances_A" in domain:
        present, species = np.unique(numbers, return_inverse=True)
        limits = pair_limits(domain, present.tolist())[species[first], species[second]]
    else:
        limits = np.full(len(distance), shortest_allowed(domain))
    worst = int((distance / limits).argmin())
    if distance[worst] >= limits[worst]:
        return
    i, j = int(first[worst]), int(second[worst])
    name = pair_name(numbers[i], numbers[j])
    of_pair = domain.get("min_distances_A", {}).get(name)
    known = (
        f"smallest distance of {name} {of_pair:.3f} Å"
        if of_pair
        else f"smallest distance {domain['min_distance_A']:.3f} Å"
    )
    raise InputError(
        f"atoms {i} and {j} are {distance[worst]:.3f} Å apart, closer than anything this model was trained on "
        f"({known}, allowed from {limits[worst]:.3f} Å)"
    )


def _check_free(numbers, domain) -> None:
    """Raise InputError for atoms without a neighbour, if the training set has their elements only with neighbours."""
    free = {*domain.get("free_elements", ()), *domain.get("lone_elements", ())}
    if domain.get("max_nearest_distance_A") and (unknown := sorted(set(np.unique(numbers).tolist()) - free)):
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(
            f"atoms without any neighbour ({names}): this model was trained on neighbours up to "
            f"{domain['max_nearest_distance_A']:.3f} Å apart and on no free atom of {names}"
        )


def check_elements(numbers, elements, domain, where: str = "") -> None:
    """Raise InputError for elements that a model lacks, or has only as free atoms; arguments as in check_structure."""
    prefix = f"{where}: " if where else ""
    present = set(np.unique(numbers).tolist())
    if unknown := sorted(present - set(elements)):
        known = ", ".join(chemical_symbols[z] for z in elements)
        raise InputError(f"{prefix}element {', '.join(chemical_symbols[z] for z in unknown)}: this model knows {known}")
    if len(numbers) > 1 and (lone := sorted(present - set(domain.get("elements", elements)))):
        names = ", ".join(chemical_symbols[z] for z in lone)
        raise InputError(
            f"{prefix}element {names}: this model was trained on it only as a free atom, never with neighbours"
        )


def set_bead_masses(atoms, domain, quiet: bool = False) -> None:
    """Give atoms without masses those of a coarse-grained model's beads.

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
    first, second, distance = near_pairs(positions, cell, pbc)
    closest = int(distance.argmin()) if len(distance) else None
    pair = (0, 0) if closest is None else (int(first[closest]), int(second[closest]))
    return _nearest(first, second, distance, len(positions)), pair


def _nearest(first, second, distance, n_atoms: int) -> np.ndarray:
    nearest = np.full(n_atoms, np.inf)
    np.minimum.at(nearest, first, distance)
    np.minimum.at(nearest, second, distance)
    return nearest


def near_pairs(positions, cell, pbc) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) first and second atom of pairs, and their distance in Å; all pairs of few atoms, otherwise those within 5 Å."""
    periodic = pbc is not None and np.any(pbc)
    if periodic or len(positions) > _FEW_ATOMS:
        # For a check of units and collisions, an atom with nothing within 5 Å has no neighbour.
        pairs = pairs_within(positions, 5.0, cell if periodic else np.zeros((3, 3)), pbc if periodic else False)
    else:
        pairs = half_pairs(positions, None)
    vectors = positions[pairs.second] - positions[pairs.first] + pairs.shift
    return pairs.first, pairs.second, np.linalg.norm(vectors, axis=1)
