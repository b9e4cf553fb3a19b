"""What a child that was forked must put right: it has the thread that forked alone, and memory as all threads had left it."""

import os
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """What ``renew_after_fork`` of this module takes."""

    def renew_after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


_renewed: WeakSet[Renewed] = WeakSet()


def renew_after_fork(owner: Renewed) -> None:
    """Have ``owner.renew_after_fork()`` called in every child that this process forks, for as long as the owner lives."""
    _renewed.add(owner)


def _renew() -> None:
    for owner in list(_renewed):
        owner.renew_after_fork()


os.register_at_fork(after_in_child=_renew)
