"""The continuous filters of a PaiNN and their derivatives, in NumPy, for the table that the kernel reads."""

import numpy as np

from mlcalc.architectures.kernels.filter_table import FilterTable, cosine_cutoff, gaussians, tabulate
from mlcalc.architectures.kernels.padding import pad, padded
from mlcalc.model import Model


def filter_table(model: Model, precision: str) -> FilterTable:
    """The filters of a model, three for each of its padded features, tabulated as its precision needs."""
    return tabulate(lambda distances: exact_filters(model, distances, precision), model.config.cutoff, precision)


def exact_filters(model: Model, distances: np.ndarray, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Filters and their derivatives at distances (n,) Å, each (T, n, 3 F padded), in float64 from the filter network itself."""
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}
    config = model.config
    width = padded(config.n_features, precision)
    parts = 3 * config.n_interactions
    weight = pad(weights["filter_net.weight"], config.n_features, width, (parts, 0))
    bias = pad(weights["filter_net.bias"], config.n_features, width, (parts,))
    basis, basis_slope = gaussians(weights, distances)
    cutoff, cutoff_slope = cosine_cutoff(config.cutoff, distances)
    value, slope = basis @ weight.T + bias, basis_slope @ weight.T
    slope = slope * cutoff + value * cutoff_slope
    shape = len(distances), config.n_interactions, 3 * width
    return (value * cutoff).reshape(shape).swapaxes(0, 1), slope.reshape(shape).swapaxes(0, 1)
