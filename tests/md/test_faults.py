"""Full disks and damaged folders: the message of a run, its files, and its resumption."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import md.runs.run_folder
import md.runs.runner
import mlcalc.common.files
from md.cli import main
from md.files.checkpoint import NEWEST, PREVIOUS, read_checkpoint
from md.files.trajectory import read_frames
from md.runs.run_folder import RunFolder
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene

RPMD = [sys.executable, "-P", "-m", "md.cli"]


@pytest.fixture
def case(tmp_path):
    write_acetylene(tmp_path, "steps = 2000\nbeads = 4\nproperties_every_steps = 1\ntrajectory_every_steps = 2\n")
    return tmp_path


@pytest.mark.parametrize(
    "limit", [pytest.param(180_000, marks=pytest.mark.slow), 210_000, pytest.param(250_000, marks=pytest.mark.slow)]
)
def test_no_space_left(case, limit):
    """With files limited in size, a run stops with a complete table and trajectory; with space again it ends undisturbed."""
    assert rpmd_run(case, "--output", str(case / "whole"), "--set", "checkpoint_every_steps=100") == 0
    command = [*RPMD, "run", str(case / "run.toml"), "--no-figure", "--set", "checkpoint_every_steps=100"]

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(command, preexec_fn=small_disk, capture_output=True, text=True)
    assert ended.returncode == 8
    assert "make room and start the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    folder = case / "out"
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["code"]) == ("failed", 8)
    steps, positions = read_frames(folder / "trajectory.h5")
    assert np.array_equal(steps, 2 * np.arange(len(steps)))
    assert (np.abs(positions).reshape(len(steps), -1).max(axis=1) > 0).all()
    assert (folder / "properties.csv").read_text().endswith("\n")
    assert subprocess.run(command).returncode == 0
    for name in ("properties.csv", NEWEST):
        assert (folder / name).read_bytes() == (case / "whole" / name).read_bytes()
    for a, b in zip(read_frames(folder / "trajectory.h5"), read_frames(case / "whole" / "trajectory.h5"), strict=True):
        assert np.array_equal(a, b)


def test_a_disk_that_is_full_from_the_start(case, capsys, monkeypatch):
    """An error of the system while the run folder is made: one line, exit code 8, and no folder that looks like a run."""

    def full(*arguments, **keys):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mlcalc.common.files, "_create", full)
    assert rpmd_run(case) == 8
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.undo()
    assert rpmd_run(case, "--steps", "10") == 0


def test_a_folder_that_cannot_be_made(case, capsys):
    (case / "file").write_text("not a folder")
    assert rpmd_run(case, "--output", str(case / "file" / "run")) == 2
    assert rpmd_run(case, "--output", str(case / "file")) == 2
    assert "exists already and is not a run" in capsys.readouterr().err
    assert (case / "file").read_text() == "not a folder"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("function", ["mkdir", "open"])
def test_a_place_that_is_read_only(case, capsys, monkeypatch, number, function):
    """Simulated, as root may write anywhere."""

    def refuse(*arguments, **keys):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if function == "mkdir":
            patch.setattr(Path, "mkdir", refuse)
        else:
            patch.setattr(md.runs.run_folder, "open", refuse, raising=False)
        assert rpmd_run(case) == 2
    error = capsys.readouterr().err
    assert f"out: cannot be written: {os.strerror(number)}; choose another --output" in error
    assert error.count("\n") == 1
    assert rpmd_run(case, "--steps", "2") == 0


def test_a_second_signal_aborts_at_once(case):
    """With samples that are far apart the first request has to wait; what the checkpoints hold is not lost."""
    keys = ["properties_every_steps=100000000", "trajectory_every_steps=100000000"]
    options = [part for key in keys for part in ("--set", key)]
    command = [*RPMD, "run", str(case / "run.toml"), "--no-figure", "--steps", "100000000", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # The first sample of production would still honour a request; behind its checkpoint there is none for hours.
    while not (case / "out" / NEWEST).exists() or read_checkpoint(case / "out")[0].phase != "production":
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr.read().splitlines()[-1] == "rpmd: interrupted"
    assert json.loads((case / "out" / "status.json").read_text())["state"] == "failed"
    assert main(["resume", str(case / "out"), "--steps", "10", "--no-figure"]) == 0


def test_a_checkpoint_that_is_being_written_when_the_run_fails(case, monkeypatch):
    """A slow disk: the lock is released only when the checkpoint is complete, and it is the newest."""
    write = md.runs.runner.write_checkpoint
    seen = []

    def slowly(folder, checkpoint):
        time.sleep(0.5)
        with pytest.raises(InputError, match="another run is writing there"):
            RunFolder(folder, None)
        write(folder, checkpoint)
        seen.append(checkpoint.step)

    monkeypatch.setattr(md.runs.runner, "write_checkpoint", slowly)
    assert rpmd_run(case, "--set", "max_temperature_K=51") == 6  # within a few steps
    assert seen == [0, 0]  # of the equilibration and of production
    RunFolder(case / "out", None).close()


def test_a_checkpoint_that_fails_is_told(case, capsys, monkeypatch):
    def full(folder, checkpoint):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(md.runs.runner, "write_checkpoint", full)
    for options in ([], ["--max-walltime", "0"]):
        assert rpmd_run(case, *options, "--overwrite") == 8
        assert os.strerror(errno.ENOSPC) in capsys.readouterr().err


def test_a_run_that_replaces_the_one_its_input_is_of(case):
    """All files are read before the old ones are removed."""
    (case / "gle.txt").write_text("# A MATRIX: (picoseconds^-1)\n5 40\n-40 60\n")
    options = ["--set", "thermostat=GLE", "--set", f"gle_file={case}/gle.txt", "--steps", "20"]
    assert rpmd_run(case, *options) == 0
    folder = case / "out"
    table = (folder / "properties.csv").read_bytes()
    model = ["--model", str(folder / "model.safetensors"), "--output", str(folder)]
    assert main(["run", str(folder / "input.toml"), *model, "--overwrite", "--no-figure"]) == 0
    assert (folder / "properties.csv").read_bytes() == table


def check(folder: Path, capsys) -> tuple[int, str]:
    capsys.readouterr()
    return main(["check", str(folder)]), capsys.readouterr().out


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))


def cut_line(folder: Path) -> None:
    with open(folder / "properties.csv", "a") as stream:
        stream.write("17,0.1")


def lose_frames(folder: Path) -> None:
    with h5py.File(folder / "trajectory.h5", "r+") as file:
        for name in ("value", "step", "time"):
            file[f"particles/trajectory/position/{name}"].resize(3, axis=0)


def spoil_frame(folder: Path) -> None:
    with h5py.File(folder / "trajectory.h5", "r+") as file:
        file["particles/trajectory/position/value"][2, 0, 0] = np.nan


def double_frame(folder: Path) -> None:
    with h5py.File(folder / "trajectory.h5", "r+") as file:
        file["particles/trajectory/position/step"][4] = 6


DAMAGE = {
    "checkpoint": (lambda folder: flip(folder / NEWEST, 700), "resuming from checkpoint.previous", "nothing is lost"),
    "both checkpoints": (
        lambda folder: [flip(folder / name, 700) for name in (NEWEST, PREVIOUS)], "previous is damaged", "cannot be resumed",
    ),
    "status": (lambda folder: (folder / "status.json").write_text("{"), "Expecting property name", "nothing is lost"),
    "input": (lambda folder: (folder / "input.toml").write_text("steps ="), "not valid TOML", "cannot be resumed"),
    "physics": (
        lambda folder: (folder / "input.toml").write_text((folder / "input.toml").read_text().replace("seed = 0", "seed = 1")),
        "seed = 1, was 0", "cannot be resumed",
    ),
    "model": (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "not a readable model", "cannot be resumed"),
    "table": (cut_line, "its last line is incomplete", "nothing is lost"),
    "trajectory": (lambda folder: (folder / "trajectory.h5").write_bytes(b"\x89HDF"), "trajectory.h5", "cannot be resumed"),
    "lost frames": (lose_frames, "3 frames, fewer than the 11 of the checkpoint", "cannot be resumed"),
    "spoilt frame": (spoil_frame, "not finite", "cannot be resumed"),
    "doubled frame": (double_frame, "frame 4 is of step 6, expected 8", "cannot be resumed"),
}  # fmt: skip


CONTENT = ("spoilt frame", "doubled frame")  # a resume does not read what it leaves alone


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A short run with two generations of checkpoints."""
    folder = tmp_path_factory.mktemp("sound")
    write_acetylene(folder, "steps = 20\nbeads = 2\ntrajectory_every_steps = 2\ncheckpoint_every_steps = 10\n")
    assert rpmd_run(folder) == 0
    return folder / "out"


@pytest.mark.parametrize("name", DAMAGE)
def test_check_finds_damage(sound, tmp_path, capsys, name):
    folder = tmp_path / "run"
    shutil.copytree(sound, folder)
    damage, message, advice = DAMAGE[name]
    damage(folder)
    code, printed = check(folder, capsys)
    assert code == 1
    assert "WRONG" in printed
    assert message in printed
    assert advice in printed
    good = advice == "nothing is lost"
    assert main(["resume", str(folder), "--no-figure"]) == (0 if good or name in CONTENT else 2)
    if good:
        assert check(folder, capsys)[0] == 0
        assert (folder / "properties.csv").read_bytes() == (sound / "properties.csv").read_bytes()


def test_check_of_what_is_in_order(sound, tmp_path, capsys):
    code, printed = check(sound, capsys)
    assert code == 0
    assert "nothing to do; to make it longer: rpmd resume" in printed
    assert "11 frames, all finite" in printed
    folder = tmp_path / "run"
    shutil.copytree(sound, folder)
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps(status | {"state": "running"}))
    code, printed = check(folder, capsys)
    assert (code, "killed, step 20" in printed, f"resume with: rpmd resume {folder}" in printed) == (0, True, True)
    holder = RunFolder(folder, None)
    assert "nothing to do: the run is in progress" in check(folder, capsys)[1]
    holder.close()
    code, printed = check(tmp_path, capsys)
    assert (code, str(folder) in printed) == (0, True)
    assert check(tmp_path / "none", capsys)[0] == 2


def test_check_of_real_time(tmp_path, capsys):
    write_acetylene(tmp_path, 'steps = 20\nthermostat = "none"\ntrajectories = 4\ntrajectories_at_once = 2\n')
    assert main(["real-time", str(tmp_path / "run.toml"), "--no-figure"]) == 0
    code, printed = check(tmp_path / "out", capsys)
    assert (code, "4 of 4 trajectories, all finite" in printed) == (0, True)


def test_a_lost_status_loses_nothing(sound, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(sound, folder)
    (folder / "status.json").unlink()
    assert main(["resume", str(folder), "--no-figure", "--steps", "30"]) == 0
    assert read_checkpoint(folder)[0].step == 30
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
