"""Two observables of a round's ring polymers, which must not change from round to round: potential energy and width of bonds."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from ase import Atoms

from mlcalc.geometry.bonds import find_bonds

_BLOCKS = 4  # of each trajectory
_ERRORS = 3.0  # standard errors of a difference that counts as equal


class Mean(NamedTuple):
    """A mean and its standard error."""

    value: float
    error: float


def observables(frames: list[Atoms], energies: np.ndarray, minimum: Atoms) -> dict[str, Mean]:
    """Means over blocks of trajectories; standard errors from the scatter of the blocks.

    Args:
        frames: Structures with ``info["trajectory"]`` and ``info["step"]``; energies: (n,) eV, their potential energies.
        minimum: Its bonds (geometry.bonds.find_bonds) are those whose width counts.

    Returns:
        ``potential_eV``, and ``bond_width_A``: root of the mean variance of bond lengths within a block. Empty for fewer than two
        blocks.
    """
    bonds = find_bonds(minimum)
    shift = bonds.vectors - (minimum.positions[bonds.second] - minimum.positions[bonds.first])
    runs: dict[str, list[int]] = defaultdict(list)
    for k in sorted(range(len(frames)), key=lambda k: frames[k].info["step"]):
        runs[frames[k].info["trajectory"]].append(k)
    blocks = [block for run in runs.values() for block in np.array_split(run, _BLOCKS) if len(block) > 1]
    if len(blocks) < 2:
        return {}
    positions = np.array([atoms.positions for atoms in frames])
    lengths = np.linalg.norm(positions[:, bonds.second] - positions[:, bonds.first] + shift, axis=2)
    found = {"potential_eV": np.array([energies[block].mean() for block in blocks])}
    if len(bonds.first):
        found["bond_width_A"] = np.array([np.sqrt(lengths[block].var(axis=0).mean()) for block in blocks])
    return {name: Mean(float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))) for name, x in found.items()}


def differing(before: dict[str, Mean], now: dict[str, Mean]) -> list[str]:
    """One sentence for each observable that differs between two rounds by more than three standard errors."""
    texts = []
    for name in now.keys() & before.keys():
        change = now[name][0] - before[name][0]
        error = float(np.hypot(now[name][1], before[name][1]))
        if abs(change) > _ERRORS * error:
            texts.append(f"{name} changed by {change:+.4g} ± {error:.2g} from the round before")
    return sorted(texts)
