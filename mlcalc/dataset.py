"""Labelled structures (extxyz) to arrays, and arrays to training batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlcalc.errors import InputError
from mlcalc.pairs import half_pairs
from mlcalc.structure_files import read_atoms


@dataclass(frozen=True)
class Dataset:
    """Frames of one or several files; frame k owns atoms ``offsets[k]:offsets[k + 1]``.

    Attributes:
        numbers: (n_atoms,) atomic numbers of all frames, one after the other.
        positions: (n_atoms, 3) Å; forces: (n_atoms, 3) eV/Å.
        energies: (n_frames,) eV; NaN where a frame has none (forces alone can be matched).
        offsets: (n_frames + 1,).
        cells: (n_frames, 3, 3) Å; pbc: (n_frames, 3).
        trajectories: (n_frames,) text that frames of one trajectory share.
        sources: (n_frames,) index of the file that a frame came from.
        info: The ``info`` of each frame, for grouping.
        files: SHA-256 of each file by its name.
    """

    numbers: np.ndarray
    positions: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    offsets: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    trajectories: np.ndarray
    sources: np.ndarray
    info: list[dict]
    files: dict[str, str]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def atoms_of(self, frame: int) -> slice:
        """The rows of the per-atom arrays that belong to a frame."""
        return slice(self.offsets[frame], self.offsets[frame + 1])

    @property
    def counts(self) -> np.ndarray:
        """(n_frames,) atoms of each frame."""
        return np.diff(self.offsets)


def read_dataset(paths: Sequence[str | Path]) -> Dataset:
    """Read extxyz files with forces and, where they have them, energies (eV, Å).

    Raises:
        InputError: A missing, empty or malformed file; a frame without forces; NaN in positions or labels.
    """
    frames, sources, files = [], [], {}
    for source, path in enumerate(paths):
        read = _read_frames(Path(path))
        files[Path(path).name] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        frames += read
        sources += [source] * len(read)
    return Dataset(
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        positions=np.concatenate([atoms.positions for atoms in frames]),
        forces=np.concatenate([atoms.get_forces() for atoms in frames]),
        energies=np.array([_energy(atoms) for atoms in frames]),
        offsets=np.concatenate([[0], np.cumsum([len(atoms) for atoms in frames])]),
        cells=np.array([atoms.cell.array for atoms in frames]),
        pbc=np.array([atoms.pbc for atoms in frames]),
        # A frame that names no trajectory stands alone.
        trajectories=np.array([str(atoms.info.get("trajectory", f"frame {k}")) for k, atoms in enumerate(frames)]),
        sources=np.array(sources),
        info=[atoms.info for atoms in frames],
        files=files,
    )


def _read_frames(path: Path) -> list:
    frames = read_atoms(path, format="extxyz")
    for k, atoms in enumerate(frames):
        if atoms.calc is None or "forces" not in atoms.calc.results:
            raise InputError(f"{path}: structure {k + 1} has no forces; label the file first (mlcalc label --help)")
        if atoms.calc.results["forces"].shape != (len(atoms), 3) or atoms.calc.results["forces"].dtype.kind not in "fi":
            raise InputError(f"{path}: structure {k + 1} has forces that are not three numbers for each atom")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_forces()).all()):
            raise InputError(f"{path}: structure {k + 1} holds NaN or infinite positions or forces")
        if "energy" in atoms.calc.results and not _is_number(atoms.calc.results["energy"]):
            raise InputError(f"{path}: structure {k + 1} has the energy {atoms.calc.results['energy']}")
    return frames


def _is_number(value) -> bool:
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "fi" and bool(np.isfinite(array))


def _energy(atoms) -> float:
    return float(atoms.calc.results.get("energy", np.nan))


def distance_range(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> dict[str, float]:
    """The training domain in distances, Å: smallest pair, largest nearest neighbour, largest pair (within the cutoff)."""
    smallest, largest, largest_nearest = np.inf, 0.0, 0.0
    for frame in frames:
        positions = dataset.positions[dataset.atoms_of(frame)]
        pairs = half_pairs(positions, cutoff, dataset.cells[frame], dataset.pbc[frame])
        if not len(pairs.first):
            continue
        distance = np.linalg.norm(positions[pairs.second] - positions[pairs.first] + pairs.shift, axis=1)
        nearest = np.full(len(positions), np.inf)
        np.minimum.at(nearest, pairs.first, distance)
        np.minimum.at(nearest, pairs.second, distance)
        smallest, largest = min(smallest, distance.min()), max(largest, distance.max())
        largest_nearest = max(largest_nearest, nearest[np.isfinite(nearest)].max())
    return {
        "min_distance_A": float(smallest),
        "max_nearest_distance_A": float(largest_nearest),
        "max_distance_A": float(largest),
    }


class Batch(NamedTuple):
    """Frames flattened into one graph; network precision, except the energies.

    ``vectors`` (n_pairs, 3) Å are r_j − r_i + shift, ``frame`` (n_atoms,) numbers each atom's frame from 0.
    """

    species: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    frame: Tensor
    energies: Tensor  # (B,) eV relative to the shifts of the elements and of the source
    forces: Tensor  # (n_atoms, 3) eV/Å
    sources: Tensor  # (B,)


class Batches:
    """Makes batches of a dataset for a network; keeps pair lists of frames where there is nothing periodic to them.

    Args:
        dataset: The frames; elements: Atomic numbers in embedding order; cutoff: Å or None.
        reference: (n_frames,) eV to subtract from the energies, so that they fit float32.
    """

    def __init__(self, dataset: Dataset, elements, cutoff: float | None, reference: np.ndarray, dtype, device="cpu"):
        self.dataset, self.cutoff, self.dtype, self.device = dataset, cutoff, dtype, device
        row = {z: k for k, z in enumerate(elements)}
        self.species = np.array([row[z] for z in dataset.numbers.tolist()])
        self.relative = dataset.energies - reference
        self._molecules: dict[int, tuple] = {}

    def make(self, frames: np.ndarray) -> Batch:
        """The batch of the given frame indices."""
        data = self.dataset
        rows = np.concatenate([np.arange(data.offsets[k], data.offsets[k + 1]) for k in frames])
        counts = data.counts[frames]
        starts = np.cumsum(counts) - counts
        lists = [self._pairs(k) for k in frames]
        first = np.concatenate([pairs.first + start for pairs, start in zip(lists, starts, strict=True)])
        second = np.concatenate([pairs.second + start for pairs, start in zip(lists, starts, strict=True)])
        positions = data.positions[rows]
        vectors = positions[second] - positions[first] + np.concatenate([pairs.shift for pairs in lists])

        def real(array):
            return torch.as_tensor(array, dtype=self.dtype, device=self.device)

        def whole(array):
            return torch.as_tensor(array, dtype=torch.int64, device=self.device)

        return Batch(
            whole(self.species[rows]), whole(first), whole(second), real(vectors),
            whole(np.repeat(np.arange(len(frames)), counts)), real(self.relative[frames]),
            real(data.forces[rows]), whole(data.sources[frames]),
        )  # fmt: skip

    def _pairs(self, frame: int):
        positions = self.dataset.positions[self.dataset.atoms_of(frame)]
        if self.dataset.pbc[frame].any():
            return half_pairs(positions, self.cutoff, self.dataset.cells[frame], self.dataset.pbc[frame])
        if len(positions) not in self._molecules:
            self._molecules[len(positions)] = half_pairs(positions, self.cutoff)
        return self._molecules[len(positions)]
