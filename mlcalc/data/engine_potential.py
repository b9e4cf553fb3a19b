"""Engines and ASE calculators as potentials of ring polymers (mlcalc/potential.py): beads (P, N, 3) Å to energies and forces.

Beads of an engine are shared out over worker processes, so that calculators that are slow or hold Python's lock use all processors,
and one that crashes does not take the simulation with it. A calculation that fails raises CalculationFailed: the simulation stops.
"""

import multiprocessing.connection
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculationFailed

from mlcalc.data.workers import start_worker
from mlcalc.geometry.domain import ClosestPair, closest_of, near_pairs


class Measured:
    """Distances of the last evaluation, by limits (E, E) Å for the structure's elements in ascending order."""

    def __init__(self, atoms: Atoms):
        self._species = np.unique(atoms.numbers, return_inverse=True)[1]
        self._cell, self._pbc = atoms.cell.array.copy(), atoms.pbc.copy()
        self._last: tuple[np.ndarray, np.ndarray] = np.empty((0, len(atoms), 3)), self._cell

    @classmethod
    def of(cls, atoms: Atoms) -> "Measured":
        """The distances of a structure itself."""
        measured = cls(atoms)
        measured._remember(atoms.positions[None], None)
        return measured

    def smallest_distance(self) -> float:
        """As potential.Potential.smallest_distance; infinite beyond 5 Å in periodic and large structures."""
        return self.closest_pair(np.ones((self._species.max() + 1,) * 2)).smallest

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """As potential.Potential.closest_pair."""
        positions, cell = self._last
        return closest_of([near_pairs(bead, cell, self._pbc) for bead in positions], self._species, limits)

    def _remember(self, positions: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
        """Keep a configuration; returns its cell (3, 3) Å."""
        self._last = positions.copy(), np.array(self._cell if cell is None else cell)
        return self._last[1]


class AseForces(Measured):
    """An ASE calculator in this process, bead by bead; a bead with a position that is not finite has NaN for energy and forces."""

    def __init__(self, atoms: Atoms, calculator: BaseCalculator):
        super().__init__(atoms)
        self.atoms = atoms.copy()
        self.atoms.calc = calculator

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__; raises CalculationFailed for whatever the calculator raises."""
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        self.atoms.cell = self._remember(positions, cell)
        for bead, bead_positions in enumerate(positions):
            if not np.isfinite(bead_positions).all():  # calculators may omit pairs at NaN and return a number
                energies[bead], forces[bead] = np.nan, np.nan
                continue
            self.atoms.positions = bead_positions
            try:
                energies[bead] = self.atoms.get_potential_energy()
                forces[bead] = self.atoms.get_forces(apply_constraint=False)
            except Exception as error:  # a foreign calculator may raise anything
                raise CalculationFailed(f"bead {bead}: {type(error).__name__}: {error}") from error
        return energies, forces


class EnginePotential(Measured):
    """An engine (mlcalc/data/engines.py), its beads shared out over worker processes that start with the first call.

    Args:
        engine: The engine string, which the caller has checked.
        atoms: Elements, cell, charge and multiplicity; constraints are ignored.
        workers: Most worker processes; each computes on one thread.
    """

    def __init__(self, engine: str, atoms: Atoms, workers: int):
        super().__init__(atoms)
        self.engine, self._atoms, self._most = engine, atoms.copy(), workers
        self._atoms.set_constraint()
        self._workers: list[tuple[Any, Any]] = []  # connection, process

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__; a bead with a position that is not finite has NaN.

        Raises:
            CalculationFailed: The engine fails for a bead, or a worker dies.
        """
        energies, forces = np.full(len(positions), np.nan), np.full(positions.shape, np.nan)
        self._atoms.cell = self._remember(positions, cell)
        todo = np.flatnonzero(np.isfinite(positions).all(axis=(1, 2))).tolist()
        try:
            for bead, outcome in self._outcomes(positions, todo):
                if isinstance(outcome, str):
                    raise CalculationFailed(f"engine {self.engine}: bead {bead}: {outcome}")
                energies[bead], forces[bead] = outcome["energy"], outcome["forces"]
        except BaseException:
            self.close()  # answers that are under way belong to no later call
            raise
        return energies, forces

    def close(self) -> None:
        """End the workers; the next call starts new ones."""
        for connection, process in self._workers:
            connection.close()
            process.terminate()
        self._workers = []

    def _outcomes(self, positions: np.ndarray, todo: list[int]) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """(bead, label or reason), in order of completion; a worker gets the same beads in every call."""
        n_workers = min(self._most, len(todo))
        while len(self._workers) < n_workers:
            self._workers.append(start_worker(self.engine, forget=True))
        queues = [deque(todo[worker::n_workers]) for worker in range(n_workers)]
        replaced: set[int] = set()
        for worker, queue in enumerate(queues):
            self._send(worker, positions[queue[0]])
        while waiting := {self._workers[worker][0]: worker for worker, queue in enumerate(queues) if queue}:
            ready: list[Any] = multiprocessing.connection.wait(list(waiting))
            for connection in ready:
                worker = waiting[connection]
                queue = queues[worker]
                try:
                    outcome: dict[str, Any] | str | None = connection.recv()
                except (EOFError, OSError):
                    outcome = self._lost(worker, worker in replaced)
                    replaced.add(worker)
                if outcome is not None:
                    yield queue.popleft(), outcome
                if queue:
                    self._send(worker, positions[queue[0]])

    def _send(self, worker: int, positions: np.ndarray) -> None:
        atoms = self._atoms.copy()
        atoms.positions = positions
        with suppress(OSError):  # a dead worker is noticed where its answer is awaited
            self._workers[worker][0].send(atoms)

    def _lost(self, worker: int, again: bool) -> str | None:
        """The reason why a worker is lost; None if another one has taken its place.

        A worker that was asked to end, as queues ask all processes of a job, is replaced once, so that the run can end in order.
        """
        connection, process = self._workers[worker]
        process.join()
        if process.exitcode or again:
            return f"the worker process died (exit code {process.exitcode})"
        connection.close()
        self._workers[worker] = start_worker(self.engine, forget=True)
        return None
