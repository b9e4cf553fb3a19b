"""``python -m analysis from-ipi`` on the output of a real i-PI."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from analysis.__main__ import main
from analysis.properties import read_runs
from md.trajectory import read_frames

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Outputs of the in-process example, 120 steps, every 4th recorded: positions in Å, and again without braces, in Bohr."""
    pytest.importorskip("ipi")
    folder = tmp_path_factory.mktemp("ipi")
    (folder / "c20.xyz").write_text((ROOT / "inputs" / "ipi" / "c20.xyz").read_text())
    text = (ROOT / "inputs" / "ipi" / "pimd-direct.xml").read_text()
    text = text.replace("PATH<", f"{ROOT / 'md' / 'ipi_driver.py'}<").replace("<total_steps>2000", "<total_steps>120")
    text = text.replace("stride='10'", "stride='4'").replace("stride='20'", "stride='4'")
    bare = "<trajectory filename='bohr' stride='4'> positions </trajectory>\n    <checkpoint"
    (folder / "run.xml").write_text(text.replace("<checkpoint", bare))
    done = subprocess.run(
        [Path(sys.executable).with_name("i-pi"), "run.xml"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_positions_and_properties(place, tmp_path, capsys):
    assert main(["from-ipi", str(place / "run.xml"), "-o", str(tmp_path / "run"), "--model", "c20"]) == 0
    steps, positions = read_frames(tmp_path / "run" / "trajectory.h5")
    assert steps.tolist() == list(range(0, 121, 4))
    for bead in (0, 7):
        frames = read(place / f"pimd-direct.pos_{bead}.xyz", ":", format="xyz")
        np.testing.assert_allclose(positions[:, bead], [frame.positions for frame in frames], atol=1e-6)
    (run,) = read_runs([tmp_path / "run"], 0.0, False)
    found, theirs = run.series, np.loadtxt(place / "pimd-direct.out")
    for column, name in enumerate(("conserved_eV", "temperature_K", "potential_eV", "kinetic_virial_eV"), start=2):
        np.testing.assert_allclose(found[name], theirs[:, column], rtol=3e-6)  # i-PI's own constants
    assert run.interval_ps == pytest.approx(0.002)
    assert (run.run.n_beads, run.run.temperature_K) == (8, pytest.approx(300.0, rel=3e-6))
    assert main(["distances", str(tmp_path / "run")]) == 0
    assert "30 bonds" in capsys.readouterr().out


def test_positions_without_braces_are_in_bohr(place, tmp_path):
    text = (place / "run.xml").read_text().replace("filename='pos'", "filename='other'")
    for path in place.glob("pimd-direct.pos_*"):
        path.with_name(path.name.replace(".pos_", ".other_")).write_bytes(path.read_bytes())
    (place / "bohr.xml").write_text(text.replace("positions{angstrom}", "velocities"))
    for name in ("run", "bohr"):
        assert main(["from-ipi", str(place / f"{name}.xml"), "-o", str(tmp_path / name)]) == 0
    found = [read_frames(tmp_path / name / "trajectory.h5")[1] for name in ("run", "bohr")]
    np.testing.assert_allclose(found[0], found[1], atol=2e-5)  # five decimals in the files


def test_refusals(place, tmp_path, capsys):
    (tmp_path / "torn.xml").write_text("<simulation>")
    (tmp_path / "other.xml").write_text("<input/>")
    (tmp_path / "alone.xml").write_text((place / "run.xml").read_text())
    (tmp_path / "silent.xml").write_text((place / "run.xml").read_text().replace("positions", "velocities"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    for arguments, message in (
        ([tmp_path / "none.xml", "-o", tmp_path / "x"], "not an input of i-PI"),
        ([tmp_path / "torn.xml", "-o", tmp_path / "x"], "not an input of i-PI"),
        ([tmp_path / "other.xml", "-o", tmp_path / "x"], "<input> where <simulation> was expected"),
        ([tmp_path / "alone.xml", "-o", tmp_path / "x"], "pimd-direct.pos_0.xyz: not a trajectory of i-PI"),
        ([tmp_path / "silent.xml", "-o", tmp_path / "x"], "no <trajectory> of positions"),
        ([place / "run.xml", "-o", tmp_path / "full"], "is not empty: choose another --output"),
    ):
        assert main(["from-ipi", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
