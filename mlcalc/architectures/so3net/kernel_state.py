"""The data of the kernel: weights and scratch memory, as named tuples of arrays that Numba accepts.

F is padded (kernels/padding.py); S = (lmax + 1)² components, L = lmax + 1 degrees.
"""

from typing import NamedTuple

import numpy as np

from mlcalc.architectures.kernels.padding import pad, padded
from mlcalc.architectures.kernels.state import aligned, aligned_empty
from mlcalc.model import Model


class Network(NamedTuple):
    """Weights as the kernel needs them: stacked by layer, (in, out) for the forward and (out, in) for the adjoint."""

    embedding: np.ndarray  # (n_elements, F) A
    m1: np.ndarray  # (T, F, F), as are m2 and m3
    m1_adjoint: np.ndarray
    m2: np.ndarray
    m2_adjoint: np.ndarray
    m3: np.ndarray
    m3_adjoint: np.ndarray
    gate: np.ndarray  # (T, F, L F) B
    gate_adjoint: np.ndarray
    gate_bias: np.ndarray  # (T, L F) b
    last_gate: np.ndarray  # (F, F) the part of l = 0 of the last layer, the only one needed there
    last_gate_adjoint: np.ndarray
    filters: np.ndarray  # (T, n_knots, 4, L F)


class Workspace(NamedTuple):
    """Scratch memory of every replica, allocated once; all in the network's precision."""

    x: np.ndarray  # (P, T, N, S, F) features before each layer
    delta: np.ndarray  # (P, T, N, S, F) Δ, sums of messages
    mixed: np.ndarray  # (P, T, N, S, F) M₁Δ
    value: (
        np.ndarray
    )  # (P, T, N, S, F) M₂(Δ + P(Δ, M₁Δ)), what the gate multiplies; in the last layer (N, 1, F), as below
    gate: np.ndarray  # (P, T, N, L, F) σ(B Δ_0 + b)
    scalars: np.ndarray  # (P, N, F) of the last layer: features, then their adjoints
    delta_bar: np.ndarray  # (P, 2, N, S, F) adjoints of Δ, of two successive layers
    x_bar: np.ndarray  # (P, N, S, F) adjoints of x
    one: np.ndarray  # (P, N, S, F) of one stage, as are all that follow
    two: np.ndarray  # (P, N, S, F)
    gate_bar: np.ndarray  # (P, N, L, F)
    row: np.ndarray  # (P, N, F)
    hidden: np.ndarray  # (P, 2, N, H)


def make_network(model: Model, filters: np.ndarray, dtype: np.dtype) -> Network:
    """Weights of a model in a precision, with the coefficients of its filter table."""
    config = model.config
    n_features, width = config.n_features, padded(config.n_features, dtype)
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}

    def stack(name: str, *parts: int) -> np.ndarray:
        of_layers = [weights[f"interactions.{t}.{name}"] for t in range(config.n_interactions)]
        return np.array([pad(one, n_features, width, parts) for one in of_layers])

    dense = {f"m{k + 1}": stack(f"mixings.{k}.weight", 1, 1) for k in range(3)}
    dense["gate"] = stack("gating.weight", config.lmax + 1, 1)
    dense["last_gate"] = dense["gate"][-1, :width]
    arrays = {"embedding": pad(weights["embedding.weight"], n_features, width, (0, 1)), "filters": filters}
    arrays["gate_bias"] = stack("gating.bias", config.lmax + 1)
    for name, weight in dense.items():
        arrays |= {name: weight.swapaxes(-1, -2), f"{name}_adjoint": weight}
    return Network(**{name: aligned(array, dtype) for name, array in arrays.items()})


def make_workspace(model: Model, n_replicas: int, n_atoms: int, dtype: np.dtype) -> Workspace:
    """Scratch memory."""
    config, width = model.config, padded(model.config.n_features, dtype)
    features, gates = ((config.lmax + 1) ** 2, width), (config.lmax + 1, width)
    shapes: dict[str, tuple[int, ...]] = {"hidden": (n_replicas, 2, n_atoms, config.readout_hidden)}
    shapes |= {name: (n_replicas, n_atoms, *features) for name in ("x_bar", "one", "two")}
    shapes |= {name: (n_replicas, n_atoms, width) for name in ("scalars", "row")}
    shapes |= {"gate_bar": (n_replicas, n_atoms, *gates), "delta_bar": (n_replicas, 2, n_atoms, *features)}
    for name in ("x", "delta", "mixed", "value", "gate"):
        of_atom = gates if name == "gate" else features
        shapes[name] = n_replicas, config.n_interactions, n_atoms, *of_atom
    return Workspace(**{name: aligned_empty(shape, dtype) for name, shape in shapes.items()})
