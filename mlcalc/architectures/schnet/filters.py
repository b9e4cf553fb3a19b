"""The continuous filters of a SchNet and their derivatives, in NumPy, for the table that the kernel reads."""

import numpy as np

from mlcalc.architectures.kernels.filter_table import FilterTable, cosine_cutoff, gaussians, tabulate
from mlcalc.model import Model

# Gaussians of an uncut model have died out this far (Å) beyond their last centre: exp(−10·1.9²) = 2e−16.
_TAIL = 2.0


def filter_table(model: Model, precision: str) -> FilterTable:
    """The filters of a model, tabulated as its precision needs."""
    reach = model.config.cutoff or float(model.weights["radial_basis.centers"].max()) + _TAIL
    return tabulate(lambda distances: exact_filters(model, distances), reach, precision)


def exact_filters(model: Model, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters and their derivatives with respect to distance, in float64 from the filter networks themselves.

    Args:
        distances: (n,) Å.

    Returns:
        W and dW/dr of every layer, each (T, n, F).
    """
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}
    basis, basis_slope = gaussians(weights, distances)
    cutoff_value, cutoff_slope = _cutoff(model, distances)
    values, slopes = [], []
    for t in range(model.config.n_interactions):
        inner, outer = (f"interactions.{t}.filter_network.{layer}" for layer in (0, 1))
        hidden, gain = _ssp(basis @ weights[f"{inner}.weight"].T + weights[f"{inner}.bias"])
        value = hidden @ weights[f"{outer}.weight"].T + weights[f"{outer}.bias"]
        slope = (gain * (basis_slope @ weights[f"{inner}.weight"].T)) @ weights[f"{outer}.weight"].T
        if model.config.filter_output_activation:
            value, gain = _ssp(value)
            slope = gain * slope
        values.append(value * cutoff_value)
        slopes.append(slope * cutoff_value + value * cutoff_slope)
    return np.array(values), np.array(slopes)


def _cutoff(model: Model, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cutoff function and its slope as columns (n, 1); one and zero for the dialect without a cutoff."""
    if model.config.cutoff_function == "none":
        return np.ones((len(distances), 1)), np.zeros((len(distances), 1))
    return cosine_cutoff(model.config.cutoff, distances)


def _ssp(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln(½eˣ + ½) and its derivative, the logistic function."""
    return np.logaddexp(x, 0.0) - np.log(2.0), 1.0 / (1.0 + np.exp(-x))
