"""Means over frames and over networks."""

from collections.abc import Sequence

import numpy as np

from md.observables.statistics import Mean, block_average
from mlcalc.common.tables import with_error


def over_networks(means: Sequence[Mean]) -> Mean:
    """Mean of networks (at least two) with the standard error of their scatter: training, not sampling."""
    values = np.array([mean.value for mean in means])
    return Mean(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), float(len(values)))


def rows_of(series: Sequence[np.ndarray]) -> list[Mean]:
    """Of each network's series (n_frames,) the mean, blocked; behind them, if there are several, the mean over networks."""
    means = [block_average(values) for values in series]
    return [*means, over_networks(means)] if len(means) > 1 else means


def shown(mean: Mean) -> str:
    """The mean with its error, alone where one frame gives none."""
    return f"{mean.value:.4f}" if np.isnan(mean.error) else with_error(mean.value, mean.error)


def as_dict(mean: Mean) -> dict[str, float]:
    """For JSON, eV."""
    return {"value_eV": mean.value, "error_eV": mean.error}
