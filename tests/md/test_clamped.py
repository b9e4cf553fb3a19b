"""Atoms that FixAtoms holds: against a particle in a well, ASE's dynamics with FixAtoms, and themselves across an interruption."""

import hashlib

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength, FixCartesian, FixedPlane, FixScaled, Hookean
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

from analysis.__main__ import main as analysis
from md.cli import main
from md.dynamics.clamped import Clamped, ClampedPotential
from md.dynamics.ring_polymer import HBAR, RingPolymer, thermal_ring_polymer
from md.observables.statistics import block_average
from md.potentials import make_potential
from md.runs.config import read_settings
from md.runs.identity import RUN
from md.runs.input_files import identity_of
from md.runs.structures import as_extxyz, read_structure
from md.simulation import Dynamics, simulate
from mlcalc.calculator import SchNetCalculator
from mlcalc.vibrations import position_variance, vibrational_energy
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

T, MASS, QUANTUM = 300.0, 12.011, 1394.0 * units.invcm
HELD = [0, 3]  # a carbon and a hydrogen of acetylene
KEYS = "beads = 3\nsteps = 200\nproperties_every_steps = 5\ntrajectory_every_steps = 10\nremove_com = false\n"


def springs(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every other atom joined to the one before by ½k|q₁ − q₀ − d|², whose quantum is QUANTUM for one atom clamped."""
    stiffness = MASS * (QUANTUM / HBAR) ** 2
    stretch = positions[:, 1::2] - positions[:, ::2] - [0.0, 0.0, 1.5]
    forces = np.empty_like(positions)
    forces[:, ::2], forces[:, 1::2] = stiffness * stretch, -stiffness * stretch
    return 0.5 * stiffness * (stretch**2).sum(axis=(1, 2)), forces


@pytest.mark.parametrize("n_beads", [1, 8])
def test_a_diatomic_with_one_atom_clamped_is_one_particle_in_a_well(n_beads):
    """BCOCB has no error of the time step in positions: exact averages at finite P, within four standard errors."""
    n = 50
    starts = np.random.default_rng(1).normal(0.0, 3.0, (n, 1, 3)) + [[0, 0, 0], [0, 0, 1.5]]
    clamped = Clamped(np.tile([True, False], n), starts.reshape(-1, 3))
    rng = np.random.default_rng(n_beads)
    start = clamped.positions[clamped.moving]
    state = thermal_ring_polymer(start, np.full(n, MASS), n_beads, T, rng)
    dynamics = Dynamics(T, 0.25, "BCOCB", centroid_time_fs=20.0, remove_com=False)
    potential = ClampedPotential(springs, clamped)
    for _ in simulate(state, potential, dynamics, rng, 2000, 2000):
        pass
    series = []
    for sample in simulate(state, potential, dynamics, rng, 20_000, 20):
        spread = ((state.positions - start) ** 2).mean()
        values = sample.properties
        series.append(
            [spread, *(values[f"{name}_eV"] for name in ("potential", "kinetic_virial", "kinetic_primitive"))]
        )
    half = 3 * n * vibrational_energy(np.array([QUANTUM]), T, n_beads) / 2
    for values, exact in zip(
        np.transpose(series), [position_variance(np.array([QUANTUM]), T, n_beads)[0] / MASS, *(half,) * 3], strict=True
    ):
        mean = block_average(values)
        assert mean.error < 0.02 * exact or np.ptp(values) < 1e-9 * exact  # at P = 1 the virial estimator is a constant
        assert abs(mean.value - exact) < 4.0 * mean.error + 1e-9 * exact


def test_classical_motion_is_that_of_ase_with_fix_atoms():
    """The same potential, momenta and time step: velocity Verlet here and there."""
    atoms, model = bulk("C", "diamond", a=3.6, cubic=True), random_model(SCHNETPACK_DIALECT)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([1, 4, 6]))
    clamped = Clamped.of(atoms)
    masses = atoms.get_masses()[clamped.moving]
    momenta = np.random.default_rng(2).normal(0.0, np.sqrt(masses * units.kB * T)[:, None], (len(masses), 3))
    state = RingPolymer(atoms.positions[None, clamped.moving].copy(), momenta[None].copy(), masses)
    potential = ClampedPotential(make_potential(model, atoms, "float64", threads=1), clamped)
    dynamics = Dynamics(T, 0.5, "OBABO", "none", remove_com=False)
    for _ in simulate(state, potential, dynamics, np.random.default_rng(0), 200, 200):
        pass
    atoms.calc = SchNetCalculator(model, dtype="float64", threads=1)
    everyone = np.zeros((len(atoms), 3))
    everyone[clamped.moving] = momenta
    atoms.set_momenta(everyone)
    before = atoms.positions.copy()
    VelocityVerlet(atoms, 0.5 * units.fs).run(200)
    assert np.abs(atoms.positions - before).max() > 0.05
    np.testing.assert_allclose(clamped.with_held(state.positions)[0], atoms.positions, atol=1e-9)


@pytest.fixture
def case(tmp_path):
    """A folder with an input for acetylene of which two atoms are held."""
    write_acetylene(tmp_path, KEYS)
    atoms = molecule("C2H2")
    atoms.set_constraint(FixAtoms(HELD))
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    return tmp_path


def frames(folder) -> np.ndarray:
    with h5py.File(folder / "trajectory.h5") as file:
        return file["particles/trajectory/position/value"][:].reshape(-1, 3, 4, 3)


@pytest.mark.parametrize("name", ["start.xyz", "start.traj", "start.db", "start.json", "POSCAR"])
def test_held_atoms_stay_where_they_are_to_the_bit(case, name):
    atoms = read(case / "start.xyz")
    options = []
    if name == "POSCAR":
        atoms.center(vacuum=4.0)  # sorted and periodic, as the format has it
    write(case / name, atoms)
    assert rpmd_run(case, "--set", f"structure={case / name}", "--set", "per_atom=true", *options) == 0
    start, q = read_structure(case / "out" / "structure.xyz"), frames(case / "out")
    assert Clamped.of(start).mask.tolist() == [True, False, False, True]
    assert (q[:, :, HELD] == start.positions[HELD].astype(np.float32)).all()
    assert (np.abs(q[-1] - q[0])[:, [1, 2]].max(axis=2) > 1e-3).all()
    with h5py.File(case / "out" / "trajectory.h5") as file:
        for quantity in ("kinetic_virial_per_atom_eV", "gyration_radius_per_atom_A", "isotope_derivative_eV_per_u"):
            values = file[f"observables/trajectory/{quantity}/value"][1:]
            assert (values[:, HELD] == 0.0).all() and values[:, [1, 2]].all()


@pytest.mark.parametrize(
    "options", [[], ["thermostat=PILE-G", "heat_capacity=true", "per_atom=true"]], ids=["PILE-L", "all recorded"]
)
def test_a_run_in_two_parts(case, options):
    options = [word for option in options for word in ("--set", option)]
    assert rpmd_run(case, *options) == 0
    assert rpmd_run(case, *options, "--steps", "70", "--output", str(case / "parts")) == 0
    assert main(["resume", str(case / "parts"), "--steps", "200", "--no-figure"]) == 0
    assert (frames(case / "parts") == frames(case / "out")).all()
    tables = [(case / folder / "properties.csv").read_text() for folder in ("parts", "out")]
    assert tables[0] == tables[1]
    assert main(["check", str(case / "out")]) == 0


def test_what_comes_after_a_run(case, capsys):
    """Tables of analysis, snapshots and the overview: of all atoms, or of those that move."""
    assert rpmd_run(case, "--steps", "400", "--set", "per_atom=true") == 0
    capsys.readouterr()
    for command in (["distances"], ["properties"], ["properties", "--per-atom"]):
        assert analysis([command[0], str(case / "out"), *command[1:]]) == 0
    assert "no harmonic reference: 2 of 4 atoms are held" in capsys.readouterr().out
    assert main(["info", str(case / "out")]) == 0
    assert "4 atoms, 2 of them held" in capsys.readouterr().out
    assert main(["frames", str(case / "out"), "-o", str(case / "frames.xyz")]) == 0
    assert all(len(atoms) == 4 and not atoms.constraints for atoms in read(case / "frames.xyz", ":"))


def test_real_time_velocities_of_held_atoms_are_zero(case):
    options = ["thermostat=T-RPMD", "trajectories=4", "trajectories_at_once=2", "equilibration_steps=50"]
    assignments = [word for option in options for word in ("--set", option)]
    assert main(["real-time", str(case / "run.toml"), *assignments]) == 0
    with h5py.File(case / "out" / "velocities.h5") as file:
        v = file["velocity"][:]
        assert file["mass"].shape == (4,)
    assert v.shape[2] == 4 and (v[:, :, HELD] == 0.0).all() and v[:, :, [1, 2]].all()


def test_a_breach_has_all_atoms_and_names_the_one_of_the_structure(case, capsys):
    assert rpmd_run(case, "--set", "max_force_eV_A=0.01") == 4
    error = capsys.readouterr().err
    assert "on atom 1 " in error or "on atom 2 " in error
    breach = read(case / "out" / "breach.xyz", ":")
    assert len(breach) == 3 and all(len(atoms) == 4 for atoms in breach)
    start = read(case / "start.xyz").positions
    assert all(np.array_equal(atoms.positions[HELD], start[HELD]) for atoms in breach)
    # What the run did not need to know of the others is not made up.
    assert all(
        (np.isnan(atoms.arrays["model_forces"]).any(axis=1) == [True, False, False, True]).all() for atoms in breach
    )


def test_a_committee_looks_at_the_atoms_that_move(case):
    from mlcalc.model_file import save_model

    save_model(random_model(SCHNETPACK_DIALECT, 5), case / "other.safetensors")
    assert (
        rpmd_run(case, "--set", f'committee=["{case}/other.safetensors"]', "--set", "max_disagreement_eV_A=1e-6") == 9
    )


CONSTRAINTS = [
    (FixBondLength(0, 1), "FixBondLengths"),
    (Hookean(0, 1, 5.0, 1.4), "Hookean"),
    (FixedPlane(0, (0, 0, 1)), "FixedPlane"),
    (FixCartesian([1], (True, False, True)), "FixCartesian"),
    ([FixAtoms([0]), FixCartesian([1], (True, False, True))], "FixCartesian"),
    (FixScaled([1], (True, True, False)), "FixScaled"),
]


@pytest.mark.parametrize(
    ("constraint", "name"), CONSTRAINTS, ids=[f"{k} {row[1]}" for k, row in enumerate(CONSTRAINTS)]
)
def test_other_constraints_are_refused_by_name(case, constraint, name, capsys):
    atoms = molecule("C2H2", vacuum=5.0)
    atoms.set_constraint(constraint)
    write(case / "other.traj", atoms)
    assert rpmd_run(case, "--set", f"structure={case}/other.traj") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"constraint {name}: " in error
    assert not (case / "out").exists()


def test_a_mask_of_three_columns_in_extxyz(case, capsys):
    """All true equals FixAtoms, none true is no constraint, a mixture is refused."""
    head, comment, *rows = (case / "start.xyz").read_text().splitlines()
    comment = comment.replace("move_mask:L:1", "move_mask:L:3")
    for mask, code in (("F F F", 0), ("T F F", 2)):
        lines = [row[:-1] + ("T T T" if row.endswith("T") else mask) for row in rows]
        (case / "start.xyz").write_text("\n".join([head, comment, *lines]) + "\n")
        assert rpmd_run(case, "--output", str(case / f"mask{code}")) == code
    assert Clamped.of(read_structure(case / "mask0" / "structure.xyz")).mask.tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("held", "key", "message"),
    [
        (HELD, "remove_com=true", "holds 2 of 4 atoms, and remove_com = true"),
        (HELD, "remove_rotation=true", "holds 2 of 4 atoms, and remove_rotation = true"),
        ([0, 1, 2, 3], "seed=0", "holds all 4 atoms, and no degree of freedom is left"),
    ],
)
def test_what_contradicts_held_atoms_is_refused(case, held, key, message, capsys):
    atoms = molecule("C2H2")
    atoms.set_constraint(FixAtoms(held))
    write(case / "start.xyz", atoms, format="extxyz")
    for command in ("run", "converge", "real-time"):
        options = ["--set", "thermostat=T-RPMD"] if command == "real-time" else []
        beads = ["--beads", "1,3"] if command == "converge" else []
        assert main([command, str(case / "run.toml"), "--set", key, *options, *beads, "--no-figure"]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (case / "out").exists()


def test_the_pressure_of_a_cell_with_held_atoms_is_refused(case, capsys):
    atoms = read(case / "start.xyz")
    atoms.center(vacuum=4.0)
    atoms.pbc = True
    write(case / "start.xyz", atoms, format="extxyz")
    assert rpmd_run(case, "--set", "pressure=true") == 2
    assert "pressure = true: they do not move with the cell" in capsys.readouterr().err


def test_the_identity_of_a_run_covers_what_is_held_and_is_that_of_old_where_nothing_is(case):
    def of_structure(atoms: Atoms) -> str:
        write(case / "start.xyz", atoms, format="extxyz")
        return identity_of(read_settings(case / "run.toml", {}), RUN)["structure"]

    free, held = molecule("C2H2"), molecule("C2H2")
    held.set_constraint(FixAtoms(HELD))
    plain = read_structure(case / "start.xyz")
    plain.set_constraint()
    assert of_structure(free) == hashlib.sha256(as_extxyz(plain).encode()).hexdigest()
    assert of_structure(free) != of_structure(held)
