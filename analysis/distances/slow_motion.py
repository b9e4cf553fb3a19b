"""Errors of means over motion that is slow compared with the run, such as hopping between two wells."""

import numpy as np

from md.observables.statistics import Mean, autocorrelation_time, block_average

_MANY = 200  # independent samples: blocking needs at least sixteen blocks of several correlation times
SHORT = 30.0  # correlation times; long ones are underestimated, so that the true number is about fifteen


def careful_mean(series) -> Mean:
    """Mean of a correlated series, with the larger of two errors if independent samples are few.

    Blocking (md.observables.statistics) stops at blocks of a sixteenth of the series. For a run of 20 correlation times it finds
    half of the error, since no block exceeds the correlation time. The integrated autocorrelation time τ gives σ√(2τ/n): four
    fifths of the error, and the full error from 80 correlation times on.

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
    """Length of the series behind a careful_mean in correlation times."""
    return 2.0 * mean.n_effective
