"""The kernel's activations against extended precision."""

import numpy as np
import pytest
import torch

from mlcalc.architectures.kernels.activation import activate, softplus_and_logistic
from mlcalc.architectures.torch_blocks import shifted_softplus

X = np.concatenate([np.linspace(-40.0, 40.0, 4001), np.geomspace(1e-8, 1e-2, 50), [0.0, -87.0, 1e4, -1e4]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("silu", [False, True])
def test_as_good_as_rounding(dtype, silu):
    u, bias = X.astype(dtype).reshape(1, -1), np.zeros(len(X), dtype)
    value, gradient = np.empty_like(u), np.empty_like(u)
    activate(u, bias, silu, value, gradient)
    x = u.astype(np.longdouble)
    sigma = 1.0 / (1.0 + np.exp(-x))
    if silu:
        expected, slope = x * sigma, sigma * (1.0 + x * (1.0 - sigma))
    else:
        expected, slope = np.logaddexp(0.0, x) - np.log(np.longdouble(2.0)), sigma
    # 1 − σ, and so silu′, carries the rounding of σ times x; that of a value near x is the rounding of x.
    allowed = 4.0 * np.finfo(dtype).eps * np.maximum(1.0, np.abs(x))
    assert value.dtype == gradient.dtype == dtype
    assert (np.abs(value - expected) < allowed).all()
    assert (np.abs(gradient - slope) < allowed).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_twin_is_as_good_as_rounding(dtype):
    """Also from 20 on, where torch's own softplus leaves 2e-9 out."""
    x = torch.tensor(X, dtype=dtype, requires_grad=True)
    value = shifted_softplus(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    exact = x.detach().numpy().astype(np.longdouble)
    allowed = 4.0 * torch.finfo(dtype).eps * np.maximum(1.0, np.abs(exact))
    expected = np.logaddexp(0.0, exact) - np.log(np.longdouble(2.0))
    assert (np.abs(value.detach().numpy() - expected) < allowed).all()
    assert (np.abs(slope.numpy() - 1.0 / (1.0 + np.exp(-exact))) < allowed).all()


def test_bias_is_added():
    u, value, gradient = np.zeros((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    bias = np.array([-1.0, 0.5, 2.0])
    activate(u, bias, False, value, gradient)
    np.testing.assert_allclose(value, np.tile(np.log((1.0 + np.exp(bias)) / 2.0), (2, 1)), rtol=1e-14)
    np.testing.assert_allclose(gradient, np.tile(1.0 / (1.0 + np.exp(-bias)), (2, 1)), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_and_not_a_number(dtype):
    """Garbage in must not come out as a plausible number."""
    assert np.isnan(softplus_and_logistic(dtype(np.nan))).all()
    assert softplus_and_logistic(dtype(np.inf)) == (np.inf, 1.0)
    assert softplus_and_logistic(dtype(-np.inf)) == pytest.approx((-np.log(2.0), 0.0))
