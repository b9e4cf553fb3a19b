"""Successive frames of one molecule, which potentials evaluate together."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlcalc.training.dataset import Dataset

_REPLICAS = 64  # structures per call of a potential


class Alike(NamedTuple):
    """Frames of one molecule, or one periodic frame.

    Attributes:
        frames: Of the dataset; atoms: their rows of arrays per atom.
        numbers: (N,) atomic numbers of each; positions: (P, N, 3) Å.
        pbc: (3,), cell: (3, 3) Å; None for molecules.
    """

    frames: slice
    atoms: slice
    numbers: np.ndarray
    positions: np.ndarray
    pbc: np.ndarray | None
    cell: np.ndarray | None

    @property
    def key(self) -> tuple:
        """Equal for frames that one potential serves."""
        return self.numbers.tobytes(), None if self.pbc is None else self.pbc.tobytes()


def alike_frames(dataset: Dataset) -> Iterator[Alike]:
    """All frames of a dataset in their order."""
    begin = 0
    while begin < len(dataset):
        periodic, end = bool(dataset.pbc[begin].any()), begin + 1
        if not periodic:
            while end < min(len(dataset), begin + _REPLICAS) and _same_molecule(dataset, begin, end):
                end += 1
        atoms = slice(dataset.offsets[begin], dataset.offsets[end])
        box = (dataset.pbc[begin], dataset.cells[begin]) if periodic else (None, None)
        positions = dataset.positions[atoms].reshape(end - begin, -1, 3)
        yield Alike(slice(begin, end), atoms, dataset.numbers[dataset.atoms_of(begin)], positions, *box)
        begin = end


def _same_molecule(dataset: Dataset, first: int, second: int) -> bool:
    return not dataset.pbc[second].any() and np.array_equal(
        dataset.numbers[dataset.atoms_of(first)], dataset.numbers[dataset.atoms_of(second)]
    )
