"""``rpmd``: what a run leaves on disk, what it prints, how it is stopped, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.io import read

from md.cli import main
from md.files.trajectory import read_frames
from md.potentials import ClosestPair
from md.runs.config import read_settings
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene

COLUMNS = (
    "step,time_fs,temperature_K,potential_eV,kinetic_virial_eV,kinetic_virial_com_eV,kinetic_primitive_eV,spring_eV,"
    "conserved_eV,gyration_radius_A"
)
RPMD = [sys.executable, "-c", "import sys; from md.cli import main; sys.exit(main())"]


@pytest.fixture
def case(tmp_path):
    """A folder with an input for acetylene."""
    write_acetylene(tmp_path, "steps = 40\nbeads = [4, 1]\n")
    return tmp_path


def table(folder: Path) -> np.ndarray:
    lines = (folder / "properties.csv").read_text().splitlines()
    return np.genfromtxt([line for line in lines if not line.startswith("#")], delimiter=",", names=True)


def test_run_folders_hold_everything(case, capsys):
    assert rpmd_run(case) == 0
    printed = capsys.readouterr().out
    assert "kinetic energy, centroid virial / eV" in printed
    assert f"{case}/out/P4" in printed
    for n_beads in (4, 1):
        folder = case / "out" / f"P{n_beads}"
        lines = (folder / "properties.csv").read_text().splitlines()
        assert [line for line in lines if not line.startswith("#")][0] == COLUMNS
        assert table(folder)["step"].tolist() == [0, 10, 20, 30, 40]
        status = json.loads((folder / "status.json").read_text())
        assert (status["state"], status["step"], status["beads"], status["error"]) == ("finished", 40, n_beads, None)
        assert read_settings(folder / "input.toml", {}).beads == n_beads
        steps, positions = read_frames(folder / "trajectory.h5")
        assert steps.tolist() == [0, 20, 40]
        assert positions.shape == (3, n_beads, 4, 3)
        np.testing.assert_allclose(
            positions[0], np.broadcast_to(molecule("C2H2").positions, (n_beads, 4, 3)), atol=1e-6
        )
        with h5py.File(folder / "trajectory.h5") as file:
            recorded = file["observables/trajectory/potential_energy/value"][:].mean(axis=1)
        np.testing.assert_allclose(recorded, table(folder)["potential_eV"][::2], rtol=1e-12)


def test_input_as_used_repeats_the_run_to_the_bit(case):
    assert rpmd_run(case, "--beads", "4") == 0
    again = case / "again"
    used = case / "out" / "input.toml"
    assert main(["run", str(used), "--output", str(again), "--no-figure"]) == 0
    assert (again / "properties.csv").read_text() == (case / "out" / "properties.csv").read_text()


def test_overrides(case):
    options = ["--beads", "2", "--steps", "10", "--temperature", "60", "--seed", "7", "--set", "integrator=BAOAB"]
    assert rpmd_run(case, *options) == 0
    settings = read_settings(case / "out" / "input.toml", {})
    assert (settings.beads, settings.steps, settings.temperature_K, settings.seed) == (2, 10, 60.0, 7)
    assert settings.integrator == "BAOAB"


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--beads", "4"], ["run"], ["converge", "--beads", "1,4"], ["resume"],
        ["real-time", "--beads", "1", "--set", "thermostat=none", "--set", "trajectories=2", "--set", "trajectories_at_once=2"],
    ],
    ids=["one run", "two runs", "converge", "resume", "real-time"],
)  # fmt: skip
def test_a_finished_run_ends_with_0_whatever_becomes_of_its_figure(case, command, capfd):
    """Three frames are too few for a table of distances, two for a spectrum."""
    place = str(case / "run.toml")
    if command == ["resume"]:
        assert rpmd_run(case, "--beads", "4", "--steps", "20") == 0
        place = str(case / "out")
    if command[0] == "real-time":
        command = [*command, "--steps", "4"]
    capfd.readouterr()
    assert main([command[0], place, *command[1:]]) == 0
    printed = capfd.readouterr()
    assert "run folders: " in printed.out
    assert (
        printed.err.startswith("rpmd: note: the run is finished, but its table and figure are missing (")
        and printed.err.count("\n") == 1
    )
    assert "make them with: python -m analysis " in printed.err
    (folder,) = {path.parent for path in (case / "out").rglob("status.json") if path.parent.name in ("out", "P4")}
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"


# A shell that starts the tests in the background lets them ignore the signal, and their children inherit that.
_INTERRUPTED = "import signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)"


@pytest.mark.parametrize(
    ("body", "code", "note"),
    [
        ("raise KeyError('lost')", 0, "KeyError: 'lost'"), ("os.kill(os.getpid(), 9)", 0, "exit code -9"),
        ("sys.exit(2)", 0, "exit code 2"), (_INTERRUPTED, 130, ""), ("print('warned', file=sys.stderr)", 0, None),
    ],
    ids=["a fault", "killed", "refused", "interrupted", "done"],
)  # fmt: skip
def test_how_the_analysis_ends_is_said(case, monkeypatch, body, code, note, capfd):
    (case / "analysis.py").write_text(f"import os, sys\n{body}\n")
    monkeypatch.setenv("PYTHONPATH", str(case))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert main(["run", str(case / "run.toml"), "--beads", "1"]) == code
    error = capfd.readouterr().err
    assert ("rpmd: note: the run is finished" in error) == (note is not None)
    assert (note or "") in error and ("warned" in error) == (note is None)


def test_mdanalysis_reads_the_trajectory(case):
    import MDAnalysis

    assert rpmd_run(case, "--beads", "4") == 0
    universe = MDAnalysis.Universe.empty(16, trajectory=True)
    universe.load_new(str(case / "out" / "trajectory.h5"), format="H5MD", convert_units=True)
    frames = [(step.time, step.positions.copy()) for step in universe.trajectory]
    assert [time for time, _ in frames] == pytest.approx([0.0, 1e-3, 2e-3])  # ps
    np.testing.assert_array_equal(frames[-1][1].reshape(4, 4, 3), read_frames(case / "out" / "trajectory.h5")[1][-1])


def test_run_never_imports_torch(case):
    """Nor MDAnalysis or matplotlib: a run starts fast."""
    script = (
        "import sys; from md.cli import main\n"
        f"assert main(['run', {str(case / 'run.toml')!r}, '--no-figure']) == 0\n"
        "assert not {'torch', 'MDAnalysis', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("program", ["md.cli", "mlcalc.cli"])
def test_help_is_quick(program):
    command = [sys.executable, "-c", f"import {program}; {program}.main(['--help'])"]
    subprocess.run(command, check=True, capture_output=True)  # warms the file cache
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    assert time.perf_counter() - began < 1.0


def test_figure_follows_a_run(case, capfd):
    assert main(["run", str(case / "run.toml"), "--steps", "1000"]) == 0
    printed = capfd.readouterr().out
    assert "distances.png" in printed
    assert (case / "out" / "distances.png").stat().st_size > 10_000


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_polite_stop(case, stop):
    """A stopped run closes its files, reports where it stopped, and returns an exit code."""
    process = start_long_run(case)
    process.send_signal(stop)
    assert process.wait(30) == 128 + stop
    folder = case / "out"
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert 0 < status["step"] < 10_000_000
    assert table(folder)["step"][-1] <= status["step"]


@pytest.mark.slow
def test_polite_stop_while_equilibrating(case):
    process = start_long_run(case, "--set", "equilibration_steps=10000000", frames=0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    status = json.loads((case / "out" / "status.json").read_text())
    assert (status["state"], status["step"] < 0) == ("interrupted", True)


def test_killed_run_leaves_readable_files(case):
    """SIGKILL in the middle of writing: everything flushed before it can be read."""
    process = start_long_run(case, "--set", "trajectory_every_steps=1", "--set", "properties_every_steps=1")
    process.kill()
    process.wait()
    folder = case / "out"
    assert json.loads((folder / "status.json").read_text())["state"] == "running"
    steps, positions = read_frames(folder / "trajectory.h5")
    assert np.isfinite(positions).all()
    assert (np.diff(steps) == 1).all()
    rows = [line for line in (folder / "properties.csv").read_text().splitlines() if line[0].isdigit()]
    assert all(len(row.split(",")) == len(COLUMNS.split(",")) for row in rows)


def start_long_run(case: Path, *options: str, frames: int = 4) -> subprocess.Popen:
    """A run of ten million steps that has begun to move and written so many frames."""
    arguments = ["run", str(case / "run.toml"), "--no-figure", "--beads", "4", "--steps", "10000000", *options]
    process = subprocess.Popen([*RPMD, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        time.sleep(0.1)
        assert process.poll() is None
        if has_moved(case / "out", frames):
            return process
    raise AssertionError("no frames within a minute")


def has_moved(folder: Path, frames: int) -> bool:
    try:
        started = "ns_per_day" in json.loads((folder / "status.json").read_text())
        return started and (not frames or len(read_frames(folder / "trajectory.h5")[0]) >= frames)
    except (OSError, InputError):  # not there yet, or caught between two writes
        return False


def test_explosion_stops_with_the_step_and_the_bead(case, capsys, monkeypatch):
    """Forces that turn NaN in one bead: exit code 3, the reason in status and on the screen, files closed."""
    import md.runs.driving

    class Breaking:
        calls = 0

        def __call__(self, positions):
            self.calls += len(positions) == 3
            forces = np.zeros_like(positions)
            forces[-1, 0, 0] = np.nan if self.calls > 29 else 0.0
            return np.zeros(len(positions)), forces

        def closest_pair(self, limits):
            return ClosestPair(np.inf)

    monkeypatch.setattr(md.runs.driving, "make_potential", lambda *arguments: Breaking())
    # Evaluations 1 and 2 of three beads are the starts of equilibration and production.
    assert rpmd_run(case, "--beads", "3") == 3
    assert "step 28: energy or forces of bead(s) [2] are not finite" in capsys.readouterr().err
    status = json.loads((case / "out" / "status.json").read_text())
    assert (status["state"], status["step"]) == ("failed", 20)
    assert "bead(s) [2]" in status["error"]
    assert read_frames(case / "out" / "trajectory.h5")[0].tolist() == [0, 20]


def test_refusals_write_nothing(case, capsys):
    (case / "bohr.xyz").write_text("2\n\nC 0 0 0\nC 0 0 2.3\n")
    (case / "alien.xyz").write_text("2\n\nC 0 0 0\nO 0 0 1.2\n")
    (case / "torn.xyz").write_text("2\n\nC 0 0 0\n")
    pickle = case / "net.pt"
    pickle.write_bytes(b"\x80\x04\x95evil")
    refused = [
        (["--set", "stepps=3"], "did you mean 'steps'"),
        (["--beads", "0"], "expected at least 1"),
        (["--model", "nothing"], "no such file"),
        (["--model", str(pickle)], "not a readable model file"),
        (["--set", f"structure={case}/none.xyz"], "no such file"),
        (["--set", f"structure={case}/torn.xyz"], "not a readable structure"),
        (["--set", f"structure={case}/bohr.xyz"], "Bohr"),
        (["--set", f"structure={case}/alien.xyz"], "this model knows H, C"),
    ]
    for options, message in refused:
        assert rpmd_run(case, *options) == 2, options
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (case / "out").exists()


def test_an_older_run_is_not_overwritten_by_accident(case, capsys):
    assert rpmd_run(case, "--beads", "2", "--steps", "0") == 0
    assert rpmd_run(case, "--beads", "2", "--steps", "0", "--seed", "1") == 2
    error = capsys.readouterr().err
    assert "out holds a run of another input: seed = 1, was 0; choose another --output, or pass --overwrite" in error
    assert json.loads((case / "out" / "status.json").read_text())["seed"] == 0
    assert rpmd_run(case, "--beads", "2", "--steps", "0", "--seed", "1", "--overwrite") == 0
    assert json.loads((case / "out" / "status.json").read_text())["seed"] == 1
    (case / "precious").mkdir()
    (case / "precious" / "thesis.tex").write_text("years of work")
    for option in ([], ["--overwrite"]):
        assert rpmd_run(case, "--beads", "2", "--output", str(case / "precious"), *option) == 2
    assert (case / "precious" / "thesis.tex").read_text() == "years of work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(case):
    (case / "locked").mkdir(mode=0o500)
    assert rpmd_run(case, "--output", str(case / "locked" / "run")) == 2


def test_frames_for_labelling(case, capsys):
    assert rpmd_run(case, "--beads", "4") == 0
    output = case / "frames.xyz"
    command = ["frames", str(case / "out"), "--skip", "1", "--beads-per-frame", "2", "-o", str(output)]
    assert main(command) == 0
    frames = read(output, ":")
    assert len(frames) == 4
    _, positions = read_frames(case / "out" / "trajectory.h5", skip=1)
    info = frames[-1].info
    assert (info["temperature_K"], info["beads"], info["step"]) == (50.0, 4, 40)
    bead = positions[-1, info["bead"]]
    np.testing.assert_allclose(frames[-1].positions, bead - bead.mean(axis=0), atol=1e-7)
    assert main([*command[:-1], str(case / "no" / "frames.xyz")]) == 2
    assert main(["frames", str(case), "-o", str(output)]) == 2
    assert "not a run folder" in capsys.readouterr().err
