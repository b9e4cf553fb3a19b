"""The bond guard compares the bonds of a run with those of its start.

Bonds of the centroids are compared with those of the start at every record, with the hysteresis of mlcalc/geometry/bonds.py.
A change may be the reaction under study, or a failure of the network outside its domain: the run warns once of each kind of change
and counts them, or stops (``bond_guard``).
"""

from collections.abc import Callable

import numpy as np
from ase import Atoms

from md.guards.endings import Exit, Frame, SimulationError
from md.potentials import BondChange, BondWatch

_MOST_ATOMS = 2000  # beyond, the search would slow the run noticeably
_NAMED = 20  # changes that status.json lists


class BondGuard:
    """Follows the bonds of one molecule, or of several copies in one simulation.

    Args:
        atoms: The start of one molecule; mode: "stop", "warn" or "record".
        with_held: Function from positions of the moving atoms to positions (…, N, 3) Å of all atoms.
        warn: Called with the message of the first change of each kind (two elements, made or broken).

    Attributes:
        records: Number of records whose bonds differ from the start; first: the step of the first; changes: the changes, in order.
    """

    def __init__(
        self, atoms, mode: str, with_held: Callable[[np.ndarray], np.ndarray], warn: Callable[[str], None] = print,
        copies: int = 1,
    ):  # fmt: skip
        self._mode, self._with_held, self._warn = mode, with_held, warn
        self._symbols, self._copies = atoms.get_chemical_symbols(), copies
        self._watches = [BondWatch(atoms) for _ in range(copies)]
        self._said: set[tuple] = set()
        self.records = 0
        self.first: int | None = None
        self.changes: list[str] = []

    def __call__(self, frame: Frame) -> None:
        """Check the centroids of a frame with the positions of all copies.

        Raises:
            SimulationError: Bonds have changed, and the mode is "stop".
        """
        centroids = frame.positions.mean(axis=0).reshape(self._copies, -1, 3)
        found = [
            change
            for watch, centroid in zip(self._watches, centroids, strict=True)
            for change in watch.changes(self._with_held(centroid), frame.cell)
        ]
        if not found:
            return
        self.records += 1
        self.first = frame.step if self.first is None else self.first
        kinds = {self._kind(change): change for change in reversed(found)}
        fresh = [change for kind, change in kinds.items() if kind not in self._said]
        self._said |= kinds.keys()
        names = dict.fromkeys([*self.changes, *map(self._name, found)])
        self.changes = list(names)[:_NAMED]
        if self._mode == "stop":
            raise SimulationError(self._message(frame.step, found), Exit.BONDS, frame)
        if self._mode == "warn" and fresh:
            self._warn(self._message(frame.step, fresh))

    def seen(self) -> dict:
        """For status.json."""
        return {"bonds_changed": {"records": self.records, "first_step": self.first, "changes": self.changes}}

    def resume(self, earlier: dict) -> None:
        """Continue the counts of a run that was stopped."""
        known = earlier.get("bonds_changed") or {}
        self.records, self.first = known.get("records", 0), known.get("first_step")
        self.changes = list(known.get("changes", []))

    def _kind(self, change: BondChange) -> tuple:
        return change.made, *sorted(self._symbols[atom] for atom in change[:2])

    def _name(self, change: BondChange) -> str:
        first, second = (f"{self._symbols[atom]}{atom}" for atom in change[:2])
        return f"{first}-{second} {'made' if change.made else 'broken'}"

    def _message(self, step: int, changes: list[BondChange]) -> str:
        named = ", ".join(map(self._name, changes[:4])) + (" …" if len(changes) > 4 else "")
        return (
            f"step {step}: bonds differ from those of the start (by element and index of the atoms: {named}): a reaction, or a "
            "model that does not hold the molecule together; label frames of it (rpmd frames, mlcalc label) and compare, or set "
            'bond_guard to "record" or "off" if bonds may change (rpmd resume RUN --set bond_guard=record)'
        )


class NoBonds:
    """The bond guard of a run without bonds to check."""

    def __call__(self, frame: Frame) -> None:
        """Nothing."""

    def seen(self) -> dict:
        """An empty report for status.json."""
        return {}

    def resume(self, earlier: dict) -> None:
        """Nothing."""


def watches_bonds(mode: str, atoms: Atoms, domain: dict) -> bool:
    """Whether a mode has bonds to check: coarse-grained beads and very large systems have none."""
    return mode != "off" and "bead_masses_u" not in domain and 2 <= len(atoms) <= _MOST_ATOMS
