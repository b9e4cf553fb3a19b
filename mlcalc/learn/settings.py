"""The plan of ``mlcalc learn``: its keys, and how ``learn.toml`` is read and written."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from mlcalc.architectures import ARCHITECTURES
from mlcalc.common.errors import InputError, one_line
from mlcalc.common.files import write_atomically
from mlcalc.common.settings import as_toml, build_settings, check_choice, check_distance, check_range, read_toml

PLAN_FILE, BEGUN, STRUCTURE = "learn.toml", ".begun.toml", "structure.xyz"
RESULT, MODELS, LABELS = "result.json", "models", "labels.xyz"
# Keys that a folder in which learning has begun may change: budgets, the bar, and what only rounds to come depend on.
FREE = {
    "labels", "hours", "rounds", "target_meV_A", "spot_check", "jobs", "later_steps", "explore_ps", "stop_error_eV_A",
}  # fmt: skip
_BY = "# begun by: "
_FEWEST = 5  # fresh structures of a round: with fewer their error has no standard error worth the name
_FULL_LENGTH = 3  # the first round whose explorations have their full length
_COLD, _FRESH = 0.4, 0.4  # share of the cold start in the budget, and of fresh structures in the labels of a round


@dataclass(frozen=True)
class LearnSettings:
    """Keys of a learn.toml; those that are not set are chosen from the molecule.

    Attributes:
        structure: The molecule, cluster or periodic cell, relative to the TOML.
        engine: Level of theory, see mlcalc/data/engines.py.
        temperature_K: Temperature at which the network shall serve.
        beads: P; not set: the least power of two that exceeds βħω and finds the harmonic energy to 2 %.
        timestep_fs: Δt; not set: a twentieth of the shortest period (start.py).
        labels: Budget of calculations with the engine, those of the minimum and its vibrations not counted; not set: 100 per atom,
            and up to five times that where they are cheap (start.py).
        hours: Budget of wall time; a round that would exceed it is not begun.
        target_meV_A: Largest mean error of a force component, with its standard error, on fresh structures.
        rounds: Most rounds.
        members: Networks of the committee, of independent seeds.
        starts: Structures from which each exploration starts.
        hot: Temperature of the hotter explorations, relative to ``temperature_K``.
        explore_ps: Length of each exploration from the third round on; a quarter of it in the first, a half in the second.
        stop_error_eV_A: Explorations stop where the committee's disagreement means an expected error above it on a bead of an atom.
        max_label_force_eV_A: Structures with a larger force are not learnt.
        spot_check: Labels that are computed again at the end.
        architecture, n_features, n_interactions, n_rbf, cutoff_A, batch_size, learning_rate: As in mlcalc/training/settings.py.
        steps, later_steps: Training steps of the first round and of each later one.
        compile: Whether torch compiles the loss.
        jobs: Processes at once.
        seed: Of all random numbers.
        refines: Folder of an earlier learning, whose structures are labelled again and whose networks are trained on (refine.py).
    """

    structure: str
    engine: str
    temperature_K: float = 300.0
    beads: int | None = None
    timestep_fs: float | None = None
    labels: int | None = None
    hours: float = 2.0
    target_meV_A: float = 10.0
    rounds: int = 6
    members: int = 3
    starts: int = 2
    hot: float = 1.3
    explore_ps: float = 5.0
    stop_error_eV_A: float = 3.0
    max_label_force_eV_A: float = 50.0
    spot_check: int = 20
    architecture: str = "painn"
    n_features: int | None = None
    n_interactions: int = 3
    n_rbf: int = 20
    cutoff_A: float | None = None
    batch_size: int = 8
    learning_rate: float = 2e-3
    steps: int = 8000
    later_steps: int = 4000
    compile: bool = True
    jobs: int = 2
    seed: int = 0
    refines: str | None = None

    def __post_init__(self):
        for name in ("temperature_K", "hours", "target_meV_A", "explore_ps", "stop_error_eV_A", "learning_rate"):
            check_range(name, getattr(self, name), 0, open_low=True)
        check_range("max_label_force_eV_A", self.max_label_force_eV_A, 0, open_low=True)
        for name in ("rounds", "starts", "batch_size", "steps", "later_steps", "jobs", "n_interactions"):
            check_range(name, getattr(self, name), 1)
        check_range("members", self.members, 2, 8)
        check_range("hot", self.hot, 1.0, 3.0)
        check_range("spot_check", self.spot_check, 0)
        check_range("seed", self.seed, 0)
        check_choice("architecture", self.architecture, ARCHITECTURES)
        for name, low, high in (("beads", 1, 1024), ("n_features", 1, 1024), ("timestep_fs", 1e-3, 20.0)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), low, high)
        if self.cutoff_A is not None:
            check_distance("cutoff_A", self.cutoff_A)
        if self.labels is not None and min(self.cold_labels, self.fresh_labels) < _FEWEST:
            raise InputError(
                f"labels = {self.labels} for {self.rounds} rounds and a spot check of {self.spot_check}: "
                f"{max(self.cold_labels, 0)} for the cold start and {max(self.fresh_labels, 0)} fresh structures a round; "
                f"expected at least {_FEWEST} of each: raise labels, or lower rounds"
            )

    @property
    def cold_labels(self) -> int:
        """Labels of the cold start."""
        return int(_COLD * (self.labels - self.spot_check))

    @property
    def _of_a_round(self) -> float:
        """Labels of a round; the last one has no structures chosen to train on."""
        return (self.labels - self.spot_check - self.cold_labels) / (self.rounds - 1 + _FRESH)

    @property
    def fresh_labels(self) -> int:
        """Labels of each round on structures that are only measured at first."""
        return int(_FRESH * self._of_a_round)

    @property
    def chosen_labels(self) -> int:
        """Labels of each round but the last on structures that the committee knows least."""
        return int((1.0 - _FRESH) * self._of_a_round)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures of the explorations, K."""
        return (self.temperature_K, self.hot * self.temperature_K) if self.hot > 1.0 else (self.temperature_K,)

    @property
    def bead_counts(self) -> tuple[int, ...]:
        """Numbers of beads of the explorations: P, and classical."""
        return (self.beads, 1) if self.beads > 1 else (1,)

    def of_round(self, number: int) -> "LearnSettings":
        """The settings with the length of the explorations of a round, from 1."""
        return replace(self, explore_ps=self.explore_ps * min(1.0, 2.0 ** (number - _FULL_LENGTH)))

    @property
    def explore_steps(self) -> int:
        """Time steps of an exploration."""
        return max(1, round(1e3 * self.explore_ps / self.timestep_fs))


def read_plan(path: Path, overrides: dict[str, Any] | None = None) -> LearnSettings:
    """The settings of a learn.toml and overrides of its keys; its paths are seen from the current folder.

    Raises:
        InputError: Missing, malformed, unknown key, value out of range.
    """
    values = read_toml(path)
    for key in ("structure", "refines"):
        if isinstance(values.get(key), str):
            values[key] = str(path.parent / values[key])
    return build_settings(LearnSettings, values | (overrides or {}), path)


def write_plan(settings: LearnSettings, folder: Path, command: str) -> None:
    """Write the plan of a folder and, the first time, what learning began with and by which command."""
    refines = settings.refines and os.path.relpath(settings.refines, folder)
    text = as_toml(replace(settings, structure=STRUCTURE, refines=refines))
    if not (folder / BEGUN).is_file():
        write_atomically(folder / BEGUN, f"{_BY}{one_line(command)}\n{text}".encode())
    head = "# Plan of mlcalc learn; 'mlcalc learn learn.toml' follows it. Once learning has begun, only these keys may change:\n"
    write_atomically(folder / PLAN_FILE, f"{head}# {', '.join(sorted(FREE))}\n{text}".encode())


def command_of(folder: Path) -> str:
    """The command with which learning began in a folder."""
    return (folder / BEGUN).read_text(encoding="utf-8").split("\n")[0].removeprefix(_BY)


def changed_plan(folder: Path, overrides: dict[str, Any]) -> LearnSettings:
    """The plan of a folder in which learning has begun, with overrides; keys that someone deleted are those of the begin.

    Raises:
        InputError: Malformed, or a key that must not change.
    """
    begun = read_plan(folder / BEGUN)
    plan = read_toml(folder / PLAN_FILE) | overrides | {"structure": begun.structure}
    if begun.refines is not None and os.path.realpath(overrides.get("refines", begun.refines)) == os.path.realpath(
        begun.refines
    ):
        plan["refines"] = begun.refines
    now = read_plan(folder / BEGUN, plan)
    for field in fields(LearnSettings):
        then, value = getattr(begun, field.name), getattr(now, field.name)
        if field.name not in FREE and value != then:
            raise InputError(
                f"{folder}: learning began with {field.name} = {then!r}, not {value!r}; keys that may change: "
                f"{', '.join(sorted(FREE))}; choose another --output for the rest"
            )
    return now
