"""Numba's compiler with wide vectors: everything compiled in this project gets ``njit`` from here.

LLVM avoids the 512-bit registers of Intel's processors, because the early ones slowed down under them; an evaluation takes an
eighth less time with them. Numba fixes its target when it meets the first function to compile, so the choice is made before. A
choice of the user's (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) stands.
"""

from typing import Any

import numba
from numba import njit
from numba.core.codegen import get_host_cpu_features

__all__ = ["njit"]

_config: Any = numba.config  # its attributes are made when it is loaded
if _config.CPU_NAME is None and _config.CPU_FEATURES is None:
    _config.CPU_FEATURES = get_host_cpu_features() + ",-prefer-256-bit"
