"""Block averages of correlated series with known exact errors."""

import numpy as np
import pytest

from md.statistics import block_average


def autoregressive(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    noise, series = rng.standard_normal(n) * np.sqrt(1 - memory**2), np.empty(n)
    series[0] = rng.standard_normal()
    for t in range(1, n):
        series[t] = memory * series[t - 1] + noise[t]
    return series


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.95])
def test_error_of_a_correlated_series(memory):
    """The standard error of an AR(1) mean is √((1 + φ)/(1 − φ)/n); the estimate scatters by less than 10 % over 40 series."""
    n, rng = 8192, np.random.default_rng(3)
    exact = np.sqrt((1 + memory) / (1 - memory) / n)
    errors = [block_average(autoregressive(rng, n, memory)).error for _ in range(40)]
    assert np.mean(errors) == pytest.approx(exact, rel=0.1)


def test_deviations_are_what_the_errors_say():
    """Of 200 means, about 32 % lie beyond one standard error; ±10 points are three standard deviations of that share."""
    rng = np.random.default_rng(4)
    means = [block_average(autoregressive(rng, 2048, 0.8)) for _ in range(200)]
    share = np.mean([abs(mean.value) > mean.error for mean in means])
    assert abs(share - 0.32) < 0.10


def test_short_and_constant_series():
    assert np.isnan(block_average([1.0]).error)
    assert np.isnan(block_average([]).value)
    constant = block_average(np.ones(100))
    assert constant.value == 1.0
    assert constant.error == 0.0


def test_effective_number_of_samples():
    assert block_average(np.random.default_rng(5).normal(size=4096)).n_effective == pytest.approx(4096, rel=0.5)
