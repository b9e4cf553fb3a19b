"""Labelled structures (extxyz) to arrays, and arrays to training batches."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mlcalc.common.errors import InputError
from mlcalc.geometry.pairs import half_pairs
from mlcalc.outputs import OUTPUTS
from mlcalc.structures.electronic_state import ElectronicState, electronic_state
from mlcalc.structures.labels import Contents, LabelNames, read_labels, tables_of
from mlcalc.structures.readout_labels import read_readout_labels
from mlcalc.structures.structure_files import drop_constraints, read_atoms


@dataclass(frozen=True)
class Dataset:
    """Frames of one or several files; frame k owns atoms ``offsets[k]:offsets[k + 1]``.

    Attributes:
        numbers: (n_atoms,) atomic numbers of all frames, one after the other.
        positions: (n_atoms, 3) Å.
        labels: By the names of outputs, in their units: (n_frames, …), or (n_atoms, …) of those per atom; NaN in frames that have
            none. Energies and forces, and those of readouts that were asked for.
        offsets: (n_frames + 1,).
        cells: (n_frames, 3, 3) Å; pbc: (n_frames, 3).
        trajectories: (n_frames,) text that frames of one trajectory share.
        sources: (n_frames,) index of the file that a frame came from.
        info: The ``info`` of each frame, for grouping.
        states: Charge and multiplicity that each frame gives.
        masses: (n_atoms,) u, NaN in frames that give none.
        files: SHA-256 of each file by its name.
        contents: What was found in each file.
    """

    numbers: np.ndarray
    positions: np.ndarray
    labels: dict[str, np.ndarray]
    offsets: np.ndarray
    cells: np.ndarray
    pbc: np.ndarray
    trajectories: np.ndarray
    sources: np.ndarray
    info: list[dict]
    states: list[ElectronicState]
    masses: np.ndarray
    files: dict[str, str]
    contents: list[Contents]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def atoms_of(self, frame: int) -> slice:
        """The rows of the per-atom arrays that belong to a frame."""
        return slice(self.offsets[frame], self.offsets[frame + 1])

    def place_of(self, frame: int) -> str:
        """File of a frame and its number there, for messages."""
        source = self.sources[frame]
        return f"{self.contents[source].name}: structure {frame + 1 - np.argmax(self.sources == source)}"

    @property
    def energies(self) -> np.ndarray:
        """(n_frames,) eV; NaN where a frame has none (forces can be matched without energies)."""
        return self.labels["energy"]

    @property
    def forces(self) -> np.ndarray:
        """(n_atoms, 3) eV/Å, NaN in frames that have none."""
        return self.labels["forces"]

    @property
    def counts(self) -> np.ndarray:
        """(n_frames,) atoms of each frame."""
        return np.diff(self.offsets)


def read_dataset(
    paths: Sequence[str | Path], names: Sequence[LabelNames] | None = None, energy_only: bool = False,
    outputs: Sequence[str] = (), required: bool = True,
) -> Dataset:  # fmt: skip
    """Read structures with forces and, if they have them, energies, from files in any format that ASE reads, or MD17's NPZ.

    Args:
        names: Where the labels of each file are; None for the defaults of mlcalc/structures/labels.py.
        energy_only: Whether structures with an energy may lack forces.
        outputs: Names of outputs of readouts to read too; required: whether each file has to have them.

    Raises:
        InputError: A missing, empty or malformed file; what labels.read_labels and readout_labels.read_readout_labels refuse; an
            invalid charge or multiplicity.
    """
    frames, sources, files, labels, others = [], [], {}, [], []
    for source, path in enumerate(map(Path, paths)):
        read = read_atoms(path)
        its = names[source] if names else LabelNames()
        labels.append(read_labels(read, path, its, energy_only))
        others.append(read_readout_labels(read, path, outputs, required, its.scalar))
        drop_constraints(read, path, "labels")
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        frames += read
        sources += [source] * len(read)
    return Dataset(
        numbers=np.concatenate([atoms.numbers for atoms in frames]),
        positions=np.concatenate([atoms.positions for atoms in frames]),
        labels={
            "energy": np.concatenate([found.energies for found in labels]),
            "forces": np.concatenate([forces for found in labels for forces in found.forces]),
            **{name: np.concatenate([found[name] for found, _ in others]) for name in outputs},
        },
        offsets=np.concatenate([[0], np.cumsum([len(atoms) for atoms in frames])]),
        cells=np.array([atoms.cell.array for atoms in frames]),
        pbc=np.array([atoms.pbc for atoms in frames]),
        # A frame that names no trajectory is one of its own.
        trajectories=np.array([str(atoms.info.get("trajectory", f"frame {k}")) for k, atoms in enumerate(frames)]),
        sources=np.array(sources),
        info=[atoms.info for atoms in frames],
        states=[electronic_state(atoms) for atoms in frames],
        masses=np.concatenate([atoms.arrays.get("masses", np.full(len(atoms), np.nan)) for atoms in frames]),
        files=files,
        contents=[found.contents._replace(readouts=counts) for found, (_, counts) in zip(labels, others, strict=True)],
    )


def said_of(info: dict, key: str) -> Any:
    """What the ``info`` of a frame says under a key, also within the tables of a row of an ASE database; None for nothing."""
    return next((table[key] for table in tables_of(info) if key in table), None)


def frame_weights(dataset: Dataset, key: str) -> np.ndarray:
    """(n_frames,) weights in the loss that the frames give under a key of their ``info``.

    Raises:
        InputError: A weight that is missing, or no number above zero: frames that do not count would still widen the domain.
    """
    weights = []
    for k, info in enumerate(dataset.info):
        value = said_of(info, key)
        weight = np.asarray(value)
        if weight.dtype.kind not in "iuf" or weight.size != 1 or not 0.0 < weight.reshape(()) < np.inf:
            found = f"has no {key}" if value is None else f"has the {key} {value}"
            raise InputError(
                f"{dataset.place_of(k)} {found}: weight_key expects a number above 0 in each structure; leave out those that are "
                "not to count"
            )
        weights.append(float(weight.reshape(())))
    return np.array(weights)


class Batch(NamedTuple):
    """Frames flattened into one graph, in the precision of the network.

    ``vectors`` (n_pairs, 3) Å are r_j − r_i + shift, ``frame`` (n_atoms,) numbers each atom's frame from 0; ``positions``
    (n_atoms, 3) Å are relative to the first atom of the frame.
    """

    species: Tensor
    first: Tensor
    second: Tensor
    vectors: Tensor
    frame: Tensor
    labels: dict[str, Tensor]  # as in Dataset; energies relative to the zero of the level
    levels: Tensor  # (B,) which zero of energy, mlcalc/training/energy_zero.py
    positions: Tensor
    shares: dict[str, Tensor] | None = None  # of each row of the labels in the loss; None for equal ones


class Batches:
    """Makes batches of a dataset for a network; keeps the pair lists of frames that are not periodic.

    Args:
        dataset: The frames; elements: Atomic numbers in embedding order; cutoff: Å or None.
        levels: (n_frames,) level of each frame; reference: (n_frames,) eV to subtract from its energy, so that it fits float32.

    Attributes:
        weights: (n_frames,) in the loss; None for equal ones.
    """

    weights: np.ndarray | None = None

    def __init__(
        self, dataset: Dataset, elements, cutoff: float | None, levels: np.ndarray, reference: np.ndarray, dtype, device="cpu"
    ):  # fmt: skip
        self.dataset, self.cutoff, self.dtype, self.device = dataset, cutoff, dtype, device
        self.levels = levels
        row = {z: k for k, z in enumerate(elements)}
        self.species = np.array([row[z] for z in dataset.numbers.tolist()])
        self._labels = dataset.labels | {"energy": dataset.energies - reference}
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

        frame = np.repeat(np.arange(len(frames)), counts)

        def real(array, dtype=self.dtype):
            return torch.as_tensor(array, dtype=dtype, device=self.device)

        def whole(array):
            return torch.as_tensor(array, dtype=torch.int64, device=self.device)

        return Batch(
            whole(self.species[rows]), whole(first), whole(second), real(vectors),
            whole(frame),
            {
                # A scalar, as ScalarSum gives it: unlike that of an energy its label has no reference subtracted.
                name: real(of[rows if OUTPUTS[name].per_atom else frames], torch.float64 if name == "scalar" else self.dtype)
                for name, of in self._labels.items()
            },
            whole(self.levels[frames]), real(positions - np.repeat(positions[starts], counts, axis=0)),
            None if self.weights is None else self._shares(self.weights[frames], frame, real),
        )  # fmt: skip

    def largest(self, frames: np.ndarray, size: int) -> tuple[int, int]:
        """Atoms and pairs that no batch of ``size`` of these frames exceeds, whichever they are."""
        pairs = max(len(self._pairs(k).first) for k in frames)
        return size * int(self.dataset.counts[frames].max()), size * pairs

    def _shares(self, weights: np.ndarray, frame: np.ndarray, real) -> dict[str, Tensor]:
        """Of each row of the labels of a batch: the weight of its frame over the number of rows."""
        rows = {name: weights[frame] if OUTPUTS[name].per_atom else weights for name in self._labels}
        return {name: real(of_rows / len(of_rows)) for name, of_rows in rows.items()}

    def _pairs(self, frame: int):
        positions = self.dataset.positions[self.dataset.atoms_of(frame)]
        if self.dataset.pbc[frame].any():
            return half_pairs(positions, self.cutoff, self.dataset.cells[frame], self.dataset.pbc[frame])
        if len(positions) not in self._molecules:
            self._molecules[len(positions)] = half_pairs(positions, self.cutoff)
        return self._molecules[len(positions)]
