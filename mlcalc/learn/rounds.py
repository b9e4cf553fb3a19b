"""One round of learning: choose and label, train the committee, explore, label what training never saw, and measure."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from mlcalc.committee import force_disagreement
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.data.labelling import write_frames
from mlcalc.learn.calibration import calibrate
from mlcalc.learn.committee import choose, predict, train_committee
from mlcalc.learn.explore import at_equilibrium, collect, explore, findings, runs_of
from mlcalc.learn.fresh import draw, first_counts, kind_of, lacking
from mlcalc.learn.labels import count_labels, label_stage, read_frames
from mlcalc.learn.observables import observables
from mlcalc.learn.progress import Progress
from mlcalc.learn.refine import corrected_labels, networks_before
from mlcalc.learn.settings import LearnSettings
from mlcalc.learn.start import Start
from mlcalc.learn.starts import exploration_starts
from mlcalc.training.evaluation import Evaluation, evaluate

COLD, CHOSEN, FRESH, VISITED = "cold.xyz", "chosen.xyz", "fresh.xyz", "visited.xyz"
RECORD, PARITY = "round.json", "parity.png"


class Work(NamedTuple):
    """What all stages share."""

    settings: LearnSettings
    folder: Path
    start: Start
    progress: Progress

    def round_folder(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / f"round-{number}"

    def label(self, path: Path) -> Path:
        """Label the structures of a stage; see labels.label_stage."""
        limit = self.settings.max_label_force_eV_A
        return label_stage(path, self.settings.engine, self.settings.jobs, limit, self.start.atoms)


def data_of(work: Work, number: int) -> list[Path]:
    """The files that the committee of a round is trained on: cold labels, and those of earlier rounds and for this one."""
    files = [
        work.folder / COLD,
        *(work.round_folder(k) / name for k in range(1, number + 1) for name in (CHOSEN, FRESH)),
    ]
    labelled = [path.with_suffix(".labels.xyz") for path in files if path != work.round_folder(number) / FRESH]
    return [path for path in labelled if path.is_file() and path.stat().st_size]


def models_of(work: Work, number: int) -> list[Path]:
    """The model files of a round; the first one moves the atoms."""
    return [work.round_folder(number) / f"model-{k}.safetensors" for k in range(1, work.settings.members + 1)]


def read_record(work: Work, number: int) -> dict | None:
    """The record of a finished round."""
    path = work.round_folder(number) / RECORD
    return from_json(path.read_bytes()) if path.is_file() else None


def make_round(work: Work, number: int) -> dict:
    """Make a round, or what is left of it, and return its record, as round.json holds it.

    Raises:
        InputError: A command failed, or the engine labelled nothing.
    """
    if (record := read_record(work, number)) is not None:
        return record
    work = work._replace(settings=work.settings.of_round(number))
    folder, times = work.round_folder(number), _Times(work.round_folder(number))
    make_folder(folder)
    before = networks_before(work.settings, work.folder) if number == 1 else models_of(work, number - 1)
    if number > 1:
        with times.of("labels"):
            _label_chosen(work, number)
    work.progress.say(f"round {number}: training {work.settings.members} networks", labels=count_labels(work.folder))
    with times.of("training"):
        models = train_committee(work.settings, folder, number, _data(work, number), before)
    work.progress.say(f"round {number}: ring polymers at {_listed(work.settings)}")
    with times.of("exploration"):
        visited = _explored(work, number, models)
    fresh = _fresh(work, number, visited)
    work.progress.say(f"round {number}: labelling {len(fresh)} fresh structures")
    with times.of("labels"):
        record = _measured(work, number, models, visited, bool(fresh))
    record |= {"seconds": times.read()}
    write_atomically(folder / RECORD, to_json(record, indent=1).encode())
    return read_record(work, number)


def _data(work: Work, number: int) -> list[Path]:
    """The files of data_of, and in a refinement the corrected labels of the cheap level, where there are any."""
    files = data_of(work, number)
    if work.settings.refines is None:
        return files
    corrected = corrected_labels(work.settings, work.folder, files[0])
    return [*files, corrected] if corrected.stat().st_size else files


def _listed(settings: LearnSettings) -> str:
    return " and ".join(f"{T:g} K" for T in settings.temperatures)


class _Times:
    """Seconds by kind of work, in a file, so that they outlive a kill."""

    def __init__(self, folder: Path):
        self._path = folder / "seconds.json"

    def read(self) -> dict[str, float]:
        return from_json(self._path.read_bytes()) if self._path.is_file() else {}

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        known = self.read()
        known[kind] = known.get(kind, 0.0) + time.monotonic() - began
        write_atomically(self._path, json.dumps(known).encode())


def _label_chosen(work: Work, number: int) -> None:
    """Of what the last round visited, label the structures that its committee knows least."""
    path, last = work.round_folder(number) / CHOSEN, work.round_folder(number - 1)
    if not path.is_file():
        visited = read_frames(last / VISITED)
        taken = {atoms.info["visited"] for atoms in read_frames(last / FRESH)}
        left = [atoms for k, atoms in enumerate(visited) if k not in taken]
        factor = read_record(work, number - 1)["calibration"]["factor"]
        sigma = force_disagreement(predict(models_of(work, number - 1), left)[1]) if left else np.zeros((0, 1))
        coming = work.settings.rounds - number
        most = min(work.settings.chosen_labels, _left(work, coming + 1, coming))
        indices = choose(left, factor * sigma.max(axis=1), max(0, most))
        write_frames([left[k] for k in indices], path)
    work.progress.say(f"round {number}: labelling structures on which the committee disagreed")
    if path.stat().st_size:
        work.label(path)


def _explored(work: Work, number: int, models: list[Path]) -> list[Atoms]:
    """Visited structures, all those of the explorations of a round."""
    folder, settings = work.round_folder(number), work.settings
    if not (folder / VISITED).is_file():
        last = read_record(work, number - 1) if number > 1 else None
        factor = last["calibration"]["factor"] if last else 1.0
        limit = settings.stop_error_eV_A / max(factor, 1e-3)
        seed = 1000 * settings.seed + 100 * number
        starts = exploration_starts(settings, work.start, models[0], data_of(work, 0)[0], seed)
        explore(settings, folder, [model.name for model in models], starts, limit, seed)
        write_frames(collect(settings, folder, seed), folder / VISITED)
    return read_frames(folder / VISITED)


def _fresh(work: Work, number: int, visited: list[Atoms]) -> list[Atoms]:
    """The fresh structures of a round so far, drawn now if there are none."""
    path = work.round_folder(number) / FRESH
    if not path.is_file():
        rng = np.random.default_rng([work.settings.seed, number])
        write_frames(draw(work.settings, visited, first_counts(work.settings), (), rng), path)
    return read_frames(path)


def _more_fresh(work: Work, number: int, visited: list[Atoms], errors: list[dict]) -> bool:
    """Add fresh structures of the kinds whose error is too uncertain for a verdict; whether there are any to be labelled now.

    They may take the labels that the next round would choose itself: that round learns them too.
    """
    settings, path = work.settings, work.round_folder(number) / FRESH
    counts = lacking(settings, errors, _left(work, settings.rounds - number, max(0, settings.rounds - number - 1)))
    frames = read_frames(path)
    rng = np.random.default_rng([settings.seed, number, len(frames)])
    more = draw(settings, visited, counts, {atoms.info["visited"] for atoms in frames}, rng)
    if more:
        path.with_suffix(".labels.xyz").unlink(missing_ok=True)  # of fewer structures
        write_frames([*frames, *more], path)
        work.progress.say(f"round {number}: labelling {len(more)} more, for a standard error of a third of the target")
    return bool(more)


def _left(work: Work, fresh_rounds: int, chosen_rounds: int) -> int:
    """Labels of the budget that are not spent, and not set aside for so many rounds to come."""
    settings = work.settings
    aside = settings.spot_check + fresh_rounds * settings.fresh_labels + chosen_rounds * settings.chosen_labels
    return settings.labels - count_labels(work.folder) - aside


def _measured(work: Work, number: int, models: list[Path], visited: list[Atoms], has_fresh: bool) -> dict:
    """The record of a round: errors on fresh labels, their calibration, what guards found, observables."""
    folder, settings = work.round_folder(number), work.settings
    record: dict = {
        "round": number, "errors": [], "calibration": {"factor": 1.0}, "failed": 0,
        "runs": [findings(run) for run in runs_of(settings, folder)], "observables": {},
    }  # fmt: skip
    labelled: list[Atoms] = []
    while has_fresh:
        work.label(folder / FRESH)
        measured = (folder / FRESH).with_suffix(".all.xyz")
        labelled = read_frames(measured)
        record["failed"] = len(read_frames(folder / FRESH)) - len(labelled)
        if labelled:
            record["errors"] = _errors(evaluate(models[0], measured, ("beads",), folder / PARITY), labelled)
        has_fresh = bool(labelled) and _more_fresh(work, number, visited, record["errors"])
    if labelled:
        forces = predict(models, labelled)[1]
        reference = np.array([atoms.get_forces(apply_constraint=False) for atoms in labelled])
        wrong = np.linalg.norm(forces[0] - reference, axis=2)
        record["calibration"] = calibrate(force_disagreement(forces), wrong)._asdict()
        quantum = [k for k in at_equilibrium(settings, visited) if visited[k].info["beads"] == settings.beads]
        if frames := [visited[k] for k in quantum]:
            record["observables"] = observables(frames, predict(models[:1], frames)[0][0], work.start.atoms)
    return record | {"labels": count_labels(work.folder)}


def _errors(evaluation: Evaluation, labelled: list[Atoms]) -> list[dict]:
    """Errors by number of beads, meV/Å and meV; a single group has no name of its own."""
    only = kind_of(labelled[0].info["beads"])
    return [
        {
            "kind": group.name if evaluation.groups else only, "frames": group.frames, "mae": 1e3 * group.force_mae_eV_per_A,
            "mae_error": 1e3 * group.force_mae_error_eV_per_A, "rmse": 1e3 * group.force_rmse_eV_per_A,
            "energy_mae_meV_per_atom": group.energy_mae_meV_per_atom,
        }
        for group in evaluation.groups or [evaluation.total]
    ]  # fmt: skip
