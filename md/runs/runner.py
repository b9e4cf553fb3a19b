"""One run: a simulation and its folder, with checkpoints, guards, and a final status in every case."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from md.dynamics.barostats import thermal_piston
from md.dynamics.clamped import Clamped
from md.dynamics.integrators import make_laws
from md.dynamics.ring_polymer import cell_of, thermal_ring_polymer
from md.files.checkpoint import Checkpoint, write_checkpoint
from md.files.layout import PROPERTIES
from md.files.properties import read_table
from md.guards.bonds import BondGuard, NoBonds
from md.guards.endings import Exit, SimulationError, Stopped, StopRequest
from md.guards.limits import Guard, Policy, degrees_of_freedom, limits_of
from md.observables.averages import Ensemble, means
from md.observables.estimators import Sample, columns
from md.observables.heat_capacity import with_scaled_energies
from md.potentials import Copies
from md.runs.bias import NoBias, bias_of
from md.runs.committee import check_agreement, disagreement
from md.runs.config import RunSettings
from md.runs.continuation import done_steps
from md.runs.identity import RUN
from md.runs.noise import Noise, noise_of
from md.runs.preparation import Prepared
from md.runs.progress import Progress
from md.runs.run_folder import RunFolder
from md.runs.verdict import verdict
from md.simulation import Motion, Point, frame_of, point_of, simulate
from mlcalc.common.errors import InputError, disk_message, say


@contextmanager
def attempt(record: RunFolder, progress: Progress, stop: StopRequest, guards: "Guards", atoms: Atoms) -> Iterator[dict]:
    """Context of a simulation: at its end, write status and log with the findings of its guards, and close the files.

    Yields a dict that will hold ``state`` (finished, interrupted or failed), ``error`` and the exit ``code``.
    """
    outcome: dict[str, Any] = {"state": "failed", "error": "stopped by an exception", "code": Exit.FAILED}
    try:
        yield outcome
        outcome.update(state="finished", error=None, code=Exit.FINISHED)
    except Stopped:
        outcome.update(state="interrupted", error=None, code=stop.code)
    except SimulationError as failure:
        outcome.update(error=str(failure), code=failure.code)
        if failure.frame is not None:
            record.add_breach(failure.frame, atoms, failure.code.name.lower())
    except CalculationFailed as error:  # at a record, beyond what the motion needs
        outcome.update(error=f"step {progress.step}: {error}", code=Exit.ENGINE)
    except OSError as error:
        outcome.update(error=disk_message(error), code=Exit.DISK)
    except InputError as error:  # files that were writable when the run began no longer are
        outcome.update(error=str(error), code=Exit.DISK)
    finally:
        progress.close()
        outcome["step"] = progress.step
        seen = guards.seen()
        record.set_status(force=True, **outcome, **seen)
        outcome["seen"] = seen
        ending = f"{outcome['state']} at step {progress.step}, {progress.ns_per_day:.2f} ns/day"
        record.log(ending + (f": {outcome['error']}" if outcome["error"] else ""))
        record.close()


class Saver:
    """Writes checkpoints of a run in the background: waiting for a disk takes as long as tens of steps.

    Args:
        record: Its RunFolder; identity: The entries that must match to resume it; every: Steps between checkpoints.
        generators: All its random generators.
    """

    def __init__(self, record: RunFolder, identity: dict, every: int, generators: list[np.random.Generator]):
        self._record, self._identity, self._every, self._generators = record, identity, every, generators
        self._last: tuple[str, int] | None = None
        self._writer = ThreadPoolExecutor(1)
        self._pending: Future | None = None

    def is_due(self, phase: str, step: int) -> bool:
        """Whether a checkpoint is due: at the first sample of a phase, then at intervals."""
        return self._last is None or self._last[0] != phase or step - self._last[1] >= self._every

    def save(self, phase: str, step: int, state: dict[str, np.ndarray]) -> None:
        """Begin to write a checkpoint; its arrays must not change from now on.

        Raises:
            OSError, InputError: The previous checkpoint could not be written.
        """
        self._wait()
        states = [generator.bit_generator.state for generator in self._generators]
        checkpoint = Checkpoint(phase, step, state, states, self._record.extent, self._identity)
        self._pending = self._writer.submit(self._write, checkpoint)
        self._last = phase, step

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind, *_) -> None:
        """Wait for the last checkpoint before files are closed; its error counts only if there is no other."""
        self._writer.shutdown()
        if kind in (None, Stopped):
            self._wait()

    def _write(self, checkpoint: Checkpoint) -> None:
        self._record.sync()  # the data that a checkpoint refers to reach the disk first
        write_checkpoint(self._record.folder, checkpoint)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


class Guards(NamedTuple):
    """The guards of a run: every force call, and the bonds at every record."""

    force_calls: Guard
    bonds: BondGuard | NoBonds

    def seen(self) -> dict:
        """Their findings, for status.json."""
        return self.force_calls.seen() | self.bonds.seen()

    def resume(self, earlier: dict) -> None:
        """Continue the counts of a status of the same run."""
        self.force_calls.resume(earlier)
        self.bonds.resume(earlier)


def make_guards(settings: RunSettings, prepared: Prepared, record: RunFolder, copies: Copies | None = None) -> Guards:
    """The guards of a run; their warnings are printed and logged.

    Args:
        copies: The potential of the simulation if several molecules move together.
    """

    def warn(message: str) -> None:
        say(f"rpmd: warning: {record.folder}: {message}")
        record.log(f"warning: {message}")
        record.set_status(force=True, **guards.seen())  # recorded even if the run is killed

    atoms, n_copies = prepared.atoms, copies.copies if copies else 1
    limits = limits_of(settings, prepared.moving, prepared.shortest, prepared.minimum)
    freedom = degrees_of_freedom(len(prepared.moving), settings)
    policy = Policy(settings.domain_guard, settings.energy_guard, warn)
    symbols = atoms.get_chemical_symbols()
    guard = Guard(limits, freedom, copies or prepared.potential, policy, prepared.indices, symbols)
    bonds: BondGuard | NoBonds = NoBonds()
    if prepared.watches_bonds:
        bonds = BondGuard(atoms, settings.bond_guard, Clamped.of(atoms).with_held, warn, n_copies)
    guards = Guards(guard, bonds)
    return guards


def run_one(
    settings: RunSettings, folder: Path, prepared: Prepared, stop: StopRequest, checkpoint: Checkpoint | None = None
) -> dict:
    """Perform a run that has begun, from its checkpoint if it has one.

    Returns:
        ``beads``, ``state``, ``error``, ``code``, ``step``, ``ns_per_day``, ``ensemble`` and ``series`` of the properties.
    """
    atoms, moving, n_beads = prepared.atoms, prepared.moving, settings.n_beads
    rng = np.random.default_rng(settings.seed)
    bias = bias_of(settings, prepared, checkpoint)
    motion = _begin(settings, prepared, rng)._replace(potential=bias.potential)
    noise = noise_of(motion, rng, checkpoint)
    motion = motion._replace(rng=noise.source)
    names = columns(
        settings.heat_capacity,
        settings.pressure,
        bool(atoms.pbc.any()),
        bool(settings.committee),
        settings.has_barostat,
        motion.dynamics.is_thermal,
        motion.dynamics.has_thermal_centroids,
    )
    record = RunFolder(folder, settings)
    record.note_changes()
    guards = make_guards(settings, prepared, record)
    if checkpoint is not None:
        guards.resume(record.earlier_status())
    record.open_tables(atoms, [*names, *bias.columns], checkpoint and checkpoint.extent)
    done = done_steps(settings, checkpoint)
    record.set_status(force=True, state="running", **facts(settings, prepared, RUN, done))
    where = f" from {checkpoint.phase}, step {checkpoint.step}" if checkpoint else ""
    record.log(f"started{where}: P = {n_beads}, {settings.steps} steps of {settings.timestep_fs} fs")
    progress, every = Progress(settings, record, step=done), settings.checkpoint_every_steps
    with (
        attempt(record, progress, stop, guards, atoms) as outcome,
        Saver(record, prepared.identity[n_beads], every, [rng]) as saver,
    ):
        samples = _samples(
            settings, motion, checkpoint, progress, saver, stop, bias.guard(guards.force_calls), bias, noise
        )
        try:
            for sample in samples:
                sample = bias.seen(sample)
                if sample.step % settings.properties_every_steps == 0:
                    sample = _evaluated(sample, settings, prepared)
                    record.add_properties(sample.step, sample.time_fs, sample.values(names) | bias.values(sample))
                    if settings.max_disagreement_eV_A:
                        check_agreement(sample, settings.max_disagreement_eV_A, prepared.indices)
                    guards.bonds(frame_of(sample))
                if sample.step % settings.trajectory_every_steps == 0:
                    record.add_frame(sample)
                bias.grow(sample, record)
        finally:
            noise.report(record)
    ensemble = Ensemble(n_beads, len(moving), settings.temperature_K)
    # Read back, not kept: the memory of a long run must not grow.
    series = {
        name: values for name, values in read_table(folder / PROPERTIES).items() if name not in ("step", "time_fs")
    }
    return outcome | {
        "beads": n_beads,
        "ns_per_day": progress.ns_per_day,
        "ensemble": ensemble,
        "series": series,
        "verdict": _verdict(series, ensemble, settings, moving.get_masses(), outcome["seen"] | noise.seen()),
    }


def _begin(settings: RunSettings, prepared: Prepared, rng: np.random.Generator) -> Motion:
    """The start of a run, with all beads at the same positions, and thermal momenta or centroids with those of the structure."""
    moving, dynamics = prepared.moving, prepared.dynamics[settings.n_beads]
    state = thermal_ring_polymer(
        moving.positions, moving.get_masses(), settings.n_beads, settings.temperature_K, rng,
        make_laws(dynamics, settings.n_beads).auxiliaries, cell_of(moving),
    )._replace(piston=thermal_piston(dynamics, settings.n_beads, len(moving), rng))  # fmt: skip
    if settings.momenta == "structure":
        state.momenta[:] += moving.get_momenta() - state.momenta.mean(axis=0)
    return Motion(state, prepared.potential, dynamics, rng)


def _verdict(series: dict, ensemble: Ensemble, settings: RunSettings, masses: np.ndarray, seen: dict) -> list[str]:
    n_records = len(next(iter(series.values())))
    return verdict(means(series, ensemble), n_records, ensemble, settings.thermostat, masses, seen)


def _evaluated(sample: Sample, settings: RunSettings, prepared: Prepared) -> Sample:
    """The sample with everything that the requested estimators need beyond energies and forces."""
    if settings.heat_capacity:
        sample = with_scaled_energies(sample, prepared.potential)
    if settings.pressure and sample.virials is None:
        sample = sample._replace(virials=prepared.potential.evaluate(*sample.ring_polymer.configuration)["virials"])
    if prepared.committee:
        sample = sample._replace(disagreement=disagreement(sample, prepared.committee))
    return sample


def _samples(
    settings: RunSettings, motion: Motion, checkpoint: Checkpoint | None, progress: Progress, saver: Saver,
    stop: StopRequest, guard: Callable, bias: NoBias, noise: Noise,
) -> Iterator[Sample]:  # fmt: skip
    """Equilibrate, then yield the samples of production; raises Stopped, after a checkpoint, if a stop is requested."""
    every = settings.sample_every_steps
    phases = {"equilibration": settings.equilibration_steps, "production": settings.steps}
    for phase, steps in phases.items():
        begin = None
        if checkpoint and checkpoint.phase == phase:
            begin = Point.of(checkpoint.state)
        elif checkpoint and checkpoint.phase == "production":
            continue
        for sample in simulate(*motion, steps, every, begin, guard):
            progress.show(sample.step - (settings.equilibration_steps if phase == "equilibration" else 0))
            if phase == "production":
                yield sample
            stopping = stop.made  # read once: a signal after the checkpoint takes effect at the next sample
            if stopping or sample.step + every > steps or saver.is_due(phase, sample.step):
                saver.save(phase, sample.step, point_of(sample).arrays() | bias.arrays() | noise.arrays())
            if stopping:
                raise Stopped


def facts(settings: RunSettings, prepared: Prepared, kind: str, step: int = 0) -> dict:
    """Provenance for status.json of a run at a step."""
    digests = prepared.identity[settings.n_beads]
    versions = {name: version(name) for name in ("mlcalc", "numpy", "numba", "ase")}
    source = (
        {"engine": digests["engine"]}
        if settings.engine
        else {"model": settings.model, "model_sha256": digests["model"]}
    )
    return {"kind": kind, "beads": settings.beads, "seed": settings.seed, "steps": settings.steps, **source,
            "versions": versions, "step": step, "error": None}  # fmt: skip
