"""Ring-polymer contraction: a potential on P′ beads of the smoothed ring in place of all P.

=========  =====================================================  ==========
symbol     meaning                                                shape
=========  =====================================================  ==========
R          contraction, q′ = R q (normal_modes.contraction)       (P′, P)
U          (P/P′) Rᵀ, back to the beads; its rows add up to 1     (P, P′)
=========  =====================================================  ==========

The energy of the ring is (P/P′) Σ_j′ V(q′_j′). So the forces on the beads are U f′; energies and virials that U takes to the beads
have the right sum over beads too, and equal those of V on the beads where these are P′ or lie on top of each other. What is lost is
V's part of the stiff modes of the ring: small for a potential that varies little over the width of the ring.

Source: Markland, Manolopoulos, J. Chem. Phys. 129, 024105 (2008), doi:10.1063/1.2953308.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from md.dynamics.normal_modes import contraction
from md.dynamics.ring_polymer import configuration


class ContractedPotential:
    """A potential of the beads of one ring polymer, evaluated on ``beads`` of them; on all where there are no more.

    Args:
        potential: As potential.Potential.
        beads: P′.
    """

    def __init__(self, potential: Any, beads: int):
        self.potential, self.beads = potential, beads
        self._n_beads = 1

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å of beads (P, N, 3) Å of one ring polymer."""
        self._n_beads = len(positions)
        if len(positions) <= self.beads:
            return self.potential(*configuration(positions, cell))
        down, up = _maps(len(positions), self.beads)
        energies, forces = self.potential(*configuration(_mapped(down, positions), cell))
        return up @ energies, _mapped(up, forces)

    def evaluate(self, positions: np.ndarray, cell: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """As potential.Potential.evaluate."""
        self._n_beads = len(positions)
        if len(positions) <= self.beads:
            return self.potential.evaluate(*configuration(positions, cell))
        down, up = _maps(len(positions), self.beads)
        found = self.potential.evaluate(*configuration(_mapped(down, positions), cell))
        return {name: _mapped(up, values) for name, values in found.items()}

    def closest_pair(self, limits: np.ndarray):
        """As potential.Potential.closest_pair, of the contracted beads; its replica is the bead nearest in imaginary time."""
        pair, fewer = self.potential.closest_pair(limits), min(self.beads, self._n_beads)
        return pair._replace(replica=(pair.replica + 1) * self._n_beads // fewer - 1)


@lru_cache(maxsize=16)
def _maps(n_beads: int, fewer: int) -> tuple[np.ndarray, np.ndarray]:
    """R and U."""
    down = contraction(n_beads, fewer)
    return down, np.ascontiguousarray(down.T) * (n_beads / fewer)


def _mapped(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (P, …) on other beads: matrix (P′, P) to (P′, …)."""
    return np.dot(matrix, values.reshape(len(values), -1)).reshape(len(matrix), *values.shape[1:])
