"""The continuous filters of an SO3net and their derivatives, in NumPy, for the table that the kernel reads."""

from math import pi, sqrt

import numpy as np

from mlcalc.architectures.kernels.filter_table import FilterTable, cosine_cutoff, gaussians, tabulate
from mlcalc.architectures.kernels.padding import pad, padded
from mlcalc.model import Model

Y_0 = 0.5 / sqrt(pi)  # the harmonic of l = 0, a constant: a factor of the filters of that degree


def filter_table(model: Model, precision: str) -> FilterTable:
    """The filters of a model, one for each of its padded features and each degree, tabulated as its precision needs."""
    return tabulate(lambda distances: exact_filters(model, distances, precision), model.config.cutoff, precision)


def exact_filters(model: Model, distances: np.ndarray, precision: str) -> tuple[np.ndarray, np.ndarray]:
    """Filters and their derivatives at distances (n,) Å, each (T, n, (lmax + 1) F padded), in float64."""
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}
    config, of_layers = model.config, range(model.config.n_interactions)
    width, n_degrees = padded(config.n_features, precision), config.lmax + 1

    def stack(name: str, *parts: int) -> np.ndarray:
        arrays = [weights[f"interactions.{t}.filter_net.{name}"] for t in of_layers]
        found = np.array([pad(one, config.n_features, width, parts) for one in arrays])
        found[:, :width] *= Y_0
        return found

    weight, bias = stack("weight", n_degrees, 0), stack("bias", n_degrees)
    basis, basis_slope = gaussians(weights, distances)
    cutoff, cutoff_slope = cosine_cutoff(config.cutoff, distances)
    value, slope = basis @ weight.swapaxes(1, 2) + bias[:, None], basis_slope @ weight.swapaxes(1, 2)
    return value * cutoff, slope * cutoff + value * cutoff_slope
