"""One ``[[potential]]`` table of a run's input. It loads fast, for ``--help``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from md.bias.settings import hills_of
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range

_MOST_STEPS = 1000


@dataclass(frozen=True)
class PotentialSettings:
    """Keys of a ``[[potential]]`` table: a slow component that is added to the model or engine of the run.

    Attributes:
        model, engine: As in RunSettings, exactly one of them; no engine from Python.
        weight: Factor of its energy, such as −1 to subtract a small network where the large one is added.
        beads: Number of beads P′ on which it is evaluated (contracted.py); 0 for all.
        every_steps: M: it is evaluated at every M-th step, and acts there M times as strongly (split.py).
    """

    model: str = ""
    engine: str = ""
    weight: float = 1.0
    beads: int = 0
    every_steps: int = 1

    def __post_init__(self):
        if bool(self.model) == bool(self.engine):
            raise InputError(f"model = {self.model!r} and engine = {self.engine!r}: expected one of them")
        if self.engine.startswith("python:"):
            raise InputError(f"engine = {self.engine!r}: only the run's own engine can come from Python")
        if not self.weight:
            raise InputError(f"weight = {self.weight:g}: expected another number than 0")
        check_range("beads", self.beads, 0)
        check_range("every_steps", self.every_steps, 1, _MOST_STEPS)

    def __str__(self) -> str:
        beads = f"{self.beads or 'all'} bead{'s' * (self.beads != 1)}"
        steps = "every step" if self.every_steps == 1 else f"every {self.every_steps} steps"
        return f"{self.weight:+g} × {self.engine or Path(self.model).stem} ({beads}, {steps})"


def outer_steps(components: Sequence[PotentialSettings]) -> int:
    """Steps from one state at which all components act to the next, 1 without components."""
    return math.lcm(*(component.every_steps for component in components))


def check_components(settings) -> None:
    """Raise InputError for tables of RunSettings that do not fit its beads or intervals, or another of its keys."""
    if not settings.potential:
        return
    for part in settings.potential:
        if part.beads > min(settings.bead_counts):
            raise InputError(
                f"beads = {part.beads} in a [[potential]] table: contraction to more beads than there are, "
                f"{min(settings.bead_counts)}"
            )
    hills, outer = hills_of(settings.bias), outer_steps(settings.potential)
    intervals = {
        name: getattr(settings, name)
        for name in ("properties_every_steps", "trajectory_every_steps", "equilibration_steps")
    } | ({"every_steps of a bias": hills.every_steps} if hills else {})
    for name, steps in intervals.items():
        if steps % outer:
            raise InputError(
                f"{name} = {steps}: expected a multiple of {outer}, the steps from one evaluation of all [[potential]] "
                "tables to the next: only there is the energy known"
            )
    engine = next((part.engine for part in settings.potential if part.engine), "")
    refused = {
        "a committee": (bool(settings.committee), "the forces of its models are on all beads at every step"),
        f"barostat = {settings.barostat!r} and every_steps = {outer}": (
            settings.has_barostat and outer > 1, "the cell moves with one time step"
        ),
        f"barostat = {settings.barostat!r} and engine = {engine!r}": (
            settings.has_barostat and bool(engine), "no virials are taken from engines"
        ),
        f"pressure = true and engine = {engine!r}": (settings.pressure and bool(engine), "no virials are taken from engines"),
    }  # fmt: skip
    for what, (given, why) in refused.items():
        if given:
            raise InputError(f"[[potential]] tables with {what}: {why}; leave one out")
