"""Periodic runs in MDAnalysis: boxes and distances of any cell, of beads and centroids, against ASE."""

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.neighborlist import neighbor_list
from MDAnalysis.lib.distances import distance_array, self_capped_distance
from scipy.spatial.transform import Rotation

from analysis.distances.gyration import RingPolymerGyration
from analysis.distances.pair_distances import PairDistances
from analysis.runs.run import pool
from analysis.runs.universe import bead_frames, bead_universe, centroid_universe, open_run
from mlcalc.common.errors import InputError
from tests.analysis.run_folders import write_run
from tests.analysis.test_distances import universe_of

TURN = Rotation.from_euler("zyx", [30, 20, 10], degrees=True).as_matrix()
CUBE = np.diag([9.0, 10.0, 11.0])
CELLS = {
    "along the axes": CUBE,
    "turned": CUBE @ TURN.T,
    "triclinic": np.array([[9.0, 0, 0], [3.0, 9.0, 0], [-2.0, 3.0, 9.0]]) @ TURN.T,
    "left-handed": np.array([[9.0, 0, 0], [3.0, 9.0, 0], [-2.0, 3.0, -9.0]]),
    "upper triangular": np.array([[9.0, 2.0, -3.0], [0, 9.0, 1.0], [0, 0, 9.0]]),
    "very skewed": np.array([[1, 0, 0], [3, 1, 0], [-4, 5, 1]]) @ CUBE,
    "very skewed and left-handed": np.array([[1, 0, 0], [3, 1, 0], [-4, 5, -1]]) @ CUBE @ TURN.T,
}


def gas_run(folder, cell, pbc=True, n_frames=3, n_beads=1, cells=None, seed=0, extent=None):
    """A run of twelve atoms anywhere, some out of the cell."""
    rng = np.random.default_rng(seed)
    extent = cell if extent is None else extent
    positions = rng.uniform(-1.0, 2.0, (n_frames, 1, 12, 3)) @ extent + rng.normal(0.0, 0.1, (n_frames, n_beads, 12, 3))
    atoms = Atoms("C12", positions[0, 0], cell=cell, pbc=pbc)
    return write_run(folder, atoms, positions, cells=cells), atoms, positions


@pytest.mark.parametrize("name", CELLS)
def test_distances_by_mdanalysis_are_those_of_ase(tmp_path, name):
    folder, atoms, positions = gas_run(tmp_path / "run", CELLS[name])
    run = open_run(folder)
    for k, step in enumerate(bead_universe(run).trajectory):
        atoms.positions = positions[k, 0]
        found = distance_array(step.positions, step.positions, box=step.dimensions)
        np.testing.assert_allclose(found, atoms.get_all_distances(mic=True), atol=2e-5)  # float32 of some 40 Å
        pairs = self_capped_distance(step.positions, 4.0, box=step.dimensions)[1]
        assert pairs.min() == pytest.approx(neighbor_list("d", atoms, 6.0).min(), abs=2e-5)
        # The structure of the run has the same axes, so that ASE and MDAnalysis may be mixed.
        again = run.structure.copy()
        again.positions = step.positions
        np.testing.assert_allclose(again.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=2e-5)


def test_primitive_cells_keep_their_nearest_pair(tmp_path):
    atoms = bulk("C", "fcc", a=5.6).repeat((4, 4, 4))
    atoms.rattle(0.05, seed=1)
    universe = bead_universe(open_run(write_run(tmp_path / "run", atoms, atoms.positions[None, None])))
    np.testing.assert_allclose(universe.dimensions, atoms.cell.cellpar(), rtol=1e-6)
    nearest = self_capped_distance(universe.atoms.positions, 6.0, box=universe.dimensions)[1].min()
    assert nearest == pytest.approx(neighbor_list("d", atoms, 6.0).min(), abs=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_no_mirror_images(tmp_path, name):
    """Four atoms span a volume whose sign is their handedness."""
    corner = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0], [0, 0, 1.3]])
    for make in (bead_universe, centroid_universe):
        folder = write_run(
            tmp_path / make.__name__, Atoms("CHOF", corner, cell=CELLS[name], pbc=True), corner[None, None]
        )
        found = make(open_run(folder)).atoms.positions
        assert np.linalg.det(found[1:] - found[0]) == pytest.approx(1.1 * 1.2 * 1.3, rel=1e-5)
    assert np.linalg.det(np.diff(open_run(folder).structure.positions, axis=0)) > 0


def test_what_lies_along_the_axes_stays_as_it_is(tmp_path):
    folder, _, positions = gas_run(tmp_path / "run", CELLS["along the axes"])
    universe = bead_universe(open_run(folder))
    np.testing.assert_array_equal(universe.atoms.positions, positions[0, 0].astype(np.float32))
    np.testing.assert_array_equal(universe.dimensions, [9, 10, 11, 90, 90, 90])


def changing_cells(n_frames: int = 6) -> np.ndarray:
    rng = np.random.default_rng(3)
    return CELLS["triclinic"] * np.linspace(1.0, 1.2, n_frames)[:, None, None] + rng.normal(0, 0.1, (n_frames, 3, 3))


@pytest.mark.parametrize("make", [bead_universe, centroid_universe])
def test_every_frame_has_its_box(tmp_path, make):
    cells = changing_cells()
    folder, atoms, positions = gas_run(tmp_path / "run", cells[0], n_frames=6, cells=cells)
    universe = make(open_run(folder))
    for k in (0, 3, 5, 1):
        step = universe.trajectory[k]
        atoms.set_cell(cells[k])
        atoms.positions = positions[k, 0]
        np.testing.assert_allclose(step.dimensions, atoms.cell.cellpar(), rtol=1e-6)
        found = distance_array(step.positions, step.positions, box=step.dimensions)
        np.testing.assert_allclose(found, atoms.get_all_distances(mic=True), atol=2e-5)


def test_frames_by_number_are_those_of_the_universe(tmp_path):
    cells = changing_cells()
    folder, _, _ = gas_run(tmp_path / "run", cells[0], n_frames=6, n_beads=2, cells=cells)
    run = open_run(folder)
    universe = bead_universe(run)
    for chosen in ([1, 2, 3], [0, 2, 5], [4, 1, 1]):
        found = bead_frames(run, chosen)
        for k, positions, cell in zip(chosen, *found, strict=True):
            step = universe.trajectory[k]
            np.testing.assert_allclose(positions.reshape(-1, 3), step.positions, atol=1e-5)
            np.testing.assert_allclose(cell, step.triclinic_dimensions, atol=1e-5)


def test_pooled_runs_have_the_boxes_of_their_files(tmp_path):
    cells = changing_cells()
    folders = [gas_run(tmp_path / str(k), cells[0], n_frames=6, cells=cells, seed=k)[0] for k in range(2)]
    other = gas_run(tmp_path / "other", 1.1 * cells[0])[0]
    pooled, alone = pool([open_run(folder) for folder in (*folders, other)])
    assert (len(pooled.folders), len(alone.folders)) == (2, 1)
    for make in (bead_universe, centroid_universe):
        found = np.array([step.dimensions.copy() for step in make(pooled).trajectory])
        np.testing.assert_allclose(found[6:], found[:6], rtol=1e-6)
        assert len(np.unique(found[:, 0])) == 6


@pytest.mark.parametrize("third", [60.0, 0.0], ids=["vacuum", "no third vector"])
def test_slabs_have_two_periods(tmp_path, third):
    cell = np.array([[9.0, 0, 0], [3.0, 9.0, 0], [2.0, 0, third] if third else [0, 0, 0]]) @ TURN.T
    filled = np.array([[9.0, 0, 0], [3.0, 9.0, 0], [0, 0, 20.0]]) @ TURN.T
    folder, atoms, positions = gas_run(tmp_path / "run", cell, (True, True, False), n_beads=2, extent=filled)
    run = open_run(folder)
    pairs = {"some": np.array([[0, 1], [3, 2]])}
    for make, place in ((bead_universe, positions[:, 0]), (centroid_universe, positions.mean(axis=1))):
        universe = make(run)
        for k, step in enumerate(universe.trajectory):
            assert step.dimensions[2] >= 1000.0
            # The same slab in a cell so high, and upright, that ASE finds nothing across it.
            peer = Atoms("C12", place[k], cell=np.array([filled[0], filled[1], 50.0 * filled[2]]), pbc=True)
            found = distance_array(step.positions[:12], step.positions[:12], box=step.dimensions)
            np.testing.assert_allclose(found, peer.get_all_distances(mic=True), atol=1e-4)
    found = PairDistances(bead_universe(run), pairs, 40.0)
    found._trajectory[0]
    peer.positions = positions[0, 0]
    expected = [peer.get_distance(i, j, mic=True) for i in range(12) for j in range(i + 1, 12)]
    np.testing.assert_allclose(found._distances()[0][0], expected, atol=1e-4)


def test_files_that_called_every_direction_periodic_are_slabs_still(tmp_path):
    folder, *_ = gas_run(tmp_path / "run", CUBE, (True, True, False))
    universe = bead_universe(open_run(folder))
    expected = universe.dimensions.copy()
    universe.trajectory.close()
    with h5py.File(folder / "trajectory.h5", "a") as file:
        assert list(file["particles/trajectory/box"].attrs["boundary"]) == ["periodic", "periodic", "none"]
        file["particles/trajectory/box"].attrs["boundary"] = ["periodic"] * 3
    universe = bead_universe(open_run(folder))
    np.testing.assert_array_equal(universe.dimensions, expected)
    universe.trajectory.close()
    with h5py.File(folder / "trajectory.h5", "a") as file:
        file["particles/trajectory/box"].attrs["boundary"] = ["periodic", "none", "none"]
    with pytest.raises(InputError, match=r"boundary \['periodic', 'none', 'none'\], but structure.xyz has pbc"):
        open_run(folder)


def test_a_period_without_vector_is_refused(tmp_path):
    folder, atoms, _ = gas_run(tmp_path / "run", CUBE, (True, True, False))
    atoms.cell[1] = 0.0
    write(folder / "structure.xyz", atoms, format="extxyz")
    with pytest.raises(InputError, match="structure.xyz: pbc = .* expected a vector of its own for each period"):
        open_run(folder)


def test_molecules_have_no_box(tmp_path):
    folder, *_ = gas_run(tmp_path / "run", CUBE, pbc=False)
    assert bead_universe(open_run(folder)).dimensions is None
    assert centroid_universe(open_run(folder)).dimensions is None
    assert bead_frames(open_run(folder), [0]).cells is None


def test_transformations_can_be_added(tmp_path):
    folder, *_ = gas_run(tmp_path / "run", CELLS["triclinic"])
    universe = bead_universe(open_run(folder))
    universe.trajectory.add_transformations(lambda step: step)
    assert universe.copy().trajectory[2].dimensions is not None


@pytest.mark.parametrize("name", ["triclinic", "very skewed and left-handed"])
def test_pair_distances_are_those_of_ase(tmp_path, name):
    """Also in parallel, where workers read the box of each frame anew."""
    cells = CELLS[name] * np.linspace(1.0, 1.1, 40)[:, None, None]
    folder, atoms, positions = gas_run(tmp_path / "run", cells[0], n_frames=40, n_beads=2, cells=cells)
    pairs = {"some": np.array([[0, 1], [3, 2], [7, 11]])}
    universe = bead_universe(open_run(folder))
    alone = PairDistances(universe, pairs, 20.0).run()
    shared = PairDistances(universe, pairs, 20.0).run(backend="multiprocessing", n_workers=2)
    assert shared.results.moments == alone.results.moments
    found, shortest = [], []
    for frame, cell in zip(positions, cells, strict=True):
        atoms.set_cell(cell)
        for atoms.positions in frame:
            found.append(atoms.get_all_distances(mic=True))
            shortest.append(neighbor_list("d", atoms, 6.0).min())
    mean = np.mean([[matrix[i, j] for i, j in pairs["some"]] for matrix in found])
    assert alone.results.moments["some", "beads"].mean.value == pytest.approx(mean, abs=1e-5)
    assert alone.results.shortest == pytest.approx(min(shortest), abs=1e-5)
    edges = np.arange(0.0, 20.0 + 0.005, 0.01)
    counts = np.histogram(np.array(found)[:, *np.triu_indices(12, 1)], edges)[0]
    histogram = alone.results.histograms["all", "beads"].counts.sum(axis=0)[:-1]
    assert np.abs(np.cumsum(counts - histogram)).max() <= 3  # a distance may change its bin by rounding


def test_wrapped_universes_of_other_programs(tmp_path):
    """Every bead wrapped individually: distances, centroids and radii of gyration are those of the beads together."""
    rng, cell = np.random.default_rng(5), CELLS["triclinic"]
    atoms = Atoms("C4", [[0, 0, 0], [1.4, 0, 0], [0, 1.5, 0], [0, 0, 1.6]], cell=cell, pbc=True)
    together = atoms.positions + rng.normal(0.0, 0.15, (40, 4, 4, 3)) + rng.uniform(-9.0, 9.0, (40, 1, 1, 3))
    fractional = together @ np.linalg.inv(cell)
    apart = (fractional - np.floor(fractional)) @ cell
    pairs = {"all of them": np.array([[0, 1], [0, 2], [1, 3]])}
    one, run = universe_of(together), open_run(write_run(tmp_path / "run", atoms, apart))
    other = bead_universe(run)
    results, found = (PairDistances(universe, pairs, 6.0).run().results for universe in (one, other))
    assert found.shortest == pytest.approx(results.shortest, abs=1e-5)
    for kind in ("beads", "centroid"):
        expected = results.moments["all of them", kind]
        for k, mean in enumerate(found.moments["all of them", kind]):
            assert mean.value == pytest.approx(expected[k].value, abs=1e-5)
    radii = [RingPolymerGyration(universe).run().results.radius for universe in (one, other)]
    np.testing.assert_allclose(*radii, atol=1e-5)
    centroids = centroid_universe(run)
    distances = [atoms.get_distance(0, 1) for atoms.positions in together.mean(axis=1)]
    found = [distance_array(s.positions[:1], s.positions[1:2], box=s.dimensions)[0, 0] for s in centroids.trajectory]
    np.testing.assert_allclose(found, distances, atol=1e-5)


def test_structures_are_read_as_written(tmp_path):
    """Only the axes of a Run are MDAnalysis', not those of its files."""
    folder, atoms, _ = gas_run(tmp_path / "run", CELLS["turned"])
    open_run(folder)
    np.testing.assert_allclose(read(folder / "structure.xyz").positions, atoms.positions, atol=1e-7)
