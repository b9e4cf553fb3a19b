"""Many molecular graphs as flat arrays, their file, and batches of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, write_atomically
from mlcalc.molecules.graphs.features import N_ATOM, N_PAIR, Graph

_TARGET = "target."


@dataclass(frozen=True)
class Graphs:
    """n molecules.

    Attributes:
        atoms: (ΣN, 21), pairs: (ΣN(N−1)/2, 13), as in features.Graph, one molecule after the other.
        counts: (n,) atoms of each.
        targets: (n,) numbers to predict, by name with unit.
    """

    atoms: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.counts)


def joined(graphs: Iterable[Graph], targets: dict[str, np.ndarray]) -> Graphs:
    """Graphs of several molecules and their targets."""
    parts = list(graphs)
    return Graphs(
        np.concatenate([graph.atoms for graph in parts]),
        np.concatenate([graph.pairs for graph in parts]),
        np.array([len(graph.atoms) for graph in parts], dtype=np.int64),
        targets,
    )


def write_graphs(graphs: Graphs, path: Path) -> None:
    """Write a data set (safetensors, atomically)."""
    arrays = {"atoms": graphs.atoms, "pairs": graphs.pairs, "counts": graphs.counts}
    arrays |= {_TARGET + name: values for name, values in graphs.targets.items()}
    write_atomically(path, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def read_graphs(path: Path) -> Graphs:
    """Read a data set.

    Raises:
        InputError: Missing or damaged, or features of another kind.
    """
    try:
        arrays = load(check_regular(path).read_bytes())
        targets = {name.removeprefix(_TARGET): array for name, array in arrays.items() if name.startswith(_TARGET)}
        graphs = Graphs(arrays["atoms"], arrays["pairs"], arrays["counts"], targets)
        n_pairs = int((graphs.counts * (graphs.counts - 1) // 2).sum())
        shapes = (int(graphs.counts.sum()), N_ATOM), (n_pairs, N_PAIR)
        if (graphs.atoms.shape, graphs.pairs.shape) != shapes:
            raise ValueError(f"features of shapes {graphs.atoms.shape} and {graphs.pairs.shape}, expected {shapes}")
        if any(values.shape != graphs.counts.shape for values in targets.values()):
            raise ValueError("targets of another number of molecules")
        if not all(np.isfinite(array).all() for array in (graphs.atoms, graphs.pairs, *targets.values())):
            raise ValueError("features or targets that are not finite")
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: no data set of molecular graphs: {error}") from error
    return graphs


class GraphBatch(NamedTuple):
    """B molecules for a network.

    Attributes:
        atoms: (A, 21) features; of: (A,) the molecule of each atom.
        pairs: (M, 13) features; first, second: (M,) atoms of each pair.
        size: B.
    """

    atoms: Tensor
    of: Tensor
    pairs: Tensor
    first: Tensor
    second: Tensor
    size: int


class Batches:
    """Batches of a data set: its molecules by index."""

    def __init__(self, graphs: Graphs):
        counts = graphs.counts
        self._graphs = graphs
        self._atom_ends = np.concatenate([[0], np.cumsum(counts)])
        self._pair_ends = np.concatenate([[0], np.cumsum(counts * (counts - 1) // 2)])

    def make(self, molecules: np.ndarray) -> GraphBatch:
        """The batch of these molecules (B,), in this order."""
        atoms = [np.arange(self._atom_ends[k], self._atom_ends[k + 1]) for k in molecules]
        pairs = [np.arange(self._pair_ends[k], self._pair_ends[k + 1]) for k in molecules]
        counts = self._graphs.counts[molecules]
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        ends = [both + start for both, start in zip(map(_ends, counts.tolist()), starts, strict=True)]
        first, second = np.concatenate(ends, axis=1) if ends else np.zeros((2, 0), dtype=np.int64)
        return GraphBatch(
            torch.from_numpy(self._graphs.atoms[np.concatenate(atoms)]),
            torch.from_numpy(np.repeat(np.arange(len(molecules)), counts)),
            torch.from_numpy(self._graphs.pairs[np.concatenate(pairs)]),
            torch.from_numpy(first),
            torch.from_numpy(second),
            len(molecules),
        )


@lru_cache(maxsize=64)
def _ends(n_atoms: int) -> np.ndarray:
    """(2, N(N−1)/2) atoms of the pairs i < j."""
    return np.stack(np.triu_indices(n_atoms, 1))
