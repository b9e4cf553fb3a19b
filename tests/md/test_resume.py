"""``rpmd resume``: after any end of a run, resuming it gives the files of an uninterrupted run."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from ase.io import read, write

from md.cli import main
from md.files.checkpoint import NEWEST, PREVIOUS, read_checkpoint
from md.guards.endings import seconds_of
from md.runs.run_folder import RunFolder
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene

RPMD = [sys.executable, "-P", "-m", "md.cli"]
GLE = "# A MATRIX: (picoseconds^-1)\n5 40\n-40 60\n"


@pytest.fixture
def case(tmp_path):
    """A folder with an input for acetylene that equilibrates, and records and saves often."""
    keys = "steps = 400\nequilibration_steps = 60\nbeads = 4\nproperties_every_steps = 5\ntrajectory_every_steps = 10\n"
    write_acetylene(tmp_path, keys + "checkpoint_every_steps = 50\n")
    (tmp_path / "gle.txt").write_text(GLE)
    return tmp_path


def resume(folder: Path, *options: str) -> int:
    return main(["resume", str(folder), "--no-figure", *options])


def content(folder: Path) -> dict:
    """All results of a run, to the bit."""
    with h5py.File(folder / "trajectory.h5") as file:
        arrays = {
            name: file[name][:].tobytes()
            for name in (
                "particles/trajectory/position/value", "particles/trajectory/position/step",
                "particles/trajectory/position/time", "observables/trajectory/potential_energy/value",
            )
        }  # fmt: skip
    checkpoint, warning = read_checkpoint(folder)
    assert warning is None
    state = {name: value.tobytes() for name, value in checkpoint.state.items()}
    if (folder / "hills.csv").exists():
        state["table of hills"] = (folder / "hills.csv").read_bytes()
    return arrays | state | {"table": (folder / "properties.csv").read_text(), "generators": checkpoint.generators}


HILLS = (
    'bias=[{variable="difference", atoms=[0, 1, 2], on="mean", kind="metadynamics", height_eV=0.05, width_A=0.02, every_steps=10, '
    'bias_factor=4}, {variable="angle", atoms=[3, 1, 0], on="bead", kind="harmonic", at_deg=170.0, force_constant_eV_deg2=1e-4}]'
)
OPTIONS = [
    [],
    ["--set", "thermostat=PILE-G", "--set", "integrator=BCOCB", "--set", "remove_rotation=true"],
    ["--set", "thermostat=none", "--beads", "1"],
    ["--set", "heat_capacity=true", "--set", "per_atom=true", "--beads", "3"],
    ["--set", HILLS],
]


@pytest.mark.parametrize("first", [0, 130])
@pytest.mark.parametrize("options", OPTIONS, ids=["PILE-L", "PILE-G", "classical", "all recorded", "hills"])
def test_a_longer_run_in_two_parts(case, options, first):
    assert rpmd_run(case, *options) == 0
    assert rpmd_run(case, *options, "--steps", str(first), "--output", str(case / "parts")) == 0
    assert resume(case / "parts", "--steps", "400") == 0
    assert content(case / "parts") == content(case / "out")
    assert "steps = 400" in (case / "parts" / "input.toml").read_text()


def test_coloured_noise_in_two_parts(case):
    options = ["--set", "thermostat=GLE", "--set", f"gle_file={case}/gle.txt"]
    assert rpmd_run(case, *options) == 0
    assert rpmd_run(case, *options, "--steps", "130", "--output", str(case / "parts")) == 0
    (case / "gle.txt").unlink()  # the folder stands on its own
    assert resume(case / "parts", "--steps", "400") == 0
    assert content(case / "parts") == content(case / "out")


@pytest.mark.parametrize("lives", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_killed_again_and_again(case, lives):
    """SIGKILL at random moments, each beyond the checkpoint that its life began with: nothing lost, doubled or changed."""
    steps = str(10_000 + 5_000 * lives)
    options = ["--steps", steps, "--set", "equilibration_steps=1000", "--set", "checkpoint_every_steps=100"]
    assert rpmd_run(case, *options) == 0
    folder, rng = case / "killed", random.Random(1)
    command = [*RPMD, "run", str(case / "run.toml"), *options, "--output", str(folder), "--no-figure"]
    for _ in range(lives):
        before = newest(folder)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while newest(folder) in (None, before):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.1))
        assert process.poll() is None, "through before it was killed so often: make the run longer"
        process.kill()
        process.wait()
        command = [*RPMD, "resume", str(folder), "--no-figure"]
    assert main(command[-3:]) == 0
    assert content(folder) == content(case / "out")


def newest(folder: Path) -> bytes | None:
    """The newest checkpoint as it is on disk, None before there is one."""
    try:
        return (folder / NEWEST).read_bytes()
    except FileNotFoundError:  # between two renames too
        return None


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT])
def test_stopped_politely(case, number):
    options = ["--steps", "20000", "--set", "checkpoint_every_steps=1000000"]
    folder = case / "stopped"
    command = [*RPMD, "run", str(case / "run.toml"), *options, "--output", str(folder), "--no-figure"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (folder / "properties.csv").exists() or len((folder / "properties.csv").read_text()) < 3000:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    stopped = json.loads((folder / "status.json").read_text())
    assert read_checkpoint(folder)[0].step == stopped["step"] > 0
    assert resume(folder, "--steps", str(stopped["step"] + 100)) == 0
    assert rpmd_run(case, "--steps", str(stopped["step"] + 100)) == 0
    assert content(folder) == content(case / "out")


def test_all_beads_of_a_folder(case):
    assert rpmd_run(case, "--set", "beads=[4, 1]", "--steps", "100") == 0
    assert resume(case / "out", "--steps", "200") == 0
    for n_beads in (4, 1):
        assert (
            rpmd_run(case, "--beads", str(n_beads), "--steps", "200", "--output", str(case / "whole"), "--overwrite")
            == 0
        )
        assert content(case / "out" / f"P{n_beads}") == content(case / "whole")


def test_a_torn_checkpoint_falls_back_to_the_one_before(case, capsys):
    """A flipped bit anywhere, or a truncation, is detected; the run resumes from the earlier state, to the same end."""
    assert rpmd_run(case) == 0
    whole = (case / "out" / NEWEST).read_bytes()
    assert rpmd_run(case, "--steps", "300", "--output", str(case / "torn")) == 0
    good = (case / "torn" / NEWEST).read_bytes()
    places = [*range(0, 16), *range(16, len(good), len(good) // 40), *range(len(good) - 8, len(good))]
    for place in places:
        (case / "torn" / NEWEST).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        checkpoint, warning = read_checkpoint(case / "torn")
        assert checkpoint.step < 300
        assert "checkpoint is damaged" in warning
    for cut in (0, 1, 31, 32, 33, len(good) // 2):
        (case / "torn" / NEWEST).write_bytes(good[:cut])
        assert "resuming from checkpoint.previous" in read_checkpoint(case / "torn")[1]
    assert resume(case / "torn", "--steps", "400") == 0
    assert "resuming from checkpoint.previous" in capsys.readouterr().err
    assert (case / "torn" / NEWEST).read_bytes() == whole
    assert content(case / "torn") == content(case / "out")


def test_no_undamaged_checkpoint(case, capsys):
    assert rpmd_run(case) == 0
    for name in (NEWEST, PREVIOUS):
        (case / "out" / name).write_bytes(b"nothing")
    assert resume(case / "out") == 2
    assert "is damaged" in capsys.readouterr().err
    (case / "empty").mkdir()
    assert resume(case / "empty") == 2
    assert "neither a run folder of" in capsys.readouterr().err


def test_changed_physics_is_refused(case, capsys):
    assert rpmd_run(case) == 0
    path = case / "out" / "input.toml"
    original = path.read_text()
    path.write_text(original.replace("temperature_K = 50.0", "temperature_K = 60.0").replace("seed = 0", "seed = 1"))
    assert resume(case / "out", "--steps", "500") == 2
    message = capsys.readouterr().err
    assert "temperature_K = 60.0, was 50.0" in message
    assert "seed = 1, was 0" in message
    path.write_text(original)
    shutil.copyfile(case / "out" / "structure.xyz", case / "elsewhere.xyz")
    model = bytearray((case / "out" / "model.safetensors").read_bytes())
    model[-5] ^= 1
    (case / "out" / "model.safetensors").write_bytes(bytes(model))
    assert resume(case / "out", "--steps", "500") == 2
    assert "model = " in capsys.readouterr().err


def test_two_runs_do_not_write_to_one_folder(case, capsys):
    assert rpmd_run(case) == 0
    holder = RunFolder(case / "out", None)
    assert resume(case / "out", "--steps", "500") == 2
    assert "another run is writing there" in capsys.readouterr().err
    assert rpmd_run(case, "--overwrite") == 2
    holder.close()
    assert resume(case / "out", "--steps", "500") == 0


def test_the_lock_goes_with_its_process(case):
    script = (
        "import time; from pathlib import Path; from md.runs.run_folder import RunFolder\n"
        f"held = RunFolder(Path({str(case / 'x')!r}), None); print(1, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    with pytest.raises(InputError, match="another run is writing there"):
        RunFolder(case / "x", None)
    process.kill()
    process.wait()
    RunFolder(case / "x", None).close()
    assert os.path.exists(case / "x" / ".lock")


def test_run_goes_on_with_what_it_finds(case, capsys):
    """The same command again: nothing to do; with more steps: the longer run; with fewer, or another input: refused."""
    assert rpmd_run(case) == 0
    whole = content(case / "out")
    parts = ["--output", str(case / "parts")]
    assert rpmd_run(case, *parts, "--steps", "130") == 0
    assert rpmd_run(case, *parts) == 0
    assert content(case / "parts") == whole
    assert "steps = 400" in (case / "parts" / "input.toml").read_text()
    assert rpmd_run(case, *parts) == 0
    assert content(case / "parts") == whole
    capsys.readouterr()
    assert rpmd_run(case, *parts, "--steps", "10") == 2
    assert "steps = 10: the run in " in capsys.readouterr().err
    assert rpmd_run(case, *parts, "--temperature", "51") == 2
    assert "temperature_K = 51.0, was 50.0" in capsys.readouterr().err
    assert main(["real-time", str(case / "run.toml"), *parts, "--set", "thermostat=T-RPMD"]) == 2
    assert "command = 'real-time', was 'run'" in capsys.readouterr().err
    atoms = read(case / "start.xyz")
    atoms.positions[0, 0] += 1e-3
    write(case / "start.xyz", atoms, format="extxyz")
    assert rpmd_run(case, *parts) == 2
    assert "structure = " in capsys.readouterr().err
    assert content(case / "parts") == whole


def test_guards_and_threads_may_change(case):
    assert rpmd_run(case) == 0
    parts = ["--output", str(case / "parts")]
    assert rpmd_run(case, *parts, "--steps", "130") == 0
    free = ["--threads", "0", "--set", "max_force_eV_A=300", "--set", "checkpoint_every_steps=70"]
    assert rpmd_run(case, *parts, *free) == 0
    assert content(case / "parts") == content(case / "out")
    assert "max_force_eV_A = 300.0" in (case / "parts" / "input.toml").read_text()


@pytest.mark.slow
def test_numbers_of_beads_that_had_not_begun(case):
    """Stopped in the first of two: resume and run alike make both."""
    options = ["--set", "beads=[4, 1]", "--steps", "2000"]
    assert rpmd_run(case, *options) == 0
    for again in ("resume", "run"):
        folder = case / again
        stopped = ["--output", str(folder), "--max-walltime", "0", "--set", "checkpoint_every_steps=100000"]
        assert rpmd_run(case, *options, *stopped) == 75
        assert not (folder / "P1" / NEWEST).exists()
        assert resume(folder) == 0 if again == "resume" else rpmd_run(case, *options, "--output", str(folder)) == 0
        for name in ("P4", "P1"):
            assert content(folder / name) == content(case / "out" / name)


def test_begun_and_killed_before_the_first_checkpoint(case):
    assert rpmd_run(case) == 0
    whole = content(case / "out")
    for name in (NEWEST, PREVIOUS):
        (case / "out" / name).unlink()
    assert resume(case / "out") == 0
    assert content(case / "out") == whole
    for name in os.listdir(case / "out"):  # the input is written last
        if name in ("input.toml", NEWEST, PREVIOUS, "trajectory.h5", "properties.csv"):
            (case / "out" / name).unlink()
    assert rpmd_run(case) == 0
    assert content(case / "out") == whole


def test_wall_time(case, capsys):
    """Out of time: a checkpoint, exit code 75, and the command to resume with; a queue repeats it until the code is 0."""
    assert rpmd_run(case) == 0
    folder, code, rounds = case / "short", 75, 0
    options = ["--output", str(folder), "--max-walltime"]
    assert rpmd_run(case, *options, "0") == 75
    assert f"resume with: rpmd resume {folder}" in capsys.readouterr().err
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    while code == 75 and rounds < 100:
        code, rounds = resume(folder, "--max-walltime", "0:00.05"), rounds + 1
    assert code == 0
    assert content(folder) == content(case / "out")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("2:00:00", 7200), ("1-00:00:01", 86401), ("0:0.5", 0.5)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1-2", "a", "1:2:3:4", "nan", "inf", "1:-2", "1h"])
def test_no_times(case, text):
    with pytest.raises(ValueError):
        seconds_of(text)
    with pytest.raises(SystemExit) as ended:
        rpmd_run(case, f"--max-walltime={text}")
    assert ended.value.code == 2
    assert not (case / "out").exists()
