"""From atoms to beads: one bead for each molecule, at its centre of mass."""

from dataclasses import dataclass

import numpy as np

from mlcalc.common.errors import InputError


@dataclass(frozen=True)
class Mapping:
    """Which atoms make up which bead.

    The force on a bead is the sum of the forces on its atoms. Its average over all arrangements of the atoms is the gradient of the
    beads' free energy, also where bonds and angles within a bead are constrained: forces of constraints cancel in the sum.
    Source: Noid et al., J. Chem. Phys. 128, 244114 (2008), doi:10.1063/1.2938860.

    Attributes:
        beads: (n_atoms,) the bead of each atom, every number from 0 up at least once.
        masses: (n_atoms,) u.
    """

    beads: np.ndarray
    masses: np.ndarray

    def __post_init__(self):
        beads, masses = np.asarray(self.beads), np.asarray(self.masses)
        if beads.ndim != 1 or masses.shape != beads.shape or not len(beads):
            raise InputError(f"beads {beads.shape}, masses {masses.shape}: expected one of each for every atom")
        if not np.array_equal(np.unique(beads), np.arange(beads.max() + 1)):
            raise InputError(f"beads {np.unique(beads).tolist()}: expected every number from 0 to {beads.max()}")
        if not (np.isfinite(masses).all() and (masses > 0).all()):
            raise InputError("masses: expected positive numbers")

    @property
    def bead_masses(self) -> np.ndarray:
        """(n_beads,) u."""
        return np.bincount(self.beads, weights=self.masses)

    def positions(self, positions: np.ndarray) -> np.ndarray:
        """Centres of mass (n_beads, 3) of atoms (n_atoms, 3) whose molecules are not cut by the cell."""
        return self._sum(positions * self.masses[:, None]) / self.bead_masses[:, None]

    def forces(self, forces: np.ndarray) -> np.ndarray:
        """Forces on beads (n_beads, 3)."""
        return self._sum(forces)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        if values.shape != (len(self.beads), 3):
            raise InputError(
                f"an array of shape {values.shape}: expected ({len(self.beads)}, 3), a row for each atom of the mapping"
            )
        return np.stack([np.bincount(self.beads, weights=values[:, axis]) for axis in range(3)], axis=1)
