"""The state of a ring polymer: P replicas (beads) of N atoms, neighbours in imaginary time joined by springs."""

from typing import NamedTuple

import numpy as np
from ase import units

HBAR = units._hbar / units._e * units.s  # eV × ASE time unit


class RingPolymer(NamedTuple):
    """A value: laws of motion change its arrays in place, nothing is computed behind its back.

    Attributes:
        positions: (P, N, 3) Å.
        momenta: (P, N, 3) u Å / ASE time, physical masses on every bead.
        masses: (N,) u.
        auxiliary: (P, A, N, 3) extra momenta of a generalised Langevin thermostat, in normal modes; A = 0 for all others.
    """

    positions: np.ndarray
    momenta: np.ndarray
    masses: np.ndarray
    auxiliary: np.ndarray = np.zeros((0, 0, 0, 0))


def ring_frequency(n_beads: int, temperature_K: float) -> float:
    """Spring frequency ω_P = P/(βħ) in inverse ASE time units."""
    return n_beads * units.kB * temperature_K / HBAR


def thermal_ring_polymer(
    positions: np.ndarray,
    masses: np.ndarray,
    n_beads: int,
    temperature_K: float,
    rng: np.random.Generator,
    auxiliaries: int = 0,
) -> RingPolymer:
    """All beads at the same positions (N, 3), momenta and ``auxiliaries`` extra ones drawn from Maxwell's distribution at P·T."""
    q = np.repeat(np.asarray(positions, dtype=np.float64)[None], n_beads, axis=0)
    widths = np.sqrt(np.asarray(masses, dtype=np.float64) * n_beads * units.kB * temperature_K)
    p = widths[None, :, None] * rng.standard_normal(q.shape)
    extra = widths[None, None, :, None] * rng.standard_normal((n_beads, auxiliaries, *q.shape[1:]))
    return RingPolymer(q, p, np.asarray(masses, dtype=np.float64), extra)


def centroid(positions: np.ndarray) -> np.ndarray:
    """(P, N, 3) → (N, 3), the mean over beads."""
    return positions.mean(axis=0)
