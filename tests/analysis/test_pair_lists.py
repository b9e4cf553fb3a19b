"""Pairs that the user names: on the command line, in TOML, and what is refused."""

import json

import numpy as np
import pytest

from analysis.__main__ import main
from tests.analysis.run_folders import malonaldehyde, write_run


@pytest.fixture
def run(tmp_path):
    positions = malonaldehyde().positions + np.random.default_rng(1).normal(0.0, 0.01, (40, 2, 9, 3))
    return write_run(tmp_path / "run", malonaldehyde(), positions)


def groups(capsys, *arguments) -> dict:
    assert main(["distances", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["runs"][0]["groups"]


def test_pairs_of_the_command_line(run, capsys):
    found = groups(capsys, run, "--pairs", "5-0,4-0")
    assert list(found)[:2] == ["O0–H5", "O0–O4"] and "C=O" in found
    assert found["O0–H5"]["pairs"] == [[0, 5]]
    lengths = malonaldehyde().get_all_distances()
    for name, (i, j) in (("O0–H5", (0, 5)), ("O0–O4", (0, 4))):
        assert found[name]["beads"]["mean_A"] == pytest.approx(lengths[i, j], abs=0.01)
    assert list(groups(capsys, run, "--pairs", "5-0,4-0", "--only-pairs")) == ["O0–H5", "O0–O4"]


def test_named_groups_of_a_file(run, tmp_path, capsys):
    path = tmp_path / "pairs.toml"
    path.write_text('[groups]\n"O-H" = [[0, 5], [5, 4]]\n"far apart" = [[6, 8]]\n', encoding="utf-8")
    found = groups(capsys, run, "--pairs", path)
    assert found["O-H"]["pairs"] == [[0, 5], [4, 5]] and found["far apart"]["n_pairs"] == 1 and "O–H" in found
    lengths = malonaldehyde().get_all_distances()
    assert found["O-H"]["beads"]["mean_A"] == pytest.approx(0.5 * (lengths[0, 5] + lengths[4, 5]), abs=0.01)
    assert main(["distances", str(run), "--pairs", str(path), "--only-pairs"]) == 0
    assert "2 O-H" in capsys.readouterr().out and (run / "distances.png").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3", "expected pairs of atom indices from 0, as in 3-5,4-5"),
        ("3-5,", "expected pairs of atom indices"),
        ("3-x", "expected pairs of atom indices"),
        ("-1-2", "expected pairs of atom indices"),
        ("3-9", "no atom 9: expected indices from 0 to 8"),
        ("3-3", "atom 3 with itself"),
        ("3-5,5-3", "C3–H5 is given twice"),
        ("nowhere.toml", "nowhere.toml: no such file"),
    ],
)
def test_refused_on_the_command_line(run, capsys, text, message):
    refused(run, capsys, f"--pairs={text}", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("groups = 3", "expected a table [groups]"),
        ("[groups]", "expected a table [groups]"),
        ("[group]\na = [[0, 1]]", "unknown key 'group'; did you mean [groups]?"),
        ("pairs = [[0, 1]]\n[groups]\na = [[0, 1]]", "unknown key 'pairs'; expected only the table [groups]"),
        ("[groups]\na = [0, 1]", "group 'a' = [0, 1]: expected a list of pairs"),
        ("[groups]\na = []", "expected a list of pairs"),
        ("[groups]\na = [[0, 1, 2]]", "expected a list of pairs"),
        ("[groups]\na = [[0, 1.0]]", "expected a list of pairs"),
        ("[groups]\na = [[0, true]]", "expected a list of pairs"),
        ("[groups]\na = [[0, -1]]", "no atom -1"),
        ("[groups]\na = [[0, 9]]", "group 'a': no atom 9: expected indices from 0 to 8"),
        ("[groups]\na = [[2, 2]]", "atom 2 with itself"),
        ("[groups]\na = [[0, 1], [1, 0]]", "a pair of atoms is given twice"),
        ("[groups]\nall = [[0, 1]]", "expected another name"),
        ('[groups]\n"C–H" = [[1, 6]]', "group 'C–H' exists automatically"),
        ("[groups\n", "not valid TOML"),
    ],
)
def test_refused_in_a_file(run, tmp_path, capsys, content, message):
    (tmp_path / "pairs.toml").write_text(content, encoding="utf-8")
    refused(run, capsys, f"--pairs={tmp_path / 'pairs.toml'}", message)


def refused(run, capsys, option: str, message: str) -> None:
    before = sorted(run.parent.rglob("*"))
    assert main(["distances", str(run), option]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert sorted(run.parent.rglob("*")) == before


def test_only_pairs_needs_pairs(run, capsys):
    assert main(["distances", str(run), "--only-pairs"]) == 2
    assert "--only-pairs without --pairs" in capsys.readouterr().err
