"""The pieces of a SchNet evaluation for one replica, or for a block of its atoms: loops over pairs and rows of atoms.

Pair loops take the half pairs begin … begin + len(knot) of the flat arrays, or a range [start, stop) of a replica's own; row
functions take (rows, F) views, so that the same code serves a replica and a block of its atoms. Symbols as in kernel_schedules.py.
"""

import numpy as np

from mlcalc.architectures.kernels.activation import activate
from mlcalc.common.compiled import njit


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def convolve(source, begin, pairs, knot, fraction, filters, target):
    """target_i = Σ_j source_j ∘ W(r_ij) over the half pairs of a replica, both directions; source, target (N, F)."""
    target[:] = 0
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        piece, s = filters[knot[p]], fraction[p]
        for f in range(source.shape[1]):
            w = piece[0, f] + s * (piece[1, f] + s * (piece[2, f] + s * piece[3, f]))
            from_i = source[i, f] * w
            target[i, f] += source[j, f] * w
            target[j, f] += from_i


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def gather(source, pairs, b, low, high, knot, fraction, filters, target):
    """As convolve for the atoms [low, high) of replica b: every pair is met from both sides, no other row is written."""
    begin = pairs.offset[b]
    for i in range(low, high):
        target[i] = 0
        for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
            link = pairs.link[entry]
            if link >= 0:
                p, j = link, pairs.second[begin + link]
            else:
                p = -link - 1
                j = pairs.first[begin + p]
            if knot[p] < 0:
                continue
            piece, s = filters[knot[p]], fraction[p]
            for f in range(source.shape[1]):
                w = piece[0, f] + s * (piece[1, f] + s * (piece[2, f] + s * piece[3, f]))
                target[i, f] += source[j, f] * w


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def add_slopes(adjoint, y, begin, pairs, start, stop, knot, fraction, filters, slope):
    """slope_p += Σ_f (c̄_i∘y_j + c̄_j∘y_i) ∘ dW/ds of one layer for the pairs [start, stop); adjoint c̄ and y are (N, F)."""
    for p in range(start, stop):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        piece, s = filters[knot[p]], fraction[p]
        three_s = s + s + s
        total = slope[p]
        for f in range(y.shape[1]):
            dw = piece[1, f] + s * (piece[2, f] + piece[2, f] + three_s * piece[3, f])
            total += (adjoint[i, f] * y[j, f] + adjoint[j, f] * y[i, f]) * dw
        slope[p] = total


@njit(cache=True, error_model="numpy")
def embed(species, net, x, y):
    """Features and messages of the first layer, which depend only on the element; rows of x, y (rows, F)."""
    for i in range(len(species)):
        x[i] = net.embedding[species[i]]
        y[i] = net.messages[species[i]]


@njit(cache=True, error_model="numpy")
def update_features(t, net, x, c, scratch, sigma):
    """x ← x + ssp(c·W₁ + b₁)·W₂ + b₂; c is overwritten, as is scratch; keeps σ(u); all (rows, F)."""
    np.dot(c, net.dense[t, 0], scratch)
    activate(scratch, net.bias[t, 0], False, c, sigma)
    np.dot(c, net.dense[t, 1], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            x[i, f] += scratch[i, f] + net.bias[t, 1, f]


@njit(cache=True, error_model="numpy")
def adjoint_of_update(t, net, x, sigma, scratch, adjoint):
    """c̄ = ((x̄·W₂ᵀ)∘σ(u))·W₁ᵀ into ``adjoint``; all (rows, F)."""
    np.dot(x, net.dense_adjoint[t, 1], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            scratch[i, f] *= sigma[i, f]
    np.dot(scratch, net.dense_adjoint[t, 0], adjoint)


@njit(cache=True, error_model="numpy")
def add_adjoint_of_messages(t, net, x, y, scratch):
    """x̄ ← x̄ + ȳ·W_inᵀ; all (rows, F)."""
    np.dot(y, net.in2f_adjoint[t], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            x[i, f] += scratch[i, f]
