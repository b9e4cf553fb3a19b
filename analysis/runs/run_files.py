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
    """Refuse a run (universe.Run) without a frame."""
    if not run.n_frames:
        raise InputError(
            f"{run}: 0 frames in trajectory.h5: the run was stopped before its first frame, or has only begun; "
            + _NEXT.format(folder=run.folders[0])
        )
