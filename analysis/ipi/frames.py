"""Read frames written by i-PI: xyz, pdb or extxyz (its format='ase'), one file per bead, including continued runs."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from md.ipi.input import Trajectory
from mlcalc.common.errors import InputError
from mlcalc.structures.ipi_xyz import read_ipi_comment
from mlcalc.structures.structure_files import read_atoms

_STEP = re.compile(r"Step:\s*(\d+)")


class Frame(NamedTuple):
    """One frame of one bead.

    Attributes:
        step: None if the file does not give it.
        labels: N names; positions: (N, 3) Å; cell: (3, 3) Å, rows are lattice vectors, zeros for none.
        bare: Whether the file gives no unit.
    """

    step: int | None
    labels: tuple[str, ...]
    positions: np.ndarray
    cell: np.ndarray
    bare: bool = False


class Frames(NamedTuple):
    """All beads of a run: steps (n,), positions (n, P, N, 3) Å, cells (n, 3, 3) Å, and the N labels."""

    steps: np.ndarray
    positions: np.ndarray
    cells: np.ndarray
    labels: tuple[str, ...]


def read_frames(trajectory: Trajectory, paths: list[Path], report: Callable[[str], None]) -> Frames:
    """Frames of all beads, up to the last frame that every bead has.

    If a run was continued from a state before its last frame, the later frames replace the earlier ones.

    Args:
        trajectory: Their description in the input; paths: Their files, one for each bead.
        report: Called with a line for each assumption.

    Raises:
        InputError: A missing or malformed file, no frames, inconsistent beads, or uneven intervals.
    """
    beads = [_read_bead(trajectory, path) for path in paths]
    if not all(beads):
        raise InputError(f"{paths[[bool(bead) for bead in beads].index(False)]}: no frames yet")
    if trajectory.unit and any(frame.bare for bead in beads for frame in bead):
        report(f"{paths[0].name} names no unit of positions: read as {trajectory.unit}, as the input says")
    kept = [
        _last_copies(bead, trajectory, path, report if path == paths[0] else None)
        for path, bead in zip(paths, beads, strict=True)
    ]
    end = min(bead[-1].step or 0 for bead in kept)  # a run in progress may have written a frame of some beads only
    kept = [[frame for frame in bead if (frame.step or 0) <= end] for bead in kept]
    steps = np.array([frame.step for frame in kept[0]], dtype=np.int64)
    for path, bead in zip(paths, kept, strict=True):
        if [frame.step for frame in bead] != steps.tolist():
            raise InputError(
                f"{path}: steps differ from those of {paths[0].name}: the beads' files are of different runs"
            )
        if any(frame.labels != kept[0][0].labels for frame in bead):
            raise InputError(f"{path}: not the same atoms in all frames of all beads")
    check_even(steps, paths[0])
    positions = np.array([[bead[k].positions for bead in kept] for k in range(len(steps))])
    if not np.isfinite(positions).all():
        raise InputError(f"{paths[0]}: positions that are not finite")
    return Frames(steps, positions, np.array([frame.cell for frame in kept[0]]), kept[0][0].labels)


def last_copies(steps: Sequence[int]) -> list[int]:
    """Indices of valid frames: a frame replaces all earlier entries with the same or a later step."""
    kept: list[int] = []
    for index, step in enumerate(steps):
        while kept and steps[kept[-1]] >= step:
            kept.pop()
        kept.append(index)
    return kept


def check_even(steps: np.ndarray, path: Path) -> None:
    """Raise InputError unless increasing steps are equally far apart."""
    gaps = np.diff(steps)
    if len(gaps) and (gaps != gaps[0]).any():
        at = int(np.argmax(gaps != gaps[0]))
        raise InputError(
            f"{path}: steps {steps[0]}, {steps[1]} … but {steps[at]}, {steps[at + 1]}: expected equal intervals; convert the parts "
            "before and after one by one"
        )


def _last_copies(bead: list[Frame], trajectory: Trajectory, path: Path, report) -> list[Frame]:
    unknown = [frame.step is None for frame in bead]
    if all(unknown):
        if report is not None:
            report(f"{path.name} names no steps: taken as every {trajectory.stride} from 0, as the input says")
        return [frame._replace(step=k * trajectory.stride) for k, frame in enumerate(bead)]
    if any(unknown):
        raise InputError(f"{path}: frame {unknown.index(True)} names no step")
    kept = last_copies([frame.step or 0 for frame in bead])
    if report is not None and len(kept) < len(bead):
        report(
            f"the run was continued: {len(bead) - len(kept)} of {len(bead)} frames were rewritten later and are left out"
        )
    return [bead[k] for k in kept]


def _read_bead(trajectory: Trajectory, path: Path) -> list[Frame]:
    if not os.path.isfile(path):
        near = sorted(other.name for other in path.parent.glob(f"{path.name.rpartition('_')[0]}[_.]*"))
        there = ", ".join(near[:8]) + (" …" if len(near) > 8 else "") if near else "nothing with that name"
        raise InputError(f"{path}: no such file; found {there}")
    try:
        return _READERS[trajectory.format](path, trajectory)
    except InputError as error:
        raise InputError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    except Exception as error:  # a truncated file can raise any error in i-PI's readers
        raise InputError(f"{path}: not a trajectory of i-PI ({type(error).__name__}: {error})") from error


def _read_xyz(path: Path, trajectory: Trajectory) -> list[Frame]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    frames: list[Frame] = []
    at, ends = (
        0,
        len(lines) if text.endswith("\n") else len(lines) - 1,
    )  # a line without a newline is still being written
    while at < len(lines):
        if not (lines[at].strip().isdecimal() and int(lines[at]) > 0):
            raise InputError(f"line {at + 1} is {lines[at][:60]!r}: expected a number of atoms")
        begin, end = at + 2, at + 2 + int(lines[at])
        if end > ends:
            break  # still being written
        comment = lines[at + 1]
        found = read_ipi_comment(comment, trajectory.unit or "atomic_unit", trajectory.cell_unit or "atomic_unit")
        if found is None or found.quantity != "positions":
            raise InputError(f"line {at + 2} is {comment[:60]!r}: expected a comment of i-PI with positions{{…}}")
        rows = [line.split() for line in lines[begin:end]]
        if any(len(row) != 4 for row in rows):
            wrong = begin + [len(row) != 4 for row in rows].index(True)
            raise InputError(f"line {wrong + 1} is {lines[wrong][:60]!r}: expected a label and three coordinates")
        positions = np.array([row[1:] for row in rows], dtype=float) * found.factor
        labels = tuple(row[0] for row in rows)
        frames.append(Frame(_step(comment), labels, positions, found.cell, found.bare))
        at = end
    return frames


def _read_pdb(path: Path, trajectory: Trajectory) -> list[Frame]:
    from ipi.utils.io import iter_file
    from ipi.utils.units import unit_to_internal

    angstrom = unit_to_internal("length", "angstrom", 1.0)
    with path.open(encoding="utf-8") as stream:
        return [
            Frame(
                _step(frame["comment"]), tuple(map(str, frame["atoms"].names)),
                np.array(frame["atoms"].q).reshape(-1, 3) / angstrom, np.array(frame["cell"].h).T / angstrom,
            )
            for frame in iter_file("pdb", stream)
        ]  # fmt: skip


def _read_extxyz(path: Path, trajectory: Trajectory) -> list[Frame]:
    frames = []
    for atoms in read_atoms(path, "extxyz"):
        comment = str(atoms.info.get("ipi_comment", ""))
        read_ipi_comment(comment)  # refuses velocities
        frames.append(Frame(_step(comment), tuple(atoms.get_chemical_symbols()), atoms.positions, atoms.cell.array))
    return frames


def _step(comment: str) -> int | None:
    found = _STEP.findall(comment)
    return int(found[-1]) if found else None


_READERS = {"xyz": _read_xyz, "pdb": _read_pdb, "ase": _read_extxyz}
FORMATS = tuple(_READERS)
