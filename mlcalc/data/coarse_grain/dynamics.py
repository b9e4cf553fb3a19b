"""All-atom molecular dynamics with OpenMM in blocks, mapped onto beads: what liquids and proteins have in common.

OpenMM uses nm, ps and kJ/mol; results of this module are in Å and eV, except states that are passed back to it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from ase import units

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range
from mlcalc.data.coarse_grain.mapping import Mapping

CONSTRAINTS = ("none", "HBonds", "AllBonds", "HAngles")
ONE_WAY = {"Threads": "1", "DeterministicForces": "true"}  # one order of summing forces
NM = 10.0 * units.Ang
KJ = units.kJ / units.mol


@dataclass(frozen=True, kw_only=True)
class DynamicsSettings:
    """Keys of a TOML file of ``mlcalc coarse-grain`` that liquids and proteins share.

    Attributes:
        force_field: OpenMM force field files, beside the TOML file or among OpenMM's own.
        frames: Total number; trajectories: number of independent ones that share them.
        constraints: OpenMM's; rigid water is always rigid. hydrogen_mass_u: mass of hydrogen atoms, taken from the heavy atom that
            they are bound to: slower vibrations allow longer steps and change no distribution of positions.
    """

    FILES: ClassVar[tuple[str, ...]] = ()  # keys that name files beside the TOML file

    force_field: tuple[str, ...]
    temperature_K: float
    frames: int
    trajectories: int = 2
    frame_interval_ps: float = 1.0
    equilibration_ps: float = 100.0
    timestep_fs: float = 2.0
    friction_per_ps: float = 1.0
    constraints: str = "HBonds"
    hydrogen_mass_u: float = 1.008
    seed: int = 0

    def __post_init__(self):
        for name in ("frames", "trajectories"):
            check_range(name, getattr(self, name), 1)
        for name in ("temperature_K", "frame_interval_ps", "timestep_fs", "friction_per_ps"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        check_range("equilibration_ps", self.equilibration_ps, 0.0)
        check_range("hydrogen_mass_u", self.hydrogen_mass_u, 1.008, 4.0)
        check_range("seed", self.seed, 0)
        check_choice("constraints", self.constraints, CONSTRAINTS)

    def steps_in(self, time_ps: float) -> int:
        """Number of time steps in a time."""
        return round(1e3 * time_ps / self.timestep_fs)


class Setup(NamedTuple):
    """What a trajectory begins with.

    Attributes:
        system: OpenMM's System; mapping: its beads; start: (n_atoms, 3) nm.
        numbers: (n_beads,) atomic numbers that stand for the beads in the frames; box_A: edges of the cell, None without one.
        info: Entries of the comment line of every frame.
        minimisations: Most iterations of the minimiser; 0 for any number, which long chains would need thousands of.
        prepare: Called with the context, minimised and with velocities, before equilibration.
        check: Called with atoms (n_atoms, 3) nm after equilibration and after each block; raises InputError for what must not be.
        mean_forces: Called with a seed once in a block; gives a function of atoms (nm) and velocities (nm/ps), to forces on beads
            (n_beads, 3) eV/Å and their noise (2,), see protein.py. None for the forces of the moment, mapped.
    """

    system: Any
    mapping: Mapping
    start: np.ndarray
    numbers: np.ndarray
    box_A: tuple[float, ...] | None = None
    info: dict = {}
    minimisations: int = 0
    prepare: Callable[[Any], None] = lambda context: None
    check: Callable[[np.ndarray], None] = lambda atoms: None
    mean_forces: Callable[[int], Callable] | None = None


def run_block(
    settings: DynamicsSettings, setup: Setup, frames: int, place: tuple[int, int], state: dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    """One block of a trajectory.

    Args:
        frames: Number of frames; place: numbers of trajectory and block.
        state: The result of the previous block; None to begin at the start, minimised and equilibrated.

    Returns:
        ``positions``, ``forces`` (frames, n_beads, 3) of beads, Å and eV/Å; ``atoms``, ``velocities`` (n_atoms, 3) at the end,
        nm and nm/ps; with mean forces ``noise`` (frames, 2).

    Raises:
        InputError: The trajectory has blown up, the state is that of other atoms, or the setup's check refuses one.
    """
    import openmm

    seed = int(np.random.default_rng([settings.seed, *place]).integers(1, 2**31 - 1))
    context = context_of(setup.system, settings, seed)
    integrator = context.getIntegrator()
    if state is not None:
        check_state(state, setup.start)
    if state is None:
        context.setPositions(setup.start)
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=setup.minimisations)
        context.setVelocitiesToTemperature(settings.temperature_K, seed)
        setup.prepare(context)
        advance(integrator, settings.steps_in(settings.equilibration_ps))
        setup.check(context.getState(positions=True).getPositions(asNumpy=True)._value)
    else:
        context.setPositions(state["atoms"])
        context.setVelocities(state["velocities"])
    average = setup.mean_forces(seed) if setup.mean_forces else None
    steps = max(1, settings.steps_in(settings.frame_interval_ps))
    positions, forces, noise = [], [], []
    for _ in range(frames):
        advance(integrator, steps)
        # Without enforced periodicity molecules stay intact.
        now = context.getState(positions=True, forces=True, velocities=True)
        atoms, velocities = (
            array._value for array in (now.getPositions(asNumpy=True), now.getVelocities(asNumpy=True))
        )
        positions.append(setup.mapping.positions(atoms) * NM)
        if average is None:
            forces.append(setup.mapping.forces(now.getForces(asNumpy=True)._value) * KJ / NM)
        else:
            mean, its_noise = average(atoms, velocities)
            forces.append(mean)
            noise.append(its_noise)
    setup.check(atoms)
    found = {
        "positions": np.array(positions), "forces": np.array(forces), "atoms": atoms, "velocities": velocities,
    }  # fmt: skip
    return found | {"noise": np.array(noise)} if noise else found


def check_state(state: dict[str, np.ndarray], start: np.ndarray) -> None:
    """Raise InputError for a state of other atoms than those at the start."""
    for name in ("atoms", "velocities"):
        if state[name].shape != start.shape:
            raise InputError(f"a block with {name} of shape {state[name].shape}: expected {start.shape}; start again")


def advance(integrator, steps: int) -> None:
    """Make steps; InputError when the simulation becomes unstable."""
    import openmm

    try:
        integrator.step(steps)
    except openmm.OpenMMException as error:
        raise InputError(f"the simulation is unstable: {error}; try a smaller timestep_fs or a larger box_A") from error


def context_of(system, settings: DynamicsSettings, seed: int):
    """OpenMM's Context of a system with a Langevin integrator, on one thread: the same seed gives the same numbers."""
    import openmm

    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature_K, settings.friction_per_ps, 1e-3 * settings.timestep_fs
    )
    integrator.setRandomNumberSeed(seed)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), ONE_WAY)
