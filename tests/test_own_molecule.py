"""The page "Your own molecule", executed: its own commands in its own order, with smaller numbers."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from ase.io import read

import md.cli
import mlcalc.cli
from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]
MAIN = {"mlcalc": mlcalc.cli.main, "rpmd": md.cli.main}
# What a command of the page has in place of its own numbers, and what is said beside them.
SMALLER = [(r"-n \d+", "-n 8"), ("-j 2", "-j 1"), ("--every 100", "--every 1")]
ADDED = {
    "sample md": "--trajectories 1 --stride 5",
    "train": "--set steps=200 --set validation_every_steps=200 --set compile=false --set n_features=16 --set n_interactions=2",
    "run": "--steps 20 --no-figure --threads 1 --set equilibration_steps=0 --set properties_every_steps=5 "
    "--set trajectory_every_steps=10 --set domain_guard=record --set max_disagreement_eV_A=100.0",
}


def smaller(command: str) -> list[str]:
    for pattern, replacement in SMALLER:
        command = re.sub(pattern, replacement, command)
    added = next((options for start, options in ADDED.items() if command.partition(" ")[2].startswith(start)), "")
    return shlex.split(f"{command} {added}")


def test_the_page_is_executed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tblite")
    shutil.copytree(ROOT / "inputs" / "malonaldehyde", tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    page = (ROOT / "docs" / "own_molecule.md").read_text(encoding="utf-8")
    commands = [line for block in blocks(page, "sh") for line in block.splitlines() if line]
    assert len(commands) > 10
    for command in commands:
        program, *arguments = smaller(command)
        assert MAIN[program](arguments) == 0, f"{command}: {capsys.readouterr().err}"
    printed = capsys.readouterr().out
    assert "βħω of the stiffest mode: 15.1" in printed  # as the page says
    assert len(read("visited-labels.xyz", ":")) > 0
