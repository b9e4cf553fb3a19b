"""A crystal and a gas whose volumes at constant pressure are known in closed form."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crystal:
    """Wells ½k|q − sH|² at fixed coordinates s of a cell H, and ½B(V − V₀)²/V₀: wells that move with the cell cost nothing.

    Volumes under a pressure p are Gaussian, of mean V₀(1 − p/B) and variance k_BT V₀/B. Without wells and B, an ideal gas: gamma
    distributed, of mean (N + 1)k_BT/p and variance (N + 1)(k_BT/p)². A box of lengths L
    costs ½Σ K(L − l)² with l = ``lengths``, K = ``stiffness``.
    """

    scaled: np.ndarray
    force_constant: float = 0.0
    volume: float = 1.0
    bulk_modulus: float = 0.0
    lengths: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stiffness: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, positions, cell):
        found = self.evaluate(positions, cell)
        return found["energies"], found["forces"]

    def evaluate(self, positions, cell):
        """As potential.Potential; virials are derivatives by a strain of cell and beads."""
        away, volume = positions - self.scaled @ cell, abs(np.linalg.det(cell))
        forces, slope = -self.force_constant * away, self.bulk_modulus * (volume / self.volume - 1.0)
        stretch, stiffness = cell.diagonal() - self.lengths, np.array(self.stiffness)
        cold = 0.5 * slope * (volume - self.volume) + 0.5 * (stiffness * stretch**2).sum()
        strain = slope * volume * np.eye(3) + np.diag(stiffness * stretch * cell.diagonal())
        return {
            "energies": 0.5 * self.force_constant * (away**2).sum(axis=(1, 2)) + cold,
            "forces": forces,
            "virials": strain - np.einsum("pia,pib->pab", away, forces),
        }
