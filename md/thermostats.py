"""Thermostats in normal modes: each is one function from its settings to a friction per mode, and one row of THERMOSTATS."""

import numpy as np


def pile_l(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> np.ndarray:
    """Frictions of PILE-L: γ_k = 2λω_k, γ_0 = 1/τ₀.

    Args:
        frequencies: (P,) ω_k, 1 / ASE time.
        centroid_time: τ₀, ASE time.
        friction_scale: λ; 1 damps every free mode critically.

    Source: Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), eqs. (36)–(38), doi:10.1063/1.3489925.
    """
    frictions = 2.0 * friction_scale * frequencies
    frictions[0] = 1.0 / centroid_time
    return frictions


def no_thermostat(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> np.ndarray:
    """No friction: constant energy (microcanonical RPMD)."""
    return np.zeros_like(frequencies)


THERMOSTATS = {"PILE-L": pile_l, "none": no_thermostat}
