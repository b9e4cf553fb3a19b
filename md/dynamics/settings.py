"""Settings of the laws of motion."""

from dataclasses import dataclass

from md.dynamics.gle import Gle

QUANTUM_BATH = "adQTB"


@dataclass(frozen=True)
class Dynamics:
    """Ensemble and integrator.

    Attributes:
        temperature_K: T; with thermostat ``"none"`` it only sets the springs.
        timestep_fs: Δt.
        integrator: A name of integrators.SPLITTINGS, or a word of its letters.
        thermostat: A name of thermostats.THERMOSTATS.
        centroid_time_fs: τ₀, relaxation time of the centroid's momenta.
        friction_scale: λ of the internal modes' friction 2λω_k.
        remove_com: Hold the centre of mass at rest.
        remove_rotation: Hold the total angular momentum of an isolated molecule at zero (rigid_motion.py).
        gle: Matrices of the thermostat ``"GLE"``.
        barostat: A name of barostats.BAROSTATS.
        pressure_GPa: External pressure.
        barostat_time_fs: τ, sets inertia and friction of the piston.
        bath_segment_fs, bath_adaptation_ps: Of the thermostat ``"adQTB"``, see quantum_bath.py: length of the segments of which it
            takes spectra, and memory of their running averages; with 0 it does not adapt (QTB).
    """

    temperature_K: float
    timestep_fs: float
    integrator: str = "OBABO"
    thermostat: str = "PILE-L"
    centroid_time_fs: float = 100.0
    friction_scale: float = 1.0
    remove_com: bool = True
    remove_rotation: bool = False
    gle: Gle | None = None
    barostat: str = "none"
    pressure_GPa: float = 0.0
    barostat_time_fs: float = 1000.0
    bath_segment_fs: float = 1000.0
    bath_adaptation_ps: float = 20.0

    @property
    def has_quantum_bath(self) -> bool:
        """Whether noise and records of a step belong to a quantum_bath.QuantumBath."""
        return self.thermostat == QUANTUM_BATH

    @property
    def is_thermal(self) -> bool:
        """Whether the momenta of all modes have the temperature P·T, and positions the distribution of classical rings at it."""
        return not self.has_quantum_bath and (self.gle is None or self.gle.covariance is None)

    @property
    def has_thermal_centroids(self) -> bool:
        """Whether the momenta of the centroids have the temperature T, as with PIGLET."""
        return self.is_thermal or (self.gle is not None and self.gle.has_thermal_centroids)
