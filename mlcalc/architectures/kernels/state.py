"""Data of a kernel that are the same for every architecture, as named tuples of arrays that Numba accepts."""

from typing import NamedTuple

import numpy as np

from mlcalc.model import Model

_CACHE_LINE = 64  # bytes


class Constants(NamedTuple):
    """Scalars of the model, all float64 or flags."""

    spacing: float  # Å between knots of the filter table
    cutoff: float  # Å; infinite for a dialect that connects all pairs
    repulsion_cutoff: float  # Å; 0 for no repulsion
    silu: bool  # readout activation: silu, else ssp


class Atoms(NamedTuple):
    """The composition, the same in all replicas."""

    species: np.ndarray  # (N,) row of the embedding
    numbers: np.ndarray  # (N,) atomic numbers
    shift: np.ndarray  # (n_elements,) eV, constant energy of an atom of each element


class Readout(NamedTuple):
    """Two dense layers from the features of an atom to its energy."""

    hidden: np.ndarray  # (F, H)
    adjoint: np.ndarray  # (H, F)
    bias: np.ndarray  # (H,)
    output: np.ndarray  # (H,) last layer times the energy scale


class PairWork(NamedTuple):
    """Scratch memory of the pairs of every replica, in the network's precision unless noted."""

    knot: np.ndarray  # (P, n_pairs) int32, −1 beyond the cutoff
    fraction: np.ndarray  # (P, n_pairs) place s within the piece of the filter table
    slope: np.ndarray  # (P, n_pairs) ∂E/∂s
    unit: np.ndarray  # (P, n_pairs, 3) unit vectors; (P, 0, 3) for a network of distances alone
    turn: np.ndarray  # ∂E/∂unit, of the same shape
    scalars: np.ndarray  # (P, n_pairs, n_scalars) what an architecture keeps of a pair besides


class Result(NamedTuple):
    """Outputs, float64."""

    energies: np.ndarray  # (P,) eV
    forces: np.ndarray  # (P, N, 3) eV/Å
    atomic_energies: np.ndarray  # (P, N) eV
    virials: np.ndarray  # (P, 3, 3) eV, NaN unless requested


def aligned_empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """np.empty aligned to a cache line, so that feature vectors span as few lines as possible: saves a tenth of the time."""
    dtype = np.dtype(dtype)
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    buffer = np.empty(n_bytes + _CACHE_LINE, dtype=np.uint8)
    start = -buffer.ctypes.data % _CACHE_LINE
    return buffer[start : start + n_bytes].view(dtype).reshape(shape)


def aligned(array: np.ndarray, dtype) -> np.ndarray:
    """A copy in a precision, aligned to a cache line."""
    copy = aligned_empty(array.shape, dtype)
    copy[...] = array
    return copy


def make_atoms(model: Model, numbers: np.ndarray) -> Atoms:
    """Composition from (N,) atomic numbers of the model's elements."""
    order = {z: row for row, z in enumerate(model.config.elements)}
    species = np.array([order[int(z)] for z in numbers], dtype=np.int64)
    last_bias = model.weights["energy_scale"] * np.float64(model.weights["readout.1.bias"][0])
    shift = np.asarray(model.weights["energy_shift"], dtype=np.float64) + last_bias
    return Atoms(species, np.asarray(numbers, dtype=np.int64), shift)


def make_constants(model: Model, spacing: float) -> Constants:
    """Scalars of a model whose filter table has this spacing (Å)."""
    repulsion = model.priors["repulsion"].cutoff if "repulsion" in model.priors else 0.0
    silu = model.config.readout_activation == "silu"
    return Constants(float(spacing), float(model.config.cutoff or np.inf), repulsion, silu)


def make_readout(model: Model, n_features: int, dtype) -> Readout:
    """The readout of a model in a precision, for features that are padded with zeros to so many."""
    hidden, bias, output = (
        np.asarray(model.weights[f"readout.{name}"], dtype=np.float64) for name in ("0.weight", "0.bias", "1.weight")
    )
    hidden = np.pad(hidden, ((0, 0), (0, n_features - hidden.shape[1])))
    output = output[0] * model.weights["energy_scale"]
    return Readout(aligned(hidden.T, dtype), aligned(hidden, dtype), aligned(bias, dtype), aligned(output, dtype))


def make_pair_work(n_replicas: int, n_pairs: int, with_units: bool, n_scalars: int, dtype) -> PairWork:
    """Scratch memory for so many pairs of each replica."""
    number, units = (n_replicas, n_pairs), (n_replicas, n_pairs if with_units else 0, 3)
    return PairWork(
        knot=aligned_empty(number, np.int32),
        fraction=aligned_empty(number, dtype),
        slope=aligned_empty(number, dtype),
        unit=aligned_empty(units, dtype),
        turn=aligned_empty(units, dtype),
        scalars=aligned_empty((*number, n_scalars), dtype),
    )


def make_result(n_replicas: int, n_atoms: int) -> Result:
    """Empty arrays for the outputs of one evaluation."""
    return Result(
        np.empty(n_replicas), np.empty((n_replicas, n_atoms, 3)), np.empty((n_replicas, n_atoms)),
        np.full((n_replicas, 3, 3), np.nan),
    )  # fmt: skip
