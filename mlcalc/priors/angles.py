"""Energies of the angles between neighbouring bonds of a chain, a prior of chains (mlcalc/priors/chains.py).

E = Σ_i Σ_{n=0…4} c_in xⁿ,   x = cos θ_i     θ_i angle at bead i between its neighbours, π where they are opposite; c eV
"""

import math
from dataclasses import dataclass

from mlcalc.common.compiled import inner
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance
from mlcalc.priors.chain_types import check_chain_types

SPAN = 2  # bonds of a term
N_POWERS = 5  # from 0: quartic in the cosine


@dataclass(frozen=True)
class AnglePrior:
    """c_n eV of each angle along the chain; its bonds are shorter than ``cutoff``, Å.

    Attributes:
        chain_types: See chains.py.

    Raises:
        InputError: Numbers out of bounds.
    """

    coefficients: tuple[tuple[float, ...], ...]
    cutoff: float
    chain_types: tuple[int, ...] | None = None

    def __post_init__(self):
        check_distance("angles: cutoff", self.cutoff)
        if not self.coefficients or {len(row) for row in self.coefficients} != {N_POWERS}:
            raise InputError(
                f"angles: coefficients of {len(self.coefficients)} angles: expected at least one, and {N_POWERS} of each"
            )
        if not all(math.isfinite(c) for row in self.coefficients for c in row):
            raise InputError("angles: coefficients that are not finite: expected numbers, eV")
        check_chain_types("angles", self.chain_types, self.n_beads)

    def __str__(self) -> str:
        return f"quartics of {len(self.coefficients)} angles"

    @property
    def n_beads(self) -> int:
        """Beads of a chain."""
        return len(self.coefficients) + SPAN

    def parameters(self) -> list[tuple[float, ...]]:
        """Rows for chains.py: the coefficients of each angle."""
        return list(self.coefficients)


@inner
def angle_term(bonds, row, gradients):
    """As bonds.bond_term, for two bonds (2, 3) that follow one another and their gradients (2, 3)."""
    aa, bb, ab = 0.0, 0.0, 0.0
    for axis in range(3):
        aa += bonds[0, axis] ** 2
        bb += bonds[1, axis] ** 2
        ab += bonds[0, axis] * bonds[1, axis]
    lengths = math.sqrt(aa * bb)
    x = -ab / lengths
    energy, slope = row[4], 0.0
    for n in range(3, -1, -1):  # Horner
        slope = slope * x + energy
        energy = energy * x + row[n]
    for axis in range(3):
        a, b = bonds[0, axis], bonds[1, axis]
        gradients[0, axis] += slope * (-b / lengths - x * a / aa)
        gradients[1, axis] += slope * (-a / lengths - x * b / bb)
    return energy
