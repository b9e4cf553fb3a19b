"""From settings to run folders: checks everything first, then runs one number of beads after the other."""

import hashlib
import math
import signal
import sys
from pathlib import Path

_EXIT_FAILED = 1


def run(settings, overwrite: bool = False) -> tuple[int, list[Path]]:
    """Run every requested number of beads; returns the exit code and the run folders.

    The exit code is 0 when all runs finished, 1 when a simulation failed, 128 + signal after SIGINT or SIGTERM (the
    folder then holds everything up to that step).

    Args:
        settings: RunSettings.
        overwrite: Replace older runs in the output folder.

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
            results.append(_run_one(settings.for_beads(n_beads), folder, prepared, stop))
            if results[-1]["state"] != "finished":
                break
    print(summary(results))
    print("run folders: " + "  ".join(str(folder) for folder in folders[: len(results)]))
    if error := results[-1]["error"]:
        print(f"rpmd: error: {folders[len(results) - 1]}: {error}", file=sys.stderr)
        return _EXIT_FAILED, folders[: len(results)]
    return (128 + stop.signal if stop.signal else 0), folders[: len(results)]


class StopRequest:
    """SIGINT and SIGTERM ask the loop to finish its chunk; a second one aborts at once."""

    def __init__(self):
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number, frame):
        if self.signal:
            raise KeyboardInterrupt
        self.signal = int(number)


def _run_one(settings, folder: Path, prepared, stop: StopRequest) -> dict:
    """One number of beads from start to end; returns ensemble, state, error, rate and the series of properties."""
    import numpy as np

    from md.averages import Ensemble
    from md.estimators import columns
    from md.integrators import make_laws
    from md.progress import Progress
    from md.ring_polymer import thermal_ring_polymer
    from md.run_folder import RunFolder
    from md.simulation import SimulationError

    atoms, dynamics = prepared.atoms, prepared.dynamics[settings.beads]
    rng = np.random.default_rng(settings.seed)
    state = thermal_ring_polymer(
        atoms.positions, atoms.get_masses(), settings.beads, settings.temperature_K, rng,
        make_laws(dynamics, settings.beads).auxiliaries,
    )  # fmt: skip
    names = columns(settings.heat_capacity, settings.pressure, bool(atoms.pbc.any()))
    record = RunFolder(folder, settings, atoms, prepared.model_path, names)
    record.set_status(force=True, state="running", **facts(settings, prepared.model_path))
    record.log(f"started: P = {settings.beads}, {settings.steps} steps of {settings.timestep_fs} fs")
    progress = Progress(settings, record)
    series: list[list[float]] = []
    outcome, error = "failed", "stopped by an exception"
    try:
        for sample in _samples(settings, state, prepared.potential, dynamics, rng, progress, stop):
            if sample.step % settings.properties_every_steps == 0:
                values = _evaluated(sample, settings, prepared).values(names)
                record.add_properties(sample.step, sample.time_fs, values)
                series.append(list(values.values()))
            if sample.step % settings.trajectory_every_steps == 0:
                record.add_frame(sample)
        outcome, error = "interrupted" if stop.signal else "finished", None
    except SimulationError as failure:
        error = str(failure)
    finally:
        progress.close()
        record.set_status(force=True, state=outcome, error=error, step=progress.step)
        record.log(
            f"{outcome} at step {progress.step}, {progress.ns_per_day:.2f} ns/day" + (f": {error}" if error else "")
        )
        record.close()
    return {
        "ensemble": Ensemble(settings.beads, len(atoms), settings.temperature_K),
        "state": outcome,
        "error": error,
        "ns_per_day": progress.ns_per_day,
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
    """Equilibrate, then yield the samples of production; ends early when a stop is requested."""
    from md.simulation import simulate

    every = math.gcd(settings.properties_every_steps, settings.trajectory_every_steps)
    for sample in simulate(state, potential, dynamics, rng, settings.equilibration_steps, every):
        progress.show(sample.step - settings.equilibration_steps)
        if stop.signal:
            return
    for sample in simulate(state, potential, dynamics, rng, settings.steps, every):
        progress.show(sample.step)
        yield sample
        if stop.signal:
            return


def facts(settings, model_path: Path) -> dict:
    """Provenance for status.json."""
    from importlib.metadata import version

    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    versions = {name: version(name) for name in ("mlcalc", "numpy", "numba", "ase")}
    return {"beads": settings.beads, "seed": settings.seed, "steps": settings.steps, "model": settings.model,
            "model_sha256": digest, "versions": versions, "step": 0, "error": None}  # fmt: skip
