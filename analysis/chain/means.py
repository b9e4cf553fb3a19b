"""Means over frames, with the errors of correlated ones, and over networks."""

from collections.abc import Sequence

import numpy as np

from analysis.distances.slow_motion import careful_mean
from md.observables.statistics import Mean, effective_count
from mlcalc.common.tables import with_error

_FEWEST = (
    3.5  # trajectories of equal length: four whose lengths are as 2 : 1 : 1 : 1 are worth more, as 3 : 1 : 1 : 1 less
)
ERRORS = "of at least four trajectories of a file from their means, else with correlations in time within each"


def mean_of(series: np.ndarray, trajectories: np.ndarray | None = None) -> Mean:
    """Mean over frames with its standard error.

    Frames of one trajectory are correlated, those of different ones are not. The error is that of the trajectories' means; if they
    are worth fewer than four of equal length, the larger of this one and that of the correlations within each.

    Args:
        series: (n_frames,) numbers, in the order of time within each trajectory.
        trajectories: (n_frames,) number of the trajectory of each; None where all are of one.

    Returns:
        The mean; its error is NaN for one frame.
    """
    x = np.asarray(series, dtype=np.float64)
    parts = [x] if trajectories is None else [x[trajectories == k] for k in np.unique(trajectories)]
    if len(parts) < 2:
        return careful_mean(x)
    error = _between(parts)
    if effective_count(np.log([len(part) for part in parts])) < _FEWEST:
        error = max(error, _within(parts))
    return Mean(float(x.mean()), error, float(x.var(ddof=1) / error**2) if error > 0 else float(len(x)))


def _between(parts: Sequence[np.ndarray]) -> float:
    """Standard error of the mean of all by the scatter of the means of independent parts (at least two).

    √Σ w² (m − Σ w m)² / (1 − w) with each part's mean m and share w of the frames: the square has no bias if variances of the
    means are as 1/w, and is s²/K for K parts of equal length.
    """
    shares = np.array([len(part) for part in parts]) / sum(map(len, parts))
    means = np.array([part.mean() for part in parts])
    return float(np.sqrt((shares**2 * (means - shares @ means) ** 2 / (1.0 - shares)).sum()))


def _within(parts: Sequence[np.ndarray]) -> float:
    """Standard error of the mean of all by correlations in time within each part; one frame scatters as all of them do."""
    x = np.concatenate(parts)
    errors = [careful_mean(part).error if len(part) > 1 else x.std(ddof=1) for part in parts]
    return float(np.sqrt(sum((len(part) / len(x) * error) ** 2 for part, error in zip(parts, errors, strict=True))))


def over_networks(means: Sequence[Mean]) -> Mean:
    """Mean of networks (at least two) with the standard error of their scatter: training, not sampling."""
    values = np.array([mean.value for mean in means])
    return Mean(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), float(len(values)))


def rows_of(series: Sequence[np.ndarray], trajectories: np.ndarray | None = None) -> list[Mean]:
    """Of each network's series (n_frames,) its mean_of; behind them, if there are several, the mean over networks."""
    means = [mean_of(values, trajectories) for values in series]
    return [*means, over_networks(means)] if len(means) > 1 else means


def shown(mean: Mean) -> str:
    """The mean with its error, alone where one frame gives none."""
    return f"{mean.value:.4f}" if np.isnan(mean.error) else with_error(mean.value, mean.error)


def as_dict(mean: Mean) -> dict[str, float]:
    """For JSON, eV."""
    return {"value_eV": mean.value, "error_eV": mean.error}
