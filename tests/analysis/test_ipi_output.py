"""``python -m analysis from-ipi`` on the output of a real i-PI."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from ase.io import read

from analysis.__main__ import main
from analysis.ipi.frames import last_copies
from analysis.runs.properties import read_runs
from analysis.runs.universe import open_run
from md.cli import main as rpmd
from md.files.trajectory import read_frames
from md.ipi.input import Trajectory

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
        ([tmp_path / "none.xml", "-o", tmp_path / "x"], "none.xml: no such file"),
        ([tmp_path / "torn.xml", "-o", tmp_path / "x"], "not an input of i-PI"),
        ([tmp_path / "other.xml", "-o", tmp_path / "x"], "<input> where <simulation> was expected"),
        (
            [tmp_path / "alone.xml", "-o", tmp_path / "x"],
            "pimd-direct.pos_0.xyz: no such file; found nothing with that name",
        ),
        ([tmp_path / "silent.xml", "-o", tmp_path / "x"], "no <trajectory> of positions"),
        ([place / "run.xml", "-o", tmp_path / "full"], "is not empty: choose another --output"),
    ):
        assert main(["from-ipi", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


# Ten beads of two atoms in a harmonic potential, at constant pressure; isotopes; a copy of the trajectory in every format.
INPUT = """<simulation verbosity='quiet'><output prefix='s'>
<properties filename='out' stride='2'>[step, time{picosecond}, temperature{kelvin}, potential{electronvolt}]</properties>
<trajectory filename='pos' stride='2' cell_units='angstrom'>positions{angstrom}</trajectory>
<trajectory filename='bohr' stride='2'>positions</trajectory>
<trajectory filename='ase' stride='2' format='ase'>positions</trajectory>
<trajectory filename='pdb' stride='2' format='pdb'>positions</trajectory>
<trajectory filename='one' stride='2' bead='0'>positions</trajectory>
<trajectory filename='centroid' stride='2'>x_centroid{angstrom}</trajectory>
<checkpoint filename='state' stride='3' overwrite='False'/></output>
<total_steps>10</total_steps><prng><seed>1</seed></prng>
<ffdirect name='f'><pes>harmonic</pes><parameters>{k1: 0.05}</parameters></ffdirect>
<system><initialize nbeads='10'><file mode='xyz'>start.xyz</file><masses mode='manual' units='dalton' index='1'>17.5</masses>
<velocities mode='thermal' units='kelvin'>300</velocities></initialize>
<forces><force forcefield='f'/></forces>
<ensemble><temperature units='kelvin'>300</temperature><pressure units='megapascal'>10</pressure></ensemble>
<motion mode='dynamics'><dynamics mode='npt'><timestep units='femtosecond'>0.5</timestep>
<thermostat mode='langevin'><tau units='femtosecond'>100</tau></thermostat>
<barostat mode='isotropic'><tau units='femtosecond'>2</tau>
<thermostat mode='langevin'><tau units='femtosecond'>20</tau></thermostat></barostat></dynamics></motion></system></simulation>
"""
START = """2
# CELL(abcABC): 12.0 11.0 10.0 90.0 80.0 90.0 positions{angstrom} cell{angstrom}
C 0.0 0.0 0.1
O 0.0 0.0 1.2
"""


def i_pi(folder: Path, name: str) -> None:
    program = Path(sys.executable).with_name("i-pi")
    done = subprocess.run([program, name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def convert(path: Path, *options: str) -> Path:
    folder = path.with_name(f"run{len(list(path.parent.iterdir()))}")
    assert main(["from-ipi", str(path), "-o", str(folder), *options]) == 0
    return folder


@pytest.fixture(scope="module")
def continued(tmp_path_factory) -> Path:
    """Ten steps, then from the state after six to sixteen: the files hold the steps in between twice."""
    pytest.importorskip("ipi")
    folder = tmp_path_factory.mktemp("continued")
    (folder / "in.xml").write_text(INPUT)
    (folder / "start.xyz").write_text(START)
    i_pi(folder, "in.xml")
    (state,) = (path for path in folder.glob("s.state_*") if "<step>6<" in path.read_text())
    text = state.read_text().replace("<total_steps>10<", "<total_steps>16<")
    # Hotter, so that the two copies of a frame differ.
    (folder / "again.xml").write_text(re.sub("(<temperature[^>]*>)[^<]*", r"\1 1e-2 ", text))
    i_pi(folder, "again.xml")
    return folder


@pytest.fixture
def copy(continued, tmp_path) -> Path:
    """A copy of the same for changes."""
    return Path(shutil.copytree(continued, tmp_path / "copy"))


def only(folder: Path, *names: str, **changes: str) -> Path:
    """A copy of the input with only these trajectories, and with other attributes."""
    text = INPUT
    for name in {"pos", "bohr", "ase", "pdb", "one", "centroid"} - set(names):
        text = re.sub(f"<trajectory filename='{name}'.*\n", "", text)
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / f"{'-'.join(names)}.xml").write_text(text)
    return folder / f"{'-'.join(names)}.xml"


@pytest.mark.parametrize(("name", "tolerance_A"), [("pos", 5.1e-6), ("bohr", 5.1e-6), ("ase", 1e-6), ("pdb", 5.1e-4)])
def test_a_continued_run_in_every_format(copy, name, tolerance_A, capsys):
    """Every step once, the later copy, as far as a format has digits; the cells of the frames, and the masses that were moved."""
    run = convert(only(copy, name))
    assert "rewritten later" in capsys.readouterr().err
    steps, positions = read_frames(run / "trajectory.h5")
    assert steps.tolist() == list(range(0, 17, 2))
    for bead in (0, 9):
        frames = read(copy / f"s.ase_{bead:02d}.extxyz", ":", format="extxyz")
        latest = {int(frame.info["ipi_comment"].split()[1]): frame for frame in frames}
        first = {int(frame.info["ipi_comment"].split()[1]): frame for frame in frames[::-1]}
        assert np.abs(latest[10].positions - first[10].positions).max() > 0.002
        np.testing.assert_allclose(positions[:, bead], [latest[k].positions for k in steps], atol=tolerance_A)
    with h5py.File(run / "trajectory.h5") as file:
        box = file["particles/trajectory/box"]
        assert box.attrs["boundary"].tolist() == ["periodic"] * 3
        np.testing.assert_allclose(box["edges/value"][:], [latest[k].cell.array for k in steps], atol=2e-3)
        assert np.ptp(box["edges/value"][:, 0, 0]) > 0.002
    structure = open_run(run).structure
    masses = re.search(r"<m shape='\(2\)'> \[(.*)\] </m>", (copy / "RESTART").read_text()).group(1)
    electron = 1 / 1822.8885  # u, i-PI's own constant
    np.testing.assert_allclose(structure.get_masses(), [float(m) * electron for m in masses.split(",")], rtol=1e-6)
    assert structure.get_masses()[1] == pytest.approx(17.5)
    assert structure.pbc.all()
    times = np.loadtxt(run / "properties.csv", delimiter=",", skiprows=1)
    assert times[:, 0].tolist() == steps.tolist()
    theirs = {row[0]: row for row in np.loadtxt(copy / "s.out")}
    np.testing.assert_allclose(times[:, 2], [theirs[k][2] for k in steps], rtol=3e-6)


def test_from_the_state_of_a_run(copy):
    """RESTART in place of the input gives the same masses, beads and cell."""
    found, expected = convert(copy / "RESTART"), convert(copy / "in.xml")
    ours, theirs = open_run(found).structure, open_run(expected).structure
    np.testing.assert_allclose(ours.get_masses(), theirs.get_masses(), rtol=1e-8)  # RESTART has nine digits
    assert ours.cell.tolist() == theirs.cell.tolist()
    assert open_run(found).n_beads == 10


def test_what_follows_a_step_that_goes_back_replaces_it():
    assert last_copies([0, 2, 4, 6]) == [0, 1, 2, 3]
    assert last_copies([0, 2, 4, 6, 4, 6, 8]) == [0, 1, 4, 5, 6]
    assert last_copies([0, 2, 4, 6, 8, 4, 6]) == [0, 1, 5, 6]  # 8 was of the run that was given up
    assert last_copies([0, 2, 0]) == [2]


@pytest.mark.parametrize("n_beads", [1, 8, 9, 10, 11, 99, 100, 128, 1000])
def test_names_are_ipis(n_beads, tmp_path, monkeypatch):
    pytest.importorskip("ipi")
    from ipi.engine.outputs import TrajectoryOutput

    monkeypatch.chdir(tmp_path)
    output = TrajectoryOutput("s.pos", what="positions", format="ase")
    output.system = SimpleNamespace(beads=SimpleNamespace(nbeads=n_beads))
    output.open_stream("w")
    output.close_stream()
    ours = Trajectory("pos", "positions", "", "ase", 1, "", -1).paths("s.", n_beads)
    assert sorted(map(str, ours)) == sorted(os.listdir())


def test_headers_without_units(copy, capsys):
    """Old i-PI wrote no braces and used the units of its input."""
    expected = read_frames(convert(only(copy, "pos")) / "trajectory.h5")[1]
    for path in copy.glob("s.pos_*.xyz"):
        path.write_text(re.sub(r"\S+\{angstrom\}", "", path.read_text()))
    capsys.readouterr()
    run = convert(only(copy, "pos"))
    assert "s.pos_00.xyz names no unit of positions: read as angstrom, as the input says" in capsys.readouterr().err
    np.testing.assert_array_equal(read_frames(run / "trajectory.h5")[1], expected)
    np.testing.assert_allclose(open_run(run).structure.cell.lengths(), [12.0, 11.0, 10.0], atol=1e-4)


@pytest.mark.parametrize(
    ("label", "masses", "symbol", "mass"),
    [
        ("D", "", "H", 2.0141),
        ("C13", "", "C", 13.00335),
        ("Cl37", "", "Cl", 36.96590259),
        ("C", "<masses mode='manual' units='dalton'>[14.5, 15.5]</masses>", "C", 14.5),
        ("C", "<masses mode='manual'>25000</masses>", "C", 25000 / 1822.8885),
    ],
)
def test_masses(tmp_path, label, masses, symbol, mass):
    """By i-PI's labels and as given, in i-PI's own numbers; only the trajectory file is required."""
    pytest.importorskip("ipi")
    text = only(tmp_path, "pos").read_text().replace("nbeads='10'", "nbeads='1'").replace("mode='npt'", "mode='nvt'")
    (tmp_path / "in.xml").write_text(re.sub("<masses.*</masses>", masses, text))
    frame = "2\n# CELL(abcABC): 40 40 40 90 90 90 Step: {} Bead: 0 positions{{angstrom}} cell{{angstrom}}\n"
    frames = [frame.format(step) + f"{label} 0 0 0\n{label} 0 0 1.5\n" for step in (0, 2)]
    (tmp_path / "s.pos_0.xyz").write_text("".join(frames))
    (tmp_path / "s.out").write_text("# column 1 --> step : x\n")
    structure = open_run(convert(tmp_path / "in.xml")).structure
    assert structure.get_chemical_symbols() == [symbol] * 2
    assert structure.get_masses()[0] == pytest.approx(mass, rel=1e-6)
    assert not structure.pbc.any()  # a molecule in a box


def test_what_is_taken_for_granted_is_said(tmp_path, capsys):
    """Frames without steps, and masses that no file gives."""
    text = only(tmp_path, "ase").read_text().replace("nbeads='10'", "nbeads='1'").replace("mode='xyz'", "mode='ase'")
    (tmp_path / "in.xml").write_text(text.replace("mode='npt'", "mode='nvt'"))
    frame = '2\nProperties=species:S:1:pos:R:3 pbc="F F F"\nC 0 0 0\nO 0 0 1.5\n'
    (tmp_path / "s.ase_0.extxyz").write_text(3 * frame)
    (tmp_path / "s.out").write_text("# column 1 --> step : x\n")
    run = convert(tmp_path / "in.xml")
    said = capsys.readouterr().err
    assert "s.ase_0.extxyz names no steps: taken as every 2 from 0" in said
    assert "masses are those of the elements" in said
    assert read_frames(run / "trajectory.h5")[0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("start_pbc", "wraps", "options", "expected"),
    [
        ("T T T", "False", (), True),
        ("F F F", "False", (), False),
        ("F F F", "True", (), None),
        ("F F F", "True", ("--pbc",), True),
        ("T T T", "False", ("--no-pbc",), False),
        (None, "True", (), True),
        (None, "False", (), None),
        (None, "False", ("--no-pbc",), False),
    ],
)
def test_period_or_box(tmp_path, capsys, start_pbc, wraps, options, expected):
    """A cell filled with atoms."""
    text = only(tmp_path, "pos").read_text().replace("nbeads='10'", "nbeads='1'").replace("mode='npt'", "mode='nvt'")
    text = text.replace("<ffdirect name='f'>", f"<ffdirect name='f' pbc='{wraps}'>").replace(" index='1'>17.5", ">16")
    if start_pbc:
        text = text.replace("mode='xyz'", "mode='ase'")
        lattice = f'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 pbc="{start_pbc}"'
        (tmp_path / "start.xyz").write_text(f"2\n{lattice}\nC 0 0 0\nO 0 0 1.5\n")
    (tmp_path / "in.xml").write_text(text)
    frame = "2\n# CELL(abcABC): 3 3 3 90 90 90 Step: 0 Bead: 0 positions{angstrom} cell{angstrom}\nC 0 0 0\nO 0 0 1.5\n"
    (tmp_path / "s.pos_0.xyz").write_text(frame)
    (tmp_path / "s.out").write_text("# column 1 --> step : x\n")
    arguments = ["from-ipi", str(tmp_path / "in.xml"), "-o", str(tmp_path / "run"), *options]
    if expected is None:
        assert main(arguments) == 2
        assert "choose --pbc or --no-pbc" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    else:
        assert main(arguments) == 0
        assert open_run(tmp_path / "run").structure.pbc.tolist() == [expected] * 3


def test_what_is_not_served(copy, capsys):
    """The message names the cause, and nothing is written."""
    uneven = copy / "uneven.xml"
    uneven.write_text(only(copy, "pos").read_text().replace("prefix='s'", "prefix='u'"))
    for path in copy.glob("s.pos_*"):
        frames = path.read_text().splitlines(keepends=True)
        path.with_name(path.name.replace("s.", "u.")).write_text("".join(frames[:8] + frames[12:16]))
    (copy / "two.xml").write_text(re.sub(r"(<system>.*</system>)", r"\1\1", INPUT, flags=re.DOTALL))
    for path, message in (
        (
            only(copy, "one"),
            "<trajectory filename='one' stride='2' bead='0'> of 10 beads: expected a trajectory of all beads",
        ),
        (only(copy, "centroid"), "no <trajectory> of positions in i-PI's input; it has: x_centroid"),
        (only(copy, "pdb", pdb="bin"), "format='bin'>: expected one of xyz, pdb, ase"),
        (only(copy, "pos", prefix_="x").with_name("two.xml"), "2 <system>: expected one system"),
        (
            only(copy, "pos", **{"nbeads='10'": "nbeads='8'"}),
            "s.pos_0.xyz: no such file; found s.pos_00.xyz, s.pos_01.xyz",
        ),
        (uneven, "expected equal intervals"),
        (only(copy, "bohr", **{"17.5": "-1"}), "of different runs"),
    ):
        before = sorted(copy.iterdir())
        assert main(["from-ipi", str(path), "-o", str(copy / "x")]) == 2
        assert message in capsys.readouterr().err
        assert sorted(copy.iterdir()) == before


def test_velocities_are_no_positions(copy, capsys):
    for path in copy.glob("s.pos_*"):
        path.write_text(path.read_text().replace("positions{angstrom}", "velocities{atomic_unit}"))
    assert main(["from-ipi", str(only(copy, "pos")), "-o", str(copy / "x")]) == 2
    assert "velocities{atomic_unit} in i-PI's comment: expected positions" in capsys.readouterr().err


def test_a_frame_that_is_still_being_written(copy):
    for bead, cut in ((3, 10), (9, 70)):
        path = copy / f"s.pos_{bead:02d}.xyz"
        path.write_text(path.read_text()[:-cut])
    assert read_frames(convert(only(copy, "pos")) / "trajectory.h5")[0].tolist() == list(range(0, 15, 2))


def test_nothing_is_left_where_writing_fails(copy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("analysis.ipi.output._write_trajectory", full)
    path, before = only(copy, "pos"), sorted(copy.iterdir())
    assert main(["from-ipi", str(path), "-o", str(copy / "x")]) == 8
    assert sorted(copy.iterdir()) == sorted([*before, path]) or sorted(copy.iterdir()) == before


def test_rpmd_knows_such_a_folder(copy, capsys):
    run = convert(only(copy, "pos"))
    capsys.readouterr()
    assert rpmd(["info", str(run)]) == 0
    printed = capsys.readouterr().out
    for text in (
        "written by i-PI",
        "9, 0 to 0.008 ps",
        "CO, 2 atoms, cell 12 × 11 × 10 Å",
        "12.0107, 17.5 u",
        "P = 10",
    ):
        assert text in printed
    assert rpmd(["info", str(run), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["frames"], found["step"], found["masses_u"]) == ("from-ipi", 9, 16, [12.0107, 17.5])
    assert rpmd(["check", str(run)]) == 0
    assert "9 frames, all finite" in capsys.readouterr().out
    for arguments in (["resume", str(run)], ["run", str(copy / "run.toml"), "--output", str(run), "--overwrite"]):
        (copy / "run.toml").write_text('structure = "c20.xyz"\n')
        shutil.copy(ROOT / "inputs" / "c20" / "c20.xyz", copy)
        assert rpmd(arguments) == 2
        assert "by i-PI" in (error := capsys.readouterr().err) or "was not written by rpmd" in error
    with h5py.File(run / "trajectory.h5", "r+") as file:
        file["particles/trajectory/position/value"][3, 0] = np.nan
    assert rpmd(["check", str(run)]) == 1
    printed = capsys.readouterr().out
    assert "positions that are not finite" in printed
    assert "python -m analysis from-ipi" in printed
