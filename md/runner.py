"""From settings to run folders: checks everything first, then runs one number of beads after the other."""

import hashlib
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcalc.errors import InputError

_EXIT_FAILED = 1


def run(settings, overwrite: bool = False, run_one: Callable | None = None) -> tuple[int, list[Path]]:
    """Run every requested number of beads; returns the exit code and the run folders.

    The exit code is 0 when all runs finished, 1 when a simulation failed, 128 + signal after SIGINT or SIGTERM (the
    folder then holds everything up to that step).

    Args:
        settings: RunSettings.
        overwrite: Replace older runs in the output folder.
        run_one: What makes the run of one number of beads, as _run_one does (real_time.run_ensemble is another).

    Raises:
        InputError: Structure, model and output are checked before anything is written.
    """
    from md.preparation import prepare
    from md.run_folder import check_writable

    output = Path(settings.output)
    counts = settings.bead_counts
    folders = [output] if isinstance(settings.beads, int) else [output / f"P{n_beads}" for n_beads in counts]
    for folder in folders:
        check_writable(folder, overwrite)
    prepared, make = prepare(settings), run_one or _run_one
    return _in_turn(
        [(folder, settings.for_beads(n), prepared, None) for n, folder in zip(counts, folders, strict=True)], make
    )


def _in_turn(runs: list[tuple], make: Callable) -> tuple[int, list[Path]]:
    """Make runs one after the other until one does not finish; prints their summary, returns what run returns.

    Args:
        runs: Folder, settings, prepared and checkpoint (or None) of each.
    """
    from md.potentials import single_threaded_blas
    from md.progress import summary

    stop, results = StopRequest(), []
    with single_threaded_blas():
        for folder, settings, prepared, checkpoint in runs:
            results.append(make(settings, folder, prepared, stop, checkpoint))
            if results[-1]["state"] != "finished":
                break
    folders = [folder for folder, *_ in runs[: len(results)]]
    print(summary(results))
    print("run folders: " + "  ".join(map(str, folders)))
    if error := results[-1]["error"]:
        print(f"rpmd: error: {folders[-1]}: {error}", file=sys.stderr)
        return _EXIT_FAILED, folders
    return (128 + stop.signal if stop.signal else 0), folders


class Stopped(Exception):
    """The user asked the run to stop."""


class StopRequest:
    """SIGINT and SIGTERM ask the loop to finish its chunk; a second one aborts at once."""

    def __init__(self):
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self.signal:
            raise Stopped

    def _note(self, number, frame):
        if self.signal:
            raise KeyboardInterrupt
        self.signal = int(number)


@contextmanager
def attempt(record, progress, stop: StopRequest) -> Iterator[dict]:
    """Around a simulation: whatever ends it, status and log say so and the files are closed.

    Yields a dict that will hold ``state`` (finished, interrupted or failed) and ``error``.
    """
    from md.simulation import SimulationError

    outcome = {"state": "failed", "error": "stopped by an exception"}
    try:
        yield outcome
        outcome.update(state="finished", error=None)
    except Stopped:
        outcome.update(state="interrupted", error=None)
    except SimulationError as failure:
        outcome["error"] = str(failure)
    finally:
        progress.close()
        record.set_status(force=True, **outcome, step=progress.step)
        ending = f"{outcome['state']} at step {progress.step}, {progress.ns_per_day:.2f} ns/day"
        record.log(ending + (f": {outcome['error']}" if outcome["error"] else ""))
        record.close()


def resume(folder: Path, steps: int | None) -> tuple[int, list[Path]]:
    """Go on with a run, or with all runs in the sub-folders of a folder, from their checkpoints; results as those of run.

    Args:
        steps: Time steps of production in all; None for those of the run's input.

    Raises:
        InputError: No run, no checkpoint that is whole, or an input that was changed since.
    """
    from md.checkpoint import read_checkpoint
    from md.preparation import prepare

    runs = []
    for path in _runs_in(folder):
        settings = _own_settings(path, steps)
        checkpoint, warning = read_checkpoint(path)
        _check_same_physics(path, checkpoint.physics, physics_of(settings))
        if warning:
            print(f"rpmd: warning: {warning}", file=sys.stderr)
        runs.append((path, settings, prepare(settings), checkpoint))
    return _in_turn(runs, _run_one)


def _runs_in(folder: Path) -> list[Path]:
    from md.run_folder import is_run_folder

    if is_run_folder(folder):
        return [folder]
    found = sorted(path for path in folder.glob("*") if is_run_folder(path))
    if not found:
        raise InputError(f"{folder}: not a run folder of 'rpmd run', nor a folder of such")
    return found


def _own_settings(folder: Path, steps: int | None):
    """The settings of a run, with the copies of structure, model and matrices that its folder holds."""
    from dataclasses import replace

    from md.config import read_settings
    from md.run_folder import GLE, INPUT, MODEL, STRUCTURE

    settings = read_settings(folder / INPUT, {} if steps is None else {"steps": steps})
    own = {"structure": str(folder / STRUCTURE), "model": str(folder / MODEL)}
    return replace(settings, **own, gle_file=str(folder / GLE) if settings.gle_file else "")


def physics_of(settings) -> dict:
    """What a continued run must share with its checkpoint: all keys but its length, its place and threads; hashes of its files."""
    from dataclasses import asdict

    from md.potentials import find_model

    facts = asdict(settings)
    files = {"model": find_model(settings.model), "gle_file": settings.gle_file}
    for key in ("output", "steps", "threads", "structure", *files):
        del facts[key]
    return facts | {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in files.items() if path}


def _check_same_physics(folder: Path, then: dict, now: dict) -> None:
    differences = [f"{key} = {now.get(key)!r}, was {then.get(key)!r}" for key in now if now.get(key) != then.get(key)]
    if differences:
        raise InputError(
            f"{folder}: its input was changed since the checkpoint: {'; '.join(differences)}; start a run of its own"
        )


class _Saver:
    """Writes checkpoints of a run in time."""

    def __init__(self, record, settings, rng):
        self._record, self._settings, self._rng = record, settings, rng
        self._physics, self._last = physics_of(settings), None

    def __call__(self, phase: str, sample, now: bool) -> None:
        """Write one if it is due, or ``now``."""
        from md.checkpoint import Checkpoint, write_checkpoint
        from md.simulation import point_of

        due = self._last is None or self._last[0] != phase
        due = due or sample.step - self._last[1] >= self._settings.checkpoint_every_steps
        if due or now:
            state = self._rng.bit_generator.state
            checkpoint = Checkpoint(phase, point_of(sample), state, *self._record.extent, self._physics)
            write_checkpoint(self._record.folder, checkpoint)
            self._last = phase, sample.step


def _run_one(settings, folder: Path, prepared, stop: StopRequest, checkpoint=None) -> dict:
    """One number of beads to its end; returns beads, state, error, rate, and ensemble and series of the properties."""
    import numpy as np

    from md.averages import Ensemble
    from md.estimators import columns
    from md.integrators import make_laws
    from md.progress import Progress
    from md.ring_polymer import thermal_ring_polymer
    from md.run_folder import RunFolder, read_properties

    atoms, dynamics = prepared.atoms, prepared.dynamics[settings.beads]
    rng = np.random.default_rng(settings.seed)
    state = thermal_ring_polymer(
        atoms.positions, atoms.get_masses(), settings.beads, settings.temperature_K, rng,
        make_laws(dynamics, settings.beads).auxiliaries,
    )  # fmt: skip
    names = columns(settings.heat_capacity, settings.pressure, bool(atoms.pbc.any()))
    record = RunFolder(folder, settings)
    if checkpoint is None:
        record.begin(atoms, prepared.model_path)
    else:
        record.extend(settings.steps)
        rng.bit_generator.state = checkpoint.generator
    record.open_tables(atoms, names, checkpoint)
    record.set_status(force=True, state="running", **facts(settings, prepared.model_path))
    where = f" from {checkpoint.phase}, step {checkpoint.point.step}" if checkpoint else ""
    record.log(f"started{where}: P = {settings.beads}, {settings.steps} steps of {settings.timestep_fs} fs")
    progress = Progress(settings, record)
    series = [] if checkpoint is None else read_properties(folder, names).tolist()
    with attempt(record, progress, stop) as outcome:
        save = _Saver(record, settings, rng)
        for sample in _samples(settings, state, prepared.potential, dynamics, rng, checkpoint, progress, save, stop):
            if sample.step % settings.properties_every_steps == 0:
                values = _evaluated(sample, settings, prepared).values(names)
                record.add_properties(sample.step, sample.time_fs, values)
                series.append(list(values.values()))
            if sample.step % settings.trajectory_every_steps == 0:
                record.add_frame(sample)
    return outcome | {
        "beads": settings.beads,
        "ns_per_day": progress.ns_per_day,
        "ensemble": Ensemble(settings.beads, len(atoms), settings.temperature_K),
        "series": dict(zip(names, np.array(series).reshape(-1, len(names)).T, strict=True)),
    }


def _evaluated(sample, settings, prepared):
    """The sample with what the requested estimators need beyond energies and forces."""
    from md.heat_capacity import with_scaled_energies

    if settings.heat_capacity:
        sample = with_scaled_energies(sample, prepared.potential)
    if settings.pressure:
        virials = prepared.potential.evaluate(sample.ring_polymer.positions)["virials"]
        sample = sample._replace(virials=virials, volume=prepared.atoms.get_volume())
    return sample


def _samples(settings, state, potential, dynamics, rng, checkpoint, progress, save, stop: StopRequest):
    """Equilibrate, then yield the samples of production; raises Stopped, after a checkpoint, when a stop is requested."""
    from md.simulation import simulate

    every = math.gcd(settings.properties_every_steps, settings.trajectory_every_steps)
    phases = {"equilibration": settings.equilibration_steps, "production": settings.steps}
    for phase, steps in phases.items():
        begin = checkpoint.point if checkpoint and checkpoint.phase == phase else None
        if checkpoint and checkpoint.phase == "production" and phase == "equilibration":
            continue
        for sample in simulate(state, potential, dynamics, rng, steps, every, begin):
            progress.show(sample.step - (settings.equilibration_steps if phase == "equilibration" else 0))
            if phase == "production":
                yield sample
            stopping = bool(stop.signal)  # looked at once: a signal that comes after the checkpoint waits for the next
            save(phase, sample, stopping or sample.step + every > steps)
            if stopping:
                raise Stopped


def facts(settings, model_path: Path) -> dict:
    """Provenance for status.json."""
    from importlib.metadata import version

    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    versions = {name: version(name) for name in ("mlcalc", "numpy", "numba", "ase")}
    return {"beads": settings.beads, "seed": settings.seed, "steps": settings.steps, "model": settings.model,
            "model_sha256": digest, "versions": versions, "step": 0, "error": None}  # fmt: skip
