"""Activations of the kernel, with their derivatives: shifted softplus and silu.

Both come from the logistic function σ and from ln(1 + e) with e = exp(−|x|)::

    ssp(x)  = max(x, 0) + ln(1 + e) − ln 2        ssp′ = σ
    silu(x) = x σ(x)                              silu′ = σ (1 + x (1 − σ))

Library calls of exp and log1p keep a loop from being vectorised and took half the time of a force evaluation. Truncated series
do not: e = 2ⁿ exp(s) with integer n and |s| ≤ ½ ln 2, and ln(1 + e) = 2 artanh(t) with t = e / (2 + e) ≤ ⅓. They end where the next
term lies below the rounding of the precision.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from mlcalc.common.compiled import njit

_TERMS = {32: 8, 64: 14}  # of exp(s): s⁸/8! < 6e-9, s¹⁴/14! < 5e-18
_ARTANH_TERMS = {32: 8, 64: 16}  # t¹⁶/17 < 2e-9, t³²/33 < 2e-17


def _power_of_two(n):
    """2ⁿ for an integer n in the normal range, made from its exponent bits."""


@overload(_power_of_two)
def _(n):
    if n == types.float32:
        return lambda n: np.int32((np.int32(n) + 127) << 23).view(np.float32)
    return lambda n: np.int64((np.int64(n) + 1023) << 52).view(np.float64)


def _constants(x):
    """Series of exp and of 2 artanh(t)/t in t², highest power first; log₂ e, ln 2, smallest exponent, ½, 1, 2; in the type of x."""


@overload(_constants)
def _(x):
    # Literals would promote float32 arithmetic to float64.
    dtype, lowest = (np.float32, -126.0) if x == types.float32 else (np.float64, -1022.0)
    exp_series = tuple(dtype(1.0 / math.factorial(k)) for k in reversed(range(_TERMS[x.bitwidth])))
    log_series = tuple(dtype(2.0 / (2 * k + 1)) for k in reversed(range(_ARTANH_TERMS[x.bitwidth])))
    scalars = tuple(dtype(c) for c in (math.log2(math.e), math.log(2.0), lowest, 0.5, 1.0, 2.0))
    constants = (exp_series, log_series, *scalars)
    return lambda x: constants


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def softplus_and_logistic(x):
    """(ln((1 + exp x) / 2), σ(x)) in the precision of x; NaN stays NaN."""
    exp_series, log_series, log2_e, ln_2, lowest, half, one, two = _constants(x)
    y = -abs(x) * log2_e
    if y < lowest:
        y = lowest
    n = np.floor(y + half)
    s = (y - n) * ln_2
    e = exp_series[0]
    for k in range(1, len(exp_series)):
        e = e * s + exp_series[k]
    e *= _power_of_two(n)
    t = e / (two + e)
    t2 = t * t
    log = log_series[0]
    for k in range(1, len(log_series)):
        log = log * t2 + log_series[k]
    softplus = log * t - ln_2
    small = e / (one + e)  # σ(−|x|)
    if x > 0:
        return x + softplus, one - small
    return softplus, small


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def activate(u, bias, silu, value, gradient):
    """value = act(u + b), gradient = act′(u + b), element by element; u, value, gradient (N, F), bias (F,)."""
    for i in range(u.shape[0]):
        for f in range(u.shape[1]):
            x = u[i, f] + bias[f]
            softplus, sigma = softplus_and_logistic(x)
            if silu:
                value[i, f] = x * sigma
                gradient[i, f] = sigma + x * (sigma - sigma * sigma)
            else:
                value[i, f] = softplus
                gradient[i, f] = sigma


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def apply_logistic(u, bias):
    """u ← σ(u + b), element by element; u (N, F), bias (F,)."""
    for i in range(u.shape[0]):
        for f in range(u.shape[1]):
            u[i, f] = softplus_and_logistic(u[i, f] + bias[f])[1]
