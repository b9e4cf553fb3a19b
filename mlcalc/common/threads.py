"""Threads of the kernel: Numba's threads share the work, and BLAS uses one within each, whatever the environment sets."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import numba
from threadpoolctl import ThreadpoolController

from mlcalc.common.errors import InputError
from mlcalc.common.forks import renew_after_fork


def check_threads(threads: int | None) -> int:
    """A number of Numba threads; None stands for all that Numba was started with. InputError for more than those."""
    available = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    if threads is None:
        return available
    if not 1 <= threads <= available:
        raise InputError(f"threads = {threads}: expected 1 to {available} (set NUMBA_NUM_THREADS for more)")
    return int(threads)


class _SingleThreadedBlas:
    """BLAS has one limit for the entire process: the first holder sets it, the last one to leave restores it."""

    def __init__(self):
        self._lock, self._limiter = threading.Lock(), None
        self._holders: Counter[int] = Counter()  # by thread

    def __enter__(self):
        with self._lock:
            if not self._holders and self._limiter is None:
                controller = _blas_controller()
                if any(library.num_threads != 1 for library in controller.lib_controllers):
                    self._limiter = controller.limit(limits=1)
            self._holders[threading.get_ident()] += 1

    def __exit__(self, *exception):
        with self._lock:
            me = threading.get_ident()
            self._holders[me] -= 1
            if not self._holders[me]:
                del self._holders[me]
            if not self._holders and self._limiter is not None:
                self._limiter.restore_original_limits()
                self._limiter = None

    def renew_after_fork(self) -> None:
        """In a forked child, which has only the thread that forked: release what other threads held."""
        me = threading.get_ident()
        self._lock = threading.Lock()
        self._holders = Counter({me: self._holders[me]} if me in self._holders else {})


class _OpenMP:
    """GNU's OpenMP kills a forked child that enters a parallel region after its parent did: such a child uses one thread."""

    def __init__(self):
        self.forbidden = False

    def renew_after_fork(self) -> None:
        """In a forked child: check whether its parent had started threads; if not, the child starts its own."""
        with suppress(ValueError):
            self.forbidden = self.forbidden or numba.threading_layer() == "omp"


_SINGLE_THREADED_BLAS, _OPEN_MP = _SingleThreadedBlas(), _OpenMP()
renew_after_fork(_SINGLE_THREADED_BLAS)
renew_after_fork(_OPEN_MP)


def single_threaded_blas() -> _SingleThreadedBlas:
    """A context with BLAS on one thread.

    Every evaluation enters it. A loop of many evaluations enters it around the loop: changing the limit takes 12 µs.
    """
    return _SINGLE_THREADED_BLAS


@contextmanager
def thread_limits(threads: int) -> Iterator[int]:
    """Numba on this many threads, BLAS on one within each; yields the number to use, which is 1 where no more are allowed."""
    if threads == 1 or _OPEN_MP.forbidden:
        with _SINGLE_THREADED_BLAS:
            yield 1
        return
    before = numba.get_num_threads()
    if before != threads:
        numba.set_num_threads(threads)
    try:
        with _SINGLE_THREADED_BLAS:
            yield threads
    finally:
        if before != threads:
            numba.set_num_threads(before)


@cache
def _blas_controller() -> ThreadpoolController:
    import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS behind Numba's np.dot, so that it is found here)

    return ThreadpoolController().select(user_api="blas")
