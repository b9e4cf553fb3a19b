"""An all-atom liquid in OpenMM: its composition, and blocks of its trajectory mapped to centres of mass.

OpenMM uses nm, ps and kJ/mol; results of this module are in Å and eV, except states that are passed back to it.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import units
from ase.data import atomic_numbers

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.common.settings import build_settings, check_choice, check_range, read_toml
from mlcalc.data.coarse_grain.mapping import Mapping

CONSTRAINTS = ("none", "HBonds", "AllBonds", "HAngles")
_ONE_WAY = {"Threads": "1", "DeterministicForces": "true"}  # one order of summing forces
NM = 10.0 * units.Ang
KJ = units.kJ / units.mol


@dataclass(frozen=True)
class AllAtomSettings:
    """Keys of a TOML file of ``mlcalc coarse-grain``.

    Attributes:
        molecule: PDB file of one molecule (beside the TOML file); count: how many of them; box_A: edges of the cell.
        force_field: OpenMM force field files, beside the TOML file or among OpenMM's own.
        bead: Element that stands for a bead in the frames; its mass is that of the molecule.
        frames: Total number; trajectories: number of independent ones that share them.
        constraints: OpenMM's; rigid water is always rigid. hydrogen_mass_u: mass of hydrogen atoms, taken from the heavy atom that
            they are bound to: slower vibrations allow longer steps and change no distribution of positions.
        cutoff_A: Cutoff of Lennard-Jones forces and of the direct part of Ewald sums.
    """

    molecule: str
    force_field: tuple[str, ...]
    count: int
    box_A: tuple[float, ...]
    bead: str
    temperature_K: float
    frames: int
    trajectories: int = 2
    frame_interval_ps: float = 1.0
    equilibration_ps: float = 100.0
    timestep_fs: float = 2.0
    friction_per_ps: float = 1.0
    constraints: str = "HBonds"
    hydrogen_mass_u: float = 1.008
    cutoff_A: float = 9.0
    seed: int = 0

    def __post_init__(self):
        for name in ("count", "frames", "trajectories"):
            check_range(name, getattr(self, name), 1)
        for name in ("temperature_K", "frame_interval_ps", "timestep_fs", "friction_per_ps", "cutoff_A"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        check_range("equilibration_ps", self.equilibration_ps, 0.0)
        check_range("hydrogen_mass_u", self.hydrogen_mass_u, 1.008, 4.0)
        check_range("seed", self.seed, 0)
        check_choice("constraints", self.constraints, CONSTRAINTS)
        if self.bead not in atomic_numbers:
            raise InputError(f"bead = {self.bead!r}: expected the symbol of an element")
        if len(self.box_A) != 3 or min(self.box_A) < 2 * self.cutoff_A:
            raise InputError(
                f"box_A = {list(self.box_A)}: expected three edges of at least {2 * self.cutoff_A:g}, twice cutoff_A"
            )

    def steps_in(self, time_ps: float) -> int:
        """Number of time steps in a time."""
        return round(1e3 * time_ps / self.timestep_fs)


def read_settings(config: Path, overrides: dict) -> AllAtomSettings:
    """Settings with the paths of the files beside a TOML file; InputError for invalid ones."""
    settings = build_settings(AllAtomSettings, read_toml(config) | overrides, config)
    beside = [Path(config).parent / name for name in settings.force_field]
    force_field = (
        str(check_regular(path)) if os.path.lexists(path) else name
        for path, name in zip(beside, settings.force_field, strict=True)
    )
    return replace(settings, molecule=str(Path(config).parent / settings.molecule), force_field=tuple(force_field))


def run_block(
    settings: AllAtomSettings, frames: int, trajectory: int, block: int, state: dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:  # fmt: skip
    """One block of a trajectory.

    Args:
        frames: Number of frames.
        state: The result of the previous block; None to start from a lattice, minimised and equilibrated.

    Returns:
        ``positions``, ``forces`` (frames, count, 3) of beads, Å and eV/Å; ``atoms``, ``velocities`` (n_atoms, 3) at the end,
        nm and nm/ps.

    Raises:
        InputError: The trajectory has blown up, or the state is that of other atoms.
    """
    import openmm

    system, mapping, lattice = make_system(settings, trajectory)
    seed = int(np.random.default_rng([settings.seed, trajectory, block]).integers(1, 2**31 - 1))
    context = context_of(system, settings, seed)
    integrator = context.getIntegrator()
    if state is not None:
        check_state(state, lattice)
    if state is None:
        context.setPositions(lattice)
        openmm.LocalEnergyMinimizer.minimize(context)
        context.setVelocitiesToTemperature(settings.temperature_K, seed)
        advance(integrator, settings.steps_in(settings.equilibration_ps))
    else:
        context.setPositions(state["atoms"])
        context.setVelocities(state["velocities"])
    steps = max(1, settings.steps_in(settings.frame_interval_ps))
    positions, forces = [], []
    for _ in range(frames):
        advance(integrator, steps)
        # Without enforced periodicity molecules stay intact.
        now = context.getState(positions=True, forces=True, velocities=True)
        atoms, force = (array._value for array in (now.getPositions(asNumpy=True), now.getForces(asNumpy=True)))
        positions.append(mapping.positions(atoms) * NM)
        forces.append(mapping.forces(force) * KJ / NM)
    return {
        "positions": np.array(positions), "forces": np.array(forces),
        "atoms": atoms, "velocities": now.getVelocities(asNumpy=True)._value,
    }  # fmt: skip


def check_state(state: dict[str, np.ndarray], lattice: np.ndarray) -> None:
    """Raise InputError for a state of other atoms than those on a lattice."""
    for name in ("atoms", "velocities"):
        if state[name].shape != lattice.shape:
            raise InputError(f"a block with {name} of shape {state[name].shape}: expected {lattice.shape}; start again")


def advance(integrator, steps: int) -> None:
    """Make steps; InputError when the simulation becomes unstable."""
    import openmm

    try:
        integrator.step(steps)
    except openmm.OpenMMException as error:
        raise InputError(f"the simulation is unstable: {error}; try a smaller timestep_fs or a larger box_A") from error


def context_of(system, settings: AllAtomSettings, seed: int):
    """OpenMM's Context of a system with a Langevin integrator, on one thread: the same seed gives the same numbers."""
    import openmm

    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature_K, settings.friction_per_ps, 1e-3 * settings.timestep_fs
    )
    integrator.setRandomNumberSeed(seed)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), _ONE_WAY)


def make_system(settings: AllAtomSettings, trajectory: int = 0):
    """The liquid as an OpenMM system.

    Returns:
        OpenMM's System, the Mapping, and positions (n_atoms, 3), nm, of molecules at the points of a lattice, turned at random.

    Raises:
        InputError: OpenMM is not installed; a molecule or a force field that it cannot use.
    """
    try:
        import openmm
        from openmm import app
    except ImportError as error:
        raise InputError("OpenMM is not installed; pip install 'mlcalc[reference]'") from error
    try:
        molecule = app.PDBFile(str(check_regular(settings.molecule)))
        field = app.ForceField(*settings.force_field)
    except Exception as error:  # OpenMM's readers may raise anything
        raise InputError(f"{settings.molecule}, {', '.join(settings.force_field)}: {error}") from error
    topology = _repeated(molecule.topology, settings.count, np.array(settings.box_A) / NM)
    try:
        system = field.createSystem(
            topology, nonbondedMethod=app.PME, nonbondedCutoff=settings.cutoff_A / NM, hydrogenMass=settings.hydrogen_mass_u,
            constraints=None if settings.constraints == "none" else getattr(app, settings.constraints),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{settings.molecule} with {', '.join(settings.force_field)}: {error}") from error
    masses = np.array([atom.element.mass._value for atom in topology.atoms()])
    mapping = Mapping(np.repeat(np.arange(settings.count), len(masses) // settings.count), masses)
    if system.getNumParticles() != len(masses):
        raise InputError(f"{', '.join(settings.force_field)}: adds massless sites, which a bead cannot contain")
    shape = np.array(molecule.positions.value_in_unit(openmm.unit.nanometer))
    return system, mapping, _on_a_lattice(shape, settings, trajectory)


def _repeated(one, count: int, box_nm: np.ndarray):
    """OpenMM's Topology of many molecules."""
    import openmm
    from openmm import app

    many = app.Topology()
    chain = many.addChain()
    for _ in range(count):
        new: dict = {}
        for residue in one.residues():
            added = many.addResidue(residue.name, chain)
            new |= {atom: many.addAtom(atom.name, atom.element, added) for atom in residue.atoms()}
        for bond in one.bonds():
            many.addBond(new[bond[0]], new[bond[1]])
    many.setPeriodicBoxVectors(np.diag(box_nm) * openmm.unit.nanometer)
    return many


def _on_a_lattice(shape: np.ndarray, settings: AllAtomSettings, trajectory: int) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    rng, box = np.random.default_rng([settings.seed, trajectory]), np.array(settings.box_A) / NM
    per_edge = np.maximum(1, np.floor(box / (box.prod() / settings.count) ** (1 / 3))).astype(int)
    while per_edge.prod() < settings.count:
        per_edge[np.argmax(box / per_edge)] += 1
    sites = (np.stack(np.unravel_index(np.arange(per_edge.prod()), per_edge), axis=1) + 0.5) * box / per_edge
    chosen = sites[np.sort(rng.permutation(len(sites))[: settings.count])]
    turns = Rotation.random(settings.count, random_state=rng).as_matrix()
    return (chosen[:, None] + (shape - shape.mean(axis=0)) @ turns).reshape(-1, 3)
