"""The loop: a state goes in, samples come out. It knows no files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from md.estimators import Sample
from md.integrators import advance, centre_of_mass_part, make_laws
from md.ring_polymer import RingPolymer

Potential = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class SimulationError(RuntimeError):
    """The simulation cannot go on; the message names the step and the bead."""


@dataclass(frozen=True)
class Dynamics:
    """Ensemble and integrator.

    Attributes:
        temperature_K: T; with thermostat ``"none"`` it only sets the springs.
        timestep_fs: Δt.
        integrator: A word of integrators.SPLITTINGS.
        thermostat: A name of thermostats.THERMOSTATS.
        centroid_time_fs: τ₀, relaxation time of the centroid's momenta.
        friction_scale: λ of the internal modes' friction 2λω_k.
        remove_com: Hold the centroid's centre of mass at rest.
    """

    temperature_K: float
    timestep_fs: float
    integrator: str = "OBABO"
    thermostat: str = "PILE-L"
    centroid_time_fs: float = 100.0
    friction_scale: float = 1.0
    remove_com: bool = True


def simulate(
    ring_polymer: RingPolymer,
    potential: Potential,
    dynamics: Dynamics,
    rng: np.random.Generator,
    steps: int,
    every: int = 1,
) -> Iterator[Sample]:
    """Move a ring polymer on; yield a Sample before the first step and after every ``every`` steps.

    Args:
        ring_polymer: Initial state; its arrays are moved in place.
        potential: (P, N, 3) Å → energies (P,) eV, forces (P, N, 3) eV/Å.
        rng: Source of all noise; same seed, same bits.

    Raises:
        SimulationError: Energies or forces are not finite.
    """
    laws = make_laws(dynamics, len(ring_polymer.positions))
    if dynamics.remove_com:
        mean = ring_polymer.momenta.mean(axis=0)
        ring_polymer.momenta[:] -= centre_of_mass_part(mean, ring_polymer.masses)
    heat = 0.0
    energies, forces = _checked(potential(ring_polymer.positions), 0)
    for step in range(steps + 1):
        if step > 0:
            heat += advance(laws.before, ring_polymer, forces, laws, rng)
            energies, forces = _checked(potential(ring_polymer.positions), step)
            heat += advance(laws.after, ring_polymer, forces, laws, rng)
        if step % every == 0:
            yield Sample(
                step, step * dynamics.timestep_fs, ring_polymer, energies, forces,
                dynamics.temperature_K, dynamics.remove_com, heat,
            )  # fmt: skip


def _checked(evaluated: tuple[np.ndarray, np.ndarray], step: int) -> tuple[np.ndarray, np.ndarray]:
    energies, forces = evaluated
    # One sum finds any NaN or infinity: cheap enough for every step.
    if not np.isfinite(energies.sum() + np.abs(forces).sum()):
        bad = ~(np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2)))
        raise SimulationError(
            f"step {step}: energy or forces of bead(s) {np.flatnonzero(bad).tolist()} are not finite; "
            "try a smaller timestep_fs, or a start closer to a minimum of the model"
        )
    return energies, forces
