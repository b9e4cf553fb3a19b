"""From atoms to beads: at the centres of mass of molecules, or at one atom each."""

from dataclasses import dataclass

import numpy as np

from mlcalc.common.errors import InputError


@dataclass(frozen=True)
class Mapping:
    """Which atoms make up which bead.

    A bead is at the centre of its atoms with their weights, by default their masses: the centre of mass. The force on a bead is the
    sum of the forces on its atoms. Its average over all arrangements of the atoms is the gradient of the beads' free energy, if
    every atom with a weight, and every atom that a constraint ties to one, is in the bead: forces of constraints cancel in the sum.
    Source: Noid et al., J. Chem. Phys. 128, 244114 (2008), doi:10.1063/1.2938860; for beads at one atom Krämer et al., J. Phys.
    Chem. Lett. 14, 3970 (2023), doi:10.1021/acs.jpclett.3c00444.

    Attributes:
        beads: (n_atoms,) the bead of each atom, every number from 0 up at least once; −1 for atoms of none.
        masses: (n_atoms,) u.
        weights: (n_atoms,) in the position of the bead; None for masses.
    """

    beads: np.ndarray
    masses: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self):
        beads, masses = np.asarray(self.beads), np.asarray(self.masses)
        if beads.ndim != 1 or masses.shape != beads.shape or not len(beads):
            raise InputError(f"beads {beads.shape}, masses {masses.shape}: expected one of each for every atom")
        if not np.array_equal(np.unique(beads[beads != -1]), np.arange(beads.max() + 1)):
            raise InputError(f"beads {np.unique(beads).tolist()}: expected every number from 0 to {beads.max()}")
        if not (np.isfinite(masses).all() and (masses > 0).all()):
            raise InputError("masses: expected positive numbers")
        weights = self._weights
        if weights.shape != beads.shape or not (weights >= 0).all() or not (self._per_bead(weights) > 0).all():
            raise InputError("weights: expected one of at least 0 for every atom, and some of every bead")

    def check_constraints(self, pairs: np.ndarray) -> None:
        """Raise InputError unless the atoms of every constraint (n, 2) are in one bead, or both in none."""
        for one, two in np.asarray(pairs).reshape(-1, 2):
            if self.beads[one] != self.beads[two]:
                raise InputError(
                    f"a constraint between atom {one + 1} and atom {two + 1}, of beads {self.beads[one] + 1} and "
                    f"{self.beads[two] + 1} (0: none): forces on beads would lack its share; constrain bonds of hydrogen alone"
                )

    @property
    def _weights(self) -> np.ndarray:
        return np.asarray(self.masses if self.weights is None else self.weights, dtype=float)

    def _per_bead(self, values: np.ndarray) -> np.ndarray:
        inside = np.asarray(self.beads) >= 0
        return np.bincount(np.asarray(self.beads)[inside], weights=values[inside])

    @property
    def bead_masses(self) -> np.ndarray:
        """(n_beads,) u."""
        return self._per_bead(np.asarray(self.masses, dtype=float))

    def positions(self, positions: np.ndarray) -> np.ndarray:
        """Places of beads (n_beads, 3) of atoms (n_atoms, 3) whose molecules are not cut by the cell."""
        return self._sum(positions * self._weights[:, None]) / self._per_bead(self._weights)[:, None]

    def forces(self, forces: np.ndarray) -> np.ndarray:
        """Forces on beads (n_beads, 3)."""
        return self._sum(forces)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        if values.shape != (len(self.beads), 3):
            raise InputError(
                f"an array of shape {values.shape}: expected ({len(self.beads)}, 3), a row for each atom of the mapping"
            )
        return np.stack([self._per_bead(values[:, axis]) for axis in range(3)], axis=1)
