"""Fresh structures of a round: random beads of motion at equilibrium that no training has seen, as many as a verdict needs."""

import math
from collections.abc import Collection

import numpy as np
from ase import Atoms

from mlcalc.learn.explore import at_equilibrium
from mlcalc.learn.settings import LearnSettings

_OF_P = 2 / 3  # of the first fresh structures: those of P beads; the others are classical
_SHARE = 1 / 3  # of the target: standard error of each kind that is aimed at
_SIGMAS = 3.0  # an error that is so many standard errors above the target fails, however precisely it is known
_UNKNOWN = 5  # more structures of a kind whose error has no standard error yet


def kind_of(beads: int) -> str:
    """What errors of structures of P beads are called."""
    return f"beads {beads}"


def first_counts(settings: LearnSettings) -> dict[int, int]:
    """Number of beads → fresh structures of it, with which a round begins."""
    quantum = round(_OF_P * settings.fresh_labels) if settings.beads > 1 else settings.fresh_labels
    return dict(zip(settings.bead_counts, (quantum, settings.fresh_labels - quantum), strict=False))


def lacking(settings: LearnSettings, errors: list[dict], spare: int) -> dict[int, int]:
    """Number of beads → further structures that bring its standard error to a third of the target, at most ``spare`` in total.

    None of a kind whose error is above the target by more than three standard errors: its verdict is known.

    Args:
        errors: Of the structures so far, meV/Å, as round.json has them.
    """
    wanted = {}
    for beads in settings.bead_counts:
        for group in (group for group in errors if group["kind"] == kind_of(beads)):
            mean, error, n = group["mae"], group["mae_error"], group["frames"]
            if error is None or math.isnan(error):
                wanted[beads] = _UNKNOWN
            elif error > _SHARE * settings.target_meV_A and mean - _SIGMAS * error < settings.target_meV_A:
                wanted[beads] = math.ceil(n * ((error / (_SHARE * settings.target_meV_A)) ** 2 - 1.0))
    total = sum(wanted.values())
    return wanted if total <= spare else {beads: count * max(spare, 0) // total for beads, count in wanted.items()}


def draw(
    settings: LearnSettings, visited: list[Atoms], counts: dict[int, int], known: Collection[int], rng: np.random.Generator
) -> list[Atoms]:  # fmt: skip
    """Copies of visited structures at equilibrium, at random, as many for each number of beads; ``info["visited"]`` is their index.

    Args:
        known: Indices that are drawn already.
    """
    drawn: list[int] = []
    pool = [k for k in at_equilibrium(settings, visited) if k not in set(known)]
    for beads, count in counts.items():
        mine = [k for k in pool if visited[k].info["beads"] == beads]
        drawn += sorted(rng.choice(mine, min(count, len(mine)), replace=False).tolist())
    frames = [visited[k].copy() for k in drawn]
    for k, atoms in zip(drawn, frames, strict=True):
        atoms.info["visited"] = k
    return frames
