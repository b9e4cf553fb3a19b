"""Worker processes with a calculator of an engine each, that label structures and can be killed at any time."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms

from mlcalc.data.engines import forget_history, make_calculator, set_state

KEPT = ("dipole", "charges")  # of molecules, where the engine gives them: eÅ and e
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def outcomes(
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
            connection, process = start_worker(engine)
            connection.send(frames[index])
        busy[connection] = process, index

    try:
        for _, index in zip(range(jobs), waiting, strict=False):
            hand_out(index, *start_worker(engine))
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


def start_worker(engine: str, forget: bool = False) -> tuple[Any, Any]:
    """A process that answers each structure sent through the connection with its label, or with the reason of a failure.

    It ends when the other end of the connection closes.

    Args:
        engine: See mlcalc/data/engines.py.
        forget: Compute each structure as if it were the first (engines.forget_history).

    Returns:
        Connection and process.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, engine, forget), daemon=True)
    # Thread counts are read when the numerical libraries load, so the environment holds them when the process starts.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
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


def _work(connection: multiprocessing.connection.Connection, engine: str, forget: bool) -> None:
    """A worker: structures in, labels or reasons out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the calculator is closed
    calculator = None
    try:
        while True:
            atoms = connection.recv()
            try:
                calculator = calculator or make_calculator(engine)
                if forget:
                    forget_history(engine, calculator)
                set_state(engine, calculator, atoms)
                outcome = _label(atoms, calculator)
            except Exception as error:  # an engine may raise anything; the other structures continue
                outcome = f"{type(error).__name__}: {error}"
                # A calculator that failed may hold a dead child process: the next structure gets a new one.
                discard(calculator)
                calculator = None
            connection.send(outcome)
    except (EOFError, BrokenPipeError):
        pass
    finally:
        discard(calculator)


def _label(atoms: Atoms, calculator) -> dict[str, Any] | str:
    atoms.calc = calculator
    forces = np.asarray(atoms.get_forces(apply_constraint=False), dtype=np.float64)
    energy = float(atoms.get_potential_energy())
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        return "the engine returned an energy or a force that is not a finite number"
    labels: dict[str, Any] = {"energy": energy, "forces": forces.tolist()}
    for name in KEPT if not atoms.pbc.any() else ():
        value = calculator.results.get(name)
        if value is not None and np.isfinite(value).all():
            labels[name] = np.asarray(value, dtype=np.float64).tolist()
    return labels


def discard(calculator) -> None:
    """End what a calculator may have started, such as a child process."""
    if hasattr(calculator, "close"):
        with suppress(Exception):  # a calculator may be discarded because it is broken
            calculator.close()
