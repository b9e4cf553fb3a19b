"""Estimators: pure functions of one configuration of a ring polymer, and the one table that names them.

Letters: β = 1/k_BT, V = (1/P) Σ_j V(q_j), q̄ centroid, ω_P = P/(βħ), N_f = N atoms, less one where the centre of mass of the
centroid is held at rest (its ½k_BT per direction is then missing from the ensemble, so it is taken out of the estimators).

Sources: primitive — Barker, J. Chem. Phys. 70, 2914 (1979), doi:10.1063/1.437829; centroid virial — Herman, Bruskin, Berne,
J. Chem. Phys. 76, 5150 (1982), doi:10.1063/1.442815.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from md import heat_capacity
from md.integrators import ring_polymer_kinetic_energy
from md.ring_polymer import RingPolymer, ring_frequency
from md.statistics import Mean, block_average


class Sample(NamedTuple):
    """What an estimator may look at.

    Attributes:
        step: Number of time steps since the start; time_fs: the same in fs.
        ring_polymer: The state (live: copy what you keep).
        potential_energies: (P,) eV; forces: (P, N, 3) eV/Å.
        temperature_K: T of the ensemble.
        remove_com: Whether the centroid's centre of mass is held at rest.
        heat: Energy that the thermostat has taken out so far, eV.
        potential: (P, N, 3) Å → energies (P,) eV, forces; for estimators that look at other configurations.
    """

    step: int
    time_fs: float
    ring_polymer: RingPolymer
    potential_energies: np.ndarray
    forces: np.ndarray
    temperature_K: float
    remove_com: bool
    heat: float
    potential: Callable | None = None

    @property
    def properties(self) -> dict[str, float]:
        """All estimators of ESTIMATORS by name."""
        return {name: float(function(self)) for name, function in ESTIMATORS.items()}


def temperature(sample: Sample) -> float:
    """Kinetic temperature of the beads divided by P, K: T when the thermostat does its work."""
    n_beads, n_atoms, _ = sample.ring_polymer.positions.shape
    freedom = 3 * (n_beads * n_atoms - sample.remove_com)
    kinetic = ring_polymer_kinetic_energy(sample.ring_polymer)
    return 2.0 * kinetic / (max(freedom, 1) * units.kB * n_beads)


def potential(sample: Sample) -> float:
    """V, eV."""
    return sample.potential_energies.mean()


def spring(sample: Sample) -> float:
    """Energy of the springs, (1/P) Σ_j Σ_i ½ m_i ω_P² |q_ij − q_i,j+1|², eV."""
    q, _, masses = sample.ring_polymer
    omega = ring_frequency(len(q), sample.temperature_K)
    stretch = ((q - np.roll(q, -1, axis=0)) ** 2).sum(axis=2)
    return 0.5 * omega**2 * (stretch @ masses).sum() / len(q)


def kinetic_primitive(sample: Sample) -> float:
    """3(PN − com)/2β − springs, eV: unbiased, but its spread grows with P."""
    n_beads, n_atoms, _ = sample.ring_polymer.positions.shape
    freedom = 3 * (n_beads * n_atoms - sample.remove_com)
    return 0.5 * freedom * units.kB * sample.temperature_K - spring(sample)


def kinetic_virial(sample: Sample) -> float:
    """3N_f/2β + (1/2P) Σ_j Σ_i (q_ij − q̄_i)·∂V/∂q_ij, eV: same mean as the primitive one, spread independent of P."""
    q = sample.ring_polymer.positions
    freedom = 3 * (q.shape[1] - sample.remove_com)
    virial = -((q - q.mean(axis=0)) * sample.forces).sum() / (2 * len(q))
    return 0.5 * freedom * units.kB * sample.temperature_K + virial


def conserved(sample: Sample) -> float:
    """(Hamiltonian of the ring polymer + heat taken out by the thermostat)/P, eV: constant but for the time-step error."""
    n_beads = len(sample.ring_polymer.positions)
    kinetic = ring_polymer_kinetic_energy(sample.ring_polymer)
    return (kinetic + sample.heat) / n_beads + spring(sample) + potential(sample)


def gyration_radius(sample: Sample) -> float:
    """Root of the mean over atoms and beads of |q_ij − q̄_i|², Å."""
    q = sample.ring_polymer.positions
    return np.sqrt(((q - q.mean(axis=0)) ** 2).sum(axis=2).mean())


def means(series: dict[str, np.ndarray], temperature_K: float) -> dict[str, Mean]:
    """Means of recorded estimators with standard errors by blocking, and what follows from several of them.

    Args:
        series: Column of properties.csv → (n,) values.
    """
    found = {name: block_average(values) for name, values in series.items()}
    if heat_capacity.ENERGY in series:
        energy, slope = series[heat_capacity.ENERGY], series[heat_capacity.SLOPE]
        found["heat_capacity_kB"] = heat_capacity.heat_capacity(energy, slope, temperature_K)
    return found


# Column of properties.csv → estimator; the unit is the end of the name.
ESTIMATORS: dict[str, Callable[[Sample], float]] = {
    "temperature_K": temperature,
    "potential_eV": potential,
    "kinetic_virial_eV": kinetic_virial,
    "kinetic_primitive_eV": kinetic_primitive,
    "conserved_eV": conserved,
    "gyration_radius_A": gyration_radius,
}
