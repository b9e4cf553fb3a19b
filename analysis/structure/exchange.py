"""Bonds whose atoms change partners along a run: proton transfer, scrambling, dissociation.

A bond of the start structure is exchanged in a frame if it is longer than 1.2 times the length up to which atoms count as
bonded, and one of its atoms is bonded to an atom that was not its partner at the start; without such a partner it is broken.
It has returned when it is shorter than that length again. In between its state does not change, so that a vibration or a proton
halfway does not count: O–H is bonded up to 1.21 Å and exchanged beyond 1.46 Å, which hydrogen bonds exceed.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from analysis.structure.molecules import bonded_pairs
from mlcalc.geometry.bonds import BOND_FACTOR

HYSTERESIS = 1.2
HOME, UNDECIDED, BROKEN = -1, -2, -3  # other codes are the index of the new pair


class Exchange(NamedTuple):
    """The history of a bond of the start structure.

    Attributes:
        pair: Its atoms. partner: The pair that replaced it most often; None if it only broke.
        share: Share of frames with other partners, by centroids; bead_share: the same for beads, without those halfway.
        broken: Share of frames without any partner, by centroids.
        changes: Number of exchanges, breaks and returns.
    """

    pair: tuple[int, int]
    partner: tuple[int, int] | None
    share: float
    bead_share: float
    broken: float
    changes: int


class BondWatch:
    """Compares frames with the bonds of a structure.

    Args:
        atoms: Start structure, N atoms.
    """

    def __init__(self, atoms: Atoms):
        n_atoms, radii = len(atoms), covalent_radii[atoms.numbers]
        self._first, self._second = np.triu_indices(n_atoms, 1)
        self._limits = BOND_FACTOR * (radii[self._first] + radii[self._second])
        self.pairs = bonded_pairs(atoms)
        low, high = self.pairs.T
        self._bonds = low * (2 * n_atoms - low - 1) // 2 + high - low - 1
        self._near = self._limits[self._bonds]
        self._far = HYSTERESIS * self._near

    def codes(self, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray | int]:
        """(n_bonds,) code of each bond by the last row of distances (P + 1, n_pairs) Å; number of others with it exchanged."""
        bonds = distances.take(self._bonds, axis=1)
        codes = np.where(bonds[-1] < self._near, HOME, UNDECIDED)
        far = bonds > self._far
        if not far.any():
            return codes, 0
        new = distances < self._limits
        new[:, self._bonds] = False
        rows, found = np.nonzero(new)
        taken = np.zeros((len(distances), int(self._second[-1]) + 1), dtype=bool)
        taken[rows, self._first[found]] = taken[rows, self._second[found]] = True
        away = far & taken[:, self.pairs].any(axis=2)
        codes[far[-1]] = BROKEN
        for bond in np.flatnonzero(away[-1]).tolist():
            codes[bond] = self._partner(bond, found[rows == len(distances) - 1], distances[-1])
        return codes, away[:-1].sum(axis=0)

    def _partner(self, bond: int, found: np.ndarray, distances: np.ndarray) -> int:
        """The new bond that shares an atom with a bond and is shortest relative to its bonding length."""
        ends = np.stack([self._first[found], self._second[found]], axis=1)
        shared = found[np.isin(ends, self.pairs[bond]).any(axis=1)]
        return int(shared[(distances[shared] / self._limits[shared]).argmin()])

    def exchanges(self, codes: np.ndarray, bead_shares: np.ndarray) -> list[Exchange]:
        """Bonds that did not persist.

        Args:
            codes: (n_frames, n_bonds) of ``codes``; bead_shares: (n_bonds,) mean share of beads in which each is exchanged.
        """
        codes = self._settled(codes)
        result = []
        for bond in np.flatnonzero((codes != HOME).any(axis=0)).tolist():
            series = codes[:, bond]
            away = series >= 0
            numbers, counts = np.unique(series[away], return_counts=True)
            partner = int(numbers[counts.argmax()]) if len(numbers) else None
            result.append(Exchange(
                (int(self.pairs[bond, 0]), int(self.pairs[bond, 1])),
                None if partner is None else (int(self._first[partner]), int(self._second[partner])),
                float(away.mean()), float(bead_shares[bond]), float((series == BROKEN).mean()),
                int((np.diff(series == HOME, prepend=True)).sum()),
            ))  # fmt: skip
        return result

    @staticmethod
    def _settled(codes: np.ndarray) -> np.ndarray:
        """Codes with each undecided frame set to the last decided code; HOME before the first."""
        frames = np.arange(len(codes))[:, None]
        last = np.maximum.accumulate(np.where(codes != UNDECIDED, frames, -1), axis=0)
        return np.where(last >= 0, np.take_along_axis(codes, np.maximum(last, 0), axis=0), HOME)
