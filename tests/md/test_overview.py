"""rpmd info: the overview of a run folder in every state of its run."""

import json

import numpy as np
import pytest

from md.cli import main
from md.files.properties import read_table
from md.runs.run_folder import RunFolder, own_settings
from tests.conftest import rpmd_run, write_acetylene

KEYS = "steps = 40\nbeads = 2\nproperties_every_steps = 2\ncheckpoint_every_steps = 20\n"


@pytest.fixture
def run(tmp_path):
    write_acetylene(tmp_path, KEYS)
    assert rpmd_run(tmp_path) == 0
    return tmp_path / "out"


def info(run, capsys) -> dict:
    capsys.readouterr()
    assert main(["info", str(run), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    return found


def test_numbers_are_those_of_the_files(run, capsys):
    found = info(run, capsys)
    assert (found["state"], found["step"], found["beads"], found["formula"]) == ("finished", 40, 2, "C2H2")
    table = read_table(run / "properties.csv")
    for name in ("temperature_K", "potential_eV"):
        assert found["means"][name][0] == pytest.approx(np.mean(table[name]), rel=1e-12)
    assert found["model_sha256"] == json.loads((run / "status.json").read_text())["model_sha256"]


def test_a_screen(run, capsys):
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) < 24
    for text in (
        "finished",
        "step 40 of 40, 0.002 ps",
        "C2H2, 4 atoms",
        "1.008, 12.011 u",
        "50 K, PILE-L, OBABO",
        "temperature / K",
    ):
        assert text in printed


def test_runs_that_go_on_were_killed_or_failed(run, capsys):
    path = run / "status.json"
    status = json.loads(path.read_text())
    path.write_text(json.dumps(status | {"state": "running", "seconds_left": 12.0}))
    assert info(run, capsys)["state"] == "killed"
    record = RunFolder(run, own_settings(run))
    assert info(run, capsys)["state"] == "running"
    assert main(["info", str(run)]) == 0
    assert "12 s left" in capsys.readouterr().out
    record.close()
    path.write_text(json.dumps(status | {"state": "failed", "error": "step 7: too hot"}))
    assert main(["info", str(run)]) == 0
    assert "failed: step 7: too hot" in capsys.readouterr().out
    path.write_text("{")
    assert main(["info", str(run)]) == 2
    assert "see rpmd check" in capsys.readouterr().err


def test_no_run(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
