"""One process at a time in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcalc.common.errors import InputError

LOCK = ".lock"


@contextmanager
def alone(folder: Path, command: str) -> Iterator[None]:
    """Hold the lock of a folder, which the system releases when this process ends.

    Args:
        folder: It exists; command: What works there, for the message.

    Raises:
        InputError: Another process has it.
    """
    with open(folder / LOCK, "ab") as lock:
        if not _taken(lock.fileno()):
            raise InputError(f"{folder}: another '{command}' is at work there; wait for it, or choose another --output")
        yield


def is_running(folder: Path) -> bool:
    """Whether a process is at work in a folder."""
    if not os.path.isfile(folder / LOCK):
        return False
    with open(folder / LOCK, "rb") as lock:
        return not _taken(lock.fileno())


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
