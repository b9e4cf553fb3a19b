"""Thermostats in normal modes: each is a function from settings to the action of O on every mode, and one row of THERMOSTATS.

All are linear: with x = (p̃, s₁ … s_A)/√m, the momentum of a normal mode and A extra momenta,

    dx = −D x dt + B dW,    D Σ + Σ Dᵀ = B Bᵀ,

so that x has the covariance Σ under O alone. White noise is the case A = 0.
"""

from typing import NamedTuple

import numpy as np
from ase import units

from md.dynamics.settings import QUANTUM_BATH, Dynamics
from mlcalc.common.errors import InputError


class Thermostat(NamedTuple):
    """The action of one O.

    Attributes:
        drift: (P, 1 + A, 1 + A) matrices D of every normal mode, 1 / ASE time.
        covariance: (P, 1 + A, 1 + A) matrices Σ in units of P k_B T; the identity keeps the canonical ensemble.
        rescaling_time: Relaxation time of the centroid's kinetic energy under stochastic rescaling, ASE time; infinite for none.
    """

    drift: np.ndarray
    covariance: np.ndarray
    rescaling_time: float = np.inf

    @property
    def is_idle(self) -> bool:
        """Whether O leaves all momenta unchanged."""
        return not self.drift.any() and np.isinf(self.rescaling_time)

    @property
    def acts_on_centroids(self) -> bool:
        """Whether O changes the momenta of the centroids."""
        return bool(self.drift[0].any()) or np.isfinite(self.rescaling_time)


def white_noise(frictions: np.ndarray, rescaling_time: float = np.inf) -> Thermostat:
    """Langevin friction γ_k (P,), 1 / ASE time, with the corresponding noise."""
    drift = np.asarray(frictions, dtype=np.float64)[:, None, None]
    return Thermostat(drift, np.ones_like(drift), rescaling_time)


# Every row of THERMOSTATS takes the frequencies (P,) ω_k of the free ring polymer in 1 / ASE time and settings.Dynamics, of
# which it uses τ₀ (centroid_time_fs), λ (friction_scale) or the matrices (gle).


def pile_l(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """PILE-L: γ_k = 2λω_k, γ_0 = 1/τ₀; λ = 1 damps every free mode critically.

    Source: Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), eqs. (36)–(38), doi:10.1063/1.3489925.
    """
    frictions = 2.0 * dynamics.friction_scale * frequencies
    frictions[0] = 1.0 / (dynamics.centroid_time_fs * units.fs)
    return white_noise(frictions)


def pile_g(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """PILE-G: as PILE-L, but one random factor scales all velocities of the centroid, which disturbs its motion least.

    Source: Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), doi:10.1063/1.3489925; Bussi, Donadio, Parrinello, J. Chem. Phys.
    126, 014101 (2007), doi:10.1063/1.2408420.
    """
    return white_noise(2.0 * dynamics.friction_scale * frequencies, dynamics.centroid_time_fs * units.fs)


def t_rpmd(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """T-RPMD: γ_k = λ·ω_k, half of PILE's; the centroid is free, for real-time correlation functions.

    Source: Rossi, Ceriotti, Manolopoulos, J. Chem. Phys. 140, 234116 (2014), doi:10.1063/1.4883861.
    """
    return white_noise(dynamics.friction_scale * frequencies)


def centroid_noise(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """White noise on the centroid only, γ_0 = 1/τ₀; internal modes are free. At P = 1, Langevin dynamics."""
    frictions = np.zeros_like(frequencies)
    frictions[0] = 1.0 / (dynamics.centroid_time_fs * units.fs)
    return white_noise(frictions)


def quantum_bath(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """Friction γ = 1/τ₀ at P = 1, for noise with the spectrum of a quantum bath (quantum_bath.py).

    Raises:
        InputError: Several beads.
    """
    if len(frequencies) > 1:
        raise InputError(
            f"thermostat = {QUANTUM_BATH!r} with beads = {len(frequencies)}: expected beads = 1, whose noise makes it quantum"
        )
    return centroid_noise(frequencies, dynamics)


def generalised_langevin(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """Coloured noise from the matrices of ``dynamics.gle`` (gle.py): one for all modes, or one for each (PIGLET).

    Sources: Ceriotti, Bussi, Parrinello, J. Chem. Theory Comput. 6, 1170 (2010), doi:10.1021/ct900563s; PIGLET: Ceriotti,
    Manolopoulos, Phys. Rev. Lett. 109, 100604 (2012), doi:10.1103/PhysRevLett.109.100604.
    """
    shape = (len(frequencies), *dynamics.gle.drift.shape[1:])
    covariance = dynamics.gle.covariance
    if covariance is None:
        relative = np.eye(shape[1])
    else:
        relative = covariance / (len(frequencies) * units.kB * dynamics.temperature_K)
    return Thermostat(np.broadcast_to(dynamics.gle.drift, shape), np.broadcast_to(relative, shape))


def no_thermostat(frequencies: np.ndarray, dynamics: Dynamics) -> Thermostat:
    """No friction: constant energy (microcanonical RPMD)."""
    return white_noise(np.zeros_like(frequencies))


THERMOSTATS = {
    "PILE-L": pile_l,
    "PILE-G": pile_g,
    "T-RPMD": t_rpmd,
    "centroid": centroid_noise,
    "GLE": generalised_langevin,
    QUANTUM_BATH: quantum_bath,
    "none": no_thermostat,
}
