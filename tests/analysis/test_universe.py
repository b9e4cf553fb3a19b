"""Run folders as MDAnalysis Universes: atoms, beads, times; and folders that are none."""

import h5py
import numpy as np
import pytest
from ase import Atoms

from analysis.runs.run import pool
from analysis.runs.universe import bead_universe, centroid_universe, open_run
from mlcalc.common.errors import InputError
from tests.analysis.run_folders import FRAME_FS, write_run

ATOMS = Atoms("CHO", [[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0]])
ATOMS.set_masses([13.003, 2.014, 15.995])


@pytest.fixture
def positions() -> np.ndarray:
    """(n_frames, P, N, 3) Å, all different."""
    return ATOMS.positions + np.random.default_rng(1).normal(0, 0.1, (30, 4, 3, 3))


@pytest.fixture
def folder(tmp_path, positions):
    return write_run(tmp_path / "run", ATOMS, positions, temperature_K=250.0, model="c20")


def test_open_run(folder):
    run = open_run(folder)
    assert (run.n_beads, run.n_frames, run.temperature_K, run.model) == (4, 30, 250.0, "c20")
    assert run.structure.get_chemical_symbols() == ["C", "H", "O"]


def test_beads_are_segments(folder, positions):
    universe = bead_universe(open_run(folder))
    assert len(universe.segments) == 4 and len(universe.atoms) == 12
    universe.trajectory[7]
    for bead, segment in enumerate(universe.segments):
        assert list(segment.atoms.elements) == ["C", "H", "O"]
        # The file holds float32: 24 bits of about 1 Å.
        np.testing.assert_allclose(segment.atoms.positions, positions[7, bead], atol=1e-6)
    assert universe.select_atoms("segid bead2 and element H").n_atoms == 1


def test_centroid_is_the_mean_of_the_beads(folder, positions):
    universe = centroid_universe(open_run(folder))
    frames = np.array([universe.atoms.positions.copy() for _ in universe.trajectory])
    np.testing.assert_allclose(frames, positions.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(universe.atoms.masses, [13.003, 2.014, 15.995])


@pytest.mark.parametrize("make", [bead_universe, centroid_universe])
def test_times_are_in_picoseconds(folder, make):
    trajectory = make(open_run(folder)).trajectory
    assert trajectory.dt == pytest.approx(FRAME_FS / 1000)
    np.testing.assert_allclose([frame.time for frame in trajectory], np.arange(30) * FRAME_FS / 1000, atol=1e-12)


def spoil_toml(folder):
    (folder / "input.toml").write_text("temperature_K = \n")


def spoil_structure(folder):
    (folder / "structure.xyz").write_text("three\n\nC 0 0 0\n")


def spoil_trajectory(folder):
    (folder / "trajectory.h5").write_bytes(b"not HDF5 at all")


def spoil_beads(folder):
    with h5py.File(folder / "trajectory.h5", "a") as file:
        file["particles/trajectory"].attrs["n_beads"] = 5


def spoil_atoms(folder):
    (folder / "structure.xyz").write_text("2\n\nC 0 0 0\nO 0 0 1.1\n")


def remove_trajectory(folder):
    (folder / "trajectory.h5").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_toml, "input.toml: not the input of a run"),
        (spoil_structure, "structure.xyz: not a readable structure"),
        (spoil_trajectory, "trajectory.h5: not a readable H5MD"),
        (spoil_beads, "is of shape .30, 12, 3.: expected .frames, 15, 3."),
        (spoil_atoms, "3 atoms in trajectory.h5, but 2 in structure.xyz"),
        (remove_trajectory, "no trajectory.h5: the run was stopped before its first frame"),
    ],
)
def test_a_bad_folder_is_refused(folder, spoil, message):
    spoil(folder)
    with pytest.raises(InputError, match=message):
        open_run(folder)


def test_matrices_that_prescribe_other_distributions_are_not_pooled(tmp_path):
    """Without a covariance all of them sample one distribution."""
    drift = "# A MATRIX: (femtoseconds^-1)\n{}\n"
    matrices = [drift.format(rate) + "# C MATRIX: (K)\n600\n" for rate in (0.1, 0.2, 0.1)]
    matrices += [drift.format(rate) for rate in (0.1, 0.2)]
    for k, text in enumerate(matrices):
        (write_run(tmp_path / str(k), ATOMS, np.zeros((3, 2, 3, 3))) / "gle.txt").write_text(text)
    pooled = pool([open_run(tmp_path / str(k)) for k in range(len(matrices))])
    assert [[folder.name for folder in run.folders] for run in pooled] == [["0", "2"], ["1"], ["3", "4"]]


def test_pooled_runs_are_read_end_to_end(tmp_path):
    rng = np.random.default_rng(3)
    parts = [rng.normal(size=(n, 2, 3, 3)) for n in (20, 31)]
    folders = [write_run(tmp_path / str(k), ATOMS, part) for k, part in enumerate(parts)]
    heavy = ATOMS.copy()
    heavy.set_masses(ATOMS.get_masses() + [1.0, 0.0, 0.0])
    others = [
        write_run(tmp_path / "hot", ATOMS, parts[0], temperature_K=400.0), write_run(tmp_path / "heavy", heavy, parts[0])
    ]  # fmt: skip
    pooled, *alone = pool([open_run(folder) for folder in (*folders, *others)])
    assert (pooled.n_frames, len(pooled.folders), [len(run.folders) for run in alone]) == (51, 2, [1, 1])
    everything = np.concatenate(parts)
    beads = bead_universe(pooled)
    np.testing.assert_allclose(
        [beads.atoms.positions.copy() for _ in beads.trajectory], everything.reshape(51, 6, 3), atol=1e-6
    )
    centroids = centroid_universe(pooled)
    np.testing.assert_allclose(
        [centroids.atoms.positions.copy() for _ in centroids.trajectory], everything.mean(axis=1), atol=1e-6
    )
    assert pooled.kept(0.1).tolist() == [*range(2, 20), *range(23, 51)]
