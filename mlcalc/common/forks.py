"""Repairs in a forked child, which has only the thread that forked, and memory in the state that all threads left."""

import os
from typing import Protocol
from weakref import WeakSet


class Renewed(Protocol):
    """The argument of ``renew_after_fork`` in this module."""

    def renew_after_fork(self) -> None:
        """Called in the child, before anything else runs there."""


_renewed: WeakSet[Renewed] = WeakSet()


def renew_after_fork(owner: Renewed) -> None:
    """Call ``owner.renew_after_fork()`` in every child that this process forks, as long as the owner exists."""
    _renewed.add(owner)


def _renew() -> None:
    for owner in list(_renewed):
        owner.renew_after_fork()


os.register_at_fork(after_in_child=_renew)
