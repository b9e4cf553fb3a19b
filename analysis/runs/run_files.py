"""Check that a run folder has the files needed for analysis, and report what is missing."""

import os
from pathlib import Path

from md.files.layout import INPUT, STRUCTURE
from mlcalc.common.errors import InputError

_NEXT = "'rpmd check {folder}' says how to recover"


def check_run_folder(folder: Path, command: str, data: str, first: str) -> None:
    """Refuse a folder without the files of a run.

    Args:
        command: The command for such runs; data: File with its results; first: What the run has not reached without it.
    """
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder}: not a run folder of '{command}' ({'a file' if os.path.exists(folder) else 'no such folder'})"
        )
    for name in (INPUT, STRUCTURE):
        if not os.path.isfile(folder / name):
            raise InputError(
                f"{folder}: not a run folder of '{command}' (no {name}); several runs have a sub-folder each"
            )
    if not os.path.isfile(folder / data):
        raise InputError(
            f"{folder}: no {data}: the run was stopped before {first}, or belongs to another command than '{command}'; "
            + _NEXT.format(folder=folder)
        )


def check_frames(run) -> None:
    """Refuse a run (run.Run) without a frame."""
    if not run.n_frames:
        raise InputError(
            f"{run}: 0 frames in trajectory.h5: the run was stopped before its first frame, or has only begun; "
            + _NEXT.format(folder=run.folders[0])
        )


def check_kept(run, discard: float, fewest: int) -> None:
    """Refuse a run (run.Run) of which too few frames are left without the first share ``discard``."""
    check_frames(run)
    check_used(str(run), run.n_frames, len(run.kept(discard)), discard, fewest)


def check_used(source: str, n_frames: int, used: int, discard: float, fewest: int = 1) -> None:
    """Refuse frames of which too few are used without the first share ``discard``."""
    if used < fewest:
        raise InputError(
            f"{source}: {n_frames} frames, {used} after discarding the first {100 * discard:g}%; expected at least {fewest}"
        )


def first_kept(n_frames: int, discard: float) -> int:
    """Index of the first of these frames without their first share ``discard``; ``n_frames`` if none is left."""
    return round(discard * n_frames)


def check_same_atoms(run, other) -> None:
    """Refuse a run (run.Run) whose elements differ from those of another, or come in another order."""
    if run.structure.numbers.tolist() != other.structure.numbers.tolist():
        raise InputError(
            f"{run} holds {run.structure.get_chemical_formula('reduce')} and {other} "
            f"{other.structure.get_chemical_formula('reduce')}: expected the same atoms in the same order in all runs"
        )
