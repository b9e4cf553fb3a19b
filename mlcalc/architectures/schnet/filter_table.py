"""The continuous filters of a SchNet as cubic pieces of the distance, with a measured error.

W_t(r) depends on one number, so the filter networks of every layer are evaluated once per model on equidistant knots and
interpolated by cubic Hermite pieces through exact values and slopes. A piece is stored as four coefficients per channel,
W = a₀ + s(a₁ + s(a₂ + s a₃)) with s ∈ [0, 1), so that the derivative comes from the same memory and the forces are the exact
gradient of the tabulated energy: the table costs accuracy, never energy conservation.
"""

import math
from dataclasses import dataclass

import numpy as np

from mlcalc.model import Model

# Gaussians of an uncut model have died out this far (Å) beyond their last centre: exp(−10·1.9²) = 2e−16.
_TAIL = 2.0
_FIRST_KNOTS, _MOST_KNOTS = 256, 16384
# Largest error of dW/dr that is accepted, relative to the largest slope of the layer. For float32 the table should also fit
# the cache: 5e-5 means 512 knots for a 5 Å model and forces 1e-5 eV/Å off, a thousandth of the best network's own error.
_TOLERANCE = {"float32": 5e-5, "float64": 1e-7}


@dataclass(frozen=True)
class FilterTable:
    """Tabulated filters of all layers.

    Attributes:
        coefficients: (T, n_knots, 4, F) polynomial coefficients of each piece.
        spacing: Knot distance in Å; piece k covers [k, k+1)·spacing.
        value_error, slope_error: Largest |ΔW| and |ΔdW/dr| at distances between knots, in units of the layer's largest
            |W| and |dW/dr|.
    """

    coefficients: np.ndarray
    spacing: float
    value_error: float
    slope_error: float


def exact_filters(model: Model, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Filters and their derivatives with respect to distance, in float64 from the filter networks themselves.

    Args:
        distances: (n,) Å.

    Returns:
        W and dW/dr of every layer, each (T, n, F).
    """
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}
    offset = distances[:, None] - weights["radial_basis.centers"]
    basis = np.exp(-weights["radial_basis.coefficients"] * offset**2)
    basis_slope = -2.0 * weights["radial_basis.coefficients"] * offset * basis
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


def tabulate(model: Model, dtype: str) -> FilterTable:
    """Table with as many knots as the precision needs: the measured slope error falls with the third power of their number."""
    reach = model.config.cutoff or float(model.weights["radial_basis.centers"].max()) + _TAIL
    n_knots = _FIRST_KNOTS
    while True:
        table = _tabulate(model, reach, n_knots, dtype)
        excess = table.slope_error / _TOLERANCE[dtype]
        if excess <= 1.0 or n_knots >= _MOST_KNOTS:
            return table
        needed = n_knots * max(1.05 * excess ** (1 / 3), 1.25)
        n_knots = min(math.ceil(needed / _FIRST_KNOTS * 2) * _FIRST_KNOTS // 2, _MOST_KNOTS)


def _tabulate(model: Model, reach: float, n_knots: int, dtype: str) -> FilterTable:
    spacing = reach / n_knots
    value, slope = exact_filters(model, spacing * np.arange(n_knots + 1))
    left, right = value[:, :-1], value[:, 1:]
    left_slope, right_slope = slope[:, :-1] * spacing, slope[:, 1:] * spacing
    coefficients = np.stack(
        [
            left,
            left_slope,
            3.0 * (right - left) - 2.0 * left_slope - right_slope,
            2.0 * (left - right) + left_slope + right_slope,
        ],
        axis=2,
    )
    errors = _largest_errors(model, coefficients, spacing, value, slope)
    return FilterTable(np.ascontiguousarray(coefficients, dtype=dtype), spacing, *errors)


def _largest_errors(model, coefficients, spacing, value, slope) -> tuple[float, float]:
    """Relative errors where Hermite pieces err most: values mid-piece, slopes at (1 ± 1/√3)/2."""
    errors = []
    a0, a1, a2, a3 = np.moveaxis(coefficients, 2, 0)
    for s, scale, derivative in ((0.5, value, 0), (0.5 - 0.5 / np.sqrt(3.0), slope, 1)):
        exact = exact_filters(model, spacing * (np.arange(coefficients.shape[1]) + s))[derivative]
        if derivative:
            approximate = (a1 + s * (2.0 * a2 + 3.0 * s * a3)) / spacing
        else:
            approximate = a0 + s * (a1 + s * (a2 + s * a3))
        largest = np.abs(scale).max(axis=(1, 2), keepdims=True)
        errors.append(float((np.abs(approximate - exact) / largest).max()))
    return errors[0], errors[1]


def _cutoff(model: Model, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine cutoff and its slope as columns (n, 1); one and zero for the dialect without a cutoff."""
    if model.config.cutoff_function == "none":
        return np.ones((len(distances), 1)), np.zeros((len(distances), 1))
    wavenumber = np.pi / model.config.cutoff
    inside = (distances <= model.config.cutoff)[:, None]
    phase = (wavenumber * distances)[:, None]
    return 0.5 * (np.cos(phase) + 1.0) * inside, -0.5 * wavenumber * np.sin(phase) * inside


def _ssp(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln(½eˣ + ½) and its derivative, the logistic function."""
    return np.logaddexp(x, 0.0) - np.log(2.0), 1.0 / (1.0 + np.exp(-x))
