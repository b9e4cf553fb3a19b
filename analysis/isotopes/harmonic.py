"""Isotope effects of harmonic vibrations, at finite P and in the quantum limit.

ln β = Σ ln(Z_P/Z_1) of the vibrations with the new masses, less that with the old ones; translation and rotation are classical, and
by the product rule of Teller and Redlich the classical ratio is that of scaled.py.
"""

import numpy as np

from analysis.isotopes.masses import quadrature
from analysis.isotopes.sites import Site
from mlcalc.vibrations import HBAR, NormalModes, modes_of_hessian, quantum_correction

_STEP = 1e-3  # of ln m, for the slope of ln β


class Reference:
    """Vibrations of a molecule, whose masses are then changed; the minimum and its Hessian do not depend on them."""

    def __init__(self, modes: NormalModes, temperature_K: float, beads: int):
        weighted = modes.vectors.reshape(len(modes.energies), -1) * np.repeat(np.sqrt(modes.atoms.get_masses()), 3)
        squares = np.sign(modes.energies) * (modes.energies / HBAR) ** 2
        self._atoms, self._hessian = modes.atoms, (weighted.T * squares) @ weighted
        self._temperature, self._beads = temperature_K, beads

    def log_ratios(self, site: Site, mass: float, new: float) -> tuple[float, float]:
        """ln β from ``mass`` to ``new`` (u) at the P of the run, and for P → ∞; the mean ratio of several choices.

        Raises:
            InputError: A vibration without a positive frequency.
        """
        at, limit = (
            np.logaddexp.reduce([self._log(choice, new, p) - self._log(choice, mass, p) for choice in site.choices])
            - np.log(len(site.choices))
            for p in (self._beads, None)
        )
        return float(at), float(limit)

    def integrand(self, site: Site, masses: np.ndarray) -> np.ndarray:
        """(K,) √u, that of masses.py at masses (u), at the P of the run."""
        (choice,) = site.choices
        slopes = [
            (self._log(choice, m * np.exp(_STEP), self._beads) - self._log(choice, m * np.exp(-_STEP), self._beads))
            for m in masses
        ]
        return 2.0 * np.sqrt(masses) * np.array(slopes) / (2.0 * _STEP)

    def quadrature_error(self, site: Site, masses: np.ndarray) -> float:
        """How far the integral through these masses is from ln β."""
        exact, _ = self.log_ratios(site, masses[0], masses[-1])
        return float(quadrature(masses) @ self.integrand(site, masses)) - exact

    def _log(self, choice: tuple[int, ...], mass: float, beads: int | None) -> float:
        atoms = self._atoms.copy()
        masses = atoms.get_masses()
        masses[list(choice)] = mass
        atoms.set_masses(masses)
        return quantum_correction(modes_of_hessian(atoms, self._hessian).energies, self._temperature, beads)
