"""Pools of worker processes that end with the process that made them, however that ends."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context, parent_process


def spawn_pool(workers: int, prepare: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """A pool of new processes, not forks, which threads of libraries do not survive.

    Args:
        prepare: Called first in each of them; a function of a module.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), partial(_begin, prepare))


def _begin(prepare: Callable[[], None] | None) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    """A worker of its own accord notices the end of a parent that was killed only when its task is done, maybe after hours."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
