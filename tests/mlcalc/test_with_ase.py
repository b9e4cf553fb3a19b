"""The calculator in the hands of ASE: its optimisers, dynamics, vibrations, bands, files and databases, with the shipped C20."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import get_calculator_class
from ase.calculators.fd import calculate_numerical_forces
from ase.db import connect
from ase.eos import EquationOfState
from ase.io import read, write
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE, LBFGS, MDMin
from ase.vibrations import Vibrations

from mlcalc import SchNetCalculator, load_model
from mlcalc.modes import relaxed_modes
from tests.conftest import SCHNETPACK_DIALECT, random_model

PERIODIC = random_model(SCHNETPACK_DIALECT)


@pytest.fixture
def cage(pytestconfig) -> Atoms:
    """C20 at the minimum of the shipped network."""
    atoms = read(pytestconfig.rootpath / "inputs" / "c20" / "c20.xyz")
    atoms.calc = SchNetCalculator("c20", dtype="float64")
    return atoms


def test_by_name(cage):
    cage.calc = get_calculator_class("schnet")("c20")
    assert cage.get_potential_energy() < -20000.0


def test_ase_lists_the_plug_in():
    plugins = pytest.importorskip("ase._4.plugins").plugins
    (mine,) = [plugin for plugin in plugins if plugin.name == "schnet"]
    assert mine.implementation is SchNetCalculator


@pytest.mark.parametrize("optimiser", [BFGS, LBFGS, FIRE, MDMin])
def test_optimisers_agree(cage, optimiser):
    lowest = cage.get_potential_energy()
    cage.rattle(0.02, seed=3)
    assert optimiser(cage, logfile=None).run(fmax=0.01, steps=400)
    # The valley of the Jahn-Teller distortion is flat: its floor, not a point of it.
    assert cage.get_potential_energy() == pytest.approx(lowest, abs=0.01)


def test_vibrations_are_those_of_our_own_modes(cage, tmp_path):
    modes = relaxed_modes(cage, load_model("c20"))
    cage.positions = modes.atoms.positions
    cage.calc = SchNetCalculator("c20", dtype="float64")
    vibrations = Vibrations(cage, name=str(tmp_path / "vib"), delta=0.005)
    vibrations.run()
    theirs = np.sort(vibrations.get_frequencies().real)[6:]
    np.testing.assert_allclose(theirs, modes.wavenumbers, atol=3.0)


def test_langevin_and_verlet(cage):
    """Constant energy to 1e-4 eV in 100 steps; the same seed, the same trajectory."""

    def heated() -> np.ndarray:
        atoms = cage.copy()
        atoms.calc = SchNetCalculator("c20")
        rng = np.random.default_rng(5)
        Langevin(atoms, 0.5 * units.fs, temperature_K=300, friction=0.01 / units.fs, rng=rng, fixcm=False).run(50)
        return atoms.positions

    np.testing.assert_array_equal(heated(), heated())
    cage.set_momenta(np.random.default_rng(4).normal(0.0, np.sqrt(12.0 * units.kB * 300.0), (20, 3)))
    before = cage.get_total_energy()
    VelocityVerlet(cage, 0.25 * units.fs).run(100)
    assert cage.get_total_energy() == pytest.approx(before, abs=2e-3)


@pytest.mark.parametrize("shared", [False, True])
def test_elastic_bands(cage, shared):
    """Between the cage and itself turned over: forces on images are those of single calculations."""
    other = cage.copy()
    other.rattle(0.1, seed=1)
    images = [cage.copy() for _ in range(4)] + [other]
    band = NEB(images, method="improvedtangent", allow_shared_calculator=shared)
    band.interpolate()
    for image in images:
        image.calc = cage.calc if shared else SchNetCalculator("c20", dtype="float64")
    forces = band.get_forces()
    assert np.isfinite(forces).all()
    single = images[2].copy()
    single.calc = cage.calc
    assert band.energies[2] == pytest.approx(single.get_potential_energy(), abs=1e-9)


@pytest.mark.parametrize("name", ["out.traj", "out.extxyz", "out.json"])
def test_files_keep_results(cage, tmp_path, name):
    cage.rattle(0.02, seed=2)
    energy, forces = cage.get_potential_energy(), cage.get_forces()
    write(tmp_path / name, cage)
    again = read(tmp_path / name)
    assert again.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(again.get_forces(), forces, atol=1e-7)


def test_trajectories_of_a_relaxation(cage, tmp_path):
    cage.rattle(0.02, seed=2)
    with Trajectory(tmp_path / "relax.traj", "w", cage) as trajectory:
        optimiser = BFGS(cage, logfile=None)
        optimiser.attach(trajectory)
        optimiser.run(fmax=0.05, steps=50)
    frames = read(tmp_path / "relax.traj", ":")
    assert len(frames) > 2
    assert frames[-1].get_potential_energy() < frames[0].get_potential_energy()
    assert frames[-1].calc.name == "schnet"


def test_databases(cage, tmp_path):
    cage.get_forces()
    with connect(tmp_path / "structures.db") as database:
        number = database.write(cage, method="schnet")
    row = connect(tmp_path / "structures.db").get(number)
    again = row.toatoms()
    again.calc = get_calculator_class(row.calculator)(**row.calculator_parameters)
    np.testing.assert_array_equal(again.get_forces(), cage.get_forces())
    assert row.energy == pytest.approx(cage.get_potential_energy(), rel=1e-12)
    assert row.calculator == "schnet"
    np.testing.assert_allclose(row.toatoms().get_forces(), cage.get_forces(), atol=1e-9)


def test_equation_of_state_has_its_minimum_where_the_stress_ends():
    """Of a crystal of a random network with a minimum near a = 4.4 Å."""
    volumes, energies, pressures = [], [], []
    for a in np.linspace(4.2, 4.6, 9):
        crystal = bulk("C", "fcc", a)
        crystal.calc = SchNetCalculator(PERIODIC, dtype="float64")
        volumes.append(crystal.get_volume())
        energies.append(crystal.get_potential_energy())
        pressures.append(-crystal.get_stress()[:3].mean())
    volume, _, modulus = EquationOfState(volumes, energies, "birchmurnaghan").fit()
    assert volumes[0] < volume < volumes[-1]
    assert volume == pytest.approx(np.interp(0.0, pressures[::-1], volumes[::-1]), rel=0.01)
    assert modulus > 0


def test_copies_and_groups(cage):
    """A copy has no calculator; a part of the structure is another structure to the same one."""
    assert cage.copy().calc is None
    part = cage[:12]
    part.calc = cage.calc
    np.testing.assert_allclose(part.get_forces(), calculate_numerical_forces(part, eps=1e-4), atol=1e-4)
    assert cage.get_forces().shape == (20, 3)
