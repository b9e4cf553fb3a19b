"""The tables from which code is made: products of components, couplings of a pair, harmonics as polynomials; see kernel.py."""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees, harmonics

Powers = tuple[int, int, int]


class Term(NamedTuple):
    """A coefficient C^s_{s1 s2} that is not zero."""

    s1: int
    s2: int
    s: int
    coefficient: float


@cache
def terms(lmax: int) -> tuple[Term, ...]:
    """All of them, ordered by components."""
    table = clebsch_gordan(lmax)
    return tuple(Term(s1, s2, s, float(table[s1, s2, s])) for s1, s2, s in np.argwhere(table).tolist())


@cache
def degrees_of(lmax: int) -> tuple[int, ...]:
    """Degree of each component."""
    return tuple(int(degree) for degree in degrees(lmax))


class Coupling(NamedTuple):
    """A[l1][s, s2] = Σ_{s1 of l1} C^s_{s1 s2} Y_{s1}: pairs (s1, C) of the sum. Those of l1 = 0 are 1 where s = s2: not listed."""

    degree: int
    s: int
    s2: int
    sum: tuple[tuple[int, float], ...]


@cache
def couplings(lmax: int) -> tuple[Coupling, ...]:
    """All that are not zero; their place in the tuple is their place behind the scalars of a pair."""
    of_degree = degrees_of(lmax)
    found: dict[tuple[int, int, int], list[tuple[int, float]]] = {}
    for s1, s2, s, coefficient in terms(lmax):
        if s1 > 0:
            found.setdefault((of_degree[s1], s, s2), []).append((s1, coefficient))
    return tuple(Coupling(*key, tuple(parts)) for key, parts in sorted(found.items()))


@cache
def sums(lmax: int, transposed: bool) -> dict[tuple[int, int], tuple[tuple[int, int], ...]]:
    """For an output s and a degree l1 > 0 pairs (s2, place of the coupling); transposed, for s2 pairs (s, place)."""
    found: dict[tuple[int, int], tuple] = {}
    for place, (degree, s, s2, _) in enumerate(couplings(lmax)):
        to, by = (s2, s) if transposed else (s, s2)
        found[to, degree] = (*found.get((to, degree), ()), (by, place))
    return found


def pair_scalars(lmax: int) -> int:
    """How many numbers the kernel keeps of a pair: harmonics, their adjoints, couplings."""
    return 2 * (lmax + 1) ** 2 + len(couplings(lmax))


class Polynomial:
    """A polynomial of x, y, z: coefficients by powers. It has the operations that harmonics() needs."""

    def __init__(self, coefficients: dict[Powers, float]):
        self.coefficients = {powers: c for powers, c in coefficients.items() if c != 0.0}

    def __add__(self, other):
        found = dict(self.coefficients)
        for powers, c in _polynomial(other).coefficients.items():
            found[powers] = found.get(powers, 0.0) + c
        return Polynomial(found)

    def __mul__(self, other):
        found: dict[Powers, float] = {}
        for (one, c), (two, d) in product(self.coefficients.items(), _polynomial(other).coefficients.items()):
            powers = one[0] + two[0], one[1] + two[1], one[2] + two[2]
            found[powers] = found.get(powers, 0.0) + c * d
        return Polynomial(found)

    def __sub__(self, other):
        return self + _polynomial(other) * -1.0

    __rmul__ = __mul__

    def derivative(self, axis: int) -> "Polynomial":
        """∂/∂x, ∂/∂y or ∂/∂z."""
        found = {}
        for powers, c in self.coefficients.items():
            lower = list(powers)
            lower[axis] -= 1
            found[lower[0], lower[1], lower[2]] = c * powers[axis]
        return Polynomial(found)


def _polynomial(value) -> Polynomial:
    return value if isinstance(value, Polynomial) else Polynomial({(0, 0, 0): value})


@cache
def polynomials(lmax: int) -> list[Polynomial]:
    """The harmonics; but 1 for s = 0, whose constant is a factor of the filters."""
    x, y, z = (Polynomial({powers: 1.0}) for powers in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    return [_polynomial(1.0), *harmonics(x, y, z, lmax)[1:]]
