"""The cell is part of the state: potentials, guards, checkpoints and files get that of the state, molecules have none."""

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

from md.cli import main
from md.dynamics.clamped import Clamped, ClampedPotential
from md.dynamics.integrators import in_modes, make_laws
from md.dynamics.ring_polymer import RingPolymer, cell_of, thermal_ring_polymer
from md.files.checkpoint import NEWEST, PREVIOUS, read_checkpoint, write_checkpoint
from md.files.trajectory import TrajectoryWriter, read_cells
from md.guards.bonds import BondGuard
from md.guards.endings import Frame
from md.observables.heat_capacity import with_scaled_energies
from md.potentials import Copies
from md.runs.frames import Choice, bead_structures
from md.runs.run_folder import RunFolder, own_settings
from md.simulation import Dynamics, point_of, simulate
from tests.conftest import rpmd_run, write_acetylene

CELL = np.array([[6.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.0, 0.5, 8.0]])
DYNAMICS = Dynamics(300.0, 0.5)


class Lattice:
    """Every atom in a well at fixed coordinates s of its cell, V = ½k|q − sH|²: positions that scale with the cell cost nothing."""

    def __init__(self, scaled: np.ndarray, force_constant: float = 5.0):
        self.scaled, self.force_constant, self.cells = scaled, force_constant, []

    def __call__(self, positions, cell):
        self.cells.append(cell.copy())
        away = positions - self.scaled @ cell
        return 0.5 * self.force_constant * (away**2).sum(axis=(1, 2)), -self.force_constant * away


def crystal(scale: float = 1.0, n_beads: int = 3) -> tuple[RingPolymer, Lattice]:
    rng = np.random.default_rng(1)
    scaled = rng.uniform(size=(4, 3))
    state = thermal_ring_polymer(scaled @ (scale * CELL), np.full(4, 12.0), n_beads, 300.0, rng, cell=scale * CELL)
    return state, Lattice(scaled)


@pytest.mark.parametrize("scale", [1.0, 1.1])
def test_a_potential_gets_the_cell_of_the_state(scale):
    """Where atoms and cell scale together, nothing but the place changes."""
    (state, potential), (plain, _) = crystal(scale), crystal()
    *_, last = simulate(state, potential, DYNAMICS, np.random.default_rng(2), 20, 20)
    *_, reference = simulate(plain, Lattice(potential.scaled), DYNAMICS, np.random.default_rng(2), 20, 20)
    assert len(potential.cells) == 21
    np.testing.assert_array_equal(potential.cells, np.broadcast_to(scale * CELL, (21, 3, 3)))
    assert last.volume == pytest.approx(scale**3 * 6.0 * 7.0 * 8.0, rel=1e-12)
    np.testing.assert_allclose(last.potential_energies, reference.potential_energies, rtol=1e-9)
    with_scaled_energies(last, potential)
    assert len(potential.cells) == 23


def test_the_state_is_one_with_its_modes():
    """What changes the cell in place, as a barostat will, changes what the next call gets, and the checkpoint."""
    state, potential = crystal()
    assert in_modes(state, make_laws(DYNAMICS, 3)).cell is state.cell
    samples = simulate(state, potential, DYNAMICS, np.random.default_rng(2), 2)
    kept = point_of(next(samples))
    state.cell[:] *= 1.01
    next(samples)
    np.testing.assert_array_equal(potential.cells, [CELL, CELL * 1.01])
    np.testing.assert_array_equal(kept.cell, CELL)
    resumed, again = crystal(1.3)
    next(simulate(resumed, again, DYNAMICS, np.random.default_rng(2), 2, begin=kept))
    np.testing.assert_array_equal(again.cells, [CELL, CELL])
    np.testing.assert_array_equal(resumed.cell, CELL)


def test_molecules_have_none():
    """A function of positions alone is a potential of a molecule: moved, clamped, and in copies."""

    def wells(positions):
        return 0.5 * (positions**2).sum(axis=(1, 2)), -positions

    boxed = Atoms("CO", [[0, 0, 0], [0, 0, 1.2]], cell=[9, 9, 9])
    assert cell_of(boxed) is None
    state = thermal_ring_polymer(boxed.positions, boxed.get_masses(), 2, 300.0, np.random.default_rng(0))
    clamped = Clamped(np.array([False, True, False]), np.zeros((3, 3)))
    for potential in (wells, Copies(wells, 2), ClampedPotential(wells, clamped)):
        *_, last = simulate(state, potential, DYNAMICS, np.random.default_rng(2), 3)
        assert last.ring_polymer.cell is None
        assert "cell" not in point_of(last).arrays()
        assert "kinetic_virial_com_eV" in last.properties


def test_a_bond_across_a_cell_that_grows_is_broken():
    atoms = Atoms("CC", [[0.2, 0.0, 0.0], [5.0, 0.0, 0.0]], cell=[6.3, 8.0, 8.0], pbc=True)  # 1.5 Å apart
    guard = BondGuard(atoms, "record", lambda positions: positions)
    quiet = Frame(0, atoms.positions[None], np.zeros(1), np.zeros((1, 2, 3)), atoms.cell.array)
    guard(quiet)
    assert not guard.records
    guard(quiet._replace(step=1, cell=np.diag([8.0, 8.0, 8.0])))  # 3.2 Å
    assert guard.changes == ["C0-C1 broken"]
    guard(quiet._replace(step=2))
    assert guard.records == 1


@pytest.fixture
def case(tmp_path):
    """A folder with an input for acetylene in a periodic box."""
    keys = "steps = 40\nequilibration_steps = 10\nbeads = 2\nproperties_every_steps = 5\ntrajectory_every_steps = 10\n"
    write_acetylene(tmp_path, keys + "checkpoint_every_steps = 10\npressure = true\n")
    atoms = molecule("C2H2", cell=[9.0, 9.5, 10.0], pbc=True)
    atoms.cell[1, 0] = 0.7
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    return tmp_path


def cells(folder) -> np.ndarray:
    with h5py.File(folder / "trajectory.h5") as file:
        return file["particles/trajectory/box/edges/value"][:]


def without_cell(folder) -> None:
    """As a checkpoint was before it had a cell."""
    found, _ = read_checkpoint(folder)
    del found.state["cell"]
    write_checkpoint(folder, found)
    (folder / PREVIOUS).unlink()


def test_a_checkpoint_without_a_cell_is_resumed_to_the_bit(case):
    assert rpmd_run(case, "--steps", "80") == 0
    (case / "out").rename(case / "complete")
    assert rpmd_run(case) == 0
    start = read(case / "start.xyz").cell.array
    np.testing.assert_array_equal(read_checkpoint(case / "out")[0].state["cell"], start)
    without_cell(case / "out")
    assert main(["check", str(case / "out")]) == 0
    assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 0
    np.testing.assert_array_equal(cells(case / "out"), np.broadcast_to(start, (9, 3, 3)))
    for name in ("properties.csv", NEWEST):
        assert (case / "out" / name).read_bytes() == (case / "complete" / name).read_bytes()


def test_a_checkpoint_with_another_cell_is_refused(case, capsys):
    assert rpmd_run(case) == 0
    found, _ = read_checkpoint(case / "out")
    for cell, message in (
        (found.state["cell"] * 1.1, "the cell differs from that of structure.xyz"),
        (np.zeros(3), r"cell (3,)"),
    ):
        write_checkpoint(case / "out", found._replace(state=found.state | {"cell": cell}))
        assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 2
        assert message in capsys.readouterr().err


def test_trajectories_in_real_time_resume_without_a_cell(case):
    keys = ["--set", "trajectories=4", "--set", "trajectories_at_once=2", "--set", 'thermostat="none"', "--no-figure"]
    keys += ["--set", "pressure=false", "--steps", "8"]
    arguments = ["real-time", str(case / "run.toml"), *keys]
    assert main(arguments) == 0
    (case / "out").rename(case / "complete")
    assert main([*arguments, "--set", "trajectories=2"]) == 0
    without_cell(case / "out")
    assert main(["resume", str(case / "out"), "--set", "trajectories=4", "--no-figure"]) == 0
    with h5py.File(case / "out" / "velocities.h5") as found, h5py.File(case / "complete" / "velocities.h5") as expected:
        np.testing.assert_array_equal(found["velocity"][:], expected["velocity"][:])


def test_files_have_the_cell_of_their_frame(case):
    """Frames, snapshots and breaches of a run whose cell changes."""
    assert rpmd_run(case) == 0
    atoms, folder = read(case / "out" / "structure.xyz"), case / "out"
    grown = [atoms.cell.array * (1.0 + 0.02 * k) for k in range(3)]
    (folder / "trajectory.h5").unlink()
    writer = TrajectoryWriter(folder / "trajectory.h5", 2, len(atoms), pbc=atoms.pbc, atoms=atoms)
    for k, cell in enumerate(grown):
        writer.append(10 * k, 0.5 * k, np.repeat(atoms.positions[None], 2, axis=0), np.zeros(2), cell=cell)
    writer.close()
    np.testing.assert_array_equal(read_cells(folder / "trajectory.h5", 1), grown[1:])
    structures, _ = bead_structures(folder, Choice(every=2))
    np.testing.assert_allclose([one.cell.array for one in structures], np.repeat(grown[::2], 2, axis=0))
    record = RunFolder(folder, own_settings(folder))
    positions = atoms.positions[None]
    record.add_breach(Frame(3, positions, np.zeros(1), np.zeros(positions.shape), grown[1]), atoms, "distance")
    record.close()
    np.testing.assert_allclose(read(folder / "breach.xyz").cell.array, grown[1])


def test_a_crystal_moves_in_its_cell():
    """A volume of a sample is that of ASE."""
    atoms = bulk("C", "diamond", a=3.6)
    state = thermal_ring_polymer(
        atoms.positions, atoms.get_masses(), 2, 300.0, np.random.default_rng(0), 0, cell_of(atoms)
    )
    potential = Lattice(atoms.get_scaled_positions())
    first = next(simulate(state, potential, DYNAMICS, np.random.default_rng(0), 1))
    assert first.volume == atoms.get_volume()
