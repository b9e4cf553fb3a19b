"""The committee of a run: what it records, when it stops the run, and how its structures come to be labelled."""

import re

import numpy as np
import pytest
from ase.io import read

from md.cli import main
from md.files.properties import read_table
from md.files.trajectory import read_frames
from md.guards.endings import Exit
from mlcalc import CommitteeCalculator
from mlcalc.cli import main as mlcalc
from mlcalc.model_file import load_model, save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

KEYS = "steps = 40\nbeads = 3\nproperties_every_steps = 5\ntrajectory_every_steps = 10\ncheckpoint_every_steps = 20\n"


@pytest.fixture
def case(tmp_path):
    """The run of conftest.write_acetylene, and two more models for a committee."""
    write_acetylene(tmp_path, KEYS)
    domain = {"min_distance_A": 0.9, "max_nearest_distance_A": 1.4}
    for k in (1, 2):
        save_model(random_model(SCHNETPACK_DIALECT, seed=k, domain=domain), tmp_path / f"other{k}.safetensors")
    return tmp_path


def with_committee(folder, *options: str) -> int:
    names = ", ".join(f'"{folder}/other{k}.safetensors"' for k in (1, 2))
    return rpmd_run(folder, "--set", f"committee=[{names}]", *options)


def test_what_is_recorded_is_that_of_the_calculator(case):
    assert with_committee(case) == 0
    table = read_table(case / "out" / "properties.csv")
    steps, frames = read_frames(case / "out" / "trajectory.h5")
    models = [case / "net.safetensors", case / "other1.safetensors", case / "other2.safetensors"]
    atoms = read(case / "start.xyz")
    for step, frame in zip(steps, frames, strict=True):
        largest = 0.0
        for bead in frame:
            atoms.positions = bead
            atoms.calc = CommitteeCalculator(models)
            atoms.get_forces()
            largest = max(largest, atoms.calc.disagreement.forces.max())
        assert table["disagreement_eV_A"][table["step"] == step] == pytest.approx(largest, rel=1e-3)


def test_it_looks_on_and_no_more(case):
    """The same motion, to the bit, as without it; and the same record after a resumption."""
    assert with_committee(case) == 0
    mine = read_frames(case / "out" / "trajectory.h5")[1]
    table = (case / "out" / "properties.csv").read_bytes()
    assert rpmd_run(case, "--output", str(case / "alone")) == 0
    np.testing.assert_array_equal(mine, read_frames(case / "alone" / "trajectory.h5")[1])
    assert with_committee(case, "--output", str(case / "parts"), "--steps", "20") == 0
    for k in (1, 2):
        (case / f"other{k}.safetensors").unlink()  # the run has its own
    assert main(["resume", str(case / "parts"), "--steps", "40", "--no-figure"]) == 0
    assert (case / "parts" / "properties.csv").read_bytes() == table
    assert main(["check", str(case / "parts")]) == 0


def test_another_committee_is_another_run(case, capsys):
    assert with_committee(case) == 0
    save_model(random_model(SCHNETPACK_DIALECT, seed=7), case / "other2.safetensors")
    assert with_committee(case, "--steps", "60") == 2
    assert "committee[1] =" in capsys.readouterr().err
    assert rpmd_run(case, "--steps", "60") == 2
    assert "committee[0] = None, was" in capsys.readouterr().err


def test_a_run_stops_where_they_disagree_and_what_it_leaves_can_be_labelled(case, capsys):
    assert with_committee(case) == 0
    values = read_table(case / "out" / "properties.csv")["disagreement_eV_A"]
    limit = np.sort(values)[-2]  # one record is above it
    first = int(5 * values.argmax())
    stopping = ("--set", f"max_disagreement_eV_A={limit:.12g}", "--output", str(case / "stopped"))
    assert with_committee(case, *stopping) == Exit.DISAGREEMENT
    error = capsys.readouterr().err
    assert f"step {first}: the committee disagrees by" in error
    assert "label breach.xyz" in error
    breach = read(case / "stopped" / "breach.xyz", ":")
    assert len(breach) == 3
    assert breach[0].info["reason"] == "disagreement"
    labels = ["label", str(case / "stopped" / "breach.xyz"), "--engine", f"schnet:{case}/net.safetensors"]
    assert mlcalc([*labels, "-o", str(case / "labels.xyz")]) == 0
    assert len(read(case / "labels.xyz", ":")) == 3


def test_frames_worth_labelling(case, capsys):
    assert with_committee(case) == 0
    table = read_table(case / "out" / "properties.csv")
    limit = float(np.median(table["disagreement_eV_A"]))
    out = case / "worth.xyz"
    assert main(["frames", str(case / "out"), "--disagreement", str(limit), "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    frames, models = read(out, ":"), [load_model(case / f"{name}.safetensors") for name in ("net", "other1", "other2")]
    for atoms in frames:  # single beads, by the calculator
        atoms.calc = CommitteeCalculator(models)
        atoms.get_potential_energy()
        assert atoms.calc.disagreement.forces.max() > limit * (1 - 1e-4)
    above = re.search(r"(\d+) of 15 beads above .* eV/Å, (\d+) written", printed)
    assert 0 < int(above[2]) == len(frames) <= int(above[1]) < 15
    assert main(["frames", str(case / "out"), "--disagreement", str(limit), "--most", "1", "-o", str(out)]) == 0
    assert len(read(out, ":")) == 1
    assert main(["frames", str(case / "out"), "--disagreement", "1e3", "-o", str(case / "none.xyz")]) == 2
    assert "0 of 15 beads above 1000 eV/Å (the largest disagreement is" in capsys.readouterr().err
    assert not (case / "none.xyz").exists()
    assert rpmd_run(case, "--output", str(case / "alone")) == 0
    assert main(["frames", str(case / "alone"), "--disagreement", "0.1", "-o", str(out)]) == 2
    assert "no disagreement recorded; run it with a committee" in capsys.readouterr().err


def test_refusals(case, capsys):
    assert rpmd_run(case, "--set", "max_disagreement_eV_A=0.1") == 2
    assert "needs a committee" in capsys.readouterr().err
    assert rpmd_run(case, "--set", 'committee=["none.safetensors"]') == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert not (case / "out").exists()


def test_frames_of_several_runs_are_those_of_each(case):
    for seed, name in enumerate(("one", "two")):
        assert rpmd_run(case, "--output", str(case / name), "--seed", str(seed)) == 0
        assert main(["frames", str(case / name), "-o", str(case / f"{name}.xyz")]) == 0
    assert main(["frames", str(case / "one"), str(case / "two"), "-o", str(case / "both.xyz")]) == 0
    apart = (case / "one.xyz").read_text() + (case / "two.xyz").read_text()
    assert (case / "both.xyz").read_text() == apart
