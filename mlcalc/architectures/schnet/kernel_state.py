"""The data of the kernel: weights and scratch memory, as named tuples of arrays that Numba accepts."""

from typing import NamedTuple

import numpy as np

from mlcalc.architectures.kernels.state import aligned, aligned_empty
from mlcalc.model import Model


class Network(NamedTuple):
    """Weights as the kernel needs them: stacked by layer, (in, out) for the forward and (out, in) for the adjoint."""

    messages: np.ndarray  # (n_elements, F) A·W_in: the first layer's y depends only on the element
    embedding: np.ndarray  # (n_elements, F) A
    in2f: np.ndarray  # (T, F, F)
    in2f_adjoint: np.ndarray
    dense: np.ndarray  # (T, 2, F, F) W₁, W₂
    dense_adjoint: np.ndarray
    bias: np.ndarray  # (T, 2, F)
    filters: np.ndarray  # (T, n_knots, 4, F)


class Workspace(NamedTuple):
    """Scratch memory of every replica, allocated once; all (P, …) in the network's precision."""

    x: np.ndarray  # (P, N, F)
    y: np.ndarray  # (P, T, N, F)
    sigma: np.ndarray  # (P, T, N, F) σ(u)
    convolved: np.ndarray  # (P, N, F) c, and ȳ on the way back
    scratch: np.ndarray  # (P, N, F)
    hidden: np.ndarray  # (P, 2, N, H)
    adjoint: np.ndarray  # (2, P, N, F) c̄ of two successive layers; empty where threads share out replicas


def make_network(model: Model, filters: np.ndarray, dtype: np.dtype) -> Network:
    """Weights of a model in a precision, with the coefficients of its filter table."""
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}

    def stack(name):
        return np.array([weights[f"interactions.{t}.{name}"] for t in range(model.config.n_interactions)])

    embedding, in2f = weights["embedding.weight"], stack("in2f.weight")
    dense = np.stack([stack("f2out.0.weight"), stack("f2out.1.weight")], axis=1)
    bias = np.stack([stack("f2out.0.bias"), stack("f2out.1.bias")], axis=1)
    arrays = (
        embedding @ in2f[0].T, embedding, in2f.transpose(0, 2, 1), in2f, dense.transpose(0, 1, 3, 2), dense, bias,
    )  # fmt: skip
    return Network(*(aligned(array, dtype) for array in (*arrays, filters)))


def make_workspace(model: Model, sizes: tuple[int, int], by_atom: bool, dtype: np.dtype) -> Workspace:
    """Scratch memory.

    Args:
        sizes: Replicas P, atoms N.
        by_atom: Whether threads share out atoms.
    """
    (n_replicas, n_atoms), config = sizes, model.config
    features = (n_replicas, n_atoms, config.n_features)
    layers = (n_replicas, config.n_interactions, n_atoms, config.n_features)
    return Workspace(
        x=aligned_empty(features, dtype),
        y=aligned_empty(layers, dtype),
        sigma=aligned_empty(layers, dtype),
        convolved=aligned_empty(features, dtype),
        scratch=aligned_empty(features, dtype),
        hidden=aligned_empty((n_replicas, 2, n_atoms, config.readout_hidden), dtype),
        adjoint=aligned_empty((2, *features) if by_atom else (2, 0, 0, 0), dtype),
    )
