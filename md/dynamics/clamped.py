"""Clamped nuclei: atoms of the start that FixAtoms holds. Only the other atoms form the moving ring polymer.

A clamped nucleus is a classical point at its start position. Files hold all N atoms; its momentum, kinetic energy, width and mass
derivative in them are 0. Degrees of freedom, guards and estimators cover only the moving atoms.
"""

from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixScaled

from md.dynamics.ring_polymer import configuration
from mlcalc.common.errors import InputError


class Clamped(NamedTuple):
    """Held atoms and their positions.

    Attributes:
        mask: (N,) booleans.
        positions: (N, 3) Å; only those of the held atoms are used.
    """

    mask: np.ndarray
    positions: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> "Clamped":
        """Read the FixAtoms constraints of a structure; constraint_of refuses all others."""
        mask = np.zeros(len(atoms), dtype=bool)
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                mask[constraint.index] = True
        return cls(mask, atoms.positions.copy())

    @property
    def moving(self) -> np.ndarray:
        """(n,) indices of the atoms that move."""
        return np.flatnonzero(~self.mask)

    def with_held(self, positions: np.ndarray) -> np.ndarray:
        """Positions (…, N, 3) Å of all atoms from the positions (…, n, 3) of the moving atoms."""
        return self.among_all(positions, self.positions[self.mask].T, axis=-2)

    def among_all(self, values: np.ndarray, held: np.ndarray | float = 0.0, axis: int = -1) -> np.ndarray:
        """Values of all atoms along an axis from those of the moving atoms; held atoms get ``held``, with atoms last."""
        if not self.mask.any():
            return values
        shape = list(values.shape)
        shape[axis] = len(self.mask)
        found = np.empty(shape, dtype=values.dtype)
        last = np.moveaxis(found, axis, -1)
        last[..., ~self.mask] = np.moveaxis(values, axis, -1)
        last[..., self.mask] = held
        return found


class ClampedPotential:
    """A potential of the moving atoms only: (P, n, 3) Å → energies (P,) eV, forces (P, n, 3) eV/Å."""

    def __init__(self, potential: Any, clamped: Clamped):
        self.potential, self.clamped, self._moving = potential, clamped, clamped.moving

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, n, 3) eV/Å at positions (P, n, 3) Å, in a cell as in potential.Potential."""
        energies, forces = self.potential(*configuration(self.clamped.with_held(positions), cell))
        return energies, np.take(forces, self._moving, axis=1)

    def closest_pair(self, limits: np.ndarray):
        """As potential.Potential.closest_pair, for the last call; indices refer to the structure, and pairs of held atoms count."""
        return self.potential.closest_pair(limits)


def constraint_of(atoms: Atoms, source: object) -> FixAtoms | None:
    """One constraint for all atoms that the constraints of a structure hold in all directions.

    Raises:
        InputError: A constraint of another kind; ``source`` is named.
    """
    mask = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        complete = isinstance(constraint, FixAtoms)
        if isinstance(constraint, FixCartesian | FixScaled):
            if not np.any(constraint.mask):
                continue  # holds nothing
            complete = bool(np.all(constraint.mask))
        try:
            if not complete:
                raise TypeError(type(constraint).__name__)
            mask[constraint.index] = True
        except (TypeError, IndexError):
            kind = type(constraint).__name__
            raise InputError(
                f"{source}: constraint {kind}: rpmd holds atoms in all three directions (FixAtoms) or not at all; remove it "
                "from the structure"
            ) from None
    return FixAtoms(np.flatnonzero(mask)) if mask.any() else None
