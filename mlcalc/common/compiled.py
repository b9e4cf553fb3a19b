"""Numba's compiler with wide vectors: everything compiled in this project imports ``njit`` from here.

LLVM avoids the 512-bit registers of Intel's processors, because the early ones slowed down under them; an evaluation takes an
eighth less time with them. Numba fixes its target when it meets the first function to compile, so the choice is made before. A
choice of the user (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES) takes precedence.

Compiled code is cached in NUMBA_CACHE_DIR, beside the sources (``__pycache__``), or in the user's cache folder, the first that
is writable. Where none is, as in a read-only installation without a home, every process compiles again; the same where the
disk is full.
"""

import contextlib
import fcntl
import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.codegen import get_host_cpu_features
from numba.core.dispatcher import Dispatcher

__all__ = ["Threaded", "inner", "njit"]

_config: Any = numba.config  # its attributes are made when it is loaded
if _config.CPU_NAME is None and _config.CPU_FEATURES is None:
    _config.CPU_FEATURES = get_host_cpu_features() + ",-prefer-256-bit"
if not os.path.isabs(
    os.path.expanduser("~")
):  # without a home, code would be cached in, and run from, the current folder
    os.environ.setdefault("XDG_CACHE_HOME", os.devnull)
_SAID = "MLCALC_NO_CACHE_SAID"  # in the environment, which worker processes inherit: one line is enough


def njit(*, cache: bool = False, **options) -> Callable:
    """Numba's ``njit`` with a cache of our own, or without one where no folder is writable."""

    def compiled(function: Callable) -> Any:
        dispatcher: Any = numba.njit(function, **options)
        if cache:
            try:
                dispatcher._cache = _Cache(function)
            except RuntimeError:  # "no locator available"
                _note("no writable folder for compiled code", "set NUMBA_CACHE_DIR to a folder that you can write")
        return dispatcher

    return compiled


def inner(function: Callable) -> Any:
    """``njit`` for what compiled code alone calls: without the code that unpacks Python's arguments, a fifth of the compilation."""
    return njit(cache=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


class _Cache(FunctionCache):
    """Numba's cache of one function, without three of its faults.

    It knows a function by the date of its file and by its own bytecode, so that an edit of a function that it calls, in another
    file, goes unnoticed: here those count too. Processes that save two signatures at a time give both the same file: here one
    waits for the other. A full disk ends a calculation that needs none: here it costs a note.
    """

    def _index_key(self, sig, codegen):
        fields = tuple(getattr(type_, "fields", None) for type_ in getattr(sig, "args", sig))
        return *super()._index_key(sig, codegen), fields, _fingerprint(self._py_func)

    def save_overload(self, sig, data):
        try:
            with _locked(self.cache_path):
                super().save_overload(sig, data)
        except OSError as error:
            _note(f"compiled code cannot be kept in {self.cache_path} ({error.strerror})", "make room there")


def _fingerprint(function: Callable) -> str:
    """Digest of the bytecode and constants of a function and of all that it may call, or that makes code for it."""
    digest, todo, seen = hashlib.sha256(), [function], set()
    while todo:
        function = todo.pop()
        if function in seen:
            continue
        seen.add(function)
        names = _add_code(digest, function.__code__)
        for value in _reached(function, names):
            if isinstance(value, int | float | str | tuple):
                digest.update(repr(value).encode())
            todo += _functions(value, function.__module__.split(".")[0])
    return digest.hexdigest()


def _functions(value, package: str) -> list[FunctionType]:
    """The functions behind a name: of a compiled function, an intrinsic, and of what makes code in a package."""
    if isinstance(value, Dispatcher):
        return [value.py_func]
    if isinstance(value, type):
        found = list(vars(value).values())
    else:
        found = [inspect.unwrap(value)] if hasattr(value, "__module__") else []  # of intrinsics and functools.cache
    return [one for one in found if isinstance(one, FunctionType) and one.__module__.split(".")[0] == package]


def _add_code(digest, code: CodeType) -> list[str]:
    """Add the code of a function and of those defined in it to a digest; returns the names that they use."""
    digest.update(code.co_code)
    names = [*code.co_names]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _add_code(digest, constant)
        else:
            digest.update(repr(constant).encode())
    return names


def _reached(function: Callable, names: list[str]) -> list:
    """What the names of a function stand for: globals, attributes of modules among them, and what it encloses."""
    known = [function.__globals__[name] for name in names if name in function.__globals__]
    modules = [vars(value) for value in known if isinstance(value, ModuleType)]
    enclosed = [cell.cell_contents for cell in function.__closure__ or ()]
    return known + [module[name] for module in modules for name in names if name in module] + enclosed


@contextlib.contextmanager
def _locked(folder: str):
    """One process at a time, where the file system has locks."""
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _note(reason: str, remedy: str) -> None:
    if _SAID not in os.environ:
        os.environ[_SAID] = "1"
        print(f"note: {reason}: each process compiles again, for up to a minute; {remedy}", file=sys.stderr)


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
