"""Numba's compiler with wide vectors: everything compiled in this project imports ``njit`` from here.

LLVM avoids the 512-bit registers of Intel's processors, because the early ones slowed down under them; an evaluation takes an
eighth less time with them. Numba fixes its target when it meets the first function to compile, so the choice is made before. A
choice of the user (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) takes precedence.

Compiled code is cached in NUMBA_CACHE_DIR, beside the sources (``__pycache__``), or in the user's cache folder, the first that
is writable. Where none is, as in a read-only installation without a home, every process compiles again.
"""

import os
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from numba.core.codegen import get_host_cpu_features

__all__ = ["Threaded", "njit"]

_config: Any = numba.config  # its attributes are made when it is loaded
if _config.CPU_NAME is None and _config.CPU_FEATURES is None:
    _config.CPU_FEATURES = get_host_cpu_features() + ",-prefer-256-bit"
if not os.path.isabs(
    os.path.expanduser("~")
):  # without a home, code would be cached in, and run from, the current folder
    os.environ.setdefault("XDG_CACHE_HOME", os.devnull)
_SAID = "MLCALC_NO_CACHE_SAID"  # in the environment, which worker processes inherit: one line is enough


def njit(*, cache: bool = False, **options) -> Callable:
    """Numba's ``njit``, without its cache where no folder is writable."""

    def compiled(function: Callable) -> Any:
        try:
            return numba.njit(function, cache=cache, **options)
        except RuntimeError:  # "no locator available"
            if not cache:
                raise
            _note()
            return numba.njit(function, **options)

    return compiled


def _note() -> None:
    if _SAID not in os.environ:
        os.environ[_SAID] = "1"
        print(
            "note: no writable folder for compiled code: each process compiles again, for up to a minute; set NUMBA_CACHE_DIR to a "
            "folder that you can write",
            file=sys.stderr,
        )


class Threaded:
    """A function with ``prange`` in it, compiled for several threads and for one thread, each on its first call.

    One thread enters no OpenMP region: a process that has been in one cannot enter another after a fork. Both give the same bits.
    """

    def __init__(self, function: Callable):
        # Numba's cache distinguishes functions by name and line, not by options: without another name they would load each
        # other's code.
        twin = FunctionType(function.__code__, function.__globals__, f"{function.__name__}_on_one_thread")
        twin.__qualname__, twin.__module__ = twin.__name__, function.__module__
        self._one = njit(cache=True, error_model="numpy")(twin)
        self._many = njit(cache=True, parallel=True, error_model="numpy")(function)

    def __call__(self, threads: int, *arguments) -> None:
        """Call it on one thread, or on those that thread_limits has set."""
        (self._one if threads == 1 else self._many)(*arguments)
