"""Relevances along runs: every number of a run is that of its structures explained one by one."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from MDAnalysis import Universe
from MDAnalysis.analysis.rdf import InterRDF
from MDAnalysis.transformations import set_dimensions

from analysis.__main__ import main
from analysis.liquid.pair_density import BIN_A, Density, distance_edges, first_minimum, pair_density
from analysis.relevance.along_run import Binned, analyse, bonds_between, separations, shell_angles
from analysis.relevance.explain import explain
from analysis.relevance.figure import as_text, relevance_figure, write_files
from analysis.runs.universe import open_run
from md.cli import main as rpmd
from md.files.trajectory import read_frames
from mlcalc import InputError, load_model
from mlcalc.model_file import save_model
from mlcalc.priors import AngularPrior
from tests.analysis.chains import frames, network
from tests.analysis.run_folders import write_run
from tests.conftest import SCHNETPACK_DIALECT, random_model, write_acetylene


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Acetylene, P = 2 and P = 1, six frames each."""
    folder = tmp_path_factory.mktemp("runs")
    write_acetylene(folder, "steps = 100\nbeads = [2, 1]\n")
    assert rpmd(["run", str(folder / "run.toml"), "--no-figure"]) == 0
    return folder / "out"


def test_sums_are_those_of_the_structures(run):
    opened = open_run(run / "P2")
    done = []
    found = analyse(opened, 0.2, 6, 0.0, shell=1.5, workers=1, show=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    model, (_, positions) = load_model(opened.model), read_frames(run / "P2" / "trajectory.h5")
    pair_total, triple_total, energies, near = [], [], [], 0
    for frame in positions:
        for bead in frame:
            atoms = Atoms(opened.structure.numbers, bead)
            item = explain(model, atoms, 0.2)
            rows, angles = shell_angles(atoms, item.sets, 1.5)
            pair_total.append(item.pairs.sum())
            triple_total.append(item.triples[rows].sum())
            energies.append(item.trace.energy)
            near += len(angles)
    assert found.pairs.sums.sum() == pytest.approx(sum(pair_total), rel=1e-5)  # positions pass through float32
    assert found.pairs.counts.sum() == 6 * 2 * 6
    assert found.triples.sums.sum() == pytest.approx(sum(triple_total), rel=1e-5)
    assert found.triples.counts.sum() == near > 0
    assert found.energy.mean() == pytest.approx(np.mean(energies), rel=1e-6)
    assert found.orders["2"].mean() == pytest.approx(np.mean(pair_total), rel=1e-5)
    assert sum(values.mean() for values in found.orders.values()) == pytest.approx(found.total.mean(), rel=1e-9)
    assert found.shells.bonds.tolist() == [1, 2, 3]  # H–C≡C–H
    assert found.shells.pairs.tolist() == [3, 2, 1]
    by_bonds = (found.shells.relevance * found.shells.pairs).sum(axis=1)
    assert by_bonds.mean() == pytest.approx(np.mean(pair_total), rel=1e-5)
    ends = [np.linalg.norm(bead[2] - bead[3]) for frame in positions for bead in frame]
    assert found.shells.distance[2] == pytest.approx(np.mean(ends), rel=1e-6)
    assert found.shells.spread[2] == pytest.approx(np.std(ends), rel=1e-3)
    for density in found.distances.values():  # all pairs of a molecule
        assert (density.value * BIN_A).sum() == pytest.approx(1.0)
    assert (found.angles.value * np.diff(found.angles.edges)).sum() == pytest.approx(1.0)


def test_angular_prior_has_a_curve_and_a_row_of_its_own(run, tmp_path):
    opened = open_run(run / "P1")
    model = load_model(opened.model)
    prior = AngularPrior(strength=5.0, cosine=-0.3, decay=1.0, cutoff=3.5)
    with_prior = replace(model, metadata={}, priors=model.priors | {"angular": prior})
    save_model(with_prior, tmp_path / "angles.safetensors")
    plain = analyse(opened, 0.1, 4, 0.0, shell=3.5, workers=1)
    found = analyse(opened, 0.1, 4, 0.0, tmp_path / "angles.safetensors", shell=3.5, workers=1)
    assert plain.prior is None and (found.angular > 0.01).all()
    np.testing.assert_allclose(found.orders["3"] - plain.orders["3"], found.angular, rtol=1e-9)
    np.testing.assert_allclose(found.triples.sums - plain.triples.sums, found.prior.sums, atol=1e-9)
    assert "of this, the angular prior / eV" in as_text([found]) and "prior" not in as_text([plain])
    again = analyse(open_run(run / "P1"), 0.5, 4, 0.0, tmp_path / "angles.safetensors", shell=3.5, workers=1)
    panels = relevance_figure([found, again]).axes
    assert sum(line.get_label() == "angular prior alone" for axes in panels for line in axes.lines) == 1
    assert sum(len(axes.collections) for axes in panels) == 2 * 2 + 2 + 2  # bands of curves, areas, error bars
    paths = write_files([found], tmp_path / "figure.png")
    assert json.loads((tmp_path / "figure.json").read_text())["runs"][0]["angular_prior_eV"] == pytest.approx(
        found.angular.mean()
    )
    assert all(path.exists() for path in paths) and "run0_P1_prior_eV" in np.load(tmp_path / "figure.npz")


def test_chains_are_explained_without_their_priors(tmp_path, capsys):
    """Energies of the priors in rows of their own; bonds between beads are places along the chain, whatever their distances."""
    found, model = frames(4), network()
    save_model(model, tmp_path / "net.safetensors")
    write_run(tmp_path / "run", found.structures()[0], found.positions[:, None])
    command = ["relevance", str(tmp_path / "run"), "--model", str(tmp_path / "net.safetensors"), "--shell", "5"]
    assert main([*command, "--frames", "4", "--discard", "0", "--workers", "1", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    items = [explain(model, atoms, 0.1) for atoms in found.structures()]
    assert run["explained"] == "network without priors"
    assert run["energy_eV"] == pytest.approx(np.mean([item.trace.energy for item in items]), rel=1e-4)
    for name, energy in run["prior_energies_eV"].items():  # positions pass through float32
        assert energy == pytest.approx(np.mean([item.trace.apart[name] for item in items]), rel=1e-3, abs=1e-5)
    assert [row["bonds"] for row in run["relevance_by_bonds_between"]] == list(range(1, 9))
    assert [row["pairs"] for row in run["relevance_by_bonds_between"]] == list(range(8, 0, -1))
    text = (tmp_path / "run" / "relevance.txt").read_text(encoding="utf-8")
    assert "P = 1, network without priors" in text and "not explained: prior dihedrals / eV" in text
    two = separations(model, Atoms(np.tile(found.numbers, 2), np.tile(found.positions[0], (2, 1))))
    assert two[0, 8] == two[9, 17] == 8 and not two[:9, 9:].any()


@pytest.mark.slow
def test_workers_change_nothing(run):
    opened = open_run(run / "P1")
    one, two = (analyse(opened, 0.1, 4, 0.0, shell=1.5, workers=workers) for workers in (1, 2))
    assert np.array_equal(one.pairs.sums, two.pairs.sums)
    assert np.array_equal(one.total, two.total)


def test_ratio_estimator():
    """Mean and error of bins with unequal counts: against draws, within four standard errors."""
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        counts = rng.integers(1, 9, (30, 1))
        sums = counts * (2.0 + rng.normal(0.0, 0.5, (30, 1)))  # frames differ, entries of a frame do not
        binned = Binned(np.array([0.0, 1.0]), counts, sums)
        means.append(binned.mean[0])
        errors.append(binned.error[0])
    assert abs(np.mean(means) - 2.0) < 4 * np.std(means) / 20
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)
    empty = Binned(np.array([0.0, 1.0]), np.zeros((5, 1)), np.zeros((5, 1)))
    assert np.isnan(empty.mean[0])


def test_angles_of_known_structures():
    model = random_model(SCHNETPACK_DIALECT)
    methane, crystal = molecule("CH4"), bulk("C", "diamond", 3.567)
    for atoms, shell, count in ((methane, 1.2, 6), (crystal, 1.6, 12)):
        _, angles = shell_angles(atoms, explain(model, atoms, 0.1).sets, shell)
        assert len(angles) == count  # 4 · 3 / 2 at each carbon
        np.testing.assert_allclose(angles, 109.4712, atol=1e-3)


def density(values) -> Density:
    edges = np.arange(len(values) + 1) * BIN_A
    return Density(edges, np.asarray(values, dtype=float), np.zeros(len(values)))


def test_first_minimum():
    r = (np.arange(400) + 0.5) * BIN_A
    liquid = (
        1
        / (1 + np.exp(-(r - 3.4) / 0.1))
        * (1 + 1.3 * np.exp(-(((r - 3.95) / 0.45) ** 2)) - 0.26 * np.exp(-(((r - 5.65) / 0.6) ** 2)))
    )
    assert first_minimum(density(liquid)) == pytest.approx(5.65, abs=0.2)
    molecule_like = np.exp(-(((r - 1.45) / 0.06) ** 2)) + 2 * np.exp(-(((r - 2.4) / 0.08) ** 2))
    assert 1.7 < first_minimum(density(molecule_like)) < 2.1
    with pytest.raises(InputError, match="set the end of the first shell by --shell"):
        first_minimum(density(np.exp(-(((r - 1.45) / 0.06) ** 2))))


def test_periodic_runs_have_g_of_r(tmp_path):
    """An ideal gas has g = 1, up to the counting error."""
    rng, cell = np.random.default_rng(1), np.array([[9.0, 0, 0], [1.0, 10.0, 0], [0, 2.0, 11.0]])
    structure = Atoms("H60", cell=cell, pbc=True)
    positions = rng.random((40, 2, 60, 3)) @ cell
    edges = distance_edges(structure, positions)
    found = pair_density(structure, positions, edges)
    assert edges[-1] <= 0.5 * 9.0 + 1e-9
    drawn = found.error > 0
    excess = (found.value[drawn] - 1.0) / found.error[drawn]
    assert np.abs(excess[10:]).max() < 4.5  # behind distances that few pairs have
    assert abs(excess[10:].mean()) < 4 / np.sqrt(len(excess) - 10)


def test_g_of_r_is_that_of_mdanalysis():
    """A crystal that is hot enough for broad peaks, in a skewed cell."""
    rng, atoms = np.random.default_rng(5), bulk("Ar", "fcc", 5.3) * (4, 4, 4)
    positions = atoms.positions + rng.normal(0.0, 0.3, (6, 1, len(atoms), 3))
    edges = distance_edges(atoms, positions)
    found = pair_density(atoms, positions, edges)
    turn = atoms.cell.standard_form()[1].T  # MDAnalysis has the first vector along x, the second in the xy plane
    universe = Universe.empty(len(atoms), trajectory=True)
    universe.load_new((positions[:, 0] @ turn).astype(np.float32), order="fac")
    universe.dimensions = atoms.cell.cellpar()
    universe.trajectory.add_transformations(set_dimensions(atoms.cell.cellpar()))
    peer = InterRDF(universe.atoms, universe.atoms, len(edges) - 1, (0.0, edges[-1]), exclusion_block=(1, 1)).run()
    np.testing.assert_allclose(
        found.value, peer.results.rdf, rtol=1e-5, atol=1e-3
    )  # an entry may change its bin by rounding


def test_periodic_runs(tmp_path):
    """Sums over the pairs within the cutoff, images among them; g(r); angles no wider than the network sees."""
    atoms = bulk("C", "diamond", 3.567, cubic=True)
    positions = atoms.positions + np.random.default_rng(6).normal(0.0, 0.05, (5, 1, len(atoms), 3))
    save_model(random_model(SCHNETPACK_DIALECT, seed=3), tmp_path / "net.safetensors")
    run = open_run(write_run(tmp_path / "run", atoms, positions))
    found = analyse(run, 0.1, 5, 0.0, str(tmp_path / "net.safetensors"), shell=99.0, workers=1, rdf=True)
    assert found.periodic
    assert found.shells is None
    assert found.shell == SCHNETPACK_DIALECT.cutoff
    model, pairs, triples = load_model(str(tmp_path / "net.safetensors")), [], []
    for frame in positions[:, 0]:
        atoms.positions = frame
        item = explain(model, atoms, 0.1)
        pairs.append(item.pairs.sum())
        triples.append(item.triples.sum())
    assert found.orders["2"].mean() == pytest.approx(np.mean(pairs), rel=1e-5)
    assert found.orders["3"].mean() == pytest.approx(np.mean(triples), rel=1e-5)
    assert found.distances["beads"].edges[-1] <= 3.567 / 2 + 1e-9
    assert "within it" in as_text([found])
    assert "bonds between" not in as_text([found])


def test_every_frame_is_explained_in_its_own_cell(tmp_path):
    """Energies of a run whose cell changes are those of its structures, whatever their orientation; g(r) has each volume."""
    atoms = bulk("C", "diamond", 3.567, cubic=True)
    rng = np.random.default_rng(6)
    cells = atoms.cell.array * np.linspace(1.0, 1.2, 5)[:, None, None] + rng.normal(0.0, 0.1, (5, 3, 3))
    positions = atoms.get_scaled_positions() @ cells[:, None] + rng.normal(0.0, 0.05, (5, 2, 8, 3))
    save_model(random_model(SCHNETPACK_DIALECT, seed=3), tmp_path / "net.safetensors")
    atoms.set_cell(cells[0])
    run = open_run(write_run(tmp_path / "run", atoms, positions, cells=cells))
    found = analyse(run, 0.1, 5, 0.0, str(tmp_path / "net.safetensors"), shell=2.0, workers=1, rdf=True)
    model = load_model(str(tmp_path / "net.safetensors"))
    for energy, frame, cell in zip(found.energy, positions, cells, strict=True):
        items = [explain(model, Atoms("C8", bead, cell=cell, pbc=True), 0.1) for bead in frame]
        assert energy == pytest.approx(np.mean([item.trace.energy for item in items]), rel=1e-5)
    heights = [1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0) for cell in cells]
    assert found.distances["centroid"].edges[-1] == pytest.approx(0.5 * np.min(heights), abs=0.05)


def test_slabs_have_a_density_of_distances(tmp_path):
    """Not g(r), whose volume they lack; also without a third vector."""
    cell = [[2.13, 1.23, 0], [2.13, -1.23, 0], [0, 0, 0]]
    sheet = Atoms("C2", [[0, 0, 0], [1.42, 0, 0]], cell=cell, pbc=[1, 1, 0]).repeat((3, 3, 1))
    positions = sheet.positions + np.random.default_rng(2).normal(0.0, 0.02, (4, 1, 18, 3))
    save_model(random_model(SCHNETPACK_DIALECT, seed=3), tmp_path / "net.safetensors")
    run = open_run(write_run(tmp_path / "run", sheet, positions))
    found = analyse(run, 0.1, 4, 0.0, str(tmp_path / "net.safetensors"), shell=1.8, workers=1)
    assert not found.periodic
    density = found.distances["beads"]
    # Three neighbours of 17 lie within 1.8 Å.
    near = (density.value * np.diff(density.edges))[density.edges[1:] < 1.8].sum()
    assert near == pytest.approx(3 / 17, rel=1e-6)
    with pytest.raises(InputError, match="needs a cell that is periodic in all directions"):
        analyse(run, 0.1, 4, 0.0, str(tmp_path / "net.safetensors"), rdf=True)


def test_bonds_between():
    separation = bonds_between(molecule("C6H6"))
    assert separation[:6, :6].max() == 3
    assert np.array_equal(separation, separation.T)
    apart = Atoms("H4", [[0, 0, 0], [0, 0, 0.74], [9, 0, 0], [9, 0, 0.74]])
    assert bonds_between(apart).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]


def test_command(run, capsys):
    arguments = [
        "relevance",
        str(run / "P2"),
        str(run / "P1"),
        "--frames",
        "5",
        "--discard",
        "0",
        "--shell",
        "1.5",
        "--workers",
        "1",
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "ΣR of order 2 / eV" in printed
    assert "γ = 0.1; 5 frames of" in printed
    for suffix in ("png", "svg", "txt", "json", "npz"):
        assert (run / f"relevance.{suffix}").stat().st_size > 100
    numbers = json.loads((run / "relevance.json").read_text())["runs"]
    assert [entry["beads"] for entry in numbers] == [2, 1]
    assert [row["pairs"] for row in numbers[0]["relevance_by_bonds_between"]] == [3, 2, 1]
    assert "bonds between" in printed
    with np.load(run / "relevance.npz", allow_pickle=False) as curves:
        assert np.nansum(curves["run0_P2_pairs_eV"]) != 0


def test_several_gammas(run, capsys):
    """One column each, with the same numbers as in a separate run."""
    arguments = ["relevance", str(run / "P1"), "--frames", "5", "--discard", "0", "--shell", "1.5", "--workers", "1"]
    alone = []
    for gamma in ("0", "0.5"):
        assert main([*arguments, "--gamma", gamma, "--json"]) == 0
        alone += json.loads(capsys.readouterr().out)["runs"]
    assert main([*arguments, "--gamma", "0", "--gamma", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert printed.split("\n")[0].split("  ")[-1] == "P = 1, γ = 0.5"
    assert f"γ = 0 and 0.5; 5 frames of {run / 'P1'}." in printed
    assert json.loads((run / "P1" / "relevance.json").read_text())["runs"] == alone
    assert alone[0]["relevance_by_order_eV"] != alone[1]["relevance_by_order_eV"]


def test_refusals(run, capsys):
    refused = [
        ([str(run / "P1"), "--frames", "7", "--discard", "0"], "7 frames of 6 after discarding 0%: expected 4 to 6"),
        ([str(run / "P1"), "--frames", "3"], "expected 4 to"),
        ([str(run / "P1"), "--frames", "4", "--discard", "0", "--gamma", "-1"], "gamma = -1.0"),
        ([str(run / "P1"), str(run / "P1" / "structure.xyz")], "expected run folders, or only one file"),
        ([str(run)], "not a run folder"),
        ([str(run / "P1"), "--frames", "4", "--shell", "-1"], "--shell = -1.0: expected more than 0"),
        ([str(run / "P1"), "--frames", "4", "--workers", "0"], "--workers = 0: expected at least 1"),
        ([str(run / "P1"), "--frames", "4", "--model", "c20"], "with the model c20: element H"),
        ([str(run / "P1"), "--rdf"], "g(r) needs a cell that is periodic in all directions, and this run has none"),
    ]
    for arguments, message in refused:
        assert main(["relevance", "--shell", "1.5", "--workers", "1", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
