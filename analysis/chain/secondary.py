"""Secondary structure of a chain: from the user's file, or from its Cα atoms by the rule of P-SEA.

A file (TOML) names helices and strands by their first and last residue, from 1, and lists the residues of a hydrophobic core::

    core = [4, 6, 21]
    helices = {"α1" = [22, 29]}
    strands = {"β1" = [1, 7], "β2" = [17, 21]}

P-SEA looks at the distances d2, d3, d4 of residue i − 1 to i + 1, i + 2, i + 3, at the angle τ at i, and at the dihedral angle α of
i − 1 … i + 2. At least five residues in a row with (d3 and d4) or (τ and α) of a helix are one; at least four with (d2, d3 and d4)
or (τ and α) of a strand are one, or three that have five contacts of 4.2 to 5.2 Å. Both grow by a residue at either end where d3 or
τ of a helix, d3 of a strand, holds.

Source: Labesse, Colloc'h, Pothier, Mornon, Comput. Appl. Biosci. 13, 291 (1997), doi:10.1093/bioinformatics/13.3.291.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.data.coarse_grain.chain_priors import dihedral_angles

LOCAL = 3  # places along the chain that bonds, angles and dihedral angles span
# Middle and half width of P-SEA's windows, Å and degrees.
_HELIX = {"d3": (5.3, 0.5), "d4": (6.4, 0.6), "angle": (89.0, 12.0), "dihedral": (50.0, 20.0)}
_STRAND = {"d2": (6.7, 0.6), "d3": (9.9, 0.9), "d4": (12.4, 1.1), "angle": (124.0, 14.0), "dihedral": (-170.0, 45.0)}
_NEAR, _FAR, _CONTACTS = 4.2, 5.2, 5


@dataclass(frozen=True)
class SecondaryStructure:
    """Helices and strands by name, each (first, last) residue from 1, and residues of the core. InputError for others."""

    helices: dict = field(default_factory=dict)
    strands: dict = field(default_factory=dict)
    core: tuple[int, ...] = ()

    def __post_init__(self):
        for name, ends in self.parts.items():
            is_pair = isinstance(ends, list | tuple) and [type(end) for end in ends] == [int, int]
            if not is_pair or not 1 <= ends[0] <= ends[1]:
                raise InputError(f"{name} = {ends!r}: expected [first, last] residue, from 1")
        if len(self.parts) < len(self.helices) + len(self.strands):
            raise InputError(
                f"{next(name for name in self.helices if name in self.strands)}: a helix and a strand of one name"
            )
        # Ends alone tell what overlaps: a stretch may be of any length until the chain is known.
        stretches = sorted(tuple(ends) for ends in self.parts.values())
        core = sorted((residue, residue) for residue in self.core)
        for found, which in ((stretches, "helices and strands"), (core, "core")):
            if twice := next((first for (_, last), (first, _) in pairwise(found) if first <= last), None):
                raise InputError(f"{which}: residue {twice} twice: expected once")

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """Helices and strands."""
        return {**self.helices, **self.strands}

    def check(self, n: int) -> None:
        """Raise InputError unless all residues are some of a chain of n."""
        for name, ends in self.parts.items():
            if ends[1] > n:
                raise InputError(f"{name} = {list(ends)}: expected residues 1 to {n}, those of the chain")
        if beyond := [residue for residue in self.core if not 1 <= residue <= n]:
            raise InputError(f"core: residue {beyond[0]}: expected 1 to {n}, those of the chain")

    def __str__(self) -> str:
        named = [f"{name} {first}–{last}" for name, (first, last) in self.parts.items()]
        core = [f"core {', '.join(map(str, self.core))}"] * bool(self.core)
        return "; ".join([*named, *core]) or "no helix and no strand"


class PairClass(NamedTuple):
    """Pairs of residues: a name, and a mask (N, N) of pairs i < j; ``within`` names the class that they are part of."""

    name: str
    pairs: np.ndarray
    within: str | None = None


def read_secondary(path: Path, n: int) -> SecondaryStructure:
    """The secondary structure in a file, of a chain of n residues; InputError for anything else."""
    found = build_settings(SecondaryStructure, read_toml(path), path)
    try:
        found.check(n)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return found


def pair_classes(found: SecondaryStructure, n: int) -> list[PairClass]:
    """Classes to which each pair of residues belongs once, and their parts.

    In this order: near along the chain (at most 3 apart), the 4 apart in one helix, in two strands, both in the core, others.
    """
    place = np.arange(1, n + 1)
    apart = np.subtract.outer(place, place).T
    left = apart > 0
    within = {name: (place >= first) & (place <= last) for name, (first, last) in found.parts.items()}
    helices = {name: np.outer(within[name], within[name]) & (apart == 4) for name in found.helices}
    strands = list(found.strands)
    sheets = {
        f"{one}–{two}": np.outer(within[one], within[two]) | np.outer(within[two], within[one])
        for k, one in enumerate(strands)
        for two in strands[k + 1 :]
    }
    core = np.isin(place, found.core)
    classes: list[PairClass] = []
    for name, parts in (
        (f"|i−j| ≤ {LOCAL}", {"": apart <= LOCAL}), ("helix, i and i+4", helices), ("two strands", sheets),
        ("core", {"": np.outer(core, core)}), ("other", {"": np.ones((n, n), dtype=bool)}),
    ):  # fmt: skip
        mine = [PairClass(part, mask & left, name) for part, mask in parts.items()]
        united = np.any([item.pairs for item in mine], axis=0) if mine else np.zeros((n, n), dtype=bool)
        classes += [PairClass(name, united), *(item for item in mine if item.name)]
        left = left & ~united
    return classes


def common_structure(positions: np.ndarray) -> SecondaryStructure:
    """Stretches that are helix or strand in more than half of the frames (n_frames, N, 3) Å, named α1, β1 …, without a core."""
    kinds = [assign(frame) for frame in positions]
    helix, strand = (np.mean([found == kind for found in kinds], axis=0) > 0.5 for kind in "ab")
    return SecondaryStructure(
        {f"α{k}": ends for k, ends in enumerate(_stretches(helix), start=1)},
        {f"β{k}": ends for k, ends in enumerate(_stretches(strand), start=1)},
    )


def assign(positions: np.ndarray) -> np.ndarray:
    """(N,) letters of the residues at Cα positions (N, 3) Å by P-SEA: a in a helix, b in a strand, c elsewhere."""
    n = len(positions)
    if n < 5:
        return np.full(n, "c")
    seen = _geometry(positions)

    def fits(window: dict, *names: str) -> np.ndarray:
        # A dihedral angle fits its window from either side of 180°.
        off = [(seen[name] - window[name][0] + 180.0) % 360.0 - 180.0 for name in names]
        return np.all([np.abs(d) <= window[name][1] for d, name in zip(off, names, strict=True)], axis=0)

    strict = fits(_HELIX, "d3", "d4") | fits(_HELIX, "angle", "dihedral")
    helix = _grown(_runs(strict, 5), fits(_HELIX, "d3") | fits(_HELIX, "angle"))
    strict = fits(_STRAND, "d2", "d3", "d4") | fits(_STRAND, "angle", "dihedral")
    distance = np.linalg.norm(positions[:, None] - positions, axis=-1)
    contacts = ((distance > _NEAR) & (distance <= _FAR)).sum(axis=1)
    strand = _runs(strict, 4)
    for first, last in _stretches(_runs(strict, 3)):
        if contacts[first - 1 : last].sum() >= _CONTACTS:
            strand[first - 1 : last] = True
    strand = _grown(strand, fits(_STRAND, "d3"))
    return np.where(strand, "b", np.where(helix, "a", "c"))


def _geometry(positions: np.ndarray) -> dict[str, np.ndarray]:
    """(N,) of d2, d3, d4 in Å, angle and dihedral in degrees, at each residue; NaN where the chain is too short."""
    n, bonds = len(positions), np.diff(positions, axis=0)
    found = {name: np.full(n, np.nan) for name in ("d2", "d3", "d4", "angle", "dihedral")}
    for k in (2, 3, 4):
        found[f"d{k}"][1 : n - k + 1] = np.linalg.norm(positions[k:] - positions[:-k], axis=1)
    lengths = np.linalg.norm(bonds, axis=1)
    cosines = -(bonds[:-1] * bonds[1:]).sum(axis=1) / (lengths[:-1] * lengths[1:])
    found["angle"][1 : n - 1] = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    found["dihedral"][1 : n - 2] = np.degrees(dihedral_angles(bonds[None])[0])
    return found


def _stretches(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last residue, from 1, of each run of true values."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(first) + 1, int(end)) for first, end in change.reshape(-1, 2)]


def _runs(mask: np.ndarray, least: int) -> np.ndarray:
    """Only the runs of at least so many true values."""
    kept = np.zeros(len(mask), dtype=bool)
    for first, last in _stretches(mask):
        kept[first - 1 : last] = last - first + 1 >= least
    return kept


def _grown(mask: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """With one more at either end of a run, where allowed."""
    ends = np.concatenate([mask[1:], [False]]) | np.concatenate([[False], mask[:-1]])
    return mask | (ends & allowed)
