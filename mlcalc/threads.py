"""Threads of the kernel: those of Numba share out the work, BLAS uses one within each, whatever the environment says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numba
from threadpoolctl import ThreadpoolController

from mlcalc.errors import InputError


def check_threads(threads: int | None) -> int:
    """A number of Numba threads; None stands for all that Numba was started with. InputError for more than those."""
    available = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if threads is None:
        return available
    if not 1 <= threads <= available:
        raise InputError(f"threads = {threads}: expected 1 to {available} (set NUMBA_NUM_THREADS for more)")
    return int(threads)


class _SingleThreadedBlas:
    """BLAS has one limit for the whole process: the first holder sets it, the last one to leave gives it back."""

    def __init__(self):
        self._lock, self._holders, self._limiter = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if self._holders == 0:
                controller = _blas_controller()
                if any(library.num_threads != 1 for library in controller.lib_controllers):
                    self._limiter = controller.limit(limits=1)
            self._holders += 1

    def __exit__(self, *exception):
        with self._lock:
            self._holders -= 1
            if self._holders == 0 and self._limiter is not None:
                self._limiter.restore_original_limits()
                self._limiter = None


_SINGLE_THREADED_BLAS = _SingleThreadedBlas()


def single_threaded_blas() -> _SingleThreadedBlas:
    """A context with BLAS on one thread.

    Every evaluation holds it. A loop of many evaluations holds it around itself: to change the limit takes 12 µs.
    """
    return _SINGLE_THREADED_BLAS


@contextmanager
def thread_limits(threads: int) -> Iterator[None]:
    """Numba on so many threads, BLAS on one within each of them."""
    before = numba.get_num_threads()
    if before != threads:
        numba.set_num_threads(threads)
    try:
        with _SINGLE_THREADED_BLAS:
            yield
    finally:
        if before != threads:
            numba.set_num_threads(before)


@cache
def _blas_controller() -> ThreadpoolController:
    import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS behind Numba's np.dot, so that it is found here)

    return ThreadpoolController().select(user_api="blas")
