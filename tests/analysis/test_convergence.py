"""``rpmd converge`` and ``python -m analysis convergence`` on short runs of C20."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read

from analysis.__main__ import main
from md.cli import main as rpmd
from mlcalc import load_model
from mlcalc.modes import relaxed_modes
from mlcalc.vibrations import heat_capacity, vibrational_energy

C20 = Path(__file__).parents[2] / "inputs" / "c20"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[str]:
    """Folders of P = 1 and P = 4, 600 steps each."""
    output = tmp_path_factory.mktemp("converge") / "runs"
    arguments = [
        "converge",
        str(C20 / "rpmd.toml"),
        "--beads",
        "1,4",
        "--steps",
        "600",
        "--output",
        str(output),
        "--no-figure",
    ]
    assert rpmd(arguments) == 0
    return [str(output / "P1"), str(output / "P4")]


def test_found_beside_harmonic(runs, capsys):
    assert main(["convergence", *runs, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["beads"] == [1, 4]
    energies = relaxed_modes(read(C20 / "c20.xyz"), load_model("c20")).energies
    for k, p in enumerate((1, 4, None)):
        expected = vibrational_energy(energies, 300.0, p) + 1.5 * units.kB * 300.0
        assert report["harmonic"]["energy_eV"][k] == pytest.approx(expected, rel=1e-4)
        expected = heat_capacity(energies, 300.0, p) / units.kB + 1.5
        assert report["harmonic"]["heat_capacity_kB"][k] == pytest.approx(expected, rel=1e-4)
    for means in report["found"].values():
        assert np.isfinite([(mean["value"], mean["error"]) for mean in means]).all()
    one, four = (mean["value"] for mean in report["found"]["bond_std_A"])
    assert four > one  # what nuclear quantum effects do to it
    assert report["verdict"][0].startswith("P = 4 does NOT resolve the stiffest vibration: βħω = 6.")
    parent = Path(runs[0]).parent
    assert all((parent / f"convergence{suffix}").stat().st_size for suffix in (".txt", ".png", ".svg", ".json"))


def test_table_ends_with_the_limit(runs, capsys):
    assert main(["convergence", *runs]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["1", "4", "∞"]


def test_one_number_of_beads_is_no_series(runs, capsys):
    assert main(["convergence", runs[0]]) == 2
    assert "expected different numbers of beads, at least two" in capsys.readouterr().err


def test_beads_that_stand_for_more_have_no_harmonic_row(runs, tmp_path, capsys):
    """Runs with matrices of GLE that have a covariance sample no ring of P beads."""
    folders = [shutil.copytree(run, tmp_path / Path(run).name) for run in runs]
    (folders[1] / "gle.txt").write_text("# A MATRIX: (femtoseconds^-1)\n0.1\n# C MATRIX: (K)\n1500\n")
    assert main(["convergence", *map(str, folders), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    for values in report["harmonic"].values():
        assert [value is None for value in values] == [False, True, False]
    assert report["verdict"] == [
        "P = 4 has matrices of GLE that stand for more beads: compare its row with the last one."
    ]
    table = (tmp_path / "convergence.txt").read_text().splitlines()
    assert table[3].split()[0] == "4" and table[3].count("–") == 3


@pytest.mark.slow
def test_a_molecule_that_may_not_turn_has_no_energy_of_rotation(runs, tmp_path, capsys):
    found = []
    for held in (False, True):
        folders = []
        for run in runs:
            folder = tmp_path / str(held) / Path(run).name
            shutil.copytree(run, folder)
            text = (folder / "input.toml").read_text()
            (folder / "input.toml").write_text(
                text.replace("remove_rotation = false", f"remove_rotation = {held}".lower())
            )
            folders.append(str(folder))
        assert main(["convergence", *folders, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["harmonic"])
    thermal = 1.5 * units.kB * 300.0
    np.testing.assert_allclose(np.subtract(found[0]["energy_eV"], found[1]["energy_eV"]), thermal, rtol=1e-6)
    np.testing.assert_allclose(np.subtract(found[0]["heat_capacity_kB"], found[1]["heat_capacity_kB"]), 1.5, rtol=1e-6)
