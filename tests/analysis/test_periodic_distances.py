"""``python -m analysis distances`` of periodic runs: molecules in a box, liquids, crystals, slabs."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from analysis.__main__ import main
from analysis.distances.pair_distances import bonded_pairs, diameter_pairs
from analysis.structure.molecules import isolated, molecule_of
from mlcalc.common.errors import InputError
from mlcalc.geometry.minimum_image import lattice_of
from mlcalc.model_file import save_model
from mlcalc.modes import relaxed_modes
from tests.analysis.run_folders import autoregressive, dodecahedron, write_run
from tests.analysis.test_periodic_universe import CELLS
from tests.conftest import SCHNETPACK_DIALECT, random_model

GOLDEN = np.array([0.3, 0.5, -0.7])


def cages(n_beads: int = 3) -> np.ndarray:
    """(60, P, 20, 3) Å of C20 that drifts."""
    rng, atoms = np.random.default_rng(7), dodecahedron()
    ring = 0.06 * rng.normal(size=(60, n_beads, 20, 3))
    return (
        atoms.positions
        + ring
        + 0.05 * autoregressive(rng, 60, (1, 20, 3), 0.5)
        + np.arange(60)[:, None, None, None] * 0.1 * GOLDEN
    )


def wrapped(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    fractional = positions @ np.linalg.inv(cell)
    return (fractional - np.floor(fractional)) @ cell


def report(capsys, *arguments: str) -> dict:
    assert main(["distances", *arguments, "--discard", "0", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["runs"]


def assert_same(one: dict, other: dict) -> None:
    """Numbers to float32 of positions of some 10 Å."""
    assert one["groups"].keys() == other["groups"].keys()
    for name, group in one["groups"].items():
        assert group["n_pairs"] == other["groups"][name]["n_pairs"]
        for kind in ("beads", "centroid"):
            for key, value in group[kind].items():
                assert other["groups"][name][kind][key] == pytest.approx(value, abs=2e-6), (name, kind, key)
    assert one["shortest_A"] == pytest.approx(other["shortest_A"], abs=2e-6)
    assert one["outside_histogram"] == other["outside_histogram"]


# In a cube of 7 Å opposite atoms of the cage, 4.06 Å apart, are nearer to each other's images.
@pytest.mark.parametrize(
    "cell",
    [
        7.0 * np.eye(3),
        CELLS["very skewed and left-handed"],
        *(
            pytest.param(cell, marks=pytest.mark.slow)
            for cell in (15.0 * np.eye(3), CELLS["turned"], CELLS["triclinic"])
        ),
    ],
)
def test_a_wrapped_molecule_has_the_distances_of_a_whole_one(tmp_path, capsys, cell):
    atoms, positions = dodecahedron(), cages()
    runs = [write_run(tmp_path / "alone", atoms, positions)]
    atoms.set_cell(cell)
    atoms.pbc = True
    runs.append(write_run(tmp_path / "whole", atoms, positions))
    inside = atoms.copy()
    inside.wrap()
    shifts = inside.positions - atoms.positions
    assert np.abs(shifts).max() > 5.0
    runs.append(write_run(tmp_path / "wrapped at the start", inside, positions + shifts))
    runs.append(write_run(tmp_path / "wrapped always", inside, wrapped(positions, cell)))
    alone, *others = (report(capsys, str(run))[0] for run in runs)
    assert (alone["groups"]["bonds"]["n_pairs"], alone["groups"]["diameters"]["n_pairs"]) == (30, 10)
    for other in others:
        assert_same(alone, other)


def test_several_runs_at_once_may_be_wrapped_differently(tmp_path, capsys):
    atoms, positions = dodecahedron(), cages()
    alone = write_run(tmp_path / "alone", atoms, positions)
    atoms.set_cell([15.0] * 3)
    atoms.pbc = True
    atoms.wrap()
    periodic = write_run(tmp_path / "wrapped", atoms, wrapped(positions, 15.0 * np.eye(3))[:, :1])
    one, two = report(capsys, str(alone), str(periodic))
    assert (one["beads"], two["beads"]) == (3, 1)
    assert two["groups"]["diameters"]["beads"]["mean_A"] == pytest.approx(
        one["groups"]["diameters"]["beads"]["mean_A"], abs=0.02
    )


def test_harmonic_reference_of_a_molecule_in_a_box(tmp_path, capsys):
    """That of the molecule alone where no image is within the cutoff, and otherwise the reason for its absence."""
    model = random_model(SCHNETPACK_DIALECT, seed=5)  # binds C2 at 1.16 Å, sees 4 Å
    save_model(model, tmp_path / "model.safetensors")
    atoms = Atoms("C2", [[0, 0, 0], [0, 0, 1.2]])
    expected = relaxed_modes(atoms, model)
    positions = np.tile(atoms.positions, (30, 2, 1, 1)) + np.random.default_rng(0).normal(0, 0.02, (30, 2, 2, 3))
    rows = {}
    for name, length in (("alone", None), ("large", 8.0), ("small", 5.0)):
        if length:
            atoms.set_cell([length] * 3)
            atoms.pbc = True
            atoms.wrap()
        run = write_run(tmp_path / name, atoms, positions, model=str(tmp_path / "model.safetensors"))
        (rows[name],) = report(capsys, str(run))
    for name in ("alone", "large"):
        assert rows[name]["harmonic_note"] == ""
    assert rows["large"]["groups"]["bonds"]["beads"]["harmonic_std_A"] == pytest.approx(
        rows["alone"]["groups"]["bonds"]["beads"]["harmonic_std_A"], rel=1e-4
    )
    assert "its images are within the model's cutoff" in rows["small"]["harmonic_note"]
    assert "harmonic_std_A" not in rows["small"]["groups"]["bonds"]["beads"]
    assert rows["small"]["groups"]["bonds"]["beads"]["mean_A"] == pytest.approx(
        rows["alone"]["groups"]["bonds"]["beads"]["mean_A"]
    )
    np.testing.assert_allclose(relaxed_modes(isolated(atoms, 3.0), model).energies, expected.energies, rtol=1e-3)


def test_a_liquid_has_no_cage(tmp_path, capsys):
    """No table and no figure, but the shortest pair by nearest images and what to use instead; exit code 0."""
    rng, cell = np.random.default_rng(3), CELLS["triclinic"] * 1.7
    atoms = Atoms("C8", rng.random((8, 3)) @ cell, cell=cell, pbc=True)
    while neighbor_list("d", atoms, 3.0).size:
        atoms.positions = rng.random((8, 3)) @ cell
    positions = atoms.positions + rng.normal(0.0, 0.1, (25, 2, 8, 3))
    run = write_run(tmp_path / "run", atoms, positions)
    shortest = np.inf
    for frame in positions[2:]:
        for atoms.positions in frame:
            shortest = min(shortest, neighbor_list("d", atoms, 8.0).min())
    assert main(["distances", str(run)]) == 0
    printed = capsys.readouterr().out
    assert f"23 frames from 0.02 to 0.24 ps of {run}; shortest pair {shortest:.3f} Å" in printed
    assert (
        "no bonds, no cage diameters: the atoms are not one molecule; for g(r) and angles: python -m analysis liquid"
        in printed
    )
    assert "cage diameters  " not in printed and "harmonic" not in printed
    assert not list(tmp_path.rglob("distances*"))
    (row,) = report(capsys, str(run))
    assert row["groups"] == {} and row["outside_histogram"] is None
    assert main(["distances", str(run), "--model", "methane-cg"]) == 2
    assert "normal modes require one molecule" in capsys.readouterr().err


def test_a_liquid_of_molecules_has_bonds_by_nearest_images(tmp_path, capsys):
    rng, atoms = np.random.default_rng(4), molecule("CH4")
    atoms.set_cell([6.0] * 3)
    atoms.pbc = True
    atoms = atoms.repeat((2, 1, 1))
    positions = atoms.positions + rng.normal(0.0, 0.01, (30, 1, 10, 3))
    cell = atoms.cell.array
    atoms.wrap()
    run = write_run(tmp_path / "run", atoms, wrapped(positions, cell))
    (row,) = report(capsys, str(run))
    assert list(row["groups"]) == ["bonds"] and row["groups"]["bonds"]["n_pairs"] == 8
    assert row["groups"]["bonds"]["beads"]["mean_A"] == pytest.approx(1.093, abs=0.01)
    assert row["pairs_note"].startswith("no cage diameters: the atoms are not one molecule; for g(r)")
    assert row["harmonic_note"].startswith("model 'none'")
    assert main(["distances", str(run)]) == 0
    assert (tmp_path / "run" / "distances.png").exists()


def test_bonds_of_crystals():
    """Four to an atom; none that is bonded through two images, and no diameters, whatever the cell."""
    diamond = bulk("C", "diamond", 3.567, cubic=True)
    for atoms in (diamond.repeat((2, 2, 2)), bulk("C", "diamond", 3.567).repeat((3, 3, 3))):
        assert len(bonded_pairs(atoms)) == 2 * len(atoms)
        assert len(diameter_pairs(atoms)) == 0
        assert molecule_of(atoms) is None
    primitive = bulk("C", "diamond", 3.567)  # four bonds between the two atoms
    assert len(bonded_pairs(primitive)) == 0
    chain = Atoms("C", cell=[1.4, 20.0, 20.0], pbc=True)  # bonded to itself
    assert len(bonded_pairs(chain)) == 0 and molecule_of(chain) is None


def test_what_is_left_out_is_named(tmp_path, capsys):
    atoms = bulk("C", "diamond", 3.567)
    run = write_run(tmp_path / "run", atoms, np.tile(atoms.positions, (25, 1, 1, 1)))
    assert main(["distances", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "1 pairs are bonded through several periodic images and left out: repeat the cell" in printed
    assert f"shortest pair {3.567 * np.sqrt(3) / 4:.3f} Å" in printed


def test_molecules_side_by_side_have_no_diameters():
    one = dodecahedron()
    two = one.copy()
    two.positions += [0.0, 0.0, 9.0]
    assert len(diameter_pairs(one)) == 10 and len(diameter_pairs(one + two)) == 0
    assert len(bonded_pairs(one + two)) == 60


def test_a_molecule_is_made_whole():
    rng, chain = np.random.default_rng(6), Atoms("C30")
    steps = [1.0, 0.5, -0.3] + rng.uniform(-0.3, 0.3, size=(30, 3))  # the chain is far longer than the cell
    chain.positions = np.cumsum(1.4 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    cell = CELLS["triclinic"] * 0.9
    atoms = Atoms("C30", wrapped(chain.positions, cell), cell=cell, pbc=True)
    found = molecule_of(chain).whole(atoms.positions, lattice_of(cell))
    np.testing.assert_allclose(found - found[0], chain.positions - chain.positions[0], atol=1e-9)


def test_isolated_refuses_what_is_not_one_molecule():
    for atoms in (bulk("C", "diamond", 3.567), Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]], cell=[20] * 3, pbc=True)):
        with pytest.raises(InputError, match="this cell holds several molecules or a crystal"):
            isolated(atoms, 4.0)
    alone = molecule("CH4")
    assert isolated(alone, None) is alone


def test_slabs_of_layers(tmp_path, capsys):
    """Graphene without a third vector: bonds across the edges of the cell, no hint at g(r), which slabs do not have."""
    sheet = Atoms(
        "C2", [[0, 0, 0], [1.42, 0, 0]], cell=[[2.13, 1.23, 0], [2.13, -1.23, 0], [0, 0, 0]], pbc=[1, 1, 0]
    ).repeat((4, 4, 1))
    positions = sheet.positions + np.random.default_rng(1).normal(0.0, 0.01, (25, 1, 32, 3))
    (row,) = report(capsys, str(write_run(tmp_path / "run", sheet, positions)))
    assert row["groups"]["bonds"]["n_pairs"] == 48
    assert row["groups"]["bonds"]["beads"]["mean_A"] == pytest.approx(1.42, abs=0.01)
    assert row["pairs_note"] == "no cage diameters: the atoms are not one molecule"
