"""The state of a ring polymer: P replicas (beads) of N atoms, neighbours in imaginary time joined by springs."""

from typing import NamedTuple

import numpy as np
from ase import Atoms, units

HBAR = units._hbar / units._e * units.s  # eV × ASE time unit


class RingPolymer(NamedTuple):
    """The state; laws of motion change its arrays in place, nothing is cached.

    Attributes:
        positions: (P, N, 3) Å.
        momenta: (P, N, 3) u Å / ASE time, physical masses on every bead.
        masses: (N,) u.
        auxiliary: (P, A, N, 3) extra momenta of a generalised Langevin thermostat, in normal modes; otherwise A = 0.
        cell: (3, 3) Å of a periodic system, rows are lattice vectors; None for a molecule.
        piston: (1,) or (3,) momenta of the cell under a barostat, eV × ASE time (barostats.py); otherwise (0,).
    """

    positions: np.ndarray
    momenta: np.ndarray
    masses: np.ndarray
    auxiliary: np.ndarray = np.zeros((0, 0, 0, 0))
    cell: np.ndarray | None = None
    piston: np.ndarray = np.zeros(0)

    @property
    def configuration(self) -> tuple[np.ndarray, ...]:
        """The arguments of a potential."""
        return configuration(self.positions, self.cell)


def configuration(positions: np.ndarray, cell: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """The arguments of a potential: positions, and a cell if there is one: a molecule needs only a function of positions."""
    return (positions,) if cell is None else (positions, cell)


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
    cell: np.ndarray | None = None,
) -> RingPolymer:
    """All beads at the same positions (N, 3), momenta and ``auxiliaries`` extra ones drawn from Maxwell's distribution at P·T."""
    q = np.repeat(np.asarray(positions, dtype=np.float64)[None], n_beads, axis=0)
    widths = np.sqrt(np.asarray(masses, dtype=np.float64) * n_beads * units.kB * temperature_K)
    p = widths[None, :, None] * rng.standard_normal(q.shape)
    extra = widths[None, None, :, None] * rng.standard_normal((n_beads, auxiliaries, *q.shape[1:]))
    box = None if cell is None else np.array(cell, dtype=np.float64, order="C")
    return RingPolymer(q, p, np.asarray(masses, dtype=np.float64), extra, box)


def cell_of(atoms: Atoms) -> np.ndarray | None:
    """(3, 3) Å of a structure that is periodic in any direction, a new array; None for a molecule, in a box or not."""
    return np.array(atoms.cell.array, dtype=np.float64, order="C") if atoms.pbc.any() else None
