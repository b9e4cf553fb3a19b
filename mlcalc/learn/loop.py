"""Learning from beginning to end, in a folder that holds every finished stage: the same command resumes it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder
from mlcalc.common.locks import LOCK, alone
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.labelling import read_structures, write_frames
from mlcalc.data.workers import discard
from mlcalc.learn.cold import cold_structures
from mlcalc.learn.convergence import unmet
from mlcalc.learn.labels import count_labels, quarantined, read_frames
from mlcalc.learn.progress import Progress
from mlcalc.learn.refine import BEFORE, inherited, read_earlier, take_over
from mlcalc.learn.result import bounds_of, read_result, write_result
from mlcalc.learn.rounds import COLD, Work, make_round, read_record
from mlcalc.learn.settings import (
    BEGUN,
    PLAN_FILE,
    RESULT,
    STRUCTURE,
    LearnSettings,
    changed_plan,
    read_plan,
    write_plan,
)
from mlcalc.learn.start import (
    MINIMUM,
    MODES,
    completed,
    describe,
    engine_at_work,
    find_start,
    read_molecule,
    read_start,
    with_budget,
)
from mlcalc.structures.electronic_state import electronic_state


def learn(source: Path, values: dict[str, Any], folder: Path, command: str) -> dict:
    """Learn a structure, or resume its learning, and return the result: see result.write_result.

    Args:
        source: A structure, or a TOML of LearnSettings.
        values: Keys that replace those of the TOML; what nothing sets is chosen from the molecule.
        folder: Where everything is written; created if it is missing.
        command: With which the user started this, for the model card.

    Raises:
        InputError: Unusable input; a folder of something else, or begun with other settings. Nothing is computed then.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder}: not a folder; choose another --output")
    if (folder / PLAN_FILE).is_file() and (folder / BEGUN).is_file():
        settings = _resumed(source, values, folder)
        with alone(folder, "mlcalc learn"):
            write_plan(settings, folder, command)
            return _finish(settings, folder)
    given = _given(source, values)
    known = {STRUCTURE, BEGUN, MINIMUM, MODES, LOCK, BEFORE, COLD} | (
        {PLAN_FILE} if source == folder / PLAN_FILE else set()
    )
    if folder.is_dir() and {path.name for path in folder.iterdir()} - known and source.parent != folder:
        raise InputError(f"{folder}: exists already and was not made by 'mlcalc learn'; choose another --output")
    atoms, calculator, seconds = read_molecule(given)
    given = with_budget(given, atoms, seconds)
    earlier = read_earlier(given)
    make_folder(folder)
    (folder / BEGUN).unlink(missing_ok=True)  # of a command that was stopped before it had a plan
    with alone(folder, "mlcalc learn"):
        try:
            print("relaxing the structure, and its vibrations", flush=True)
            start = find_start(given, atoms, calculator, seconds, folder)
        finally:
            discard(calculator)
        settings = completed(given, start)
        write_frames([atoms], folder / STRUCTURE)
        if earlier is not None:
            take_over(earlier, folder, folder / COLD)
        write_plan(settings, folder, command)
        return _finish(settings, folder)


def _given(source: Path, values: dict[str, Any]) -> LearnSettings:
    """The settings of a new folder."""
    if source.suffix == ".toml":
        return read_plan(source, values)
    if "engine" not in values:
        raise InputError("--engine is missing: expected a level of theory such as tblite:GFN2-xTB")
    if "refines" in values:
        if "labels" not in values:
            raise InputError(f"--labels is missing: expected the number of calculations with {values['engine']}")
        values = inherited(Path(values["refines"])) | values
    return build_settings(LearnSettings, {"structure": str(source)} | values, source)


def _resumed(source: Path, values: dict[str, Any], folder: Path) -> LearnSettings:
    """The settings of a folder in which learning has begun; InputError if the new command asks for something else."""
    if source.suffix == ".toml" and source.resolve() != (folder / PLAN_FILE).resolve():
        plan = read_toml(source)
        source, refines = source.parent / str(plan.pop("structure", "")), plan.pop("refines", None)
        values = plan | ({} if refines is None else {"refines": str(source.parent / str(refines))}) | values
    if source.suffix != ".toml":
        ours, theirs = (read_structures(path, "learning")[0] for path in (folder / STRUCTURE, source))
        if not _same(ours, theirs):
            raise InputError(f"{folder}: learning began with another structure than {source}; choose another --output")
    return changed_plan(folder, values)


def _same(one: Atoms, other: Atoms) -> bool:
    """Whether two structures are equal to the digits of a file: atoms, masses, positions, cell, charge and multiplicity."""
    if one.numbers.tolist() != other.numbers.tolist() or electronic_state(one) != electronic_state(other):
        return False
    arrays = ((atoms.get_masses(), atoms.positions, atoms.cell.array, atoms.pbc) for atoms in (one, other))
    return all(np.allclose(ours, theirs, rtol=0.0, atol=1e-6) for ours, theirs in zip(*arrays, strict=True))


def _finish(settings: LearnSettings, folder: Path) -> dict:
    start = read_start(folder)
    print(describe(settings, start), flush=True)
    result = read_result(folder)
    if result is not None and result["bounds"] == bounds_of(settings):
        return result
    (folder / RESULT).unlink(missing_ok=True)
    work = Work(settings, folder, start, Progress(folder))
    _cold(work)
    records, reasons = _rounds(work)
    return write_result(work, records, reasons)


def _cold(work: Work) -> None:
    path, settings = work.folder / COLD, work.settings
    if not path.is_file():
        work.progress.say("structures of the cold start")
        calculator = make_calculator(settings.engine)
        try:
            set_state(settings.engine, calculator, work.start.atoms)
            with engine_at_work(calculator, f"{settings.engine} failed in the dynamics of the cold start"):
                structures = cold_structures(settings, work.start, calculator)
            write_frames(structures, path)
        finally:
            discard(calculator)
    work.progress.say(f"labelling {len(read_frames(path))} structures of the cold start")
    if not work.label(path).stat().st_size:
        reason = next(iter(quarantined(work.folder)), "no reason given")
        raise InputError(f"{path}: {settings.engine} gave no label that could be learnt: {reason}")


def _rounds(work: Work) -> tuple[list[dict], list[str]]:
    """Make rounds until learning has converged or a budget is spent; returns their records, and why it has not converged."""
    settings = work.settings
    records: list[dict] = []
    reasons: list[str] = []
    for number in range(1, settings.rounds + 1):
        if records and read_record(work, number) is None:
            needed = sum(records[-1]["seconds"].values())
            if work.progress.seconds + needed > 3600 * settings.hours:
                return records, [
                    *reasons,
                    f"another round of about {needed / 60:.0f} min would exceed hours = {settings.hours:g}",
                ]
        records.append(make_round(work, number))
        if number < settings.rounds and read_record(work, number + 1) is not None:
            continue  # of an earlier command with other bounds
        reasons = unmet(settings, records)
        _report(work, records)
        if not reasons:
            return records, []
    return records, [*reasons, f"all {settings.rounds} rounds are made ({count_labels(work.folder)} labels)"]


def _report(work: Work, records: list[dict]) -> None:
    """The line at the end of a round: error now, and the time that is left at most."""
    last, settings = records[-1], work.settings
    shown = (
        ", ".join(f"{g['mae']:.1f} ± {g['mae_error'] or 0.0:.1f} ({g['kind']})" for g in last["errors"]) or "unknown"
    )
    seconds = (settings.rounds - last["round"]) * sum(last["seconds"].values())
    left = min(seconds, max(0.0, 3600 * settings.hours - work.progress.seconds))
    work.progress.say(
        f"round {last['round']} of at most {settings.rounds}: {last['labels']} of at most {settings.labels} labels, error "
        f"{shown} meV/Å, at most {left / 60:.0f} min left",
        labels=last["labels"], seconds_left=left,
    )  # fmt: skip
