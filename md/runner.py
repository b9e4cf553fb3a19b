"""From settings to run folders: checks everything first, then runs one number of beads after the other."""

import hashlib
import math
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    from md.potentials import single_threaded_blas
    from md.preparation import prepare
    from md.progress import summary
    from md.run_folder import check_writable

    output = Path(settings.output)
    counts = settings.bead_counts
    folders = [output] if isinstance(settings.beads, int) else [output / f"P{n_beads}" for n_beads in counts]
    for folder in folders:
        check_writable(folder, overwrite)
    prepared = prepare(settings)
    stop, results = StopRequest(), []
    with single_threaded_blas():
        for n_beads, folder in zip(counts, folders, strict=True):
            results.append((run_one or _run_one)(settings.for_beads(n_beads), folder, prepared, stop))
            if results[-1]["state"] != "finished":
                break
    print(summary(results))
    print("run folders: " + "  ".join(str(folder) for folder in folders[: len(results)]))
    if error := results[-1]["error"]:
        print(f"rpmd: error: {folders[len(results) - 1]}: {error}", file=sys.stderr)
        return _EXIT_FAILED, folders[: len(results)]
    return (128 + stop.signal if stop.signal else 0), folders[: len(results)]


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


def _run_one(settings, folder: Path, prepared, stop: StopRequest) -> dict:
    """One number of beads from start to end; returns beads, state, error, rate, and ensemble and series of the properties."""
    import numpy as np

    from md.averages import Ensemble
    from md.estimators import columns
    from md.integrators import make_laws
    from md.progress import Progress
    from md.ring_polymer import thermal_ring_polymer
    from md.run_folder import RunFolder

    atoms, dynamics = prepared.atoms, prepared.dynamics[settings.beads]
    rng = np.random.default_rng(settings.seed)
    state = thermal_ring_polymer(
        atoms.positions, atoms.get_masses(), settings.beads, settings.temperature_K, rng,
        make_laws(dynamics, settings.beads).auxiliaries,
    )  # fmt: skip
    names = columns(settings.heat_capacity, settings.pressure, bool(atoms.pbc.any()))
    record = RunFolder(folder, settings, atoms, prepared.model_path)
    record.open_tables(atoms, names)
    record.set_status(force=True, state="running", **facts(settings, prepared.model_path))
    record.log(f"started: P = {settings.beads}, {settings.steps} steps of {settings.timestep_fs} fs")
    progress = Progress(settings, record)
    series: list[list[float]] = []
    with attempt(record, progress, stop) as outcome:
        for sample in _samples(settings, state, prepared.potential, dynamics, rng, progress, stop):
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


def _samples(settings, state, potential, dynamics, rng, progress, stop: StopRequest):
    """Equilibrate, then yield the samples of production; raises Stopped when a stop is requested."""
    from md.simulation import simulate

    every = math.gcd(settings.properties_every_steps, settings.trajectory_every_steps)
    for sample in simulate(state, potential, dynamics, rng, settings.equilibration_steps, every):
        progress.show(sample.step - settings.equilibration_steps)
        stop.check()
    for sample in simulate(state, potential, dynamics, rng, settings.steps, every):
        progress.show(sample.step)
        yield sample
        stop.check()


def facts(settings, model_path: Path) -> dict:
    """Provenance for status.json."""
    from importlib.metadata import version

    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    versions = {name: version(name) for name in ("mlcalc", "numpy", "numba", "ase")}
    return {"beads": settings.beads, "seed": settings.seed, "steps": settings.steps, "model": settings.model,
            "model_sha256": digest, "versions": versions, "step": 0, "error": None}  # fmt: skip
