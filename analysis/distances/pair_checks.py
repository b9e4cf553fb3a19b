"""Checks behind mean distances: atoms that changed partners, motion too slow for the run, equivalent pairs that differ."""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.distances.pair_distances import Moments, PairMeans
from analysis.distances.slow_motion import SHORT, correlation_times
from analysis.structure.bond_names import bond_groups, bond_name, pair_name
from analysis.structure.equivalence import SIGNIFICANT, Likeness, Scatter, alike_at_start, scatter
from analysis.structure.exchange import Exchange
from analysis.structure.molecules import bonded_pairs, molecule_of
from mlcalc.geometry.minimum_image import lattice_of

SWAP = " ⇄ "
_FEW_CHANGES = 10
_SWAPPED_SIGNIFICANT = 0.01  # after exchanges, differing pairs and too small errors are expected
_LINES = 8  # of one kind
Pair = tuple[int, int]


class Likes(NamedTuple):
    """Pairs of a start structure with equal mean distances in a long run.

    Attributes:
        sets: Lists of equivalent pairs.
        exchanged: Bonds that changed partners, and the pairs that replaced them.
        swapped: These, and the pairs that only exchanges make equivalent: their distances have several wells.
    """

    sets: list[list[Pair]]
    exchanged: set[Pair]
    swapped: set[Pair]

    def several_wells(self, group: np.ndarray) -> bool:
        """Whether a group of pairs (n, 2) holds an exchanged bond, or only some of the pairs that exchanges make equivalent."""
        inside = set(as_pairs(group))
        torn = (
            pair
            for alike in self.sets
            if self.swapped.issuperset(alike) and not inside.issuperset(alike)
            for pair in alike
        )
        return bool(inside & (self.exchanged | set(torn)))


def as_pairs(group: np.ndarray) -> list[Pair]:
    """Atoms of pairs (n, 2) in ascending order."""
    return [(min(i, j), max(i, j)) for i, j in group.tolist()]


def find_alike(structure: Atoms, groups: dict[str, np.ndarray], exchanges: list[Exchange]) -> Likes:
    """Find the equivalent pairs among the followed ones and those that replaced them.

    Uses the graph of all bonds of the start and of those formed by exchanges; without exchanges, also the surroundings at the
    start, since a graph does not distinguish cis from trans. None if the structure is not one molecule.
    """
    molecule = molecule_of(structure)
    partners = {e.partner for e in exchanges if e.partner}
    pairs = sorted({pair for group in groups.values() for pair in as_pairs(group)} | partners)
    exchanged = {e.pair for e in exchanges if e.partner} | partners
    if molecule is None:
        return Likes([], exchanged, exchanged)
    start = bonded_pairs(structure)
    before = Likeness(structure, start)
    after = Likeness(structure, np.array(sorted({*as_pairs(start), *partners}))) if partners else before
    whole = molecule.whole(structure.positions, lattice_of(structure.cell.array, structure.pbc))
    distances = np.linalg.norm(whole[:, None] - whole, axis=-1)
    sets: dict[tuple, list[Pair]] = {}
    for pair in pairs:
        sets.setdefault(after.key(pair), []).append(pair)
    found, swapped = [], set(exchanged)
    for members in sets.values():
        if len({before.key(pair) for pair in members}) > 1:
            found.append(members)
            swapped |= set(members)
            continue
        numbers = alike_at_start(structure.numbers, distances, members)
        found += [[p for p, n in zip(members, numbers, strict=True) if n == number] for number in set(numbers)]
    return Likes([members for members in found if len(members) > 1], exchanged, swapped)


def joined_groups(structure: Atoms, groups: dict[str, np.ndarray], likes: Likes) -> dict[str, np.ndarray]:
    """Groups of equivalent swapped pairs that are not in one group yet, named ``C–O ⇄ C=O``."""
    symbols, joined = structure.get_chemical_symbols(), {}
    known = {p: name for name, bonds in bond_groups(structure).items() if name != "bonds" for p in as_pairs(bonds)}
    for alike in likes.sets:
        together = any(set(as_pairs(group)).issuperset(alike) for group in groups.values())
        if together or not likes.swapped.issuperset(alike):
            continue
        names = {known.get((i, j), bond_name(symbols[i], symbols[j])) for i, j in alike}
        name = SWAP.join(sorted(names) * (1 if len(names) > 1 else 2))
        name += f" of {pair_name(symbols, alike[0])}" if name in joined else ""
        joined[name] = np.array(alike)
    return joined


def scatters(likes: Likes, groups: dict[str, np.ndarray], means: dict[str, PairMeans]) -> list[Scatter]:
    """The scatter of each set of equivalent pairs, from the means of one kind of position."""
    known: dict[Pair, tuple[float, float]] = {}
    for name, group in groups.items():
        known |= dict(zip(as_pairs(group), zip(*means[name], strict=True), strict=True))
    result = []
    for alike in likes.sets:
        if len(followed := [pair for pair in alike if pair in known]) > 1:
            swapped = likes.swapped.issuperset(alike)
            values, errors = np.array([known[pair] for pair in followed]).T
            significant = _SWAPPED_SIGNIFICANT if swapped else SIGNIFICANT
            result.append(scatter(np.array(followed), values, errors, significant))
    return result


def widened(moments: Moments, group: np.ndarray, found: list[Scatter]) -> Moments:
    """Moments whose mean has the error that follows from the scatter of pairs equivalent to those of the group."""
    inside = set(as_pairs(group))
    factor = max((s.factor for s in found if inside.intersection(as_pairs(s.pairs))), default=1.0)
    return moments._replace(mean=moments.mean._replace(error=factor * moments.mean.error))


def exchange_lines(structure: Atoms, exchanges: list[Exchange], likes: Likes) -> list[str]:
    """One sentence for each bond that did not persist, the longest absent first."""
    symbols, lines = structure.get_chemical_symbols(), []
    for item in sorted(exchanges, key=lambda item: -item.share - item.broken):
        name = pair_name(symbols, item.pair)
        if item.partner is None:
            lines.append(f"{name} is broken in {item.broken:.2%} of the frames, without another partner")
            continue
        alike = any({item.pair, item.partner} <= set(members) for members in likes.sets)
        partner = pair_name(symbols, item.partner) + (", an equivalent pair," if alike else "")
        few = "" if item.changes >= _FEW_CHANGES else ", too few to trust their mean"
        lines.append(
            f"{name} exchanged with {partner} in {item.share:.1%} of the frames "
            f"(beads {item.bead_share:.1%}), {item.changes} changes{few}: distances marked * have two wells"
        )
    return _shortened(lines, "bonds that did not persist")


def slow_line(titles: dict[str, str], moments: dict[tuple[str, str], Moments], length_ps: float) -> list[str]:
    """A sentence on the groups whose distances move too slowly for the length of the run; empty if there are none."""
    numbers = {title: min(map(correlation_times, moments[name, "beads"])) for name, title in titles.items()}
    slow = {title: f"{length_ps / number:.2g}" for title, number in numbers.items() if number < SHORT}
    if not slow:
        return []
    times, errors = ("correlation time", "the error is a lower bound")
    if len(slow) > 1:
        times, errors = ("correlation times", "the errors are lower bounds")
    return [f"{', '.join(slow)}: {times} {', '.join(slow.values())} ps, run of {length_ps:.3g} ps: {errors}"]


def scatter_lines(structure: Atoms, found: list[Scatter]) -> list[str]:
    """One sentence for each set of equivalent pairs that differ by more than their errors."""
    symbols = structure.get_chemical_symbols()
    lines = [
        f"{len(s.pairs)} equivalent pairs like {pair_name(symbols, as_pairs(s.pairs)[0])} have means of {s.low:.3f} to "
        f"{s.high:.3f} Å, too far apart for errors of {s.claimed:.2g} Å: errors of means over them are multiplied by {s.factor:.1f}"
        for s in sorted(found, key=lambda s: -s.factor)
        if s.factor > 1.0
    ]
    return _shortened(lines, "sets of equivalent pairs like these")


def _shortened(lines: list[str], what: str) -> list[str]:
    return lines if len(lines) <= _LINES else [*lines[:_LINES], f"… and {len(lines) - _LINES} more {what}"]
