"""Springs between neighbouring beads of a chain, a prior of chains (mlcalc/priors/chains.py).

E = Σ_i ½ k_i (|r_{i+1} − r_i| − l_i)²     k stiffness, eV/Å²; l length, Å
"""

import math
from dataclasses import dataclass

from mlcalc.common.compiled import inner
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance
from mlcalc.priors.chain_types import check_chain_types

SPAN = 1  # bonds of a term


@dataclass(frozen=True)
class BondPrior:
    """k eV/Å² and l Å of each bond along the chain; a bond is shorter than ``cutoff``, Å.

    Attributes:
        chain_types: See chains.py.

    Raises:
        InputError: Numbers out of bounds.
    """

    stiffness: tuple[float, ...]
    length: tuple[float, ...]
    cutoff: float
    chain_types: tuple[int, ...] | None = None

    def __post_init__(self):
        check_distance("bonds: cutoff", self.cutoff)
        if not self.stiffness or len(self.length) != len(self.stiffness):
            raise InputError(
                f"bonds: {len(self.stiffness)} of stiffness, {len(self.length)} of length: expected as many, at least one"
            )
        for k, length in zip(self.stiffness, self.length, strict=True):
            if not 0 < k < math.inf or not 0 < length < self.cutoff:
                raise InputError(
                    f"bonds: stiffness = {k!r} eV/Å², length = {length!r} Å: expected numbers above 0, the length below "
                    f"{self.cutoff:g}"
                )
        check_chain_types("bonds", self.chain_types, self.n_beads)

    def __str__(self) -> str:
        return f"springs of {len(self.length)} bonds"

    @property
    def n_beads(self) -> int:
        """Beads of a chain."""
        return len(self.length) + SPAN

    def parameters(self) -> list[tuple[float, ...]]:
        """Rows for chains.py: k and l of each bond."""
        return list(zip(self.stiffness, self.length, strict=True))


@inner
def bond_term(bond, row, gradient):
    """Energy (eV) of a bond (3,) Å with parameters ``row``, whose gradient is added to ``gradient`` (3,) eV/Å."""
    r = math.sqrt(bond[0] ** 2 + bond[1] ** 2 + bond[2] ** 2)
    stretch = r - row[1]
    for axis in range(3):
        gradient[axis] += row[0] * stretch * bond[axis] / r
    return 0.5 * row[0] * stretch**2
