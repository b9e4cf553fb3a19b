"""Run folders from other people: no link is followed, no pipe blocks, and impossible content is refused in one sentence."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

import analysis.__main__
from analysis.runs.universe import open_run
from md.cli import main
from md.files.checkpoint import NEWEST, PREVIOUS
from md.files.received import check_name, open_regular
from md.files.run_status import read_status
from md.files.trajectory import read_frames
from md.runs.run_folder import RunFolder
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene

VALUE, POSITION = "particles/trajectory/position/value", "particles/trajectory/position"
RESUME = ["--steps", "30", "--no-figure"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A short run with two generations of checkpoints; beside it a file outside the run."""
    folder = tmp_path_factory.mktemp("sound")
    keys = "steps = 20\nequilibration_steps = 4\nbeads = 2\ntrajectory_every_steps = 2\ncheckpoint_every_steps = 10\n"
    write_acetylene(folder, keys)
    assert rpmd_run(folder) == 0
    return folder / "out"


@pytest.fixture
def run(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "run")
    return tmp_path / "run"


def refused(folder: Path, capsys, commands=("check", "info", "resume")) -> str:
    """The messages of the commands, each on one line and with its exit code."""
    said = ""
    for command in commands:
        options = {"resume": RESUME, "frames": ["-o", str(folder.parent / "frames.xyz")]}.get(command, [])
        capsys.readouterr()
        code = main([command, str(folder), *options])
        shown = capsys.readouterr()
        assert code == (1 if command == "check" else 2), (command, shown)
        assert shown.err.count("\n") == (0 if command == "check" else 1), shown.err
        assert "WRONG" in shown.out or command != "check"
        said += shown.out + shown.err
    assert not (folder.parent / "frames.xyz").exists()
    return said


NAMES = [
    ".lock",
    "run.log",
    "properties.csv",
    "trajectory.h5",
    "status.json",
    "input.toml",
    "structure.xyz",
    "checkpoint",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_link_is_neither_followed_nor_written_through(run, capsys, name):
    precious = run.parent / "precious"
    precious.write_bytes((run / name).read_bytes() + b" ")
    before = precious.read_bytes()
    (run / name).unlink()
    (run / name).symlink_to(precious)
    assert f"{name} is a symbolic link" in refused(run, capsys)
    with pytest.raises(InputError, match="is a symbolic link"):
        open_run(run)
    assert rpmd_run(run.parent, "--output", str(run)) == 2 if (run.parent / "run.toml").exists() else True
    assert precious.read_bytes() == before


@pytest.mark.parametrize("name", [*NAMES, "breach.xyz", "committee-000.safetensors"])
def test_what_is_no_file_is_not_waited_for(run, capsys, name):
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert "is a named pipe" in refused(run, capsys, ["check"]) if name not in ("input.toml", "structure.xyz") else True
    assert main(["resume", str(run), *RESUME]) == 2
    assert main(["info", str(run)]) == 2
    assert analysis.__main__.main(["properties", str(run)]) == 2
    assert stat.S_ISFIFO(os.lstat(run / name).st_mode)


def test_a_lock_is_not_emptied(run):
    (run / ".lock").write_text("something")
    RunFolder(run, None).close()
    assert (run / ".lock").read_text() == "something"


def test_open_regular(tmp_path):
    (tmp_path / "file").write_text("x")
    os.close(open_regular(tmp_path / "file"))
    for name, make in {
        "link": lambda path: path.symlink_to(tmp_path / "file"), "nowhere": lambda path: path.symlink_to("/nowhere"),
        "pipe": os.mkfifo, "folder": Path.mkdir,
    }.items():  # fmt: skip
        make(tmp_path / name)
        for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT):
            with pytest.raises(InputError, match="expected"):
                open_regular(tmp_path / name, flags)
    assert not Path("/nowhere").exists()
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def put(file: h5py.File, what) -> None:
    del file[VALUE]
    file[VALUE] = what


def put_dataset(file: h5py.File, *arguments, **keys) -> None:
    del file[VALUE]
    file.create_dataset(VALUE, *arguments, **keys)


def put_virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((11, 8, 3), "f4")
    layout[:] = h5py.VirtualSource(secret, "s", shape=(11, 8, 3))
    del file[VALUE]
    file.create_virtual_dataset(VALUE, layout)


def loop(file: h5py.File) -> None:
    file["particles/again"] = file["particles"]  # a hard link: allowed by HDF5, a circle for whoever walks
    file["particles/trajectory"].attrs["n_beads"] = 3


def put_attribute(name: str, value):
    return lambda file, secret: file["particles/trajectory"].attrs.__setitem__(name, value)


H5 = {
    "external link": (lambda file, secret: put(file, h5py.ExternalLink(secret, "/s")), "is a link"),
    "external group": (lambda file, secret: file.__setitem__("more", h5py.ExternalLink(secret, "/")), "is a link"),
    "soft link": (lambda file, secret: put(file, h5py.SoftLink("/nowhere")), "is a link"),
    "link to itself": (lambda file, secret: put(file, h5py.SoftLink("/" + VALUE)), "is a link"),
    "external storage": (
        lambda file, secret: put_dataset(file, (11, 8, 3), "f4", external=[(secret, 0, 11 * 8 * 12)]), "in another file",
    ),
    "virtual dataset": (put_virtual, "in another file"),
    "a circle": (lambda file, secret: loop(file), "is of shape"),
    "a group": (lambda file, secret: put_dataset(file, (11, 8, 3), "f4") or put(file, file.create_group("g")), "is a group"),
    "text": (lambda file, secret: put(file, np.array([b"x"] * 11)), "is of type"),
    "integers": (lambda file, secret: put(file, np.zeros((11, 8, 3), "i4")), "is of type"),
    "complex": (lambda file, secret: put(file, np.zeros((11, 8, 3), "c8")), "is of type"),
    "references": (lambda file, secret: put_dataset(file, (11, 8, 3), h5py.ref_dtype), "announces"),
    "no space": (lambda file, secret: put(file, h5py.Empty("f4")), "is of shape"),
    "frames of nothing": (
        lambda file, secret: put_dataset(file, (10**9, 8, 3), "f4", chunks=(1, 8, 3), maxshape=(None, 8, 3)), "announces",
    ),
    "steps of nothing": (lambda file, secret: file[f"{POSITION}/step"].resize(10**11, axis=0), "announces"),
    "too many beads": (put_attribute("n_beads", 2**62), "n_beads = "),
    "no beads": (put_attribute("n_beads", 0), "n_beads = 0: expected 1 to"),
    "beads as text": (put_attribute("n_beads", "2"), "n_beads = 2: expected"),
    "beads as a list": (put_attribute("n_beads", [1, 1]), "n_beads = "),
    "another unit": (lambda file, secret: file[f"{POSITION}/time"].attrs.__setitem__("unit", "parsec"), "expected fs"),
    "no unit": (lambda file, secret: file[VALUE].attrs.__delitem__("unit"), "expected Angstrom"),
}  # fmt: skip


@pytest.mark.parametrize("name", H5)
def test_trajectories_that_lead_out_or_cannot_be(run, capsys, name):
    secret = run.parent / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["s"] = np.full((11, 8, 3), 42.0, "f4")
    damage, message = H5[name]
    with h5py.File(run / "trajectory.h5", "r+") as file:
        damage(file, secret)
    assert message in refused(run, capsys, ["check", "frames", "resume"])
    with pytest.raises(InputError, match="trajectory.h5"):
        open_run(run)


# Words of HDF5's library, which do not tell a user what to do.
HDF5_SAYS = (
    "unable to",
    "can't get",
    "iteration",
    "addr",
    "heap",
    "b-tree",
    "eoa",
    "cache",
    "signature",
    "attribute 'encode'",
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.integers(0, 8191), st.sampled_from([0, 1, 71, 128, 255]), min_size=1, max_size=20))
def test_damage_to_what_hdf5_keeps_its_order_in(sound, tmp_path, changes):
    """Frames, or one sentence: HDF5 itself loops endlessly over some of these."""
    data = bytearray((sound / "trajectory.h5").read_bytes())
    for place, value in changes.items():
        data[place] = value
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
        file.write(data)
        file.flush()
        try:
            steps, positions = read_frames(file.name)
        except InputError as error:
            assert file.name in str(error) and "\n" not in str(error)
            said = str(error).replace(file.name, "").lower()  # names of temporary files may hold any word
            assert not any(words in said for words in HDF5_SAYS), error
        else:
            assert len(steps) == len(positions) and np.isfinite(positions).all()


CONTENT = {
    "not a number": (lambda file: file[VALUE].__setitem__((3, 1, 2), np.nan), "not finite", ["check", "frames"]),
    "out of proportion": (lambda file: file[VALUE].__setitem__((3, 1, 2), 3e38), "impossibly large", ["check", "frames"]),
    "time goes back": (
        lambda file: file[f"{POSITION}/time"].__setitem__(slice(None), file[f"{POSITION}/time"][:][::-1]), "fs, expected",
        ["check", "frames", "resume"],
    ),
    "time stands": (
        lambda file: file[f"{POSITION}/time"].__setitem__(slice(None), 0.0), "fs, expected", ["check", "resume"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENT)
def test_numbers_that_cannot_be(run, capsys, name):
    damage, message, commands = CONTENT[name]
    with h5py.File(run / "trajectory.h5", "r+") as file:
        damage(file)
    assert message in refused(run, capsys, commands)
    assert analysis.__main__.main(["distances", str(run), "--discard", "0"]) == 2


def rewrite(folder: Path, change) -> None:
    """Both checkpoints with a change, and a matching checksum."""
    for name in (NEWEST, PREVIOUS):
        block = (folder / name).read_bytes()[:-32]
        header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
        facts, state = json.loads(header["__metadata__"]["facts"]), load(block)
        change(facts, state)
        block = save(state, {"facts": json.dumps(facts)})
        (folder / name).write_bytes(block + hashlib.sha256(block).digest())


def each(state: dict, change) -> None:
    for name, array in state.items():
        state[name] = change(array)


CHECKPOINTS = {
    "nan": lambda facts, state: state["positions"].__setitem__((0, 0, 0), np.nan),
    "shape": lambda facts, state: each(state, lambda array: array[:1] if array.ndim else array),
    "type": lambda facts, state: each(state, lambda array: array.astype(np.int32)),
    "one missing": lambda facts, state: state.pop("momenta"),
    "one more": lambda facts, state: state.update(more=np.zeros(1)),
    "another key": lambda facts, state: facts.update(evil=1),
    "version": lambda facts, state: facts.update(version=99),
    "huge step": lambda facts, state: facts.update(step=10**30),
    "later step": lambda facts, state: facts.update(step=facts["step"] + 2),
    "earlier step": lambda facts, state: (facts.update(step=2), state.update(step=np.array(2))),
    "negative step": lambda facts, state: facts.update(step=-100),
    "step as text": lambda facts, state: facts.update(step="3"),
    "true step": lambda facts, state: facts.update(step=True),
    "step in the state": lambda facts, state: state.update(step=np.array(4)),
    "phase": lambda facts, state: facts.update(phase="../../x"),
    "other phase": lambda facts, state: facts.update(phase="equilibration"),
    "phase of other runs": lambda facts, state: facts.update(phase="trajectories"),
    "extent": lambda facts, state: facts.update(extent={"frames": 10**18, "bytes": 10**18}),
    "fewer frames": lambda facts, state: facts["extent"].update(frames=1),
    "fewer bytes": lambda facts, state: facts["extent"].update(bytes=facts["extent"]["bytes"] - 3),
    "no extent": lambda facts, state: facts.update(extent={}),
    "negative extent": lambda facts, state: facts.update(extent={"frames": -5, "bytes": -5}),
    "extent as text": lambda facts, state: facts.update(extent={"frames": "a"}),
    "generator": lambda facts, state: facts.update(generators=[{"bit_generator": "os.system", "state": 1}]),
    "generator's state": lambda facts, state: facts["generators"][0]["state"].update(state=-1),
    "no generator": lambda facts, state: facts.update(generators=[]),
    "two generators": lambda facts, state: facts.update(generators=2 * facts["generators"]),
    "physics": lambda facts, state: facts.update(physics=[1]),
    "other physics": lambda facts, state: facts["physics"].update(seed=5),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_with_a_checksum_and_another_content(run, capsys, name):
    table, status = (run / "properties.csv").read_bytes(), (run / "status.json").read_bytes()
    rewrite(run, CHECKPOINTS[name])
    refused(run, capsys, ["check", "resume"])
    assert (run / "properties.csv").read_bytes() == table
    assert (run / "status.json").read_bytes() == status


def test_a_checkpoint_as_it_is_may_be_written_anew(run):
    """The trials above fail for what they change, not for how."""
    rewrite(run, lambda facts, state: None)
    assert main(["check", str(run)]) == 0
    assert main(["resume", str(run), *RESUME]) == 0


def test_checkpoints_of_trajectories(tmp_path, capsys):
    write_acetylene(tmp_path, 'steps = 20\nthermostat = "none"\ntrajectories = 4\ntrajectories_at_once = 2\n')
    assert main(["real-time", str(tmp_path / "run.toml"), "--no-figure"]) == 0
    status = read_status(tmp_path / "out")
    assert main(["resume", str(tmp_path / "out"), "--no-figure"]) == 0
    assert read_status(tmp_path / "out")["step"] == status["step"]
    changes = (
        lambda facts, state: facts.update(step=1),
        lambda facts, state: facts.update(generators=facts["generators"][:1]),
        lambda facts, state: each(state, lambda array: array[:, :4]),
        lambda facts, state: facts.update(phase="production"),
    )
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "out", folder)
        rewrite(folder, change)
        refused(folder, capsys, ["check"])
        assert main(["resume", str(folder), "--no-figure"]) == 2


STATUSES = ["{", "[" * 100_000, "[1]", '"x"', "1", '{"state": 1, "step": 1}',
            '{"state": "finished", "step": {"a": 1}}', '{"state": "other", "step": 1}',
            '{"state": "finished", "step": 1e400}', '{"step": 1}', "\x00\x01", "9" * 10_000]  # fmt: skip


@pytest.mark.parametrize("text", STATUSES, ids=range(len(STATUSES)))
def test_a_status_that_is_none(run, capsys, text):
    """Only the status is lost: the run resumes as without one."""
    (run / "status.json").write_text(text)
    said = refused(run, capsys, ["check", "info"])
    assert "status.json" in said and "nothing is lost: rpmd resume" in said
    assert main(["resume", str(run), *RESUME]) == 0
    assert read_status(run)["step"] == 30


def test_a_status_cannot_write_to_the_terminal(run, capsys):
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps(status | {"error": "a\nb\x1b[31m", "model": "x\r\ny"}))
    assert main(["check", str(run)]) == 0 and main(["info", str(run)]) == 0
    shown = capsys.readouterr().out
    assert r"a\nb\x1b[31m" in shown and "\x1b" not in shown and "\r" not in shown


def test_a_status_does_not_go_back(run):
    assert read_status(run)["step"] == 20
    assert main(["resume", str(run), "--no-figure"]) == 0  # finished already
    assert (read_status(run)["step"], read_status(run)["state"]) == (20, "finished")
    assert "finished at step 20" in (run / "run.log").read_text().splitlines()[-1]


def test_an_input_that_names_another_structure(run, capsys):
    text = (run / "input.toml").read_text()
    for old, new in (
        ('structure = "structure.xyz"', 'structure = "../../other.xyz"'),
        ('gle_file = ""', 'gle_file = "/dev/zero"'),
    ):
        assert old in text
        (run / "input.toml").write_text(text.replace(old, new))
        assert "the copy beside it" in refused(run, capsys)


def test_files_larger_than_any_run_makes_them(run, capsys):
    os.truncate(run / "status.json", 2**40)
    assert "expected at most" in refused(run, capsys)
    os.truncate(run / "status.json", 0)
    os.truncate(run / "checkpoint", 2**40)
    assert main(["check", str(run)]) == 1


@pytest.mark.parametrize("name", ["a\nb", "q\x07x", "a\x1b[31m", "\u202ea", "a\x00b", "a\udc80"])
def test_names_that_no_line_can_hold(tmp_path, capsys, monkeypatch, name):
    write_acetylene(tmp_path, "steps = 4\n")
    monkeypatch.chdir(tmp_path)
    before = sorted(os.listdir())
    assert rpmd_run(tmp_path, "--output", name) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.isascii()
    assert ("expected no NUL character" if "\0" in name else "in its name") in error
    assert sorted(os.listdir()) == before


def test_names_of_all_languages(tmp_path, monkeypatch):
    write_acetylene(tmp_path, "steps = 4\n")
    for name in ("läuft 🙂 x", '"quoted" \\ $HOME', "-dash"):
        check_name(name)
        assert rpmd_run(tmp_path, f"--output={tmp_path / name}") == 0
        assert main(["resume", "--steps", "8", "--no-figure", str(tmp_path / name)]) == 0


def test_lines_of_the_log_stay_lines(run):
    record = RunFolder(run, None)
    record.log("one\n2026-01-01T00:00:00 finished\r\x1b[2K\u2028end")
    record.close()
    last = (run / "run.log").read_text(encoding="utf-8").splitlines()[-1]
    assert last.endswith(r"one\n2026-01-01T00:00:00 finished\r\x1b[2K\u2028end")
