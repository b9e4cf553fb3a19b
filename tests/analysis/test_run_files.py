"""Run folders without results: every command says in one sentence, without numbers of errors, what is missing."""

import h5py
import numpy as np
import pytest

from analysis.__main__ import main
from tests.analysis.run_folders import malonaldehyde, write_run

COMMANDS = {
    "distances": [], "properties": [], "convergence": [], "spectrum": [], "relevance": ["--frames", "4"],
    "liquid": ["-o", "liquid.png"],
}  # fmt: skip
NEEDED = {command: "velocities.h5" if command == "spectrum" else "trajectory.h5" for command in COMMANDS}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_run(tmp_path / "run", malonaldehyde(), np.zeros((0, 1, 9, 3)))


def refused(capsys, command: str, *arguments: str) -> str:
    assert main([command, *arguments, *COMMANDS.get(command, [])]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for technical in ("Errno", "errno", "Unable to", "nan", "No such file or directory"):
        assert technical not in error
    return error


@pytest.mark.parametrize("command", COMMANDS)
def test_no_trajectory(run, capsys, command):
    (run / "trajectory.h5").unlink()
    error = refused(capsys, command, str(run))
    assert f"{run}: no {NEEDED[command]}: the run was stopped before " in error and "rpmd check" in error


@pytest.mark.parametrize(
    "command", [name for name in COMMANDS if name not in ("spectrum", "properties", "convergence")]
)
def test_no_frame(run, capsys, command):
    assert f"{run}: 0 frames in trajectory.h5: the run was stopped before its first frame" in refused(
        capsys, command, str(run)
    )


def test_no_line_of_properties(run, capsys):
    for arguments in (["properties", str(run)], ["convergence", str(run)]):
        assert "the run was stopped before its first line of properties" in refused(capsys, *arguments)
        (run / "properties.csv").write_text("")
    assert "0 frames in trajectory.h5" in refused(capsys, "properties", str(run), "--per-atom")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("content", [b"", b"not HDF5", "cut", "empty group"])
def test_a_damaged_file(run, capsys, command, content):
    path = run / NEEDED[command]
    if content == "empty group":
        path.unlink(missing_ok=True)
        h5py.File(path, "w").close()
    else:
        path.write_bytes((run / "trajectory.h5").read_bytes()[:900] if content == "cut" else content)
    (run / "input.toml").write_text('model = "none"\ntemperature_K = 300.0\nthermostat = "none"\n')
    assert NEEDED[command] in refused(capsys, command, str(run))


@pytest.mark.parametrize("command", COMMANDS)
def test_no_folder(tmp_path, capsys, command):
    error = refused(capsys, command, str(tmp_path / "nowhere"))
    assert "nowhere" in error and ("no such folder" in error or "no such file" in error)
