"""Errors of means over motion that is slow on the scale of the run, as hopping between two wells."""

import numpy as np

from md.observables.statistics import Mean, autocorrelation_time, block_average

_MANY = 200  # independent samples: blocking needs blocks of several correlation times, and has sixteen at least
SHORT = 30.0  # correlation times; the estimate of a long one is too short, so that this is some fifteen in truth


def careful_mean(series) -> Mean:
    """Mean of a correlated series, with the larger of two errors where independent samples are few.

    Blocking (md.observables.statistics) stops at blocks of a sixteenth of the series. Of a run of 20 correlation times it finds
    half of the error, as no block is longer than the correlation. The integrated autocorrelation time τ gives σ√(2τ/n), four
    fifths of it, and the truth from 80 correlation times on.

    Args:
        series: (n,) numbers, equally spaced in time.

    Returns:
        The mean; ``n_effective`` is half of the number of correlation times that the series is long.
    """
    x = np.asarray(series, dtype=np.float64)
    mean = block_average(x)
    if mean.n_effective >= _MANY or not mean.error > 0:
        return mean
    n_effective = autocorrelation_time(x).n_effective
    error = float(np.sqrt(x.var(ddof=1) / n_effective))
    return mean if error <= mean.error else Mean(mean.value, error, n_effective)


def correlation_times(mean: Mean) -> float:
    """How many correlation times the series of a careful_mean is long."""
    return 2.0 * mean.n_effective
