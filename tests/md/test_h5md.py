"""Trajectories in other programs: the rules of H5MD 1.1, MDAnalysis' reader, and the elements that VMD's plug-in needs."""

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.io import read
from MDAnalysis import Universe

from md.cli import main
from md.files.trajectory import TrajectoryWriter, read_frames
from tests.conftest import rpmd_run, write_acetylene

P, FRAMES = 3, 5
PARTICLES = "particles/trajectory"


def methanol(periodic: bool):
    """With a deuteron, so that masses are not those of the elements."""
    atoms = molecule("CH3OH", cell=[10.0, 11.0, 12.0], pbc=periodic)
    masses = atoms.get_masses()
    masses[-1] = 2.014
    atoms.set_masses(masses)
    return atoms


@pytest.mark.parametrize("periodic", [False, True])
def test_particles_have_names_and_masses(tmp_path, periodic):
    atoms, path = methanol(periodic), tmp_path / "t.h5"
    positions = np.random.default_rng(0).normal(size=(FRAMES, P, len(atoms), 3))
    cell = atoms.cell.array if periodic else None
    writer = TrajectoryWriter(path, P, len(atoms), pbc=atoms.pbc, atoms=atoms)
    for k, frame in enumerate(positions):
        writer.append(k, 0.5 * k, frame, np.zeros(P), cell=None if cell is None else cell * (1.0 + 0.01 * k))
    writer.close()
    with h5py.File(path) as file:
        species, mass = file[f"{PARTICLES}/species"], file[f"{PARTICLES}/mass"]
        # H5MD 1.1: time-independent elements are datasets, with one scalar for each particle.
        assert species.shape == mass.shape == (P * len(atoms),)
        assert species.dtype.kind == "i" and mass.dtype.kind == "f" and mass.attrs["unit"] == "u"
        np.testing.assert_array_equal(species[:].reshape(P, -1), [atoms.numbers] * P)
        np.testing.assert_array_equal(mass[:].reshape(P, -1), [atoms.get_masses()] * P)
        # VMD's plug-in takes masses where every species is listed once.
        np.testing.assert_array_equal(
            file["parameters/vmd_structure/indexOfSpecies"][:], sorted(set(species[:].tolist()))
        )
    universe = Universe.empty(P * len(atoms))
    universe.load_new(str(path), format="H5MD")
    assert universe.trajectory.n_frames == FRAMES
    for k, ts in enumerate(universe.trajectory):
        np.testing.assert_allclose(ts.positions.reshape(P, -1, 3), positions[k], atol=1e-6)
        assert ts.time == pytest.approx(0.5e-3 * k)
        expected = np.array([10, 11, 12, 90, 90, 90]) * np.repeat([1.0 + 0.01 * k, 1.0], 3)
        assert ts.dimensions is None if not periodic else np.allclose(ts.dimensions, expected)


def test_a_run_says_what_its_particles_are(tmp_path):
    write_acetylene(tmp_path, "steps = 4\nbeads = 2\ntrajectory_every_steps = 2\n")
    assert rpmd_run(tmp_path) == 0
    atoms = read(tmp_path / "out" / "structure.xyz")
    with h5py.File(tmp_path / "out" / "trajectory.h5") as file:
        assert file[f"{PARTICLES}/species"][:].tolist() == 2 * atoms.numbers.tolist()
        np.testing.assert_allclose(file[f"{PARTICLES}/mass"][:], np.tile(atoms.get_masses(), 2))


def test_older_files_without_names_go_on_as_they_are(tmp_path):
    keys = "steps = 4\nbeads = 2\ntrajectory_every_steps = 2\n"
    write_acetylene(tmp_path, keys)
    assert rpmd_run(tmp_path, "--steps", "8", "--output", str(tmp_path / "whole")) == 0
    assert rpmd_run(tmp_path) == 0
    path = tmp_path / "out" / "trajectory.h5"
    with h5py.File(path, "r+") as file:
        del file[f"{PARTICLES}/species"], file[f"{PARTICLES}/mass"], file["parameters"]
    assert main(["check", str(tmp_path / "out")]) == 0
    assert main(["resume", str(tmp_path / "out"), "--steps", "8", "--no-figure"]) == 0
    with h5py.File(path) as file:
        assert "species" not in file[PARTICLES]
    for a, b in zip(read_frames(path), read_frames(tmp_path / "whole" / "trajectory.h5"), strict=True):
        np.testing.assert_array_equal(a, b)
