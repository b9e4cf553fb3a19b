"""Commands as processes of their own that end with the one that started them, however it ends."""

import errno
import os
import runpy
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlcalc.common.errors import EXIT_DISK, InputError, one_line
from mlcalc.data.workers import THREAD_VARIABLES

_PAUSE_S = 0.05
RPMD, MLCALC = "md.cli", "mlcalc.cli"


class Command(NamedTuple):
    """A command: RPMD or MLCALC, its arguments, and the file for what it prints."""

    module: str
    arguments: Sequence[Any]
    log: Path


def run_all(commands: Sequence[Command], jobs: int) -> list[int]:
    """Run commands, at most ``jobs`` at once, on one thread each; returns their exit codes.

    If this process ends, even by a kill, the commands end too: they read the end of a pipe.
    """
    waiting: list[tuple[int, Command]] = list(enumerate(commands))
    running: dict[int, subprocess.Popen] = {}
    codes = [0] * len(commands)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index, command = waiting.pop(0)
                running[index] = _begin(command)
            for index, process in list(running.items()):
                if process.poll() is not None:
                    codes[index] = process.returncode
                    running.pop(index).stdin.close()
            time.sleep(_PAUSE_S)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
            process.stdin.close()
    return codes


def _begin(command: Command) -> subprocess.Popen:
    # -P: a folder of the same name where the user stands must not shadow the package.
    words = [sys.executable, "-P", "-m", "mlcalc.learn.processes", command.module, *map(str, command.arguments)]
    with open(command.log, "ab") as log:
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, "1")
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=environment)


def check_codes(commands: Sequence[Command], codes: Sequence[int], allowed: Collection[int] = ()) -> None:
    """Raise InputError for a command that failed, with its last line; OSError where a disk is full.

    Args:
        allowed: Exit codes besides 0 that are no failure.
    """
    for command, code in zip(commands, codes, strict=True):
        said = one_line(f"{last_line(command.log)} ({command.log})")
        if code == EXIT_DISK:  # its reason alone: this command says what to do (errors.disk_message)
            reason = last_line(command.log).rpartition("error: ")[2].partition("; no incomplete file")[0]
            raise OSError(errno.ENOSPC, one_line(reason), str(command.log.parent))
        if code and code not in allowed:
            raise InputError(f"{command.module} {command.arguments[0]} ended with code {code}: {said}")


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def _end_with_parent() -> None:
    while os.read(
        0, 1
    ):  # empty once the pipe is closed, which the system does at the latest; sys.stdin would hold a lock at exit
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _, module, *arguments = sys.argv
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
