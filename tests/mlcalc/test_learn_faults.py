"""Learning that is interrupted, runs out of space or loses its engine: one line, the exit codes of rpmd, and it is resumed."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.io import write

import mlcalc.common.files
from mlcalc.cli import main
from mlcalc.common.locks import is_running
from mlcalc.data import engines
from tests.mlcalc.test_learn import GOOD
from tests.mlcalc.test_learn_loop import COMMAND

LEARN = [sys.executable, "-P", "-m", "mlcalc.cli", *COMMAND]


def begin(place: Path, limit: int | None = None) -> subprocess.Popen:
    """Learning in a session of its own, so that a signal reaches all its processes, as Ctrl-C in a terminal does."""

    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets processes in the background ignore it
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        LEARN, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=prepare, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def wait_for(log: Path, size: int, process: subprocess.Popen) -> None:
    """Until a log has grown beyond this size."""
    deadline = time.monotonic() + 300
    while not (log.exists() and log.stat().st_size > size):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_signals_and_a_full_disk_lose_nothing(tmp_path, capsys, monkeypatch):
    """Ctrl-C and SIGTERM while networks are trained, then no space for their files, then learning resumes from its labels."""
    write(tmp_path / "start.xyz", GOOD)
    learned, size = tmp_path / "learned", 0
    log = learned / "round-1" / "train-1.log"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = begin(tmp_path)
        wait_for(log, size, process)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1].splitlines()
        assert process.returncode == code
        assert said == ["mlcalc: interrupted; give the same command again to resume in learned"]
        assert not is_running(learned)
        size = log.stat().st_size
    journal = (learned / "cold.all.xyz.journal").read_bytes()
    process = begin(tmp_path, limit=30_000)  # smaller than a network
    said = process.communicate(timeout=300)[1].splitlines()
    assert process.returncode == 8
    assert len(said) == 1
    assert said[0].startswith("mlcalc: error: learned/round-1: File too large; no incomplete file was left: make room")
    assert (learned / "cold.all.xyz.journal").read_bytes() == journal
    assert not list(learned.rglob("model-1.safetensors"))
    monkeypatch.chdir(tmp_path)
    assert main([*COMMAND, "--set", "steps=151"]) == 2  # it is the folder of that learning still
    assert main(["learn", "--status", "learned"]) == 0
    assert "stopped; the same command resumes it" in capsys.readouterr().out


def test_a_disk_that_is_full_from_the_start(tmp_path, capsys, monkeypatch):
    def full(*arguments, **keys):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(tmp_path / "start.xyz", GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlcalc.common.files, "_create", full)
    assert main(COMMAND) == 8
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "make room and start the same command again" in said


@pytest.mark.parametrize("error", [RuntimeError("segment 3"), BrokenPipeError("engine gone"), MemoryError("too large")])
def test_an_engine_that_crashes_while_the_start_is_relaxed(error, tmp_path, capsys, monkeypatch):
    class Crashing(EMT):
        calls = 0

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            Crashing.calls += 1
            if Crashing.calls > 5:
                raise error
            super().calculate(atoms, list(properties), system_changes)

    write(tmp_path / "start.xyz", GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(engines.FAMILIES, "ase", engines.FAMILIES["ase"]._replace(make=lambda name: Crashing()))
    assert main(COMMAND) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"ase:emt failed near the minimum of start.xyz: {type(error).__name__}: {error}" in said
