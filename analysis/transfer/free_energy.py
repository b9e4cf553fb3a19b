"""Densities and free energies along the coordinate of a proton transfer, with standard errors.

The free energy F(δ) = −k_BT ln p(δ) is counted from its minimum, the vertex of a parabola through ln p(δ) near the maximum of p;
the barrier is F(0). The beads of a frame are one sample: a frame contributes the share of its beads in each bin. Every number is a
function of the mean shares, so to first order it depends on the trajectory as the mean of a series of one number per frame does,
and the error is that of this mean (slow_motion.careful_mean), which holds the correlation of bins and of frames.
"""

from typing import NamedTuple

import numpy as np

from analysis.distances.slow_motion import careful_mean
from md.observables.statistics import Mean

BIN_A = 0.05  # bins are centred at whole multiples, one of them at δ = 0
_RANGE_A = 3.0  # |δ| is at most the distance of donor and acceptor; what lies beyond counts in the normalisation
_REACH = 2  # bins on either side of the maximum that the parabola passes through
_UNSEEN = 3.0  # expected number of independent events of which none is seen with a probability of 5 %
_SIDE_A = 0.1  # shortest way past δ = 0 that counts as a change of side


class Barrier(NamedTuple):
    """F(0) above the minimum in eV.

    Attributes:
        mean: With its standard error; of a lower bound the value, with an error of NaN; NaN if nothing can be said.
        bound: Whether it is only a lower bound (95 % confidence), because the proton has not changed sides or was never at δ = 0.
    """

    mean: Mean
    bound: bool


class Landscape(NamedTuple):
    """Distribution and free energy along δ.

    Attributes:
        delta: (n_bins,) Å, centres of the bins.
        density, density_error: (n_bins,) Å⁻¹.
        free_energy, free_energy_error: (n_bins,) eV above the minimum; infinite and NaN in empty bins.
        well: Å, place of the minimum.
        barrier: F(0).
    """

    delta: np.ndarray
    density: np.ndarray
    density_error: np.ndarray
    free_energy: np.ndarray
    free_energy_error: np.ndarray
    well: float
    barrier: Barrier


def shares_of(delta: np.ndarray) -> np.ndarray:
    """(n_frames, n_bins) shares of the beads of each frame in bins of 0.05 Å; δ (n_frames, P) Å."""
    half = round(_RANGE_A / BIN_A)
    bins = np.clip(np.rint(delta / BIN_A), -half - 1, half + 1).astype(int) + half + 1
    n_bins = 2 * half + 3
    places = bins + n_bins * np.arange(len(delta))[:, None]
    counts = np.bincount(places.ravel(), minlength=n_bins * len(delta)).reshape(len(delta), n_bins)
    return counts[:, 1:-1] / delta.shape[1]


def symmetrised(shares: np.ndarray) -> np.ndarray:
    """Shares (n_frames, n_bins) averaged with their mirror image about δ = 0."""
    return 0.5 * (shares + shares[:, ::-1])


def landscape(shares: np.ndarray, thermal: float, transfers: int) -> Landscape:
    """Distribution and free energy from shares (n_frames, n_bins), at k_BT = ``thermal`` eV.

    Args:
        transfers: Number of changes of side; without any, the barrier is only a lower bound.
    """
    n_bins = shares.shape[1]
    delta = BIN_A * (np.arange(n_bins) - n_bins // 2)
    mean = shares.mean(axis=0)
    errors = np.array([careful_mean(column).error for column in shares.T])
    place, weights, height, well = _vertex(delta, mean)
    relative = np.divide(shares, mean, out=np.zeros_like(shares), where=mean > 0)
    at_minimum = relative @ weights
    with np.errstate(divide="ignore"):
        free_energy = thermal * (height - np.log(mean))
    free_errors = np.full(n_bins, np.nan)
    for k in np.flatnonzero(mean):
        free_errors[k] = thermal * careful_mean(relative[:, k] - at_minimum).error
    centre = n_bins // 2
    if transfers and mean[centre]:
        effective = careful_mean(relative[:, centre] - at_minimum).n_effective
        barrier = Barrier(Mean(float(free_energy[centre]), float(free_errors[centre]), effective), False)
    else:
        barrier = Barrier(Mean(_bound(shares[:, centre], shares[:, place], thermal), np.nan, 0.0), True)
    return Landscape(delta, mean / BIN_A, errors / BIN_A, free_energy, free_errors, well, barrier)


def _vertex(delta: np.ndarray, mean: np.ndarray) -> tuple[int, np.ndarray, float, float]:
    """Bin of the maximum; weights (n_bins,) of ln p in the height of the vertex; that height; its place in Å.

    A parabola is less noisy than a bin, and the largest of several noisy bins would be too large.
    """
    place, n_bins = int(mean.argmax()), len(mean)
    weights = np.zeros(n_bins)
    near = np.arange(max(0, place - _REACH), min(n_bins, place + _REACH + 1))
    near = near[mean[near] > 0]
    if len(near) > 3:
        x, y = (near - place) * BIN_A, np.log(mean[near])
        solve = np.linalg.pinv(np.vander(x, 3, increasing=True))
        c, b, a = solve @ y
        if a < 0 and abs(b / (2.0 * a)) <= _REACH * BIN_A:
            top = -b / (2.0 * a)
            weights[near] = solve[0] + top * solve[1] + top**2 * solve[2]  # the vertex is stationary in its place
            return place, weights, float(c + 0.5 * b * top), float(delta[place] + top)
    weights[place] = 1.0
    return place, weights, float(np.log(mean[place])), float(delta[place])


def _bound(centre: np.ndarray, well: np.ndarray, thermal: float) -> float:
    """Lower bound of the barrier in eV from the series of shares at δ = 0 and at the minimum; NaN if there is none above zero."""
    mean = careful_mean(centre)
    if mean.value > 0:
        most = mean.value + 2.0 * mean.error
    else:
        seen = careful_mean(well)
        most = _UNSEEN / max(seen.n_effective, 1.0)
    bound = thermal * np.log(well.mean() / most)
    return float(bound) if bound > 0 else np.nan


def changes_of_side(delta: np.ndarray, well: float) -> int:
    """How often δ (n_frames,) Å of the centroid changes sign, from beyond half of the minimum's place to beyond it opposite."""
    far = delta[np.abs(delta) > max(0.5 * abs(well), _SIDE_A)]
    return int(np.count_nonzero(np.diff(np.sign(far))))
