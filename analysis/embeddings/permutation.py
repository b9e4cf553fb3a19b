"""Permutation tests of "elements of one class are nearer to each other than to others".

With distances d_ij and a label for each element, the statistic is

    T = ⟨d_ij⟩ over pairs of one label − ⟨d_ij⟩ over pairs of two labels

If labels meant nothing to the distances, all ways to hand them out to the elements would be equally likely. p is the share of
these that give a T as low as the one found, or lower. All ways are counted where they are few; otherwise random ones, and the way
found counts as one of them: then p is never zero, and the test does not reject more often than it says.

Sources: Mantel, Cancer Res. 27, 209 (1967), here with a matrix of classes; Phipson, Smyth, Stat. Appl. Genet. Mol. Biol. 9, 39
(2010), doi:10.2202/1544-6115.1585.
"""

import math
from collections.abc import Iterator
from itertools import chain, combinations, islice
from typing import NamedTuple

import numpy as np

MOST_ARRANGEMENTS = 20_000  # that are counted one by one
_AT_ONCE = 1_000  # arrangements; of 100 elements 5 million pairs
_ROUNDING = 1e-9  # of the distances: equal arrangements are summed in different orders


class Separation(NamedTuple):
    """Result of a test.

    Attributes:
        pairs: Number of pairs with one label.
        same, other: Mean distance of pairs with one label and with two.
        p: Share of arrangements of the labels whose statistic is as low; arrangements: how many were made.
        exact: Whether these are all there are.
    """

    pairs: int
    same: float
    other: float
    p: float
    arrangements: int
    exact: bool

    @property
    def statistic(self) -> float:
        """T, negative where elements of one class are nearer."""
        return self.same - self.other


def separation(
    distances: np.ndarray, labels: np.ndarray, rng: np.random.Generator, samples: int, most: int = MOST_ARRANGEMENTS
) -> Separation | None:
    """Test distances (n, n) between elements of labels (n,); None where no two labels are equal, or all.

    Args:
        samples: Random arrangements; most: count all arrangements one by one if there are no more than these.
    """
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) == 1 or counts.max() == 1:
        return None
    first, second = np.triu_indices(len(labels), 1)
    d = distances[first, second]
    same = labels[first] == labels[second]
    found = d[same].mean(), d[~same].mean()
    exact = count_arrangements(counts.tolist()) <= most
    rows = all_arrangements(counts.tolist()) if exact else (rng.permutation(labels) for _ in range(samples))
    lowest = (
        d[same].sum() + _ROUNDING * d.sum()
    )  # T grows with the sum over pairs of one label, of which there are always as many
    as_low, total = 0, 0
    while chunk := list(islice(rows, _AT_ONCE)):
        table = np.array(chunk)
        as_low += int(((table[:, first] == table[:, second]) @ d <= lowest).sum())
        total += len(chunk)
    p = as_low / total if exact else (1 + as_low) / (1 + total)
    return Separation(int(same.sum()), float(found[0]), float(found[1]), p, total, exact)


def count_arrangements(counts: list[int]) -> int:
    """Number of ways to hand out labels, each as often as counted."""
    return math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))


def all_arrangements(counts: list[int]) -> Iterator[np.ndarray]:
    """Every way to hand out labels 0, 1 …, each as often as counted: arrays (n,)."""

    def fill(row: np.ndarray, label: int) -> Iterator[np.ndarray]:
        if label == len(counts):
            return iter([row])
        free = np.flatnonzero(row < 0)
        return chain.from_iterable(
            fill(_with(row, list(places), label), label + 1) for places in combinations(free.tolist(), counts[label])
        )

    return fill(np.full(sum(counts), -1), 0)


def _with(row: np.ndarray, places: list[int], label: int) -> np.ndarray:
    row = row.copy()
    row[places] = label
    return row
