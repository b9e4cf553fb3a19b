"""The files of a run for other programs: a table for any CSV reader, structures without training labels, frames to label."""

import csv

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read

from md.cli import main
from md.files.properties import PropertiesWriter, read_table
from mlcalc.cli import main as mlcalc
from mlcalc.geometry.diversity import farthest_first, fingerprints
from tests.conftest import rpmd_run, write_acetylene


@pytest.fixture
def case(tmp_path):
    write_acetylene(tmp_path, "steps = 40\nbeads = 2\ncheckpoint_every_steps = 20\n")
    return tmp_path


def test_the_table_is_plain_csv(case):
    """As the reader of the standard library sees it."""
    assert rpmd_run(case) == 0
    with open(case / "out" / "properties.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["step"]) for row in rows] == [0, 10, 20, 30, 40]
    table = read_table(case / "out" / "properties.csv")
    for name in table:
        np.testing.assert_array_equal([float(row[name]) for row in rows], table[name])


def test_tables_with_a_comment_are_read_and_go_on(case):
    """As earlier versions wrote them: bytes of checkpoints count the comment too."""
    path = case / "properties.csv"
    comment, header = (
        "# ring-polymer MD, P = 2; means over beads, energies of the whole system\n",
        "step,time_fs,a_eV\n",
    )
    path.write_text(comment + header + "0,0,1.5\n10,5,2.5\n20,10,bad")
    writer = PropertiesWriter(path, ["a_eV"], len((comment + header).encode()) + len("0,0,1.5\n10,5,2.5\n"))
    writer.append(20, 10.0, {"a_eV": 3.5})
    writer.close()
    assert path.read_text().startswith(comment)
    np.testing.assert_array_equal(read_table(path)["a_eV"], [1.5, 2.5, 3.5])


def test_nobody_trains_on_what_the_network_said_where_it_broke(case, capsys):
    assert rpmd_run(case, "--set", "max_force_eV_A=0.01") == 4
    breach = read(case / "out" / "breach.xyz", ":")
    assert breach[0].calc is None
    assert {"model_energy", "reason", "bead"} <= set(breach[0].info)
    assert breach[0].arrays["model_forces"].shape == (4, 3)
    (case / "train.toml").write_text('data = ["out/breach.xyz"]\nsteps = 10\n')
    assert mlcalc(["train", str(case / "train.toml"), "-o", str(case / "new")]) == 2
    assert "model_forces" in capsys.readouterr().err
    label = ["label", str(case / "out" / "breach.xyz"), "--engine", f"schnet:{case}/net.safetensors"]
    assert mlcalc([*label, "-o", str(case / "labelled.xyz")]) == 0
    assert read(case / "labelled.xyz").get_forces().shape == (4, 3)


def test_an_engine_is_no_model(case, capsys):
    for options in (["--model", "tblite:GFN2-xTB"], ["--set", 'committee=["ase:emt"]']):
        assert rpmd_run(case, *options) == 2
        assert "this needs a network: 'rpmd run' takes it as engine = " in capsys.readouterr().err
    assert not (case / "out").exists()


def test_the_most_different_ones_come_first():
    """Points on a line: ends before the middle; copies, turned and with hydrogens exchanged, are one structure."""
    line = np.array([[0.0], [0.1], [5.0], [10.0]])
    assert list(farthest_first(line, 0, 0.0)) == [0, 3, 2, 1]
    assert list(farthest_first(line, 0, 0.2)) == [0, 3, 2]
    assert list(farthest_first(line, [3, 0], 0.0)) == [3, 0, 2, 1]
    methane = molecule("CH4")
    turned = methane.copy()
    turned.rotate(70, (1, 2, 3))
    stretched = methane.copy()
    stretched.positions[1] *= 1.3
    frames = np.array([methane.positions, turned.positions[[0, 2, 1, 4, 3]], stretched.positions])
    prints = fingerprints(frames)
    np.testing.assert_allclose(prints[0], prints[1], atol=1e-12)
    assert list(farthest_first(prints, 0, 0.01)) == [0, 2]
    box = Atoms("H2", [[0.1, 0, 0], [4.9, 0, 0]], cell=[5, 5, 5], pbc=True)
    assert fingerprints(box.positions[None], box.cell.array, box.pbc)[0, 0] == pytest.approx(0.2)
    assert fingerprints(np.random.default_rng(0).normal(size=(2, 60, 3))).shape == (2, 512)


def test_the_most_is_kept_in_the_order_of_the_run(case, capsys):
    assert rpmd_run(case) == 0
    out = case / "some.xyz"
    assert main(["frames", str(case / "out"), "--most", "3", "-o", str(out)]) == 0
    assert "6 beads, 3 written" in capsys.readouterr().out
    found = [(atoms.info["step"], atoms.info["bead"]) for atoms in read(out, ":")]
    assert len(found) == 3
    assert found == sorted(found)
    assert main(["frames", str(case / "out"), "--most", "0", "-o", str(out)]) == 2
