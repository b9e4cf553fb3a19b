"""The whole loop on a cluster of copper with EMT: killed, resumed, ended by its budget, and taken up again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write

import md.cli
from mlcalc.cli import main
from mlcalc.training.evaluation import evaluate
from tests.mlcalc.test_learn import GOOD

SMALL = {
    "architecture": "schnet", "n_features": 16, "n_interactions": 2, "n_rbf": 16, "members": 2, "starts": 1, "hot": 1.0,
    "rounds": 2, "steps": 150, "later_steps": 100, "compile": "false", "explore_ps": 0.8, "spot_check": 4,
    "target_meV_A": 0.01, "cutoff_A": 5.0,
}  # fmt: skip
COMMAND = ["learn", "start.xyz", "--engine", "ase:emt", "--beads", "2", "--labels", "100"]
COMMAND += [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder in which learning was killed within its first trainings, and then ended without having converged."""
    place = tmp_path_factory.mktemp("learn")
    write(place / "start.xyz", GOOD)
    with open(place / "killed.log", "wb") as log:
        command = [sys.executable, "-m", "mlcalc.cli", *COMMAND]
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, env=_environment())
        deadline = time.monotonic() + 300
        begun = place / "learned" / "round-1" / "train-1.log"
        while not (begun.exists() and begun.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert begun.exists(), (place / "killed.log").read_text()
    return place


@pytest.fixture
def ended(place, monkeypatch) -> Path:
    """The same folder once learning has ended there, also where another process runs the test of the loop."""
    monkeypatch.chdir(place)
    if not (place / "learned" / "result.json").is_file():
        assert main(COMMAND) == 3
    return place


def _environment() -> dict:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_the_loop(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    learned = place / "learned"
    before = (learned / "cold.all.xyz.journal").read_bytes()
    assert main(["learn", "start.xyz", "--status"]) == 0
    assert "stopped; the same command resumes it" in capsys.readouterr().out
    assert main(["learn", *COMMAND[1:], "--temperature", "310"]) == 2
    assert "began with temperature_K = 300.0, not 310.0" in capsys.readouterr().err

    assert main(COMMAND) == 3  # 0.01 meV/Å is out of reach
    printed = capsys.readouterr().out
    assert "not converged: the error of fresh structures (beads 2)" in printed
    assert "round 2 of at most 2" in printed
    assert (learned / "cold.all.xyz.journal").read_bytes() == before  # nothing was labelled twice
    _check_result(learned)

    times = {path: path.stat().st_mtime_ns for path in learned.rglob("*.safetensors")}
    assert main(["learn", "learned/learn.toml"]) == 3  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in learned.rglob("*.safetensors")} == times
    capsys.readouterr()
    code = main(["learn", "learned/learn.toml", "--set", "target_meV_A=1000.0"])
    result = json.loads((learned / "result.json").read_text())
    assert code == (0 if result["converged"] else 3)
    assert not any("the error of fresh" in reason for reason in result["reasons"])
    assert main(["learn", "--status", "learned"]) == 0
    assert re.search("2 +[0-9]+ +beads 1: .*; beads 2: ", capsys.readouterr().out)


def _check_result(learned: Path) -> None:
    result = json.loads((learned / "result.json").read_text())
    labels = read(learned / "labels.xyz", ":")
    assert len(labels) + 4 <= 100
    assert result["labels"] == len(labels)
    assert result["spot_check_eV_A"] == 0.0
    stages = {atoms.info["stage"] for atoms in labels}
    assert stages == {"cold", "round-1 fresh", "round-2 chosen", "round-2 fresh"}
    for name in ("learning_curve.png", "parity.png", "vibrations.txt", "models/model-2.safetensors"):
        assert (learned / name).stat().st_size
    card = (learned / "model_card.md").read_text()
    assert "**Not converged:**" in card
    assert "mlcalc learn start.xyz --engine ase:emt" in card
    # What is measured in a round is no training data of that round, by its positions.
    for number in (1, 2):
        folder = learned / f"round-{number}"
        config = tomllib.loads((folder / "train-1.toml").read_text())
        trained = {atoms.positions.tobytes() for name in config["data"] for atoms in read(folder / name, ":")}
        fresh = {atoms.positions.tobytes() for atoms in read(folder / "fresh.all.xyz", ":")}
        assert fresh and not fresh & trained
    assert {atoms.positions.tobytes() for atoms in read(learned / "round-1" / "fresh.labels.xyz", ":")} <= trained


def test_the_input_for_ring_polymers_runs(ended, monkeypatch):
    """From anywhere, on the models of the folder."""
    monkeypatch.chdir(ended.parent)
    options = ["--steps", "20", "--no-figure", "--output", str(ended / "runs"), "--set", "equilibration_steps=0"]
    assert md.cli.main(["run", f"{ended.name}/learned/rpmd.toml", *options]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learned"], "expected learned/learn.toml to resume there, or --refine ENGINE"),
        (["start.xyz", "--refine", "ase:emt"], "--refine expects the folder"),
        (["learned", "--refine", "ase:emt", "--engine", "ase:emt"], "has the first level already"),
        (["learned", "--refine", "ase:emt"], "--labels is missing"),
        (["begun", "--refine", "ase:emt", "--labels", "40"], "holds no result.json"),
        (["learned", "--refine", "ase:emt", "--labels", "4000"], "different structures, of which labels = 4000 would"),
    ],
)
def test_a_refinement_that_cannot_be(words, said, ended, capsys):
    (ended / "begun").mkdir(exist_ok=True)
    capsys.readouterr()
    assert main(["learn", *words, "-o", "nothing"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "other",
    [
        Atoms("Cu4", GOOD.positions * np.array([1.0, 1.0, 1.2])),
        Atoms("Cu4", GOOD.positions, info={"charge": 2}),
        Atoms("Cu4", GOOD.positions, masses=4 * [65.0]),
        Atoms("Cu4", GOOD.positions, cell=3 * [9.0], pbc=True),
    ],
    ids=["positions", "charge", "masses", "cell"],
)
def test_another_structure_is_another_folder(other, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    write("other.xyz", other)
    assert main(["learn", "other.xyz", *COMMAND[2:]]) == 2
    assert "began with another structure" in capsys.readouterr().err


@pytest.mark.slow
def test_a_periodic_cell_is_learnt(tmp_path, monkeypatch, capsys):
    """Four atoms in a cell that is smaller than the cutoff, without vibrations to plan from."""
    monkeypatch.chdir(tmp_path)
    write("start.xyz", bulk("Cu", cubic=True))
    assert main([*COMMAND, "--set", "rounds=1"]) == 3
    assert "assumed: periodic structures have no normal modes" in capsys.readouterr().out
    card = (tmp_path / "learned" / "model_card.md").read_text()
    assert "only one round" in card
    assert "a periodic structure has no normal modes here" in card
    labels = read("learned/labels.xyz", ":")
    assert all(atoms.pbc.all() for atoms in labels)
    assert {atoms.info["stage"] for atoms in labels} == {"cold", "round-1 fresh"}


@pytest.mark.slow
def test_a_refinement_nears_the_better_level(tmp_path, monkeypatch, capsys):
    """Water, from GFN1-xTB to GFN2-xTB: on the fresh labels of the second, its networks are better than those of the first."""
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    write("start.xyz", molecule("H2O"))
    assert main([*COMMAND[:3], "tblite:GFN1-xTB", *COMMAND[4:], "--set", "rounds=1", "--set", "steps=600"]) == 3
    refine = ["learn", "learned", "--refine", "tblite:GFN2-xTB", "--labels", "60", "-o", "refined", "--set", "rounds=1"]
    refine += ["--set", "later_steps=300"]
    assert main(refine) == 3  # one round is no comparison
    refined, first = Path("refined"), [atoms.positions for atoms in read("learned/labels.xyz", ":")]
    cold = [atoms for atoms in read(refined / "labels.xyz", ":") if atoms.info["stage"] == "cold"]
    assert all(any(np.allclose(atoms.positions, other, atol=1e-7) for other in first) for atoms in cold)
    assert "steps = 300" in (refined / "round-1" / "train-1.toml").read_text()  # they go on from the first networks
    assert "from those in `learned`" in (refined / "model_card.md").read_text()
    fresh = str(refined / "round-1" / "fresh.all.xyz")
    assert {atoms.info["engine"] for atoms in read(fresh, ":")} == {"tblite:GFN2-xTB"}
    totals = [evaluate(f"{folder}/models/model-1.safetensors", fresh).total for folder in ("learned", "refined")]
    maes, errors = ([getattr(total, f"force_mae{kind}_eV_per_A") for total in totals] for kind in ("", "_error"))
    assert maes[0] - maes[1] > 3 * np.hypot(*errors)

    times = {path: path.stat().st_mtime_ns for path in refined.rglob("*.safetensors")}
    for again in (refine, ["learn", "refined/learn.toml"]):
        assert main(again) == 3
    assert {path: path.stat().st_mtime_ns for path in refined.rglob("*.safetensors")} == times
    capsys.readouterr()
    assert main(["learn", "learned", "--refine", "tblite:IPEA1-xTB", "--labels", "60", "-o", "refined"]) == 2
    assert "began with engine" in capsys.readouterr().err
