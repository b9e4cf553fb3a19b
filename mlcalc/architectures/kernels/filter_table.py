"""Continuous filters as cubic pieces of the distance, with a measured error.

A filter W(r) depends on one number, so the filters of every layer are evaluated once per model on equidistant knots and
interpolated by cubic Hermite pieces through exact values and slopes. A piece is stored as four coefficients per channel,
W = a₀ + s(a₁ + s(a₂ + s a₃)) with s ∈ [0, 1), so that the derivative comes from the same memory and the forces are the exact
gradient of the tabulated energy: the table costs accuracy, never energy conservation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_FIRST_KNOTS, _MOST_KNOTS = 256, 16384
# Largest error of dW/dr that is accepted, relative to the largest slope of the layer. For float32 the table should also fit
# the cache: 5e-5 means 512 knots for a 5 Å SchNet and forces 1e-5 eV/Å off, a thousandth of the best network's own error.
_TOLERANCE = {"float32": 5e-5, "float64": 1e-7}

Filters = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Distances (n,) Å to exact filters and their derivatives by the distance, each (T, n, C) for T layers of C channels, float64."""


@dataclass(frozen=True)
class FilterTable:
    """Tabulated filters of all layers.

    Attributes:
        coefficients: (T, n_knots, 4, C) polynomial coefficients of each piece.
        spacing: Knot distance in Å; piece k covers [k, k+1)·spacing.
        value_error, slope_error: Largest |ΔW| and |ΔdW/dr| at distances between knots, in units of the layer's largest
            |W| and |dW/dr|.
    """

    coefficients: np.ndarray
    spacing: float
    value_error: float
    slope_error: float


def tabulate(exact: Filters, reach: float, dtype: str) -> FilterTable:
    """Table up to ``reach`` (Å) with as many knots as the precision needs: the slope error falls with the third power of them."""
    n_knots = _FIRST_KNOTS
    while True:
        table = _tabulate(exact, reach, n_knots, dtype)
        excess = table.slope_error / _TOLERANCE[dtype]
        if excess <= 1.0 or n_knots >= _MOST_KNOTS:
            return table
        needed = n_knots * max(1.05 * excess ** (1 / 3), 1.25)
        n_knots = min(math.ceil(needed / _FIRST_KNOTS * 2) * _FIRST_KNOTS // 2, _MOST_KNOTS)


def _tabulate(exact: Filters, reach: float, n_knots: int, dtype: str) -> FilterTable:
    spacing = reach / n_knots
    value, slope = exact(spacing * np.arange(n_knots + 1))
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
    errors = _largest_errors(exact, coefficients, spacing, value, slope)
    return FilterTable(np.ascontiguousarray(coefficients, dtype=dtype), spacing, *errors)


def _largest_errors(exact: Filters, coefficients, spacing, value, slope) -> tuple[float, float]:
    """Relative errors where Hermite pieces err most: values mid-piece, slopes at (1 ± 1/√3)/2."""
    errors = []
    a0, a1, a2, a3 = np.moveaxis(coefficients, 2, 0)
    for s, scale, derivative in ((0.5, value, 0), (0.5 - 0.5 / np.sqrt(3.0), slope, 1)):
        true = exact(spacing * (np.arange(coefficients.shape[1]) + s))[derivative]
        if derivative:
            approximate = (a1 + s * (2.0 * a2 + 3.0 * s * a3)) / spacing
        else:
            approximate = a0 + s * (a1 + s * (a2 + s * a3))
        largest = np.abs(scale).max(axis=(1, 2), keepdims=True)
        errors.append(float((np.abs(approximate - true) / largest).max()))
    return errors[0], errors[1]


def gaussians(weights: dict[str, np.ndarray], distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radial basis of a network at distances (n,) Å and its derivative, each (n, n_rbf)."""
    offset = distances[:, None] - weights["radial_basis.centers"]
    basis = np.exp(-weights["radial_basis.coefficients"] * offset**2)
    return basis, -2.0 * weights["radial_basis.coefficients"] * offset * basis


def cosine_cutoff(cutoff: float, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """½(cos(πr/r_c) + 1) below the cutoff (Å), and its derivative, as columns (n, 1)."""
    wavenumber = np.pi / cutoff
    inside = (distances <= cutoff)[:, None]
    phase = (wavenumber * distances)[:, None]
    return 0.5 * (np.cos(phase) + 1.0) * inside, -0.5 * wavenumber * np.sin(phase) * inside
