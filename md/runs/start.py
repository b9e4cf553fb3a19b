"""The runs of an input, one for each number of beads: which begin, which are resumed, and in which order."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from md.files.checkpoint import NEWEST, PREVIOUS, Checkpoint, read_checkpoint
from md.files.received import check_name
from md.guards.endings import Exit, StopRequest
from md.potentials import runs_code, single_threaded_blas
from md.runs.config import RunSettings
from md.runs.continuation import check_checkpoint
from md.runs.identity import FILES, FREE, REAL_TIME, RUN, differences
from md.runs.input_files import identity_of
from md.runs.preparation import Prepared, prepare
from md.runs.progress import summary
from md.runs.real_time import check_real_time, run_ensemble
from md.runs.run_folder import RunFolder, check_removable, is_fresh, is_run_folder, kind_of, own_settings
from md.runs.runner import run_one
from mlcalc.common.errors import InputError, say

_MAKE = {RUN: run_one, REAL_TIME: run_ensemble}


class _Task(NamedTuple):
    """A run to perform, from a checkpoint or from its start."""

    folder: Path
    kind: str
    settings: RunSettings
    prepared: Prepared
    checkpoint: Checkpoint | None


def run(
    settings: RunSettings,
    stop: StopRequest | None = None,
    overwrite: bool = False,
    kind: str = RUN,
    potential: Any = None,
) -> tuple[int, list[Path]]:
    """Perform the run for every requested number of beads; resume those that the output folder holds.

    Args:
        settings: Settings of all runs (config.read_settings).
        stop: The requests to stop; None for signals only.
        overwrite: Replace existing runs.
        kind: identity.RUN or identity.REAL_TIME.
        potential: An ASE calculator, or a function of beads (P, N, 3) Å, and the cell (3, 3) Å of a crystal, that returns energies
            (P,) eV and forces (P, N, 3) eV/Å, in place of a model or an engine. It runs in this process; the settings name it,
            ``engine = "python:NAME"``, and a run of another name is not resumed.

    Returns:
        Exit code (endings.Exit) and the run folders.

    Raises:
        InputError: Unusable structure, model or output; all are checked before anything is written.
    """
    if kind == REAL_TIME:
        check_real_time(settings)
    check_name(settings.output)
    output = Path(settings.output)
    counts = settings.bead_counts
    folders = [output] if isinstance(settings.beads, int) else [output / f"P{n_beads}" for n_beads in counts]
    prepared = prepare(settings, kind, potential)
    tasks = [
        _task(folder, kind, settings.for_beads(n), prepared, overwrite)
        for n, folder in zip(counts, folders, strict=True)
    ]
    for task in tasks:
        if overwrite or is_fresh(task.folder):
            record = RunFolder(task.folder, task.settings)
            record.begin(prepared.contents, kind)
            record.close()
    if stop is not None:
        return _in_turn(tasks, stop)
    with StopRequest() as signals:
        return _in_turn(tasks, signals)


def resume(
    folder: Path,
    steps: int | None,
    stop: StopRequest,
    overrides: dict[str, Any] | None = None,
    engine: str | None = None,
) -> tuple[int, list[Path]]:
    """Resume a run, or all runs in the sub-folders of a folder; returns what run returns.

    Args:
        steps: Total time steps of production; None for those of the run's input.
        overrides: Keys that replace those of the input; only keys that do not affect computed results.
        engine: The engine of the runs, which the user repeats if it names code: a folder may come from elsewhere.

    Raises:
        InputError: No run, no undamaged checkpoint, an input that changed since, or a key that must not change.
    """
    overrides = _free(overrides or {})
    tasks = []
    found = runs_in(folder)
    for path in found:
        kind, settings = kind_of(path), own_settings(path, overrides)
        if steps is not None and kind == REAL_TIME:
            raise InputError(
                f"--steps {steps}: the trajectories of {path} have a fixed length; for more of them, run 'rpmd real-time' with "
                "--set trajectories=…"
            )
        settings = settings if steps is None else replace(settings, steps=steps)
        _check_engines(path, settings, engine)
        prepared = prepare(settings, kind)
        if len(found) > 1:
            prepared.rest()  # the others are prepared first, and workers need memory
        tasks.append(_Task(path, kind, settings, prepared, _checkpoint_of(path, kind, settings, prepared)))
    return _in_turn(tasks, stop)


def _check_engines(folder: Path, settings: RunSettings, named: str | None) -> None:
    """Raise InputError for a run without the engine that the user names, or with one that names code and that the user does not."""
    engines = settings.engines
    if named is not None and named not in engines:
        has = f"engine = {', '.join(map(repr, engines))}" if engines else "a model"
        raise InputError(f"--engine {named!r}: the run in {folder} has {has}")
    for found in engines:
        if found != named and runs_code(found):
            raise InputError(
                f"{folder}: engine = {found!r} runs code that it names: if you trust it, repeat it: rpmd resume {folder} --engine "
                f"{shlex.quote(found)}"
            )


def _free(overrides: dict[str, Any]) -> dict[str, Any]:
    """The same keys; InputError for a key that would make it another run."""
    allowed = sorted(FREE - FILES)
    if fixed := [key for key in overrides if key not in allowed]:
        raise InputError(
            f"--set {fixed[0]}=…: a resumed run keeps it; keys that may change: {', '.join(allowed)}; start another run with "
            "'rpmd run … --output ELSEWHERE'"
        )
    return overrides


def _in_turn(tasks: list[_Task], stop: StopRequest) -> tuple[int, list[Path]]:
    """Perform runs one after the other and print their summary; the exit code is that of the first that did not finish.

    The others continue if a guard stops one, but not after a request to stop or on a full disk.
    """
    results = []
    stop.begin()
    with single_threaded_blas():
        for folder, kind, settings, prepared, checkpoint in tasks:
            try:
                results.append(_MAKE[kind](settings, folder, prepared, stop, checkpoint))
            finally:
                prepared.rest()
            if results[-1]["state"] == "interrupted" or results[-1]["code"] == Exit.DISK:
                break
    folders = [task.folder for task in tasks]
    print(summary(results))
    print("run folders: " + "  ".join(map(str, folders[: len(results)])))
    for folder, result in zip(folders, results, strict=False):
        if result["error"]:
            say(f"rpmd: error: {folder}: {result['error']}".replace(" RUN ", f" {folder} "))
    if results[-1]["state"] == "interrupted":
        place = folders[0] if len(folders) == 1 else folders[0].parent
        say(f"rpmd: stopped; resume with: rpmd resume {place}")
    codes = [int(result["code"]) for result in results if result["code"]]
    return codes[0] if codes else 0, folders[: len(results)]


def _task(folder: Path, kind: str, settings: RunSettings, prepared: Prepared, overwrite: bool) -> _Task:
    """The task for a requested folder; InputError if it holds something else."""
    checkpoint = None
    if overwrite:
        check_removable(folder)
    elif is_run_folder(folder):
        checkpoint = _checkpoint_of(folder, kind, settings, prepared)
    elif not is_fresh(folder):
        raise InputError(f"{folder} exists already and is not a run of rpmd: choose another --output")
    return _Task(folder, kind, settings, prepared, checkpoint)


def _checkpoint_of(folder: Path, kind: str, settings: RunSettings, prepared: Prepared) -> Checkpoint | None:
    """The checkpoint to resume from with these settings; None if none is written yet.

    Raises:
        InputError: The folder holds another run, one that is longer already, or no undamaged checkpoint.
    """
    now = prepared.identity[settings.n_beads]
    hint = "choose another --output, or pass --overwrite to replace it"
    if not any(os.path.exists(folder / name) for name in (NEWEST, PREVIOUS)):
        checkpoint, then = None, identity_of(own_settings(folder), kind_of(folder))
    else:
        checkpoint, warning = read_checkpoint(folder)
        then = checkpoint.physics
        if warning:
            say(f"rpmd: warning: {warning}")
    if changes := differences(then, now):
        raise InputError(f"{folder} holds a run of another input: {changes}; {hint}")
    if checkpoint and checkpoint.phase == "production" and checkpoint.step > settings.steps:
        raise InputError(f"steps = {settings.steps}: the run in {folder} has made {checkpoint.step} already; {hint}")
    if checkpoint:
        check_checkpoint(folder, kind, settings, prepared.atoms, checkpoint)
    return checkpoint


def runs_in(folder: Path) -> list[Path]:
    """A run folder itself, or the run folders in a folder; InputError if there is none."""
    check_name(folder)
    if is_run_folder(folder):
        return [folder]
    found = sorted(path for path in folder.glob("*") if is_run_folder(path)) if os.path.isdir(folder) else []
    if not found:
        raise InputError(f"{folder}: neither a run folder of 'rpmd run' nor a folder of run folders")
    return found
