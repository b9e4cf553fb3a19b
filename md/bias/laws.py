"""Bias as a function of a variable ξ: W(ξ) and W′(ξ), in eV and eV per unit of ξ."""

from typing import NamedTuple

import numpy as np
from ase import units

from md.bias.variables import nearest


class Umbrella(NamedTuple):
    """W = ½k(ξ − ξ₀)²; for a periodic ξ the shortest difference counts."""

    at: float
    force_constant: float
    period: float = 0.0

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (B,) eV and slopes (B,) at values (B,)."""
        away = nearest(values - self.at, self.period)
        return 0.5 * self.force_constant * away**2, self.force_constant * away


class Wall(NamedTuple):
    """W = ½k(ξ − ξ₀)² below ξ₀ (``side`` −1: a lower wall) or above it (+1: an upper wall), 0 elsewhere."""

    at: float
    force_constant: float
    side: int

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As Umbrella.__call__."""
        beyond = self.side * np.maximum(self.side * (values - self.at), 0.0)
        return 0.5 * self.force_constant * beyond**2, self.force_constant * beyond


class Metadynamics:
    """Well-tempered metadynamics: W = Σ_k h_k exp(−(ξ − s_k)²/2σ²), with h_k = h exp(−W(s_k)/k_BΔT), ΔT = (γ − 1)T.

    W tends to −(1 − 1/γ)F(ξ) up to a constant, F the free energy of the variable that is biased. Hills are summed directly.

    Args:
        height: h, eV; width: σ; bias_factor: γ > 1; temperature_K: T; period: Of ξ.

    Attributes:
        hills: (n, 2) rows: s_k, and h_k in eV.

    Source: Barducci, Bussi, Parrinello, Phys. Rev. Lett. 100, 020603 (2008), doi:10.1103/PhysRevLett.100.020603.
    """

    def __init__(self, height: float, width: float, bias_factor: float, temperature_K: float, period: float = 0.0):
        self._height, self._width, self._period = height, width, period
        self._softness = (bias_factor - 1.0) * units.kB * temperature_K
        self.hills = np.zeros((0, 2))

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As Umbrella.__call__, with the hills so far."""
        away = nearest(np.asarray(values)[:, None] - self.hills[:, 0], self._period) / self._width
        each = self.hills[:, 1] * np.exp(-0.5 * away**2)
        return each.sum(axis=1), -(away * each).sum(axis=1) / self._width

    def deposit(self, value: float) -> np.ndarray:
        """Add a hill at a value of ξ; returns its row."""
        before = float(self(np.array([value]))[0][0])
        height = self._height * np.exp(-before / self._softness)
        row = np.array([value, height])
        self.hills = np.vstack([self.hills, row])
        return row

    @property
    def work(self) -> float:
        """Energy that the hills added to the system where it was when they came, eV: Σ h_k."""
        return float(self.hills[:, 1].sum())


Law = Umbrella | Wall | Metadynamics
