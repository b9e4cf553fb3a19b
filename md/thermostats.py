"""Thermostats in normal modes: each is one function from its settings to what O does to every mode, and one row of THERMOSTATS."""

from typing import NamedTuple

import numpy as np


class Thermostat(NamedTuple):
    """What one O does.

    Attributes:
        frictions: (P,) γ_k of white-noise Langevin motion, 1 / ASE time.
        rescaling_time: Relaxation time of the centroid's kinetic energy under stochastic rescaling, ASE time; infinite for none.
    """

    frictions: np.ndarray
    rescaling_time: float = np.inf

    @property
    def is_idle(self) -> bool:
        """Whether it does nothing at all."""
        return not self.frictions.any() and np.isinf(self.rescaling_time)


def pile_l(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> Thermostat:
    """PILE-L: γ_k = 2λω_k, γ_0 = 1/τ₀.

    Args:
        frequencies: (P,) ω_k, 1 / ASE time.
        centroid_time: τ₀, ASE time.
        friction_scale: λ; 1 damps every free mode critically.

    Source: Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), eqs. (36)–(38), doi:10.1063/1.3489925.
    """
    frictions = 2.0 * friction_scale * frequencies
    frictions[0] = 1.0 / centroid_time
    return Thermostat(frictions)


def pile_g(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> Thermostat:
    """PILE-G: as PILE-L, but the centroid's velocities are all scaled by one random factor, which disturbs its motion least.

    Source: Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), doi:10.1063/1.3489925; Bussi, Donadio, Parrinello, J. Chem. Phys.
    126, 014101 (2007), doi:10.1063/1.2408420.
    """
    return Thermostat(2.0 * friction_scale * frequencies, centroid_time)


def t_rpmd(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> Thermostat:
    """T-RPMD: γ_k = λ·ω_k, which is half of PILE's; the centroid is free, for real-time correlation functions.

    Source: Rossi, Ceriotti, Manolopoulos, J. Chem. Phys. 140, 234116 (2014), doi:10.1063/1.4883861.
    """
    return Thermostat(friction_scale * frequencies)


def no_thermostat(frequencies: np.ndarray, centroid_time: float, friction_scale: float) -> Thermostat:
    """No friction: constant energy (microcanonical RPMD)."""
    return Thermostat(np.zeros_like(frequencies))


THERMOSTATS = {"PILE-L": pile_l, "PILE-G": pile_g, "T-RPMD": t_rpmd, "none": no_thermostat}
