"""Block averages of correlated series with known exact errors."""

import numpy as np
import pytest

from md.observables.statistics import autocorrelation_time, block_average, equilibrated_from


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


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.95])
def test_autocorrelation_time_of_a_known_series(memory):
    """AR(1): ρ(t) = φᵗ, so τ = ½(1 + φ)/(1 − φ); over 20 series the errors describe the scatter."""
    rng, exact = np.random.default_rng(5), 0.5 * (1 + memory) / (1 - memory)
    found = [autocorrelation_time(autoregressive(rng, 20_000, memory)) for _ in range(20)]
    scores = [(mean.value - exact) / mean.error for mean in found]
    assert np.mean([mean.value for mean in found]) == pytest.approx(exact, rel=0.05)
    assert max(map(abs, scores)) < 4.0
    assert found[0].n_effective == pytest.approx(20_000 / (2 * found[0].value))


def test_blocking_and_autocorrelation_agree_on_the_error():
    series = autoregressive(np.random.default_rng(6), 50_000, 0.9)
    from_time = np.sqrt(series.var() / autocorrelation_time(series).n_effective)
    assert block_average(series).error == pytest.approx(from_time, rel=0.15)


def test_equilibration_is_found():
    """A decay of 500 samples' length onto stationary noise: cut when it has vanished in the noise, not much later."""
    rng = np.random.default_rng(7)
    noise = autoregressive(rng, 20_000, 0.8)
    start = equilibrated_from(noise + 20.0 * np.exp(-np.arange(20_000) / 500.0))
    assert 1000 <= start <= 5000
    assert equilibrated_from(noise) < 4000
    assert equilibrated_from(np.ones(100)) == 0


def test_no_time_without_variation():
    assert np.isnan(autocorrelation_time([1.0]).value)
    assert np.isnan(autocorrelation_time(np.ones(10)).value)
