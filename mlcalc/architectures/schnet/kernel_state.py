"""The data of the kernel: weights, pairs, scratch memory and results, as named tuples of arrays that Numba accepts."""

from typing import NamedTuple

import numpy as np

from mlcalc.model import Model

_CACHE_LINE = 64  # bytes


class Network(NamedTuple):
    """Weights as the kernel needs them: stacked by layer, (in, out) for the forward and (out, in) for the adjoint."""

    messages: np.ndarray  # (n_elements, F) A·W_in: the first layer's y depends only on the element
    embedding: np.ndarray  # (n_elements, F) A
    in2f: np.ndarray  # (T, F, F)
    in2f_adjoint: np.ndarray
    dense: np.ndarray  # (T, 2, F, F) W₁, W₂
    dense_adjoint: np.ndarray
    bias: np.ndarray  # (T, 2, F)
    readout: np.ndarray  # (F, H)
    readout_adjoint: np.ndarray
    readout_bias: np.ndarray  # (H,)
    output: np.ndarray  # (H,) last readout layer times the energy scale
    filters: np.ndarray  # (T, n_knots, 4, F)


class Constants(NamedTuple):
    """Scalars of the model, all float64 or flags."""

    spacing: float  # Å between knots of the filter table
    cutoff: float  # Å; infinite for the dialect that connects all pairs
    repulsion_cutoff: float  # Å; 0 for no repulsion
    silu: bool  # readout activation: silu, else ssp


class Atoms(NamedTuple):
    """The composition, the same in all replicas."""

    species: np.ndarray  # (N,) row of the embedding
    numbers: np.ndarray  # (N,) atomic numbers
    shift: np.ndarray  # (n_elements,) eV, constant energy of an atom of each element


class Workspace(NamedTuple):
    """Scratch memory of every replica, allocated once; all (P, …) in the network's precision unless noted."""

    knot: np.ndarray  # (P, n_pairs) int32, −1 beyond the cutoff
    fraction: np.ndarray  # (P, n_pairs) place s within the piece
    slope: np.ndarray  # (P, n_pairs) ∂E/∂s
    x: np.ndarray  # (P, N, F)
    y: np.ndarray  # (P, T, N, F)
    sigma: np.ndarray  # (P, T, N, F) σ(u)
    convolved: np.ndarray  # (P, N, F) c, and ȳ on the way back
    scratch: np.ndarray  # (P, N, F)
    hidden: np.ndarray  # (P, 2, N, H)
    adjoint: np.ndarray  # (2, P, N, F) c̄ of two successive layers; empty where threads share out replicas


class Result(NamedTuple):
    """Outputs, float64."""

    energies: np.ndarray  # (P,) eV
    forces: np.ndarray  # (P, N, 3) eV/Å
    atomic_energies: np.ndarray  # (P, N) eV
    virials: np.ndarray  # (P, 3, 3) eV, NaN unless requested


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """np.empty aligned to a cache line, so that feature vectors span as few lines as possible: saves a tenth of the time."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(n_bytes + _CACHE_LINE, dtype=np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def make_network(model: Model, filters: np.ndarray, dtype: np.dtype) -> Network:
    """Weights of a model in a precision, with the coefficients of its filter table."""
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}

    def stack(name):
        return np.array([weights[f"interactions.{t}.{name}"] for t in range(model.config.n_interactions)])

    def ready(array):
        aligned = aligned_empty(array.shape, dtype)
        aligned[...] = array
        return aligned

    embedding, in2f = weights["embedding.weight"], stack("in2f.weight")
    dense = np.stack([stack("f2out.0.weight"), stack("f2out.1.weight")], axis=1)
    bias = np.stack([stack("f2out.0.bias"), stack("f2out.1.bias")], axis=1)
    return Network(
        ready(embedding @ in2f[0].T), ready(embedding), ready(in2f.transpose(0, 2, 1)), ready(in2f),
        ready(dense.transpose(0, 1, 3, 2)), ready(dense), ready(bias),
        ready(weights["readout.0.weight"].T), ready(weights["readout.0.weight"]), ready(weights["readout.0.bias"]),
        ready(weights["readout.1.weight"][0] * weights["energy_scale"]), ready(filters),
    )  # fmt: skip


def make_atoms(model: Model, numbers: np.ndarray) -> Atoms:
    """Composition from (N,) atomic numbers of the model's elements."""
    order = {z: row for row, z in enumerate(model.config.elements)}
    species = np.array([order[int(z)] for z in numbers], dtype=np.int64)
    last_bias = model.weights["energy_scale"] * np.float64(model.weights["readout.1.bias"][0])
    shift = np.asarray(model.weights["energy_shift"], dtype=np.float64) + last_bias
    return Atoms(species, np.asarray(numbers, dtype=np.int64), shift)


def make_workspace(model: Model, sizes: tuple[int, int, int], by_atom: bool, dtype: np.dtype) -> Workspace:
    """Scratch memory.

    Args:
        sizes: Replicas P, atoms N, pairs of a replica.
        by_atom: Whether threads share out atoms.
    """
    (n_replicas, n_atoms, n_pairs), config = sizes, model.config
    features = (n_replicas, n_atoms, config.n_features)
    layers = (n_replicas, config.n_interactions, n_atoms, config.n_features)
    return Workspace._make(
        (
            aligned_empty((n_replicas, n_pairs), np.dtype(np.int32)),
            *(aligned_empty((n_replicas, n_pairs), dtype) for _ in range(2)),
            aligned_empty(features, dtype),
            *(aligned_empty(layers, dtype) for _ in range(2)),
            *(aligned_empty(features, dtype) for _ in range(2)),
            aligned_empty((n_replicas, 2, n_atoms, config.readout_hidden), dtype),
            aligned_empty((2, *features) if by_atom else (2, 0, 0, 0), dtype),
        )
    )


def make_result(n_replicas: int, n_atoms: int) -> Result:
    """Empty arrays for the outputs of one evaluation."""
    return Result(
        np.empty(n_replicas), np.empty((n_replicas, n_atoms, 3)), np.empty((n_replicas, n_atoms)),
        np.full((n_replicas, 3, 3), np.nan),
    )  # fmt: skip
