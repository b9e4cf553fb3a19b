"""Labels: energies and forces of many structures from any engine, in worker processes that can be killed at any time.

    structures.xyz ──► workers (one calculator each) ──► OUT.xyz.journal ──► OUT.xyz, OUT.failed.xyz

The journal is the state: one JSON line per labelled structure, flushed to disk as it arrives, under a first line that
names the engine. A later run with the same output skips what the journal holds, so a kill loses only what was in
flight; an input that has grown is continued. OUT.xyz is written from it in the input's order, atomically.
"""

import fcntl
import hashlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place, check_regular, write_atomically
from mlcalc.common.json_text import from_json
from mlcalc.data.engines import engine_fingerprint, make_calculator, set_state
from mlcalc.structures.electronic_state import ElectronicState, electronic_state, is_ground, state_of_results
from mlcalc.structures.structure_files import drop_constraints, read_atoms
from mlcalc.structures.unit_names import is_statement

JOURNAL_FORMAT = "mlcalc-labels-1"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class LabelReport:
    """The outcome of a labelling run.

    Attributes:
        total: Structures in the input.
        labelled: Structures that have labels now.
        resumed: Structures among them that an earlier run had labelled.
        failures: Index in the input → reason, for the other structures.
        output: The labelled structures, in the input's order.
        failed_output: The failed ones with ``info["reason"]``; None when there are none.
    """

    total: int
    labelled: int
    resumed: int
    failures: dict[int, str]
    output: Path
    failed_output: Path | None


def label_file(structures: Path, engine: str, output: Path, jobs: int = 1) -> LabelReport:
    """Label every structure of a file; run it again to continue or to retry failures.

    Args:
        structures: Any file that ASE reads, usually extxyz; info and arrays are kept, old labels are dropped.
        engine: See :mod:`mlcalc.data.engines`.
        output: extxyz to write: energy (eV), forces (eV/Å) and ``info["engine"]``. Its journal and the failed
            structures lie beside it (``OUT.xyz.journal``, ``OUT.failed.xyz``).
        jobs: Worker processes; each makes its calculator once and computes on one thread.

    Raises:
        InputError: No or unreadable structures, an unknown engine, jobs < 1, or an output that belongs to another
            engine or input.
    """
    structures, output = Path(structures), Path(output)
    if jobs < 1:
        raise InputError(f"jobs = {jobs}: expected at least 1")
    frames = read_structures(structures, "labels")
    calculator = make_calculator(engine)  # refuses an engine that cannot work before anything is written
    states = [
        set_state(engine, calculator, atoms, f"{structures}: structure {k}") for k, atoms in enumerate(frames, start=1)
    ]
    _discard(calculator)
    keys = [structure_key(atoms) for atoms in frames]
    with _open_journal(output, engine, set(keys)) as (journal, records):
        todo = [index for index, key in enumerate(keys) if key not in records]
        resumed = len(frames) - len(todo)
        failures = {}
        with _progress(len(frames), resumed) as progress:
            for index, outcome in _outcomes(frames, todo, engine, jobs):
                if isinstance(outcome, str):
                    failures[index] = outcome
                else:
                    records[keys[index]] = {"key": keys[index], **outcome}
                    _append(journal, records[keys[index]])
                progress.update()
                progress.set_postfix(failed=len(failures), refresh=False)
        done = [
            _labelled(atoms, state, records[key], engine)
            for atoms, state, key in zip(frames, states, keys, strict=True)
            if key in records
        ]
        if done:
            write_frames(done, output)
        failed_output = _write_failures(frames, failures, output)
    return LabelReport(len(frames), len(done), resumed, dict(sorted(failures.items())), output, failed_output)


def read_structures(path: Path, what: str) -> list[Atoms]:
    """The structures of a file to be labelled, without constraints and without earlier labels and units.

    Charge and multiplicity of earlier results are kept in ``info`` where the structure gives none.

    Args:
        what: Purpose of the structures, such as "labels".

    Raises:
        InputError: Missing, unreadable, empty; no atoms or NaN positions in a structure.
    """
    frames = read_atoms(path)
    for number, atoms in enumerate(frames, start=1):
        if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}: structure {number} has no atoms, or a position that is not a finite number")
        if atoms.calc is not None:
            said = electronic_state(atoms, f"{path}: structure {number}").info
            atoms.info |= state_of_results(atoms.calc.results).info | said
            atoms.calc = None
        for key in filter(is_statement, list(atoms.info)):
            del atoms.info[key]
    drop_constraints(frames, path, what)
    return frames


def structure_key(atoms: Atoms) -> str:
    """SHA-256 of what a label depends on: elements, positions, cell, periodicity; charge and spin where they are given."""
    digest = hashlib.sha256()
    pieces = ((atoms.numbers, "<i8"), (atoms.positions, "<f8"), (atoms.cell.array, "<f8"), (atoms.pbc, "u1"))
    for array, dtype in pieces:
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    for name in ("initial_charges", "initial_magmoms"):  # engines also start from the values of the atoms
        if np.any(atoms.arrays.get(name)):
            digest.update(name.encode() + np.ascontiguousarray(atoms.arrays[name], dtype="<f8").tobytes())
    state = electronic_state(atoms)
    digest.update(b"" if is_ground(atoms, state) else repr(state).encode())
    return digest.hexdigest()


def write_frames(frames: list[Atoms], path: Path) -> None:
    """Write extxyz atomically; energies and forces keep every digit that extxyz has."""
    from ase.io import write

    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(path, text.getvalue().encode())


def _labelled(atoms: Atoms, state: ElectronicState, record: dict[str, Any], engine: str) -> Atoms:
    from ase.calculators.singlepoint import SinglePointCalculator

    labelled = atoms.copy()
    labelled.info |= state.info | {"engine": engine}
    labelled.calc = SinglePointCalculator(labelled, energy=record["energy"], forces=np.array(record["forces"]))
    return labelled


def _write_failures(frames: list[Atoms], failures: dict[int, str], output: Path) -> Path | None:
    path = output.with_name(f"{output.stem}.failed.xyz")
    if not failures:
        path.unlink(missing_ok=True)
        return None
    failed = []
    for index, reason in sorted(failures.items()):
        atoms = frames[index].copy()
        atoms.info["reason"] = reason
        failed.append(atoms)
    write_frames(failed, path)
    return path


def _progress(total: int, done: int):  # a tqdm bar; disable=None: off when stderr is not a terminal
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="structure", desc="labelling", disable=None, smoothing=0.1)


# ---- the journal ----------------------------------------------------------------------------------------------------


@contextmanager
def _open_journal(output: Path, engine: str, keys: set[str]) -> Iterator[tuple[BinaryIO, dict[str, dict[str, Any]]]]:
    """The journal beside an output, locked and open for appending, and its records by structure key."""
    path = output.with_name(f"{output.name}.journal")
    if os.path.lexists(check_place(path)):
        check_regular(path)
    if os.path.exists(output) and not os.path.exists(path):
        raise InputError(f"{output}: exists without a labelling journal beside it; remove it or choose another output")
    header = {"format": JOURNAL_FORMAT, "engine": engine, "engine_sha256": engine_fingerprint(engine)}
    with open(path, "a+b") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{path}: another labelling run is writing it") from error
        records = _read_journal(journal, path, header)
        if strangers := len(records.keys() - keys):
            raise InputError(
                f"{path}: holds labels of {strangers} structures that the input lacks; an input may grow, but a "
                "different input needs another output"
            )
        if journal.tell() == 0:
            _append(journal, header)
        yield journal, records


def _read_journal(journal: BinaryIO, path: Path, header: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Records by structure key; an incomplete last line of a killed run is cut off."""
    journal.seek(0)
    content = journal.read()
    whole = content[: content.rfind(b"\n") + 1]
    journal.truncate(len(whole))
    journal.seek(len(whole))
    if not whole:
        return {}
    try:
        found, *records = [from_json(line) for line in whole.splitlines()]
        by_key = {record["key"]: record for record in records}
        engine, same = found["engine"], found == header
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a labelling journal ({error}); remove it or choose another output") from error
    if not same:
        changed = "a file of that engine has changed since" if engine == header["engine"] else "pass that one"
        raise InputError(f"{path}: belongs to engine {engine!r} ({changed}); expected {header['engine']!r}")
    return by_key


def _append(journal: BinaryIO, record: dict[str, Any]) -> None:
    journal.write(json.dumps(record).encode() + b"\n")
    journal.flush()
    os.fsync(journal.fileno())


# ---- the workers ----------------------------------------------------------------------------------------------------


def _outcomes(
    frames: list[Atoms], todo: list[int], engine: str, jobs: int
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(index, label or reason of failure) of the structures to do, in order of completion.

    Each worker has its own pipe: when this process dies, even by a kill, the workers read the end of the pipe and stop;
    when a worker dies, its structure counts as failed and another worker takes its place.
    """
    waiting = iter(todo)
    busy: dict[Any, tuple[Any, int]] = {}  # connection → (process, index in flight)

    def hand_out(index: int, connection, process) -> None:
        try:
            connection.send(frames[index])
        except OSError:  # the worker died while idle
            connection, process = _start_worker(engine)
            connection.send(frames[index])
        busy[connection] = process, index

    try:
        for _, index in zip(range(jobs), waiting, strict=False):
            hand_out(index, *_start_worker(engine))
        while busy:
            connections: list[Any] = multiprocessing.connection.wait(list(busy))
            for connection in connections:
                process, index = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    outcome = f"the worker process died (exit code {process.exitcode})"
                following = next(waiting, None)
                if following is None:
                    connection.close()
                    process.join()
                else:
                    hand_out(following, connection, process)
                yield index, outcome
    finally:
        for process, _ in busy.values():
            process.terminate()


def _start_worker(engine: str):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, engine), daemon=True)
    # Thread counts are read when the numerical libraries load, so the environment holds them when the process starts.
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    theirs.close()
    return ours, process


def _work(connection: multiprocessing.connection.Connection, engine: str) -> None:
    """A worker: structures in, labels or reasons out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the calculator is closed
    calculator = None
    try:
        while True:
            atoms = connection.recv()
            try:
                calculator = calculator or make_calculator(engine)
                set_state(engine, calculator, atoms)
                outcome = _label(atoms, calculator)
            except Exception as error:  # an engine may raise anything; the other structures continue
                outcome = f"{type(error).__name__}: {error}"
                # A calculator that failed may hold a dead child process: the next structure gets a new one.
                _discard(calculator)
                calculator = None
            connection.send(outcome)
    except (EOFError, BrokenPipeError):
        pass
    finally:
        _discard(calculator)


def _label(atoms: Atoms, calculator) -> dict[str, Any] | str:
    atoms.calc = calculator
    forces = np.asarray(atoms.get_forces(apply_constraint=False), dtype=np.float64)
    energy = float(atoms.get_potential_energy())
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return "the engine returned an energy or a force that is not a finite number"
    return {"energy": energy, "forces": forces.tolist()}


def _discard(calculator) -> None:
    """End what a calculator may have started, such as a child process."""
    if hasattr(calculator, "close"):
        with suppress(Exception):  # a calculator may be discarded because it is broken
            calculator.close()
