"""All-atom molecular dynamics of a liquid with OpenMM, mapped onto one bead for each molecule: data for force matching.

Trajectories advance block by block. A block is a function of the state before it and of a seed of its own, and is written as one
whole file with the state behind it: whatever stops the work, the same command goes on with it and ends with the same frames.

OpenMM counts in nm, ps and kJ/mol; what leaves this module is in Å and eV.
"""

import io
import json
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from mlcalc.coarse_graining import Mapping
from mlcalc.errors import InputError
from mlcalc.files import write_atomically
from mlcalc.settings import build_settings, check_choice, check_range, read_toml

BLOCK_FRAMES = 50
CONSTRAINTS = ("none", "HBonds", "AllBonds", "HAngles")
SETTINGS_FILE, FRAMES_FILE = "settings.json", "frames.xyz"
_NM = 10.0 * units.Ang
_KJ = units.kJ / units.mol


@dataclass(frozen=True)
class AllAtomSettings:
    """Keys of a TOML file of ``mlcalc coarse-grain``.

    Attributes:
        molecule: PDB file of one molecule (beside the TOML file); count: how many of them; box_A: edges of the cell.
        force_field: OpenMM force field files, beside the TOML file or among OpenMM's own.
        bead: Element that stands for a bead in the frames; its mass is that of the molecule.
        frames: In all; trajectories: independent ones that share them.
        constraints: Of OpenMM; rigid water is rigid anyway. hydrogen_mass_u: of hydrogen atoms, at the cost of the heavy atom that
            they are bound to: slower vibrations allow longer steps and change no distribution of positions.
        cutoff_A: Of Lennard-Jones forces and of the direct part of Ewald sums.
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

    @property
    def blocks(self) -> int:
        """Of each trajectory."""
        return -(-self.frames // (self.trajectories * BLOCK_FRAMES))


def coarse_grain(
    config: Path, folder: Path, jobs: int = 1, overrides: dict | None = None, show=lambda done, total: None
) -> Path:
    """Make the frames that a TOML file asks for, or go on with them.

    Args:
        folder: For settings, blocks and, in the end, ``frames.xyz`` with beads, forces and trajectories; made if need be.
        jobs: Processes; overrides: Keys in place of those of the file.
        show: Called with the numbers of blocks done and to do.

    Returns:
        The path of ``frames.xyz``.

    Raises:
        InputError: OpenMM is not there, settings that cannot be used, or a folder of other settings.
    """
    settings = read_settings(config, overrides or {})
    make_system(settings)  # what is wrong with the molecule or its force field shows before anything is written
    _claim(folder, settings)
    total = settings.blocks * settings.trajectories
    done = sum(1 for t in range(settings.trajectories) for b in range(settings.blocks) if _block(folder, t, b).exists())
    show(done, total)
    for trajectory, block, arrays in _advance(settings, folder, jobs):
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        write_atomically(_block(folder, trajectory, block), stream.getvalue())
        done += 1
        show(done, total)
    return _join(settings, folder)


def read_settings(config: Path, overrides: dict) -> AllAtomSettings:
    """Settings with the paths of the files beside a TOML file; InputError for what they cannot be."""
    settings = build_settings(AllAtomSettings, read_toml(config) | overrides, config)
    beside = [Path(config).parent / name for name in settings.force_field]
    force_field = (
        str(path) if path.is_file() else name for path, name in zip(beside, settings.force_field, strict=True)
    )
    return replace(settings, molecule=str(Path(config).parent / settings.molecule), force_field=tuple(force_field))


def _claim(folder: Path, settings: AllAtomSettings) -> None:
    """Note the settings in a new folder; InputError where the folder holds frames of others."""
    paths = ("molecule", "force_field")
    mine = {name: value for name, value in asdict(settings).items() if name not in (*paths, "frames")}
    mine |= {"box_A": list(settings.box_A), **{name: _contents(getattr(settings, name)) for name in paths}}
    path = folder / SETTINGS_FILE
    if path.exists():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name in mine if theirs.get(name) != mine[name]]:
            raise InputError(f"{folder}: holds frames of another {', '.join(other)}; choose another --output")
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty, and no folder of mlcalc coarse-grain; choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(mine, indent=1).encode())


def _contents(names: str | tuple[str, ...]) -> list[str]:
    paths = [Path(name) for name in ([names] if isinstance(names, str) else names)]
    return [path.read_text(encoding="utf-8") if path.is_file() else str(path) for path in paths]


def _block(folder: Path, trajectory: int, block: int) -> Path:
    return folder / f"trajectory-{trajectory}-block-{block:04d}.npz"


def _read_block(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _advance(settings: AllAtomSettings, folder: Path, jobs: int) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """Blocks that are not there yet, those of a trajectory in their order."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        running = {}
        try:
            for trajectory in range(settings.trajectories):
                block, state = 0, None
                while block < settings.blocks and _block(folder, trajectory, block).exists():
                    block, state = block + 1, _block(folder, trajectory, block)
                if block < settings.blocks:
                    state = state and _read_block(state)
                    running[pool.submit(run_block, settings, BLOCK_FRAMES, trajectory, block, state)] = (
                        trajectory,
                        block,
                    )
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    (trajectory, block), arrays = running.pop(future), future.result()
                    if block + 1 < settings.blocks:
                        following = pool.submit(run_block, settings, BLOCK_FRAMES, trajectory, block + 1, arrays)
                        running[following] = trajectory, block + 1
                    yield trajectory, block, arrays
        finally:
            pool.shutdown(cancel_futures=True)


def run_block(
    settings: AllAtomSettings, frames: int, trajectory: int, block: int, state: dict[str, np.ndarray] | None
) -> dict[str, np.ndarray]:  # fmt: skip
    """One block of a trajectory.

    Args:
        frames: How many.
        state: What the block before has returned; None to begin: from a lattice, minimised and equilibrated.

    Returns:
        ``positions``, ``forces`` (frames, count, 3) of beads, Å and eV/Å; ``atoms``, ``velocities`` (n_atoms, 3) at the end,
        nm and nm/ps.
    """
    import openmm

    system, mapping, lattice = make_system(settings, trajectory)
    integrator = openmm.LangevinMiddleIntegrator(
        settings.temperature_K, settings.friction_per_ps, 1e-3 * settings.timestep_fs
    )
    seed = int(np.random.default_rng([settings.seed, trajectory, block]).integers(1, 2**31 - 1))
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    if state is None:
        context.setPositions(lattice)
        openmm.LocalEnergyMinimizer.minimize(context)
        context.setVelocitiesToTemperature(settings.temperature_K, seed)
        integrator.step(round(1e3 * settings.equilibration_ps / settings.timestep_fs))
    else:
        context.setPositions(state["atoms"])
        context.setVelocities(state["velocities"])
    steps = max(1, round(1e3 * settings.frame_interval_ps / settings.timestep_fs))
    positions, forces = [], []
    for _ in range(frames):
        integrator.step(steps)
        # Without enforced periodicity molecules stay whole.
        now = context.getState(positions=True, forces=True, velocities=True)
        atoms, force = (array._value for array in (now.getPositions(asNumpy=True), now.getForces(asNumpy=True)))
        positions.append(mapping.positions(atoms) * _NM)
        forces.append(mapping.forces(force) * _KJ / _NM)
    return {
        "positions": np.array(positions), "forces": np.array(forces),
        "atoms": atoms, "velocities": now.getVelocities(asNumpy=True)._value,
    }  # fmt: skip


def make_system(settings: AllAtomSettings, trajectory: int = 0):
    """The liquid as OpenMM has it.

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
        molecule = app.PDBFile(settings.molecule)
        field = app.ForceField(*settings.force_field)
    except Exception as error:  # OpenMM raises what its readers raise
        raise InputError(f"{settings.molecule}, {', '.join(settings.force_field)}: {error}") from error
    topology = _repeated(molecule.topology, settings.count, np.array(settings.box_A) / _NM)
    try:
        system = field.createSystem(
            topology, nonbondedMethod=app.PME, nonbondedCutoff=settings.cutoff_A / _NM, hydrogenMass=settings.hydrogen_mass_u,
            constraints=None if settings.constraints == "none" else getattr(app, settings.constraints),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{settings.molecule} with {', '.join(settings.force_field)}: {error}") from error
    masses = np.array([atom.element.mass._value for atom in topology.atoms()])
    mapping = Mapping(np.repeat(np.arange(settings.count), len(masses) // settings.count), masses)
    if system.getNumParticles() != len(masses):
        raise InputError(f"{', '.join(settings.force_field)}: adds sites without mass, which have no place in a bead")
    shape = np.array(molecule.positions.value_in_unit(openmm.unit.nanometer))
    return system, mapping, _on_a_lattice(shape, settings, trajectory)


def _repeated(one, count: int, box_nm: np.ndarray):
    """OpenMM's Topology of many molecules."""
    import openmm
    from openmm import app

    many = app.Topology()
    chain = many.addChain()
    for _ in range(count):
        new = {}
        for residue in one.residues():
            added = many.addResidue(residue.name, chain)
            new |= {atom: many.addAtom(atom.name, atom.element, added) for atom in residue.atoms()}
        for bond in one.bonds():
            many.addBond(new[bond[0]], new[bond[1]])
    many.setPeriodicBoxVectors(np.diag(box_nm) * openmm.unit.nanometer)
    return many


def _on_a_lattice(shape: np.ndarray, settings: AllAtomSettings, trajectory: int) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    rng, box = np.random.default_rng([settings.seed, trajectory]), np.array(settings.box_A) / _NM
    per_edge = np.maximum(1, np.floor(box / (box.prod() / settings.count) ** (1 / 3))).astype(int)
    while per_edge.prod() < settings.count:
        per_edge[np.argmax(box / per_edge)] += 1
    sites = (np.stack(np.unravel_index(np.arange(per_edge.prod()), per_edge), axis=1) + 0.5) * box / per_edge
    chosen = sites[np.sort(rng.permutation(len(sites))[: settings.count])]
    turns = Rotation.random(settings.count, random_state=rng).as_matrix()
    return (chosen[:, None] + (shape - shape.mean(axis=0)) @ turns).reshape(-1, 3)


def _join(settings: AllAtomSettings, folder: Path) -> Path:
    """All blocks as extxyz, whole or not at all."""
    from mlcalc.labelling import write_frames

    _, mapping, _ = make_system(settings)
    per_trajectory, frames = -(-settings.frames // settings.trajectories), []
    for trajectory in range(settings.trajectories):
        mine = []
        for block in range(settings.blocks):
            arrays = _read_block(_block(folder, trajectory, block))
            mine += zip(arrays["positions"], arrays["forces"], strict=True)
        frames += [_frame(settings, mapping, *values, f"{trajectory}") for values in mine[:per_trajectory]]
    write_frames(frames[: settings.frames], folder / FRAMES_FILE)
    return folder / FRAMES_FILE


def _frame(settings, mapping: Mapping, positions: np.ndarray, forces: np.ndarray, trajectory: str) -> Atoms:
    atoms = Atoms(
        [settings.bead] * settings.count, positions, cell=settings.box_A, pbc=True, masses=mapping.bead_masses,
        info={"trajectory": trajectory, "temperature_K": settings.temperature_K},
    )  # fmt: skip
    atoms.calc = SinglePointCalculator(atoms, forces=forces)
    return atoms
