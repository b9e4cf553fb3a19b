"""Errors of means of correlated series."""

from typing import NamedTuple

import numpy as np

_FEWEST_BLOCKS = 16  # below, the spread of block means is too uncertain: its own relative error is 1/√(2·15) = 18 %


class Mean(NamedTuple):
    """A mean, its standard error, and how many independent samples the series was worth."""

    value: float
    error: float
    n_effective: float


def effective_count(logarithms: np.ndarray) -> float:
    """How many equally weighted samples are worth those with weights of these logarithms (n,), correlations left aside.

    Source: Kish, Survey Sampling (1965): (Σw)²/Σw².
    """
    weights = np.exp(logarithms - logarithms.max())
    return float(weights.sum() ** 2 / (weights**2).sum())


def block_average(series) -> Mean:
    """Mean of a correlated series with its standard error by blocking.

    Neighbours are averaged pairwise repeatedly. The naive error grows while the blocks are shorter than the correlation time, and
    is constant beyond. The result is the error at the smallest block size that agrees with those of all larger blocks within their
    uncertainty; if the series is too short for that, the largest error.

    Args:
        series: (n,) numbers, equally spaced in time.

    Returns:
        The mean; its error is NaN for fewer than two samples.

    Source: Flyvbjerg, Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480.
    """
    x = np.asarray(series, dtype=np.float64)
    if len(x) < 2:
        return Mean(float(x.mean()) if len(x) else np.nan, np.nan, float(len(x)))
    value, variance = float(x.mean()), float(x.var(ddof=1))
    errors, uncertainties = [], []
    while True:
        error = np.sqrt(x.var(ddof=1) / len(x))
        errors.append(error)
        uncertainties.append(error / np.sqrt(2 * (len(x) - 1)))
        if len(x) < 2 * _FEWEST_BLOCKS:
            break
        x = 0.5 * (x[: len(x) // 2 * 2 : 2] + x[1::2][: len(x) // 2])
    error = _plateau(np.array(errors), np.array(uncertainties))
    return Mean(value, error, variance / error**2 if error > 0 else float(len(series)))


def _plateau(errors: np.ndarray, uncertainties: np.ndarray) -> float:
    """The first error that agrees with all later ones within their uncertainty."""
    for k in range(len(errors)):
        if (errors[k:] <= errors[k] + np.hypot(uncertainties[k], uncertainties[k:])).all():
            return float(errors[k])
    return float(errors.max())


def autocorrelation_time(series) -> Mean:
    """Integrated autocorrelation time ½ + Σ_t ρ(t) of a series, in samples, with its standard error.

    The sum ends at the first t of at least five times the time summed so far, which balances noise against the truncated tail.

    Args:
        series: (n,) numbers, equally spaced in time.

    Returns:
        The time (½ for independent samples) as Mean; ``n_effective`` = n / 2τ. NaN for fewer than two samples or a constant.

    Source: Sokal, in Functional Integration (1997), sect. 3, doi:10.1007/978-1-4899-0319-8_6.
    """
    x = np.asarray(series, dtype=np.float64)
    n = len(x)
    x = x - x.mean() if n else x
    if n < 2 or not x.any():
        return Mean(np.nan, np.nan, float(n))
    spectrum = np.abs(np.fft.rfft(x, 2 * n)) ** 2  # padded, so that the end is not correlated with the start
    correlation = np.fft.irfft(spectrum)[:n]
    times = np.cumsum(correlation / correlation[0]) - 0.5
    window = np.arange(n) >= 5.0 * times
    end = int(window.argmax()) if window.any() else n - 1
    time = max(float(times[end]), 0.5)
    return Mean(time, time * np.sqrt((4.0 * end + 2.0) / n), n / (2.0 * time))


def equilibrated_from(series, candidates: int = 50) -> int:
    """Index from which a series looks stationary: the start that leaves the largest number of independent samples.

    Args:
        series: (n,) numbers, equally spaced in time.
        candidates: Number of starts to try, equally spaced over the first nine tenths.

    Source: Chodera, J. Chem. Theory Comput. 12, 1799 (2016), doi:10.1021/acs.jctc.5b00784.
    """
    x = np.asarray(series, dtype=np.float64)
    starts = np.unique(np.linspace(0, 0.9 * len(x), candidates, endpoint=False).astype(int))
    left = [autocorrelation_time(x[start:]).n_effective if np.ptp(x[start:]) else 0.0 for start in starts]
    return int(starts[int(np.argmax(left))])
