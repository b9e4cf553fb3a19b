"""Trajectories are readable after every single write to the file, whether the writer is killed there or finds the disk full."""

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import md.files.committed_file
from md.files.trajectory import TrajectoryWriter

PLACE = "particles/trajectory/position"
ENERGIES = "observables/trajectory/potential_energy/value"


class Spy:
    """The os module of committed_file; ``after`` is called after, ``before`` before every call that changes a file."""

    def __init__(self):
        self.before = self.after = lambda: None

    def __getattr__(self, name: str):
        original = getattr(os, name)
        if name not in ("pwrite", "ftruncate", "posix_fallocate"):
            return original

        def call(*arguments):
            self.before()
            result = original(*arguments)
            self.after()
            return result

        return call


@pytest.fixture
def spy(monkeypatch) -> Spy:
    spy = Spy()
    monkeypatch.setattr(md.files.committed_file, "os", spy)
    return spy


def frames_in(path: Path) -> int:
    """Number of frames of a copy of the file; none is missing, empty or in another place."""
    with h5py.File(io.BytesIO(path.read_bytes()), "r") as file:
        steps, times, positions = (file[f"{PLACE}/{name}"][:] for name in ("step", "time", "value"))
        energies = file[ENERGIES][:]
    n = len(steps)
    assert (len(times), len(positions), len(energies)) == (n, n, n)
    assert np.array_equal(steps, np.arange(1, n + 1))
    np.testing.assert_array_equal(times, 0.5 * steps)
    np.testing.assert_array_equal(energies, np.repeat(steps[:, None], energies.shape[1], axis=1))
    np.testing.assert_array_equal(positions, np.broadcast_to(steps[:, None, None], positions.shape))
    return n


def add(writer: TrajectoryWriter, n_beads: int, n_atoms: int) -> None:
    step = writer.n_frames + 1
    writer.append(step, 0.5 * step, np.full((n_beads, n_atoms, 3), float(step)), np.full(n_beads, float(step)))


# Several chunks of several frames; more chunks of one frame than a node of the index takes (64); steps in a second chunk.
SIZES = [(8, 20, 120, 1), (2, 2800, 70, 1), (1, 2, 1030, 37)]


@pytest.mark.parametrize(("n_beads", "n_atoms", "n_frames", "stride"), SIZES)
def test_killed_after_any_write(tmp_path, spy, n_beads, n_atoms, n_frames, stride):
    path, looks = tmp_path / "t.h5", []
    writer = TrajectoryWriter(path, n_beads, n_atoms)
    for frame in range(n_frames):
        near_an_end = frame % stride == 0 or frame in (1023, 1024)
        spy.after = (lambda: looks.append(frames_in(path) - writer.n_frames)) if near_an_end else lambda: None
        add(writer, n_beads, n_atoms)
    assert set(looks) == {0, 1}
    spy.after = lambda: looks.append(frames_in(path))
    looks.clear()
    writer.close()
    assert frames_in(path) == n_frames
    cut = n_frames * 3 // 5
    writer = TrajectoryWriter(path, n_beads, n_atoms, n_frames=cut)
    assert looks and set(looks) <= {n_frames, cut}
    looks.clear()
    for _ in range(3):
        add(writer, n_beads, n_atoms)
    assert looks == sorted(looks)
    writer.close()
    assert frames_in(path) == cut + 3


def test_killed_while_the_file_is_made(tmp_path, spy):
    """Before its first frame there is either no HDF5 file, or one without frames."""
    found = []

    def look():
        try:
            found.append(frames_in(tmp_path / "t.h5"))
        except OSError:
            found.append(None)

    spy.after = look
    TrajectoryWriter(tmp_path / "t.h5", 8, 20).close()
    assert found[-1] == 0
    assert set(found) <= {None, 0}


def fail_at(count: int) -> Callable[[], None]:
    left = [count]

    def fail():
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fail


@pytest.mark.parametrize("n_whole", [0, 1, 33, 34])
def test_disk_full_at_any_write(tmp_path, spy, n_whole):
    """The append says so; the file has all frames before it, and closing it does no harm. With 34 frames a chunk is full."""
    for count in range(12):
        path = tmp_path / f"{count}.h5"
        spy.before = lambda: None
        writer = TrajectoryWriter(path, 8, 20)
        for _ in range(n_whole):
            add(writer, 8, 20)
        size = path.stat().st_size
        spy.before = fail_at(count)
        try:
            add(writer, 8, 20)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            assert frames_in(path) == n_whole
            assert count > 0 or path.stat().st_size == size
        else:
            assert count > 2
            break
        writer.close()
        spy.before = lambda: None
        again = TrajectoryWriter(path, 8, 20, n_frames=n_whole)
        add(again, 8, 20)
        again.close()
        assert frames_in(path) == n_whole + 1
    else:
        raise AssertionError("never written")


def test_left_open_at_the_end_of_a_program(tmp_path):
    """HDF5 must not call back into a Python that is gone."""
    import subprocess
    import sys

    script = (
        "import numpy as np; from md.files.trajectory import TrajectoryWriter\n"
        f"held = TrajectoryWriter({str(tmp_path / 't.h5')!r}, 1, 2); held.append(1, 0.5, np.ones((1, 2, 3)), np.ones(1)); 1 / 0"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert frames_in(tmp_path / "t.h5") == 1
