"""Infrared absorption from dipoles in real time.

=========  ======================================================================  ===================
symbol     meaning                                                                 unit
=========  ======================================================================  ===================
p̄          mean dipole of the beads, at rest on average: what does not change      eÅ
           does not absorb
D(t)       β ⟨dp̄/dt(0)·dp̄/dt(t)⟩, Kubo-transformed; for harmonic vibrations        e²/u
           D(0) = Σ_k |∂p/∂q_k|² over mass-weighted coordinates
κ          N_A/(12 ε₀c²), from D to integrated molar absorption                    km mol⁻¹ / (e² u⁻¹)
A(ν̃)       κ 4c ∫₀^L w(t) D(t) cos(2πcν̃t) dt, whose integral over ν̃ is κD(0)       km mol⁻¹ / cm⁻¹
=========  ======================================================================  ===================

dp̄/dt are differences of frames Δt apart, which lower a line at ν̃ by (sin x/x)², x = πcν̃Δt: A(ν̃) is divided by this. Windows
and errors: spectra.py.

Sources: Habershon, Fanourgakis, Manolopoulos, J. Chem. Phys. 129, 074501 (2008), doi:10.1063/1.2968555; the absorption of a
harmonic vibration: Neugebauer, Reiher, Kind, Hess, J. Comput. Chem. 23, 895 (2002), doi:10.1002/jcc.10089.
"""

import numpy as np

from analysis.spectrum.spectra import LIGHT, Spectrum, autocorrelations, density_of_states
from mlcalc.modes import KM_PER_MOL


def dipole_correlations(dipoles: np.ndarray, interval_fs: float, temperature_K: float, n_lags: int) -> np.ndarray:
    """D(t) of every trajectory at lags 0 … n_lags − 1, (n, n_lags) e²/u, from dipoles (n, n_frames, 3) eÅ."""
    rates = np.diff(dipoles.astype(np.float64), axis=1) / interval_fs
    return autocorrelations(rates[:, :, None], np.ones(1), temperature_K, n_lags)


def absorption(correlations: np.ndarray, interval_fs: float, window: str, differences: bool = True) -> Spectrum:
    """A(ν̃), km mol⁻¹ per cm⁻¹, from D(t) (n, n_lags) e²/u.

    Args:
        differences: Whether D is that of differences of frames.
    """
    found = density_of_states(correlations, interval_fs, window)
    x = np.pi * LIGHT * found.wavenumbers * interval_fs
    lowered = np.sinc(x / np.pi) ** 2 if differences else 1.0
    return Spectrum(found.wavenumbers, KM_PER_MOL * found.samples / lowered)
