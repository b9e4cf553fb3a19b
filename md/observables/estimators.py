"""Estimators: pure functions of one configuration of a ring polymer, and the table that lists them.

Letters: β = 1/k_BT, V = (1/P) Σ_j V(q_j), q̄ centroid, ω_P = P/(βħ).

Degrees of freedom. If the centre of mass is held at rest, its ½k_BT per direction is missing from both the ensemble and these
estimators. If rotation is held too, momenta have one degree of freedom less per direction in which the inertia tensor I of
all beads has an extent (three), and positions are weighted by (det I)^(−½); by the virial theorem the centroids then keep

    3N − 3 − tr(I⁻¹ I_c),    I_c the inertia tensor of the centroids (times P),

which is 3N − 6 for a rigid frame and 3N − 5 for a diatomic, up to the share of the inertia that comes from the spread of the beads.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from md.bias.applied import Applied
from md.dynamics.integrators import Modes
from md.dynamics.rigid_motion import inertia
from md.dynamics.ring_polymer import RingPolymer, ring_frequency
from md.dynamics.thermostat_step import ring_polymer_kinetic_energy

_BARKER = "Barker, J. Chem. Phys. 70, 2914 (1979), doi:10.1063/1.437829"
_HERMAN = "Herman, Bruskin, Berne, J. Chem. Phys. 76, 5150 (1982), doi:10.1063/1.442815"
_BUSSI = "Bussi, Zykova-Timan, Parrinello, J. Chem. Phys. 130, 074101 (2009), doi:10.1063/1.3073889"
_CEPERLEY = "Ceperley, Rev. Mod. Phys. 67, 279 (1995), doi:10.1103/RevModPhys.67.279"
_CERIOTTI = "Ceriotti et al., J. Chem. Phys. 133, 124104 (2010), doi:10.1063/1.3489925"
_ISOTOPE = "Ceriotti, Markland, J. Chem. Phys. 138, 014112 (2013), doi:10.1063/1.4772676"
_MARTYNA = "Martyna, Hughes, Tuckerman, J. Chem. Phys. 110, 3275 (1999), doi:10.1063/1.478193"
_SCHRAN = "Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020), doi:10.1063/5.0016004"
_YAMAMOTO = "Yamamoto, J. Chem. Phys. 123, 104101 (2005), doi:10.1063/1.2013257"

# When an estimator is recorded: always, only for molecules, if all momenta or those of the centroids have the temperature, or if
# the key of that name is set.
ALWAYS, MOLECULE, PER_ATOM = "always", "molecule", "per_atom"
THERMAL, CENTROIDS = "thermal", "thermal centroids"
SCALED, VIRIALS, COMMITTEE, BAROSTAT = "heat_capacity", "pressure", "committee", "barostat"
SCALING = 0.1  # δ of heat_capacity.py: small against 1, large against the rounding of a float32 network


class Sample(NamedTuple):
    """The input of estimators.

    Attributes:
        step: Number of time steps since the start; time_fs: the same in fs.
        ring_polymer: The state (live: copy what you keep).
        potential_energies: (P,) eV, without a bias; forces: (P, N, 3) eV/Å, with it: by the virial theorem, kinetic energies
            follow from the forces that move the atoms.
        temperature_K: T of the ensemble.
        remove_com, remove_rotation: Whether translation and rotation are held at rest.
        heat: Energy that the thermostat has removed so far, eV.
        scaled_energies: (2,) eV, V± of heat_capacity.py; None if not evaluated.
        virials: (P, 3, 3) eV, dE/d(strain) of every bead; None for a molecule, or if not evaluated.
        disagreement: (P, N) eV/Å, disagreement of a committee on forces; None without a committee.
        modes: The state in normal modes (live), for checkpoints; estimators do not use it.
        bias: What biases the motion, if anything does.
        cell_energy: Part of a barostat in the conserved energy, eV (barostats.cell_energy); 0 without one.
        extra_kicks: (P, N, 3) eV/Å, what kicks have beside ``forces``; None for one time step (md/components/split.py).
        is_thermal, has_thermal_centroids: Whether all momenta are at the temperature P·T, and those of the centroids at T
            (settings.Dynamics).
    """

    step: int
    time_fs: float
    ring_polymer: RingPolymer
    potential_energies: np.ndarray
    forces: np.ndarray
    temperature_K: float
    remove_com: bool
    heat: float
    remove_rotation: bool = False
    scaled_energies: np.ndarray | None = None
    virials: np.ndarray | None = None
    disagreement: np.ndarray | None = None
    modes: Modes | None = None
    bias: Applied | None = None
    cell_energy: float = 0.0
    extra_kicks: np.ndarray | None = None
    is_thermal: bool = True
    has_thermal_centroids: bool = True

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(np.abs(np.linalg.det(self.ring_polymer.cell)))

    @property
    def properties(self) -> dict[str, float]:
        """The total estimators of ESTIMATORS that this sample allows, by column."""
        return self.values(
            columns(
                self.scaled_energies is not None,
                self.virials is not None,
                periodic=self.ring_polymer.cell is not None,
                committee=self.disagreement is not None,
                barostat=len(self.ring_polymer.piston) > 0,
                thermal=self.is_thermal,
                thermal_centroids=self.has_thermal_centroids,
            )
        )

    @property
    def physical_forces(self) -> np.ndarray:
        """(P, N, 3) eV/Å, without a bias."""
        return self.forces if self.bias is None else self.bias.physical_forces

    def values(self, names: list[str]) -> dict[str, float]:
        """Estimators by column of properties.csv."""
        return {name: float(ESTIMATORS[name].function(self)) for name in names}

    @property
    def per_atom(self) -> dict[str, np.ndarray]:
        """The estimators of ESTIMATORS with one value per atom, (N,) each."""
        return {name: np.asarray(row.function(self)) for name, row in ESTIMATORS.items() if row.needs == PER_ATOM}


def _thermal(sample: Sample) -> float:
    return units.kB * sample.temperature_K


def _centre_of_mass(positions: np.ndarray, masses: np.ndarray) -> np.ndarray:
    return (masses[:, None] * positions).sum(axis=0) / masses.sum()


def _frozen(sample: Sample) -> tuple[float, np.ndarray]:
    """Degrees of freedom held at rest: of all momenta, and of each atom's centroid (N,) by the virial theorem.

    Each atom's share is its contribution to the mass and to the inertia.
    """
    q, _, masses = sample.ring_polymer[:3]
    total, by_atom = 3.0 * sample.remove_com, 3.0 * sample.remove_com * masses / masses.sum()
    if not sample.remove_rotation:
        return total, by_atom
    centroid = q.mean(axis=0)
    centre = _centre_of_mass(centroid, masses)
    whole = inertia(q - centre, masses)
    inverse = np.linalg.pinv(whole, rcond=1e-10, hermitian=True)
    r = centroid - centre
    turning = np.trace(inverse) * (r**2).sum(axis=1) - (r[:, :, None] * inverse * r[:, None, :]).sum(
        axis=(1, 2)
    )  # tr I⁻¹(r² − r rᵀ)
    return total + float(np.trace(inverse @ whole)), by_atom + len(q) * masses * turning


def temperature(sample: Sample) -> float:
    """Kinetic temperature of the beads divided by P, K: equal to T if the thermostat works correctly."""
    freedom = sample.ring_polymer.positions.size - _frozen(sample)[0]
    kinetic = ring_polymer_kinetic_energy(sample.ring_polymer)
    return 2.0 * kinetic / (max(freedom, 1.0) * units.kB * len(sample.ring_polymer.positions))


def potential(sample: Sample) -> float:
    """V."""
    return sample.potential_energies.mean()


def spring(sample: Sample) -> float:
    """Energy of the springs, (1/P) Σ_j Σ_i ½ m_i ω_P² |q_ij − q_i,j+1|²."""
    q, _, masses = sample.ring_polymer[:3]
    omega = ring_frequency(len(q), sample.temperature_K)
    stretch = ((q - np.roll(q, -1, axis=0)) ** 2).sum(axis=2)
    return 0.5 * omega**2 * (stretch * masses).sum() / len(q)


def kinetic_primitive(sample: Sample) -> float:
    """3PN/2β − springs: unbiased, but its spread grows with P. Not of quantum thermostats (momenta not at PT)."""
    freedom = sample.ring_polymer.positions.size - _frozen(sample)[0]
    return 0.5 * freedom * _thermal(sample) - spring(sample)


def kinetic_virial(sample: Sample) -> float:
    """3N/2β + (1/2P) Σ_j Σ_i (q_ij − q̄_i)·∂V/∂q_ij (centroid virial): mean as the primitive one, spread independent of P.

    Not of quantum thermostats that heat the centroids.
    """
    q = sample.ring_polymer.positions
    virial = -((q - q.mean(axis=0)) * sample.forces).sum() / (2 * len(q))
    return 0.5 * (q[0].size - _frozen(sample)[1].sum()) * _thermal(sample) + virial


def kinetic_virial_com(sample: Sample) -> float:
    """3/2β + (1/2P) Σ_j Σ_i (q_ij − R)·∂V/∂q_ij about the centre of mass R: the same mean for a bound molecule, larger spread."""
    q, _, masses = sample.ring_polymer[:3]
    centre = _centre_of_mass(q.mean(axis=0), masses)
    return 1.5 * (not sample.remove_com) * _thermal(sample) - ((q - centre) * sample.forces).sum() / (2 * len(q))


def conserved(sample: Sample) -> float:
    """(Hamiltonian of the ring polymer + heat removed by the thermostat)/P: constant up to the time-step error.

    With a bias, its energy counts, without what hills added where they came; with a barostat, pV − (1 + c) k_BT ln V + p_h²/2PW
    (barostats.py).
    """
    n_beads = len(sample.ring_polymer.positions)
    kinetic = ring_polymer_kinetic_energy(sample.ring_polymer)
    total = (kinetic + sample.heat) / n_beads + spring(sample) + potential(sample) + sample.cell_energy
    return total if sample.bias is None else total + sample.bias.energies.sum() - sample.bias.work


def gyration_radius(sample: Sample) -> float:
    """Root of the mean over atoms and beads of |q_ij − q̄_i|²."""
    return np.sqrt((gyration_per_atom(sample) ** 2).mean())


def gyration_per_atom(sample: Sample) -> np.ndarray:
    """Root of the mean over beads of |q_ij − q̄_i|², (N,)."""
    q = sample.ring_polymer.positions
    return np.sqrt(((q - q.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))


def kinetic_virial_per_atom(sample: Sample) -> np.ndarray:
    """3/2β + (1/2P) Σ_j (q_ij − q̄_i)·∂V/∂q_ij of every atom, (N,)."""
    q = sample.ring_polymer.positions
    virial = -((q - q.mean(axis=0)) * sample.forces).sum(axis=(0, 2)) / (2 * len(q))
    return 0.5 * (3.0 - _frozen(sample)[1]) * _thermal(sample) + virial


def isotope_derivative(sample: Sample) -> np.ndarray:
    """−K_i/m_i, (N,): its mean is the derivative of the free energy by the mass of atom i; integrated over m, an isotope effect."""
    return -kinetic_virial_per_atom(sample) / sample.ring_polymer.masses


def energy_scaled(sample: Sample) -> float:
    """ε of heat_capacity.py: its mean is the energy."""
    outer, inner, thermal, kinetic = _scaled(sample)
    return kinetic + potential(sample) + (outer - inner) / (2.0 * SCALING)


def energy_scaled_slope(sample: Sample) -> float:
    """ε′ of heat_capacity.py: enters the heat capacity together with ε."""
    outer, inner, thermal, kinetic = _scaled(sample)
    return -kinetic * thermal + (outer + inner) * thermal / SCALING**2


def _scaled(sample: Sample) -> tuple[float, float, float, float]:
    """(1 ± δ)V±, k_BT, kinetic part. Energies relative to V, which keeps digits: a constant cancels from both differences."""
    above, below = sample.scaled_energies - potential(sample)
    kinetic = 0.5 * (sample.ring_polymer.positions[0].size - _frozen(sample)[1].sum()) * _thermal(sample)
    return (1.0 + SCALING) * above, (1.0 - SCALING) * below, _thermal(sample), kinetic


def pressure(sample: Sample) -> float:
    """[3N/β − (1/P) Σ_j (tr dV/dε + Σ_i (q_ij − q̄_i)·f_ij)]/3Ω, GPa: centroids scale with the cell of volume Ω; ε strain."""
    q = sample.ring_polymer.positions
    spread = ((q - q.mean(axis=0)) * sample.forces).sum() / len(q)
    strain = np.trace(sample.virials, axis1=1, axis2=2).mean()
    return (q[0].size * _thermal(sample) - strain - spread) / (3.0 * sample.volume) / units.GPa


def volume(sample: Sample) -> float:
    """V of the cell."""
    return sample.volume


def largest_disagreement(sample: Sample) -> float:
    """max_ij σ_ij, eV/Å, over atoms i and beads j."""
    return float(sample.disagreement.max())


class Estimator(NamedTuple):
    """A row of the table.

    Attributes:
        function: Sample → number, or (N,) numbers where ``needs`` is PER_ATOM.
        unit: As printed.
        label: Name in tables.
        reference: Literature source.
        needs: Condition for recording, see above.
    """

    function: Callable[[Sample], float | np.ndarray]
    unit: str
    label: str
    reference: str
    needs: str = ALWAYS


# Column of properties.csv (or, per atom, observable of trajectory.h5) → estimator; the unit is the end of the name.
ESTIMATORS: dict[str, Estimator] = {
    "temperature_K": Estimator(temperature, "K", "temperature", _CERIOTTI),
    "potential_eV": Estimator(potential, "eV", "potential energy", _BARKER),
    "kinetic_virial_eV": Estimator(kinetic_virial, "eV", "kinetic energy, centroid virial", _HERMAN, CENTROIDS),
    "kinetic_virial_com_eV": Estimator(kinetic_virial_com, "eV", "kinetic energy, virial", _HERMAN, MOLECULE),
    "kinetic_primitive_eV": Estimator(kinetic_primitive, "eV", "kinetic energy, primitive", _BARKER, THERMAL),
    "spring_eV": Estimator(spring, "eV", "energy of the springs", _BARKER),
    "conserved_eV": Estimator(conserved, "eV", "conserved energy", _CERIOTTI),
    "gyration_radius_A": Estimator(gyration_radius, "Å", "radius of gyration", _CEPERLEY),
    "energy_scaled_eV": Estimator(energy_scaled, "eV", "energy, scaled coordinates", _YAMAMOTO, SCALED),
    "energy_scaled_slope_eV2": Estimator(energy_scaled_slope, "eV²", "its scaled slope", _YAMAMOTO, SCALED),
    "pressure_GPa": Estimator(pressure, "GPa", "pressure, centroid virial", _MARTYNA, VIRIALS),
    "volume_A3": Estimator(volume, "Å³", "volume", _BUSSI, BAROSTAT),
    "disagreement_eV_A": Estimator(largest_disagreement, "eV/Å", "largest disagreement on forces", _SCHRAN, COMMITTEE),
    "kinetic_virial_per_atom_eV": Estimator(
        kinetic_virial_per_atom, "eV", "kinetic energy, centroid virial", _HERMAN, PER_ATOM
    ),
    "gyration_radius_per_atom_A": Estimator(gyration_per_atom, "Å", "radius of gyration", _CEPERLEY, PER_ATOM),
    "isotope_derivative_eV_per_u": Estimator(isotope_derivative, "eV/u", "dF/dm", _ISOTOPE, PER_ATOM),
}


def columns(
    heat_capacity: bool,
    pressure: bool,
    periodic: bool,
    committee: bool = False,
    barostat: bool = False,
    thermal: bool = True,
    thermal_centroids: bool = True,
) -> list[str]:
    """Names of the total estimators that a run records; with a barostat also the pressure."""
    recorded = {
        ALWAYS: True, MOLECULE: not periodic, SCALED: heat_capacity, VIRIALS: pressure or barostat, COMMITTEE: committee,
        BAROSTAT: barostat, THERMAL: thermal, CENTROIDS: thermal_centroids,
    }  # fmt: skip
    found = {name for name, is_recorded in recorded.items() if is_recorded}
    return [name for name, row in ESTIMATORS.items() if row.needs in found]
