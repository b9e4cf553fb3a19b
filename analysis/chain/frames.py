"""Frames of one chain of beads, and the names of its residues."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.command_options import check_discard
from analysis.runs.run_files import check_kept
from analysis.runs.universe import bead_positions, open_run
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.data.coarse_grain.residues import C_TERMINUS, LETTERS, N_TERMINUS, check_sequence, name_of_type
from mlcalc.structures.structure_files import read_atoms


class Chain(NamedTuple):
    """Frames of a chain.

    Attributes:
        source: What they are called in messages; sequence: (N,) one-letter codes.
        numbers: (N,) types of the beads, as atomic numbers; positions: (n_frames, N, 3) Å.
        times_ps: (n_frames,) of a run, from its start; None of a file.
        trajectories: (n_frames,) number of the trajectory of each; None where all are of one.
    """

    source: str
    sequence: str
    numbers: np.ndarray
    positions: np.ndarray
    times_ps: np.ndarray | None = None
    trajectories: np.ndarray | None = None

    @property
    def labels(self) -> list[str]:
        """Residues by letter and number, from 1: ``K12``."""
        return [f"{letter}{number}" for number, letter in enumerate(self.sequence, start=1)]

    def parts(self) -> list[np.ndarray]:
        """Of each trajectory the indices of its frames."""
        if self.trajectories is None:
            return [np.arange(len(self.positions))]
        return [np.flatnonzero(self.trajectories == k) for k in np.unique(self.trajectories)]

    def structures(self, numbers: np.ndarray | None = None) -> list[Atoms]:
        """The frames as structures, with these types (N,) in place of the own."""
        return [Atoms(self.numbers if numbers is None else numbers, frame) for frame in self.positions]

    def distances(self) -> np.ndarray:
        """(n_frames, N, N) Å between beads."""
        return np.linalg.norm(self.positions[:, :, None] - self.positions[:, None], axis=-1)


def read_chain(path: Path, sequence: str | None, most: int, discard: float | None) -> Chain:
    """Evenly spaced frames of a file of structures, from all of its trajectories alike, or of a classical run.

    Frames of a file whose ``info["trajectory"]`` agrees are of one trajectory, and so are all that name none.

    Args:
        sequence: One-letter codes; None for those that the structures carry (``mlcalc coarse-grain`` writes them).
        most: Largest number of frames.
        discard: Share left out at the start of a run; None for a tenth. A file has none.

    Raises:
        InputError: Unreadable, no frame left, no sequence, types that are not its residues, frames of several chains, a cell, or a
            ring polymer.
    """
    check_range("--frames", most, 1)
    if os.path.isdir(path):
        structure, positions, times = _of_run(path, most, 0.1 if discard is None else discard)
        trajectories = None
    elif discard is None:
        structure, positions, trajectories = _of_file(path, most)
        times = None
    else:
        raise InputError(f"--discard {discard}: an option for runs only; leave it out for {path}")
    found = sequence or structure.info.get("sequence")
    if not isinstance(found, str):
        raise InputError(f"{path}: its structures carry no sequence: give one-letter codes with --sequence")
    check_types(check_sequence(found), structure.numbers, str(path))
    return Chain(str(path), found, structure.numbers, positions, times, trajectories)


def check_types(sequence: str, numbers: np.ndarray, source: str) -> None:
    """Raise InputError unless types (N,) of beads are those of a sequence; the ends may have those of free ends."""
    if len(numbers) != len(sequence):
        raise InputError(
            f"{source}: {len(numbers)} beads: expected one for each of the {len(sequence)} residues of the sequence"
        )
    ends = {0: N_TERMINUS, len(sequence) - 1: C_TERMINUS}
    for place, (letter, number) in enumerate(zip(sequence, numbers.tolist(), strict=True)):
        if number not in (LETTERS.index(letter) + 1, ends.get(place)):
            raise InputError(
                f"{source}: bead {place + 1} has the type {name_of_type(number)}: expected {letter}, of the sequence"
            )


def _of_file(path: Path, most: int) -> tuple[Atoms, np.ndarray, np.ndarray]:
    frames = read_atoms(path)
    for number, atoms in enumerate(frames, start=1):
        if atoms.pbc.any():
            raise InputError(f"{path}, structure {number}: it has a cell: expected one chain without")
        if not np.array_equal(atoms.numbers, frames[0].numbers):
            raise InputError(
                f"{path}, structure {number}: its beads are not those of the first: expected frames of one chain"
            )
    trajectories = _trajectories(frames)
    # Trajectories may alternate in a file: every second frame would leave out one of two.
    chosen = np.sort(_chosen(np.argsort(trajectories, kind="stable"), most))
    return frames[0], np.array([frames[k].positions for k in chosen]), trajectories[chosen]


def _trajectories(frames: list[Atoms]) -> np.ndarray:
    """Number of the trajectory of each frame, in the order in which they first appear."""
    names = [str(atoms.info.get("trajectory", "")) for atoms in frames]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def _of_run(folder: Path, most: int, discard: float) -> tuple[Atoms, np.ndarray, np.ndarray]:
    check_discard(discard)
    run = open_run(folder)
    check_kept(run, discard, 1)
    if run.n_beads > 1 or run.structure.pbc.any():
        what = "a cell" if run.structure.pbc.any() else f"P = {run.n_beads}"
        raise InputError(f"{folder}: a run with {what}: expected a classical one of one chain without a cell")
    chosen = _chosen(run.kept(discard), most)
    return run.structure, bead_positions(run, chosen)[:, 0], chosen * run.frame_interval_ps


def _chosen(frames: np.ndarray, most: int) -> np.ndarray:
    """At most so many of these frames, evenly spaced."""
    return frames if len(frames) <= most else frames[np.linspace(0, len(frames) - 1, most).round().astype(int)]
