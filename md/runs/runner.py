"""One run: a simulation and the folder that it is written to, with checkpoints, guards and an ending that is always said."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from md.dynamics.clamped import Clamped
from md.dynamics.integrators import make_laws
from md.dynamics.ring_polymer import thermal_ring_polymer
from md.files.checkpoint import Checkpoint, write_checkpoint
from md.files.properties import read_table
from md.guards.bonds import BondGuard
from md.guards.endings import Exit, Frame, SimulationError, Stopped, StopRequest
from md.guards.limits import Guard, Policy, degrees_of_freedom, limits_of
from md.observables.averages import Ensemble, means
from md.observables.estimators import columns
from md.observables.heat_capacity import with_scaled_energies
from md.runs.committee import check_agreement, disagreement
from md.runs.continuation import done_steps
from md.runs.identity import RUN, physics_of
from md.runs.progress import Progress
from md.runs.run_folder import PROPERTIES, RunFolder
from md.runs.verdict import verdict
from md.simulation import Point, point_of, simulate
from mlcalc.common.errors import InputError, disk_message, say


@contextmanager
def attempt(record: RunFolder, progress: Progress, stop: StopRequest, guards: Sequence, atoms) -> Iterator[dict]:
    """Around a simulation: whatever ends it, status and log say so, and what its guards have seen, and the files are closed.

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
    except OSError as error:
        outcome.update(error=disk_message(error), code=Exit.DISK)
    except InputError as error:  # what could be written when the run began cannot be any more
        outcome.update(error=str(error), code=Exit.DISK)
    finally:
        progress.close()
        outcome["step"] = progress.step
        seen = seen_by(guards)
        record.set_status(force=True, **outcome, **seen)
        outcome["seen"] = seen
        ending = f"{outcome['state']} at step {progress.step}, {progress.ns_per_day:.2f} ns/day"
        record.log(ending + (f": {outcome['error']}" if outcome["error"] else ""))
        record.close()


class Saver:
    """Writes checkpoints of a run, in the background: to wait for a disk takes as long as tens of steps.

    Args:
        record: Its RunFolder; settings: Its RunSettings; kind: physics.RUN or physics.REAL_TIME.
        generators: All that it draws random numbers from.
    """

    def __init__(self, record: RunFolder, settings, kind: str, generators: list[np.random.Generator]):
        self._record, self._generators, self._physics = record, generators, physics_of(settings, kind)
        self._every = settings.checkpoint_every_steps
        self._last: tuple[str, int] | None = None
        self._writer = ThreadPoolExecutor(1)
        self._pending: Future | None = None

    def is_due(self, phase: str, step: int) -> bool:
        """Whether it is time: at the first sample of a phase, then at intervals."""
        return self._last is None or self._last[0] != phase or step - self._last[1] >= self._every

    def save(self, phase: str, step: int, state: dict[str, np.ndarray]) -> None:
        """Begin to write a checkpoint; its arrays must be left alone from now on.

        Raises:
            OSError, InputError: The checkpoint before this one could not be written.
        """
        self._wait()
        states = [generator.bit_generator.state for generator in self._generators]
        checkpoint = Checkpoint(phase, step, state, states, self._record.extent, self._physics)
        self._pending = self._writer.submit(self._write, checkpoint)
        self._last = phase, step

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind, *_) -> None:
        """Wait for the last checkpoint, so that no file is closed under it; its error matters where nothing worse has happened."""
        self._writer.shutdown()
        if kind in (None, Stopped):
            self._wait()

    def _write(self, checkpoint: Checkpoint) -> None:
        self._record.sync()  # what a checkpoint counts on is on disk before it
        write_checkpoint(self._record.folder, checkpoint)

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()


def make_guards(settings, prepared, record: RunFolder, potential, resumed: bool = False) -> tuple[Guard, Callable]:
    """The guards of a run, of every force call and of bonds; what they warn of is printed and logged.

    Args:
        potential: Of the simulation, which may be that of several copies.
        resumed: Whether they count on from what the status of the run folder says.
    """

    def warn(message: str) -> None:
        say(f"rpmd: warning: {record.folder}: {message}")
        record.log(f"warning: {message}")
        record.set_status(force=True, **seen_by(guards))  # a run that is killed has said so

    atoms, copies = prepared.atoms, getattr(potential, "copies", 1)
    limits = limits_of(settings, prepared.moving, prepared.shortest, prepared.minimum)
    freedom = degrees_of_freedom(len(prepared.moving), settings)
    policy = Policy(settings.domain_guard, settings.energy_guard, warn)
    symbols = atoms.get_chemical_symbols()
    guard = Guard(limits, freedom, potential, policy, copies, prepared.indices, symbols)
    bonds: Callable = no_bonds
    if prepared.watches_bonds:
        bonds = BondGuard(atoms, settings.bond_guard, Clamped.of(atoms).with_held, warn, copies)
    guards = guard, bonds
    for one in guards if resumed else ():
        if hasattr(one, "resume"):
            one.resume(record.earlier_status())
    return guards


def no_bonds(frame) -> None:
    """The guard of bonds where there are none to look at."""


def seen_by(guards: Sequence) -> dict:
    """What guards have seen, for status.json."""
    found: dict = {}
    for guard in guards:
        found |= guard.seen() if hasattr(guard, "seen") else {}
    return found


def run_one(settings, folder: Path, prepared, stop: StopRequest, checkpoint: Checkpoint | None = None) -> dict:
    """Make a run that has begun, from its checkpoint if it has one.

    Returns:
        ``beads``, ``state``, ``error``, ``code``, ``step``, ``ns_per_day``, ``ensemble`` and ``series`` of the properties.
    """
    atoms, moving, dynamics = prepared.atoms, prepared.moving, prepared.dynamics[settings.beads]
    rng = np.random.default_rng(settings.seed)
    start = thermal_ring_polymer(
        moving.positions, moving.get_masses(), settings.beads, settings.temperature_K, rng,
        make_laws(dynamics, settings.beads).auxiliaries,
    )  # fmt: skip
    names = columns(settings.heat_capacity, settings.pressure, bool(atoms.pbc.any()), bool(settings.committee))
    record = RunFolder(folder, settings)
    record.note_changes()
    if checkpoint is not None:
        rng.bit_generator.state = checkpoint.generators[0]
    record.open_tables(atoms, names, checkpoint and checkpoint.extent)
    guards = make_guards(settings, prepared, record, prepared.potential, checkpoint is not None)
    done = done_steps(settings, checkpoint)
    record.set_status(force=True, state="running", **facts(settings, prepared.model_path, RUN, done))
    where = f" from {checkpoint.phase}, step {checkpoint.step}" if checkpoint else ""
    record.log(f"started{where}: P = {settings.beads}, {settings.steps} steps of {settings.timestep_fs} fs")
    progress, (guard, bonds) = Progress(settings, record, step=done), guards
    with (
        attempt(record, progress, stop, guards, atoms) as outcome,
        Saver(record, settings, RUN, [rng]) as saver,
    ):
        law = (start, prepared.potential, dynamics, rng)
        for sample in _samples(settings, law, checkpoint, progress, saver, stop, guard):
            if sample.step % settings.properties_every_steps == 0:
                sample = _evaluated(sample, settings, prepared)
                record.add_properties(sample.step, sample.time_fs, sample.values(names))
                if settings.max_disagreement_eV_A:
                    check_agreement(sample, settings.max_disagreement_eV_A, prepared.indices)
                bonds(Frame(sample.step, sample.ring_polymer.positions, sample.potential_energies, sample.forces))
            if sample.step % settings.trajectory_every_steps == 0:
                record.add_frame(sample)
    ensemble = Ensemble(settings.beads, len(moving), settings.temperature_K)
    # Read back, not kept: a long run must not grow in memory.
    series = {name: values for name, values in read_table(folder / PROPERTIES).items() if name in names}
    return outcome | {
        "beads": settings.beads,
        "ns_per_day": progress.ns_per_day,
        "ensemble": ensemble,
        "series": series,
        "verdict": _verdict(series, ensemble, settings, moving.get_masses(), outcome["seen"]),
    }


def _verdict(series: dict, ensemble: Ensemble, settings, masses: np.ndarray, seen: dict) -> list[str]:
    n_records = len(next(iter(series.values())))
    return verdict(means(series, ensemble), n_records, ensemble, settings.thermostat, masses, seen)


def _evaluated(sample, settings, prepared):
    """The sample with what the requested estimators need beyond energies and forces."""
    if settings.heat_capacity:
        sample = with_scaled_energies(sample, prepared.potential)
    if settings.pressure:
        virials = prepared.potential.evaluate(sample.ring_polymer.positions)["virials"]
        sample = sample._replace(virials=virials, volume=prepared.atoms.get_volume())
    if prepared.committee:
        sample = sample._replace(disagreement=disagreement(sample, prepared.committee))
    return sample


def _samples(settings, law: tuple, checkpoint, progress, saver: Saver, stop: StopRequest, guard: Guard):
    """Equilibrate, then yield the samples of production; raises Stopped, after a checkpoint, when a stop is requested.

    Args:
        law: State, potential, dynamics and random generator, as simulate takes them.
    """
    state, potential, dynamics, rng = law
    every = math.gcd(settings.properties_every_steps, settings.trajectory_every_steps)
    phases = {"equilibration": settings.equilibration_steps, "production": settings.steps}
    for phase, steps in phases.items():
        begin = None
        if checkpoint and checkpoint.phase == phase:
            begin = Point.of(checkpoint.state)
        elif checkpoint and checkpoint.phase == "production":
            continue
        for sample in simulate(state, potential, dynamics, rng, steps, every, begin, guard):
            progress.show(sample.step - (settings.equilibration_steps if phase == "equilibration" else 0))
            if phase == "production":
                yield sample
            stopping = stop.made  # looked at once: a signal that comes after the checkpoint waits for the next
            if stopping or sample.step + every > steps or saver.is_due(phase, sample.step):
                saver.save(phase, sample.step, point_of(sample)._asdict())
            if stopping:
                raise Stopped


def facts(settings, model_path: Path, kind: str, step: int = 0) -> dict:
    """Provenance for status.json of a run that has come to a step."""
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    versions = {name: version(name) for name in ("mlcalc", "numpy", "numba", "ase")}
    return {"kind": kind, "beads": settings.beads, "seed": settings.seed, "steps": settings.steps, "model": settings.model,
            "model_sha256": digest, "versions": versions, "step": step, "error": None}  # fmt: skip
