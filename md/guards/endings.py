"""The ways in which a run ends: exit codes for scripts and queues, and requests to stop early."""

import signal
import time
from enum import IntEnum
from typing import NamedTuple

import numpy as np


class Exit(IntEnum):
    """Exit codes of ``rpmd run``, ``resume``, ``converge`` and ``real-time``; after a signal it is 128 + its number."""

    FINISHED = 0
    FAILED = 1
    BAD_INPUT = 2
    NOT_FINITE = 3
    FORCE = 4
    DISTANCE = 5
    TEMPERATURE = 6
    GYRATION = 7
    DISK = 8
    DISAGREEMENT = 9
    ENERGY = 10
    BONDS = 11
    ENGINE = 12
    VOLUME = 13
    WALLTIME = 75


MEANINGS = {
    Exit.FINISHED: "finished",
    Exit.FAILED: "an error of the program",
    Exit.BAD_INPUT: "unusable input, or an output folder that is not writable; nothing was written",
    Exit.NOT_FINITE: "energy or forces are not finite",
    Exit.FORCE: "force above max_force_eV_A",
    Exit.DISTANCE: "atoms closer than in the training data of the model (domain_guard)",
    Exit.TEMPERATURE: "temperature above max_temperature_K",
    Exit.GYRATION: "ring polymer wider than max_gyration_A",
    Exit.DISK: "files can no longer be written: disk full, quota exceeded, file system read-only",
    Exit.DISAGREEMENT: "the committee disagrees by more than max_disagreement_eV_A",
    Exit.ENERGY: "energy below the minimum of the start (energy_guard)",
    Exit.BONDS: "bonds differ from those of the start (bond_guard)",
    Exit.ENGINE: "the engine failed: a calculation, or a worker process",
    Exit.VOLUME: "cell far from that of the start (barostat)",
    Exit.WALLTIME: "--max-walltime has passed: continue with 'rpmd resume'",
}


def describe_codes() -> str:
    """One line per exit code, for ``--help``."""
    lines = [f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join([*lines, "  130, 143  SIGINT, SIGTERM, after a checkpoint"])


class Frame(NamedTuple):
    """One configuration of all beads.

    Attributes:
        positions: (P, N, 3) Å; energies: potential, (P,) eV; forces: (P, N, 3) eV/Å.
        cell: (3, 3) Å; None or without rows for a molecule.
    """

    step: int
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    cell: np.ndarray | None = None


class SimulationError(RuntimeError):
    """The simulation cannot continue.

    Args:
        message: Gives the step, the finding, the limit and what to try.
        code: The exit code for this cause.
        frame: The configuration in which it happened.
    """

    def __init__(self, message: str, code: Exit = Exit.FAILED, frame: Frame | None = None):
        super().__init__(message)
        self.code, self.frame = code, frame


class Stopped(Exception):
    """The run was asked to stop and has left its checkpoint."""


class StopRequest:
    """SIGINT, SIGTERM or the end of the allowed time stop a run at its next sample; a second signal aborts at once.

    Before ``begin``, during preparation, the first signal aborts as well, since there is nothing to resume yet.

    Args:
        seconds: Wall time from now; None for no limit.

    Attributes:
        code: Exit code of the request; 0 without one.
    """

    def __init__(self, seconds: float | None = None):
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.code, self._begun = 0, False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def __enter__(self) -> "StopRequest":
        return self

    def __exit__(self, *_) -> None:
        """Restore the previous signal handlers, since a notebook continues after a run."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def made(self) -> bool:
        """Whether a stop is requested."""
        if not self.code and self._deadline is not None and time.monotonic() > self._deadline:
            self.code = int(Exit.WALLTIME)
        return self.code > 0

    def begin(self) -> None:
        """Treat signals as requests from now on."""
        self._begun = True

    def _note(self, number, frame):
        if self.code > 128 or not self._begun:
            raise KeyboardInterrupt(128 + int(number))
        self.code = 128 + int(number)


def seconds_of(text: str) -> float:
    """Seconds in ``[days-][[hours:]minutes:]seconds``; ValueError for anything else."""
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if len(parts) > 3 or (dash and len(parts) != 3):
        raise ValueError(text)
    total = 86400 * int(days) if dash else 0
    for place, part in enumerate(reversed(parts)):
        value = float(part) if place == 0 else int(part)
        if not 0 <= value < float("inf") or total < 0:
            raise ValueError(text)
        total += value * 60**place
    return total
