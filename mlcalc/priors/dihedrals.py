"""Energies of the dihedral angles of a chain, a prior of chains (mlcalc/priors/chains.py).

E = Σ_i [c_i0 + Σ_n (c_in cos nφ_i + s_in sin nφ_i)]     φ_i of four neighbouring beads, 0 for cis, IUPAC's sign; c, s eV

With bonds a, b, d and normals m = a×b, n = b×d: cos φ = m·n/|m||n|, sin φ = |b| a·n/|m||n|. No energy (NaN) where two
neighbouring bonds are parallel: there φ is undefined, and forces near there have no bound.
"""

import math
from dataclasses import dataclass

from mlcalc.common.compiled import inner
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance
from mlcalc.priors.chain_types import check_chain_types

SPAN = 3  # bonds of a term


@dataclass(frozen=True)
class DihedralPrior:
    """Fourier coefficients, eV, of each dihedral angle along the chain; its bonds are shorter than ``cutoff``, Å.

    Attributes:
        constants: c_0 of each; cosines, sines: c_n and s_n of each, from n = 1, as many for all; chain_types: see chains.py.

    Raises:
        InputError: Rows of different lengths, or numbers that are not finite.
    """

    constants: tuple[float, ...]
    cosines: tuple[tuple[float, ...], ...]
    sines: tuple[tuple[float, ...], ...]
    cutoff: float
    chain_types: tuple[int, ...] | None = None

    def __post_init__(self):
        check_distance("dihedrals: cutoff", self.cutoff)
        numbers = {len(self.constants), len(self.cosines), len(self.sines)}
        orders = {len(row) for row in (*self.cosines, *self.sines)}
        if numbers == {0} or len(numbers) > 1 or len(orders) != 1 or orders == {0}:
            raise InputError(
                f"dihedrals: {len(self.constants)} constants, {len(self.cosines)} rows of cosines, {len(self.sines)} of sines, of "
                f"lengths {sorted(orders)}: expected as many, at least one, of one length"
            )
        if not all(math.isfinite(c) for row in (self.constants, *self.cosines, *self.sines) for c in row):
            raise InputError("dihedrals: coefficients that are not finite: expected numbers, eV")
        check_chain_types("dihedrals", self.chain_types, self.n_beads)

    def __str__(self) -> str:
        return f"Fourier series of {len(self.constants)} dihedral angles"

    @property
    def n_beads(self) -> int:
        """Beads of a chain."""
        return len(self.constants) + SPAN

    def parameters(self) -> list[tuple[float, ...]]:
        """Rows for chains.py: c_0, then c_n, then s_n of each dihedral angle."""
        rows = zip(self.constants, self.cosines, self.sines, strict=True)
        return [(constant, *cosines, *sines) for constant, cosines, sines in rows]


@inner
def dihedral_term(bonds, row, gradients):
    """As bonds.bond_term, for three bonds (3, 3) that follow one another and their gradients (3, 3).

    ∂φ/∂a = |b| m/m², ∂φ/∂d = |b| n/n², ∂φ/∂b = −(a·b) m/(m²|b|) − (d·b) n/(n²|b|): Blondel and Karplus, J. Comput. Chem. 17,
    1132 (1996), by bonds.
    """
    m0, m1, m2 = _cross(bonds[0], bonds[1])
    n0, n1, n2 = _cross(bonds[1], bonds[2])
    mm, nn, mn = m0 * m0 + m1 * m1 + m2 * m2, n0 * n0 + n1 * n1 + n2 * n2, m0 * n0 + m1 * n1 + m2 * n2
    bb, ab, bd = 0.0, 0.0, 0.0
    for axis in range(3):
        bb += bonds[1, axis] ** 2
        ab += bonds[0, axis] * bonds[1, axis]
        bd += bonds[1, axis] * bonds[2, axis]
    b = math.sqrt(bb)
    normals = math.sqrt(mm * nn)
    cosine = mn / normals
    sine = b * (bonds[0, 0] * n0 + bonds[0, 1] * n1 + bonds[0, 2] * n2) / normals
    n_orders = (len(row) - 1) // 2
    energy, slope, c, s = row[0], 0.0, 1.0, 0.0
    for n in range(1, n_orders + 1):
        c, s = c * cosine - s * sine, s * cosine + c * sine
        energy += row[n] * c + row[n_orders + n] * s
        slope += n * (row[n_orders + n] * c - row[n] * s)
    for axis in range(3):
        m, normal = (m0, m1, m2)[axis] / mm, (n0, n1, n2)[axis] / nn
        gradients[0, axis] += slope * b * m
        gradients[1, axis] -= slope * (ab * m + bd * normal) / b
        gradients[2, axis] += slope * b * normal
    return energy


@inner
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
