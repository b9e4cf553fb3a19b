"""Vibrational densities of states from real-time velocities of centroids.

=========  ==================================================================  =============
symbol     meaning                                                             unit
=========  ==================================================================  =============
C(t)       β Σ_i m_i ⟨v̄_i(0)·v̄_i(t)⟩, Kubo-transformed in the limits where     1
           RPMD is exact; C(0) is the number of degrees of freedom
w(t)       window, 1 at t = 0 and 0 at the longest lag L
I(ν̃)       4c ∫₀^L w(t) C(t) cos(2πcν̃t) dt, whose integral over ν̃ is C(0)      1 / cm⁻¹
=========  ==================================================================  =============

The window broadens every line to a width of about 1/(cL). Errors are standard errors over trajectories, which are independent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import units

from md.observables.statistics import Mean

LIGHT = units._c * 100.0 * 1e-15  # cm / fs
_PADDING = 4  # points per width of a line

# Name → w at x = t/L in [0, 1]; each is half of the window of that name.
WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hann": lambda x: 0.5 + 0.5 * np.cos(np.pi * x),
    "blackman": lambda x: 0.42 + 0.5 * np.cos(np.pi * x) + 0.08 * np.cos(2 * np.pi * x),
    "none": np.ones_like,
}


@dataclass(frozen=True)
class Spectrum:
    """A density of states with its error.

    Attributes:
        wavenumbers: (K,) cm⁻¹.
        samples: (n, K) I of every trajectory, degrees of freedom per cm⁻¹.
    """

    wavenumbers: np.ndarray
    samples: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """(K,)"""
        return self.samples.mean(axis=0)

    @property
    def error(self) -> np.ndarray:
        """(K,) standard error; NaN for a single trajectory."""
        n = len(self.samples)
        return self.samples.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(self.samples.shape[1], np.nan)

    def freedom(self, low: float = 0.0, high: float = np.inf) -> Mean:
        """Degrees of freedom between two wavenumbers: the integral of I."""
        return _mean_of(self._integrals(low, high, 0))

    def position(self, low: float = 0.0, high: float = np.inf) -> Mean:
        """Mean wavenumber in cm⁻¹ between two others, weighted with I; its error to first order in the fluctuations."""
        weights, moments = self._integrals(low, high, 0), self._integrals(low, high, 1)
        if not weights.any():  # held atoms have no intensity
            return Mean(np.nan, np.nan, float(len(weights)))
        value = moments.mean() / weights.mean()
        return _mean_of((moments - value * weights) / weights.mean())._replace(value=float(value))

    def _integrals(self, low: float, high: float, power: int) -> np.ndarray:
        inside = (self.wavenumbers >= low) & (self.wavenumbers < high)
        step = self.wavenumbers[1] - self.wavenumbers[0]
        return (self.samples * self.wavenumbers**power)[:, inside].sum(axis=1) * step


def _mean_of(values: np.ndarray) -> Mean:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Mean(float(values.mean()), float(error), float(len(values)))


def autocorrelations(velocities: np.ndarray, masses: np.ndarray, temperature_K: float, n_lags: int) -> np.ndarray:
    """C(t) of every trajectory at lags 0 … n_lags − 1.

    Args:
        velocities: (n, n_frames, N, 3) Å/fs; masses: (N,) u.

    Returns:
        (n, n_lags), without unit.
    """
    n_frames = velocities.shape[1]
    correlations = np.empty((len(velocities), n_lags))
    for k, trajectory in enumerate(velocities):
        weighted = np.sqrt(masses)[:, None] * trajectory.astype(np.float64) / units.fs
        spectrum = np.fft.rfft(
            weighted.reshape(n_frames, -1), 2 * n_frames, axis=0
        )  # padded, so that the end is not correlated with the start
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=1)
        correlations[k] = np.fft.irfft(power)[:n_lags]
    return correlations / (np.arange(n_frames, n_frames - n_lags, -1) * units.kB * temperature_K)


def density_of_states(correlations: np.ndarray, interval_fs: float, window: str) -> Spectrum:
    """I(ν̃) from C(t) (n, n_lags) at equal intervals, by trapezoidal rule and FFT."""
    n_lags = correlations.shape[1]
    shaped = correlations * WINDOWS[window](np.arange(n_lags) / max(n_lags - 1, 1))
    size = 2 * _PADDING * n_lags
    integral = np.fft.rfft(shaped, size, axis=1).real - 0.5 * shaped[:, :1]
    wavenumbers = np.fft.rfftfreq(size, interval_fs) / LIGHT
    return Spectrum(wavenumbers, 4.0 * LIGHT * interval_fs * integral)


def harmonic_correlation(
    wavenumbers: np.ndarray, n_lags: int, interval_fs: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """Σ cos(2πcν̃t) over modes, (1, n_lags): C(t) of harmonic vibrations, classical and Kubo-transformed alike.

    Args:
        weights: (M,) weights of the modes, such as the share of some atoms in them; None for 1.
    """
    times = interval_fs * np.arange(n_lags)
    cosines = np.cos(2.0 * np.pi * LIGHT * np.asarray(wavenumbers)[:, None] * times)
    return (cosines.sum(axis=0) if weights is None else weights @ cosines)[None]


def bands(wavenumbers: np.ndarray, gap: float) -> list[tuple[float, float]]:
    """Ranges (low, high) in cm⁻¹ around groups of wavenumbers separated by gaps of at least ``gap``; they cover everything."""
    ordered = np.sort(wavenumbers)
    wide = np.flatnonzero(np.diff(ordered) >= gap)
    edges = [0.0, *(0.5 * (ordered[wide] + ordered[wide + 1])).tolist(), np.inf]
    return list(zip(edges[:-1], edges[1:], strict=True))
