"""Numba's compiler with wide vectors: everything compiled in this project gets ``njit`` from here.

LLVM avoids the 512-bit registers of Intel's processors, because the early ones slowed down under them; an evaluation takes an
eighth less time with them. Numba fixes its target when it meets the first function to compile, so the choice is made before. A
choice of the user's (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) stands.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from numba import njit
from numba.core.codegen import get_host_cpu_features

__all__ = ["Threaded", "njit"]

_config: Any = numba.config  # its attributes are made when it is loaded
if _config.CPU_NAME is None and _config.CPU_FEATURES is None:
    _config.CPU_FEATURES = get_host_cpu_features() + ",-prefer-256-bit"


class Threaded:
    """A function with ``prange`` in it, compiled for threads and for one thread alone, each when it is first called.

    One thread enters no OpenMP region: a process that has been in one cannot enter another after a fork. Both give the same bits.
    """

    def __init__(self, function: Callable):
        # Numba's cache tells functions apart by name and line, not by options: without another name they would take each
        # other's code.
        twin = FunctionType(function.__code__, function.__globals__, f"{function.__name__}_on_one_thread")
        twin.__qualname__, twin.__module__ = twin.__name__, function.__module__
        self._one = njit(cache=True, error_model="numpy")(twin)
        self._many = njit(cache=True, parallel=True, error_model="numpy")(function)

    def __call__(self, threads: int, *arguments) -> None:
        """Call it on one thread, or on those that thread_limits has set."""
        (self._one if threads == 1 else self._many)(*arguments)
