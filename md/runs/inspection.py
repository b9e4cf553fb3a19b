"""``rpmd check``: check a run folder for damage, and say how to recover or resume the run.

Nothing is changed; a run in progress may be checked too.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from ase import Atoms

from md.bias.settings import hills_of
from md.files.checkpoint import NEWEST, PREVIOUS, Checkpoint, read_checkpoint
from md.files.closed_h5 import open_h5
from md.files.layout import BREACH, HILLS, INPUT, LOCK, PROPERTIES, STATUS, STRUCTURE, TRAJECTORY, VELOCITIES
from md.files.properties import read_table
from md.files.received import open_regular
from md.files.run_status import read_status
from md.files.trajectory import LARGEST_A, Layout, layout_of
from md.files.velocities import facts_of
from md.runs.config import RunSettings, read_settings
from md.runs.continuation import check_checkpoint, wrong_time
from md.runs.identity import REAL_TIME, differences, digests_of, identity
from md.runs.input_files import read_inputs
from md.runs.run_folder import FROM_IPI, check_files, kind_of, own_settings  # fmt: skip
from md.runs.structures import read_structure
from mlcalc.common.errors import InputError, one_line

_ROWS_AT_ONCE = 1 << 24  # bytes of a dataset
_TRAJECTORY = "H5MD trajectory of a ring polymer"
_LARGEST = 1e12  # eV, Å/fs: no number of a run is this large


class Finding(NamedTuple):
    """The result for one part of a run folder; ``curable``: 'rpmd resume' repairs it."""

    part: str
    good: bool
    text: str
    curable: bool = True


class Problem(Exception):
    """A part is damaged."""

    def __init__(self, text: str, curable: bool = False):
        super().__init__(text)
        self.curable = curable


def inspect(folder: Path) -> tuple[list[Finding], str]:
    """Check every part of a run folder; returns the findings and what to do next."""
    findings: list[Finding] = []

    def look(part: str, check: Callable):
        """The value of a check, which returns a value and a text; None if the check fails."""
        try:
            value, text = check()
        except (Problem, InputError, OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
            text = one_line(" ".join(str(problem).replace(f"{folder}/", "").removeprefix(f"{folder}: ").split()))
            findings.append(Finding(part, False, text, getattr(problem, "curable", False)))
            return None
        findings.append(Finding(part, True, text))
        return value

    try:
        check_files(folder)
    except InputError as error:  # no other file may be opened
        problem = one_line(str(error).replace(f"{folder}/", ""))
        return [
            Finding("files", False, problem, False)
        ], f"do not use it as it is: rpmd did not leave {folder} in this state"
    writing = is_being_written(folder)
    status, kind = look(STATUS, lambda: _status(folder, writing)) or {}, kind_of(folder)
    settings = look(INPUT, lambda: _settings(folder))
    atoms = look(STRUCTURE, lambda: _structure(folder))
    n_atoms = len(atoms) if atoms else 0
    if kind == FROM_IPI:
        if settings and n_atoms:
            look(TRAJECTORY, lambda: _trajectory_of_ipi(folder, settings, n_atoms))
        if os.path.exists(folder / PROPERTIES):
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
        if hills := hills_of(settings.bias):
            look(HILLS, lambda: _hills(folder, hills.every_steps, extent))
    if checkpoint and settings and atoms and not _lost(findings):
        look("checkpoint and files", lambda: _fitting(folder, kind, settings, atoms, checkpoint))
    return findings, _advice(folder, findings, status, writing)


def is_being_written(folder: Path) -> bool:
    """Whether a process holds the lock of a run folder."""
    try:
        descriptor = open_regular(folder / LOCK)
    except (FileNotFoundError, InputError):
        return False
    with os.fdopen(descriptor) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _status(folder: Path, writing: bool) -> tuple[dict, str]:
    status = read_status(folder)
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


def _structure(folder: Path) -> tuple[Atoms, str]:
    atoms = read_structure(folder / STRUCTURE)
    return atoms, f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"


def _physics(settings: RunSettings, kind: str) -> tuple[dict, str]:
    inputs = read_inputs(settings, quiet=True)
    found = identity(settings, kind, digests_of(inputs.contents))
    if inputs.model is None:
        return found, f"engine {settings.engine}"
    return found, f"model of {len(inputs.model.config.elements)} elements, undamaged"


def _checkpoint(folder: Path) -> tuple[Checkpoint | None, str]:
    if not any(os.path.exists(folder / name) for name in (NEWEST, PREVIOUS)):
        return None, "none yet"
    checkpoint, warning = read_checkpoint(folder)
    if warning:
        raise Problem(warning, curable=True)
    return checkpoint, f"{checkpoint.phase}, step {checkpoint.step}"


def _fitting(folder: Path, kind: str, settings: RunSettings, atoms: Atoms, checkpoint: Checkpoint) -> tuple[None, str]:
    check_checkpoint(folder, kind, settings, atoms, checkpoint)
    return None, "state, step and tables belong together"


def _unchanged(then: dict, now: dict) -> tuple[None, str]:
    if changes := differences(then, now):
        raise Problem(changes)
    return None, "the same"


def _trajectory(folder: Path, settings: RunSettings, n_atoms: int, extent: dict) -> tuple[int, str]:
    with open_h5(folder / TRAJECTORY, _TRAJECTORY, locking=False) as file:
        layout, every = layout_of(file), settings.trajectory_every_steps
        _check_sizes(layout, settings, n_atoms)
        expected = np.arange(layout.n_frames) * every
        if not np.array_equal(layout.steps, expected):
            at = int(np.argmax(layout.steps != expected))
            raise Problem(
                f"frame {at} is of step {layout.steps[at]}, expected {expected[at]}", at >= extent.get("frames", 0)
            )
        _check_times(layout, settings)
        _check_extent(layout.n_frames, "frames", extent)
        limits = {
            "particles/trajectory/position/value": LARGEST_A,
            "observables/trajectory/potential_energy/value": _LARGEST,
        }
        bad = [name for name, limit in limits.items() if not _all_below(limit, file[name], layout.n_frames)]
        if bad:
            raise Problem(f"{bad[0]} holds numbers that are not finite or are impossibly large")
    return layout.n_frames, f"{layout.n_frames} frames, all finite"


def _check_sizes(layout: Layout, settings: RunSettings, n_atoms: int) -> None:
    if (layout.n_beads, layout.n_atoms) != (settings.beads, n_atoms):
        raise Problem(f"{layout.n_beads} beads of {layout.n_atoms} atoms, expected {settings.beads} of {n_atoms}")


def _check_times(layout: Layout, settings: RunSettings) -> None:
    if wrong := wrong_time(layout.times, layout.steps * settings.timestep_fs):
        raise Problem(wrong)


def _trajectory_of_ipi(folder: Path, settings: RunSettings, n_atoms: int) -> tuple[int, str]:
    with open_h5(folder / TRAJECTORY, _TRAJECTORY, locking=False) as file:
        layout = layout_of(file)
        _check_sizes(layout, settings, n_atoms)
        if (np.diff(layout.steps) != settings.trajectory_every_steps).any():
            raise Problem(f"frames that are not all {settings.trajectory_every_steps} steps apart")
        _check_times(layout, settings)
        if not _all_below(LARGEST_A, file["particles/trajectory/position/value"], layout.n_frames):
            raise Problem("positions that are not finite or are impossibly large")
    return layout.n_frames, f"{layout.n_frames} frames, all finite"


def _properties_of_ipi(folder: Path) -> tuple[int, str]:
    steps = read_table(folder / PROPERTIES)["step"]
    if (np.diff(steps) <= 0).any():
        raise Problem("steps that decrease")
    return len(steps), f"{len(steps)} complete lines"


def _velocities(folder: Path, settings: RunSettings, extent: dict) -> tuple[int, str]:
    with open_h5(folder / VELOCITIES, "file of velocities", locking=False) as file:
        found = facts_of(file)
        facts = found.interval_fs, found.n_beads, found.temperature_K
        expected = settings.timestep_fs * settings.velocities_every_steps, settings.beads, settings.temperature_K
        if not np.allclose(facts, expected, rtol=1e-9):
            raise Problem(f"{facts} as interval in fs, beads and temperature in K, expected {expected}")
        n = found.shape[0]
        _check_extent(n, "trajectories", extent)
        if not _all_below(_LARGEST, file["velocity"], n):
            raise Problem("velocities that are not finite or are impossibly large")
    return n, f"{n} of {settings.trajectories} trajectories, all finite"


def _all_below(limit: float, dataset: h5py.Dataset, n: int) -> bool:
    """Whether the first n entries are finite and smaller than a limit."""
    block = max(1, _ROWS_AT_ONCE // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
    parts = (dataset[begin : min(begin + block, n)] for begin in range(0, n, block))
    return all(part.size == 0 or (part.max() < limit and part.min() > -limit) for part in parts)


def _properties(folder: Path, settings: RunSettings, extent: dict) -> tuple[int, str]:
    return _table(folder / PROPERTIES, range(0, 1 << 62, settings.properties_every_steps), "bytes", extent)


def _hills(folder: Path, every: int, extent: dict) -> tuple[int, str]:
    return _table(folder / HILLS, range(every, 1 << 62, every), "hills", extent)


def _table(path: Path, steps: range, name: str, extent: dict) -> tuple[int, str]:
    """Check a table whose lines are of these steps, and which has a length in bytes in the extent of a checkpoint."""
    data = path.read_bytes()
    _check_extent(len(data), name, extent)
    if not data.endswith(b"\n"):
        raise Problem("its last line is incomplete", curable=len(data) > extent.get(name, 0))
    header, *lines = [line.split(",") for line in data.decode().splitlines() if not line.startswith("#")]
    for number, line in enumerate(lines):
        if len(line) != len(header) or int(line[0]) != steps[number]:
            raise Problem(f"line {number} is {','.join(line)[:60]!r}")
    if lines and not np.isfinite(np.array(lines, dtype=float)).all():
        raise Problem("numbers that are not finite")
    return len(lines), f"{len(lines)} complete lines"


def _check_extent(found: int, name: str, extent: dict) -> None:
    if found < extent.get(name, 0):
        raise Problem(f"{found} {name}, fewer than the {extent[name]} of the checkpoint")


def _lost(findings: list[Finding]) -> bool:
    """Whether a run cannot be resumed, for any content of its status."""
    return any(not (finding.good or finding.curable or finding.part == STATUS) for finding in findings)


def _advice_of_ipi(folder: Path, findings: list[Finding], status: dict) -> str:
    if all(finding.good for finding in findings):
        return f"nothing to do; only i-PI can continue this run; to analyse it: python -m analysis properties {folder}"
    return f"convert it again: python -m analysis from-ipi {status.get('source', 'INPUT.xml')} -o ELSEWHERE"


def _advice(folder: Path, findings: list[Finding], status: dict, writing: bool) -> str:
    bad = [finding for finding in findings if not finding.good]
    if writing:
        return "nothing to do: the run is in progress"
    if _lost(findings):
        return f"it cannot be resumed as it is; run it again: rpmd run {folder / INPUT} --output ELSEWHERE"
    if bad:
        return f"nothing is lost: rpmd resume {folder}"
    if status.get("state") == "finished":
        return f"nothing to do; to make it longer: rpmd resume {folder} --steps N"
    why = f" (after checking {BREACH})" if os.path.exists(folder / BREACH) else ""
    return f"resume with: rpmd resume {folder}{why}"
