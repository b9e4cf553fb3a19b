"""Collective variables ξ of one configuration: functions of a few vectors between atoms, with analytic gradients.

Lengths in Å, angles in degrees, coordination numbers without a unit. In a cell, every vector is its minimum image, so that a
variable neither depends on which image of an atom is meant nor jumps where an atom is wrapped.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np

from md.bias.settings import VARIABLE_KINDS
from md.potentials import lattice_of, minimum_images

_SMALL = 1e-12  # Å or its square: keeps a gradient finite where a direction is undefined

# Vectors (B, m, 3) Å → values (B,) and gradients (B, m, 3) by the vectors.
Function = Callable[..., tuple[np.ndarray, np.ndarray]]
Pairs = Sequence[tuple[int, int]]


def distance(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|r_12|."""
    lengths = np.linalg.norm(vectors, axis=2)
    return lengths[:, 0], vectors / np.maximum(lengths, _SMALL)[..., None]


def difference(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|r_12| − |r_23|: of a proton 2 between 1 and 3, negative near 1, 0 halfway."""
    lengths = np.linalg.norm(vectors, axis=2)
    signs = np.array([1.0, -1.0])
    return lengths @ signs, vectors * (signs / np.maximum(lengths, _SMALL))[..., None]


def angle(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle of r_21 and r_23 at the middle atom, 0 to 180°; at both ends its gradient is undefined, and 0 here."""
    lengths = np.linalg.norm(vectors, axis=2)
    units = vectors / np.maximum(lengths, _SMALL)[..., None]
    cosine = (units[:, 0] * units[:, 1]).sum(axis=1)
    sine = np.linalg.norm(np.cross(units[:, 0], units[:, 1]), axis=1)
    across = units[:, ::-1] - cosine[:, None, None] * units  # part of the other direction normal to each
    gradients = -across / np.maximum(sine[:, None] * lengths, _SMALL)[..., None]
    return np.degrees(np.arctan2(sine, cosine)), np.degrees(gradients)


def dihedral(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dihedral of r_12, r_23, r_34, −180 to 180°, 0 for cis, sign of IUPAC.

    Source of the gradient: Blondel, Karplus, J. Comput. Chem. 17, 1132 (1996),
    doi:10.1002/(SICI)1096-987X(19960715)17:9<1132::AID-JCC5>3.0.CO;2-T.
    """
    first, axis, last = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    before, after = np.cross(first, axis), np.cross(axis, last)
    length = np.linalg.norm(axis, axis=1)
    value = np.arctan2(length * (first * after).sum(axis=1), (before * after).sum(axis=1))
    before, after = (normal / np.maximum((normal**2).sum(axis=1), _SMALL)[:, None] for normal in (before, after))
    along = [((vector * axis).sum(axis=1) / np.maximum(length, _SMALL))[:, None] for vector in (first, last)]
    gradients = [length[:, None] * before, -along[0] * before - along[1] * after, length[:, None] * after]
    return np.degrees(value), np.degrees(np.stack(gradients, axis=1))


def coordination(vectors: np.ndarray, radius: float, exponent: int) -> tuple[np.ndarray, np.ndarray]:
    """Σ 1/(1 + (r/r₀)ⁿ) over pairs: the rational switching function (1 − xⁿ)/(1 − x²ⁿ) without its removable pole at x = 1."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=2), _SMALL)
    power = (lengths / radius) ** exponent
    share = 1.0 / (1.0 + power)
    slope = -exponent * power * share**2 / lengths
    return share.sum(axis=1), (slope / lengths)[..., None] * vectors


class Variable(NamedTuple):
    """A row of the table.

    Attributes:
        function: See Function.
        pairs: Vectors as pairs (from, to) of its atoms; None: all from one list of atoms to another.
    """

    function: Function
    pairs: Pairs | None


# Their numbers of atoms, units and periods are in settings.VARIABLE_KINDS.
VARIABLES: dict[str, Variable] = {
    "distance": Variable(distance, ((0, 1),)),
    "difference": Variable(difference, ((0, 1), (1, 2))),
    "angle": Variable(angle, ((1, 0), (1, 2))),
    "dihedral": Variable(dihedral, ((0, 1), (1, 2), (2, 3))),
    "coordination": Variable(coordination, None),
}


class Coordinate:
    """A collective variable of certain atoms.

    Args:
        name: A row of VARIABLES.
        atoms: Their indices, in the order of the row; for "coordination" the atoms from which the pairs run.
        pbc: Periodic directions of the cell that calls bring.
        to_atoms, radius, exponent: For "coordination": the atoms to which the pairs run; r₀ in Å and n of its switching function.

    Attributes:
        atoms: (n,) all indices, as in gradients.
        period: As in settings.Kind.
    """

    def __init__(
        self, name: str, atoms: Sequence[int], pbc: Sequence[bool] = (False,) * 3, to_atoms: Sequence[int] = (),
        radius: float = 0.0, exponent: int = 6,
    ):  # fmt: skip
        row = VARIABLES[name]
        self.atoms, self._pbc = np.array([*atoms, *to_atoms], dtype=np.int64), np.array(pbc, dtype=bool)
        self.period, self._function = VARIABLE_KINDS[name].period, row.function
        pairs = row.pairs
        if pairs is None:
            pairs = list(product(range(len(atoms)), range(len(atoms), len(self.atoms))))
            self._function = partial(row.function, radius=radius, exponent=exponent)
        self._begins, self._ends = np.array(pairs).T
        # (m, n): +1 and −1 at the ends of each vector, so that its transpose carries gradients to the atoms.
        self._incidence = np.zeros((len(pairs), len(self.atoms)))
        np.add.at(self._incidence, (np.arange(len(pairs)), self._ends), 1.0)
        np.add.at(self._incidence, (np.arange(len(pairs)), self._begins), -1.0)

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Values (B,) and gradients (B, n, 3) per Å, by ``atoms``, of configurations (B, N, 3) Å in a cell (3, 3) Å, if any."""
        chosen = positions[:, self.atoms]
        vectors = chosen[:, self._ends] - chosen[:, self._begins]
        lattice = None if cell is None else lattice_of(cell, self._pbc)
        if lattice is not None:
            vectors = minimum_images(vectors, lattice)
        values, gradients = self._function(vectors)
        return values, np.einsum("mn,bmx->bnx", self._incidence, gradients)


def nearest(differences: np.ndarray, period: float) -> np.ndarray:
    """Differences of values of a variable; of a periodic one the shortest, from −½ to ½ of the period."""
    return differences - period * np.rint(differences / period) if period else differences


def mean_value(values: np.ndarray, period: float) -> np.ndarray:
    """Mean along the last axis; of a periodic variable the mean of the images nearest to the mean direction.

    It is smooth, and its derivative by each value is 1/P, as long as all are within half a period of the mean direction.
    """
    if not period:
        return values.mean(axis=-1)
    phases = 2.0 * np.pi / period * values
    centre = period / (2.0 * np.pi) * np.arctan2(np.sin(phases).mean(axis=-1), np.cos(phases).mean(axis=-1))
    return nearest(centre + nearest(values - centre[..., None], period).mean(axis=-1), period)
