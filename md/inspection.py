"""``rpmd check``: is everything in a run folder what it should be, and how does one go on?

Nothing is changed, and a run that is being written may be looked at.
"""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from md.checkpoint import NEWEST, PREVIOUS, Checkpoint, read_checkpoint
from md.config import RunSettings, read_settings
from md.physics import REAL_TIME, differences, physics_of
from md.preparation import read_structure
from md.properties import read_table
from md.run_folder import (
    BREACH,
    FROM_IPI,
    INPUT,
    LOCK,
    PROPERTIES,
    STATUS,
    STRUCTURE,
    TRAJECTORY,
    VELOCITIES,
    kind_of,
    own_settings,
)  # fmt: skip
from mlcalc.errors import InputError

_ROWS_AT_ONCE = 1 << 24  # bytes of a dataset


class Finding(NamedTuple):
    """What was found in one part of a run folder; curable says that 'rpmd resume' makes it good."""

    part: str
    good: bool
    text: str
    curable: bool = True


class Problem(Exception):
    """Something is wrong with a part."""

    def __init__(self, text: str, curable: bool = False):
        super().__init__(text)
        self.curable = curable


def inspect(folder: Path) -> tuple[list[Finding], str]:
    """Look at every part of a run folder; returns what was found, and how to go on."""
    findings: list[Finding] = []

    def look(part: str, check: Callable):
        """The value of a check that returns it with what to say of it; None when there is a problem."""
        try:
            value, text = check()
        except (Problem, InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
            text = " ".join(str(problem).replace(f"{folder}/", "").split())
            findings.append(Finding(part, False, text, getattr(problem, "curable", False)))
            return None
        findings.append(Finding(part, True, text))
        return value

    writing = is_being_written(folder)
    status, kind = look(STATUS, lambda: _status(folder, writing)) or {}, kind_of(folder)
    settings = look(INPUT, lambda: _settings(folder))
    n_atoms = look(STRUCTURE, lambda: _structure(folder))
    if kind == FROM_IPI:
        if settings and n_atoms:
            look(TRAJECTORY, lambda: _trajectory_of_ipi(folder, settings, n_atoms))
        if (folder / PROPERTIES).exists():
            look(PROPERTIES, lambda: _properties_of_ipi(folder))
        return findings, _advice_of_ipi(folder, findings, status)
    physics = look("model and input files", lambda: _physics(settings, kind)) if settings else None
    checkpoint = look(NEWEST, lambda: _checkpoint(folder))
    if checkpoint and physics:
        look("input since the checkpoint", lambda: _unchanged(checkpoint.physics, physics))
    extent = checkpoint.extent if checkpoint else {}
    if settings and n_atoms and kind == REAL_TIME:
        look(VELOCITIES, lambda: _velocities(folder, settings, extent))
    elif settings and n_atoms:
        look(TRAJECTORY, lambda: _trajectory(folder, settings, n_atoms, extent))
        look(PROPERTIES, lambda: _properties(folder, settings, extent))
    return findings, _advice(folder, findings, status, writing)


def is_being_written(folder: Path) -> bool:
    """Whether a process holds the lock of a run folder."""
    if not (folder / LOCK).exists():
        return False
    with open(folder / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _status(folder: Path, writing: bool) -> tuple[dict, str]:
    status = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    state, step = status["state"], status["step"]
    if status.get("kind") == FROM_IPI:
        return status, "written by i-PI, converted by 'analysis from-ipi'"
    if writing:
        return status, f"being written, step {step}"
    if state == "running":
        state = "killed"
    error = f": {status['error']}" if status.get("error") else ""
    return status, f"{state}, step {step} of {status.get('steps', '?')}{error}"


def _settings(folder: Path) -> tuple[RunSettings, str]:
    if kind_of(folder) == FROM_IPI:
        settings = read_settings(folder / INPUT, {})
        return settings, f"P = {settings.beads}, steps of {settings.timestep_fs:g} fs"
    settings = own_settings(folder)
    return settings, f"P = {settings.beads}, {settings.steps} steps of {settings.timestep_fs:g} fs"


def _structure(folder: Path) -> tuple[int, str]:
    atoms = read_structure(folder / STRUCTURE)
    return len(atoms), f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"


def _physics(settings: RunSettings, kind: str) -> tuple[dict, str]:
    from md.potentials import load_model

    model = load_model(settings.model)
    return physics_of(settings, kind), f"model of {len(model.config.elements)} elements, whole"


def _checkpoint(folder: Path) -> tuple[Checkpoint | None, str]:
    if not any((folder / name).exists() for name in (NEWEST, PREVIOUS)):
        return None, "none yet"
    checkpoint, warning = read_checkpoint(folder)
    if warning:
        raise Problem(warning, curable=True)
    bad = [name for name, array in checkpoint.state.items() if not np.isfinite(array).all()]
    if bad:
        raise Problem(f"{', '.join(bad)} not finite")
    return checkpoint, f"{checkpoint.phase}, step {checkpoint.step}"


def _unchanged(then: dict, now: dict) -> tuple[None, str]:
    if changes := differences(then, now):
        raise Problem(changes)
    return None, "the same"


def _trajectory(folder: Path, settings: RunSettings, n_atoms: int, extent: dict) -> tuple[int, str]:
    with h5py.File(folder / TRAJECTORY, "r", locking=False) as file:
        position = file["particles/trajectory/position"]
        steps, shape = position["step"][:], position["value"].shape
        if shape[1:] != (settings.beads * n_atoms, 3):
            raise Problem(f"frames of shape {shape[1:]}, expected {(settings.beads * n_atoms, 3)}")
        expected = np.arange(len(steps)) * settings.trajectory_every_steps
        if not np.array_equal(steps, expected):
            at = int(np.argmax(steps != expected))
            raise Problem(f"frame {at} is of step {steps[at]}, expected {expected[at]}", at >= extent.get("frames", 0))
        _check_extent(len(steps), "frames", extent)
        bad = [name for name in ("particles/trajectory/position/value", "observables/trajectory/potential_energy/value")
               if not _all_finite(file[name], len(steps))]  # fmt: skip
        if bad:
            raise Problem(f"{bad[0]} holds numbers that are not finite")
    return len(steps), f"{len(steps)} frames, all finite"


def _trajectory_of_ipi(folder: Path, settings: RunSettings, n_atoms: int) -> tuple[int, str]:
    with h5py.File(folder / TRAJECTORY, "r", locking=False) as file:
        position = file["particles/trajectory/position"]
        steps, shape = position["step"][:], position["value"].shape
        if shape[1:] != (settings.beads * n_atoms, 3) or len(steps) != shape[0]:
            raise Problem(f"{len(steps)} steps, frames of shape {shape[1:]}, expected {(settings.beads * n_atoms, 3)}")
        if (np.diff(steps) != settings.trajectory_every_steps).any():
            raise Problem(f"frames that are not all {settings.trajectory_every_steps} steps apart")
        if not _all_finite(position["value"], len(steps)):
            raise Problem("positions that are not finite")
    return len(steps), f"{len(steps)} frames, all finite"


def _properties_of_ipi(folder: Path) -> tuple[int, str]:
    steps = read_table(folder / PROPERTIES)["step"]
    if (np.diff(steps) <= 0).any():
        raise Problem("steps that go back")
    return len(steps), f"{len(steps)} whole lines"


def _velocities(folder: Path, settings: RunSettings, extent: dict) -> tuple[int, str]:
    with h5py.File(folder / VELOCITIES, "r", locking=False) as file:
        n = len(file["velocity"])
        _check_extent(n, "trajectories", extent)
        if not _all_finite(file["velocity"], n):
            raise Problem("velocities that are not finite")
    return n, f"{n} of {settings.trajectories} trajectories, all finite"


def _all_finite(dataset: h5py.Dataset, n: int) -> bool:
    block = max(1, _ROWS_AT_ONCE // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
    return all(np.isfinite(dataset[begin : begin + block]).all() for begin in range(0, n, block))


def _properties(folder: Path, settings: RunSettings, extent: dict) -> tuple[int, str]:
    data = (folder / PROPERTIES).read_bytes()
    _check_extent(len(data), "bytes", extent)
    if not data.endswith(b"\n"):
        raise Problem("its last line is not whole", curable=len(data) > extent.get("bytes", 0))
    header, *lines = [line.split(",") for line in data.decode().splitlines() if not line.startswith("#")]
    for number, line in enumerate(lines):
        if len(line) != len(header) or int(line[0]) != number * settings.properties_every_steps:
            raise Problem(f"line {number} is {','.join(line)[:60]!r}")
    if lines and not np.isfinite(np.array(lines, dtype=float)).all():
        raise Problem("numbers that are not finite")
    return len(lines), f"{len(lines)} whole lines"


def _check_extent(found: int, name: str, extent: dict) -> None:
    if found < extent.get(name, 0):
        raise Problem(f"{found} {name}, fewer than the {extent[name]} of the checkpoint")


def _advice_of_ipi(folder: Path, findings: list[Finding], status: dict) -> str:
    if all(finding.good for finding in findings):
        return f"nothing to do; only i-PI can continue this run; analyse it: python -m analysis properties {folder}"
    return f"convert it again: python -m analysis from-ipi {status.get('source', 'INPUT.xml')} -o ELSEWHERE"


def _advice(folder: Path, findings: list[Finding], status: dict, writing: bool) -> str:
    bad = [finding for finding in findings if not finding.good]
    if writing:
        return "nothing to do: the run is being written"
    if any(not finding.curable and finding.part != STATUS for finding in bad):
        return f"it cannot be gone on with as it is; begin anew: rpmd run {folder / INPUT} --output ELSEWHERE"
    if bad:
        return f"nothing is lost: rpmd resume {folder}"
    if status.get("state") == "finished":
        return f"nothing to do; to make it longer: rpmd resume {folder} --steps N"
    why = f" (after a look at {BREACH})" if (folder / BREACH).exists() else ""
    return f"go on: rpmd resume {folder}{why}"
