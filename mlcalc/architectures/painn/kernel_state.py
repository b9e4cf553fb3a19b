"""The data of the kernel: weights and scratch memory, as named tuples of arrays that Numba accepts. F is padded, see padding.py."""

from typing import NamedTuple

import numpy as np

from mlcalc.architectures.kernels.padding import pad, padded
from mlcalc.architectures.kernels.state import aligned, aligned_empty
from mlcalc.model import Model

EPSILON = 1e-8  # ε of the kernel; a network of another one is scaled to it, see _scaled


class Network(NamedTuple):
    """Weights as the kernel needs them: stacked by layer, (in, out) for the forward and (out, in) for the adjoint."""

    embedding: np.ndarray  # (n_elements, F) A
    first: np.ndarray  # (n_elements, 3F) x of the first layer, which depends only on the element
    d1: np.ndarray  # (T, F, F)
    d1_adjoint: np.ndarray
    d1_bias: np.ndarray  # (T, F)
    d2: np.ndarray  # (T, F, 3F)
    d2_adjoint: np.ndarray
    d2_bias: np.ndarray  # (T, 3F)
    m: np.ndarray  # (T, F, 2F)
    m_adjoint: np.ndarray
    d3: np.ndarray  # (T, 2F, F)
    d3_adjoint: np.ndarray
    d3_bias: np.ndarray  # (T, F)
    d4: np.ndarray  # (T, F, 3F)
    d4_adjoint: np.ndarray
    d4_bias: np.ndarray  # (T, 3F)
    filters: np.ndarray  # (T, n_knots, 4, 3F)


class Workspace(NamedTuple):
    """Scratch memory of every replica, allocated once; all in the network's precision."""

    q: np.ndarray  # (P, N, F) scalars
    mu: np.ndarray  # (P, T, N, 3, F) vectors behind each layer
    x: np.ndarray  # (P, T, N, 3F) what each atom sends
    nu: np.ndarray  # (P, T, N, 3, F) third part of x ∘ μ
    d1_slope: np.ndarray  # (P, T, N, F) silu′
    vu: np.ndarray  # (P, T, N, 3, 2F) V, U
    norm: np.ndarray  # (P, T, N, F) n
    d3_slope: np.ndarray  # (P, T, N, F) silu′
    stp: np.ndarray  # (P, T, N, 3F) s, t, p
    adjoint: np.ndarray  # (P, 2, N, 4, F) of q and of the three components of μ, of two successive layers
    row: np.ndarray  # (P, N, 3F) of one stage, as are all that follow
    row_two: np.ndarray  # (P, N, 2F)
    row_one: np.ndarray  # (P, N, F)
    value: np.ndarray  # (P, N, F)
    vectors: np.ndarray  # (P, N, 3, F)
    mixed: np.ndarray  # (P, N, 3, F)
    two_vectors: np.ndarray  # (P, N, 3, 2F)
    hidden: np.ndarray  # (P, 2, N, H)


def make_network(model: Model, filters: np.ndarray, dtype: np.dtype) -> Network:
    """Weights of a model in a precision, with the coefficients of its filter table."""
    config = model.config
    n_features, width = config.n_features, padded(config.n_features, dtype)
    weights = _scaled(model)

    def stack(name: str, *parts: int) -> np.ndarray:
        of_layers = [weights[name.format(t)] for t in range(config.n_interactions)]
        return np.array([pad(one, n_features, width, parts) for one in of_layers])

    send, update = "interactions.{}.interatomic_context_net", "mixing.{}.intraatomic_context_net"
    dense = {
        "d1": (stack(f"{send}.0.weight", 1, 1), stack(f"{send}.0.bias", 1)),
        "d2": (stack(f"{send}.1.weight", 3, 1), stack(f"{send}.1.bias", 3)),
        "m": (stack("mixing.{}.mu_channel_mix.weight", 2, 1), None),
        "d3": (stack(f"{update}.0.weight", 1, 2), stack(f"{update}.0.bias", 1)),
        "d4": (stack(f"{update}.1.weight", 3, 1), stack(f"{update}.1.bias", 3)),
    }
    embedding = pad(weights["embedding.weight"], n_features, width, (0, 1))
    arrays = {"embedding": embedding, "first": _sent(embedding, dense["d1"], dense["d2"]), "filters": filters}
    for name, (weight, bias) in dense.items():
        arrays |= {name: weight.swapaxes(1, 2), f"{name}_adjoint": weight}
        if bias is not None:
            arrays[f"{name}_bias"] = bias
    return Network(**{name: aligned(array, dtype) for name, array in arrays.items()})


def _scaled(model: Model) -> dict[str, np.ndarray]:
    """Weights in float64 of the same function with the kernel's ε: √(|V|² + ε′) = √(|sV|² + ε)/s with s = √(ε/ε′).

    V is scaled by s, and what reads n and ⟨V, U⟩ by 1/s.
    """
    config, scale = model.config, np.sqrt(EPSILON / model.config.norm_epsilon)
    weights = {name: np.array(array, dtype=np.float64) for name, array in model.weights.items()}
    f = config.n_features
    for t in range(config.n_interactions if scale != 1.0 else 0):
        weights[f"mixing.{t}.mu_channel_mix.weight"][:f] *= scale
        weights[f"mixing.{t}.intraatomic_context_net.0.weight"][:, f:] /= scale
        weights[f"mixing.{t}.intraatomic_context_net.1.weight"][2 * f :] /= scale
        weights[f"mixing.{t}.intraatomic_context_net.1.bias"][2 * f :] /= scale
    return weights


def _sent(q: np.ndarray, d1: tuple, d2: tuple) -> np.ndarray:
    """x of the first layer for features (n, F)."""
    u = q @ d1[0][0].T + d1[1][0]
    return (u / (1.0 + np.exp(-u))) @ d2[0][0].T + d2[1][0]


def make_workspace(model: Model, n_replicas: int, n_atoms: int, dtype: np.dtype) -> Workspace:
    """Scratch memory."""
    width, layers, hidden = (
        padded(model.config.n_features, dtype),
        model.config.n_interactions,
        model.config.readout_hidden,
    )
    of_atom = {
        "q": (width,), "row": (3 * width,), "row_two": (2 * width,), "row_one": (width,), "value": (width,),
        "vectors": (3, width), "mixed": (3, width), "two_vectors": (3, 2 * width),
    }  # fmt: skip
    of_layer = {
        "mu": (3, width), "x": (3 * width,), "nu": (3, width), "d1_slope": (width,), "vu": (3, 2 * width),
        "norm": (width,), "d3_slope": (width,), "stp": (3 * width,),
    }  # fmt: skip
    shapes = {name: (n_replicas, n_atoms, *shape) for name, shape in of_atom.items()}
    shapes |= {name: (n_replicas, layers, n_atoms, *shape) for name, shape in of_layer.items()}
    shapes |= {"adjoint": (n_replicas, 2, n_atoms, 4, width), "hidden": (n_replicas, 2, n_atoms, hidden)}
    return Workspace(**{name: aligned_empty(shape, dtype) for name, shape in shapes.items()})
