"""Messages of an SO3net in Numba, and their adjoint: loops over pairs, a vector of features at a time; formulas in kernel.py.

There are two ways, with the same sums in the same order. ``exchange`` and ``differentiate`` visit each pair of a replica once and
add to both its atoms: filters are looked up once. ``receive`` and ``collect`` let an atom meet every pair that it is part of, so
that no thread writes another's rows. ``sent`` stands for the components of x that differ from zero: (0,) in the first layer.
"""

from mlcalc.architectures.kernels.lanes import lanes_of, splat, total
from mlcalc.architectures.kernels.pairs import other_atom
from mlcalc.architectures.so3net.angles import set_scalars, turned
from mlcalc.architectures.so3net.contractions import convolve, convolve_back, pair_products
from mlcalc.architectures.so3net.vectors import (
    add_along,
    add_totals,
    add_weighted,
    alternate,
    filters_at,
    load_all,
    slopes_at,
    store_all,
    zeros,
)
from mlcalc.common.compiled import inner


@inner
def orient(b, start, stop, at, degrees):
    """Scalars of the pairs [start, stop) of replica b."""
    scalars, unit, n_scalars = at.scalars[b].reshape(-1), at.unit[b], at.scalars.shape[2]
    for p in range(start, stop):
        if at.knot[b, p] >= 0:
            set_scalars(unit[p, 0], unit[p, 1], unit[p, 2], scalars, p * n_scalars, degrees)


@inner
def turn(b, start, stop, at, degrees):
    """∂E/∂u of the pairs [start, stop) of replica b from the adjoints of their harmonics."""
    scalars, unit, n_scalars = at.scalars[b].reshape(-1), at.unit[b], at.scalars.shape[2]
    for p in range(start, stop):
        if at.knot[b, p] >= 0:
            place = p * n_scalars + len(degrees) ** 2
            x, y, z = turned(unit[p, 0], unit[p, 1], unit[p, 2], scalars, place, degrees)
            at.turn[b, p, 0], at.turn[b, p, 1], at.turn[b, p, 2] = x, y, z


@inner
def exchange(b, t, pairs, at, filters, work, degrees, sent):
    """Δ of all atoms of replica b in layer t; filters (n_knots, 4, L F)."""
    begin, knot, fraction = pairs.offset[b], at.knot[b], at.fraction[b]
    x, delta, table = work.x[b, t].reshape(-1), work.delta[b, t].reshape(-1), filters.reshape(-1)
    width, n, wide = work.x.shape[4], len(degrees) ** 2, filters.shape[2]
    scalars, n_scalars, minus = at.scalars[b].reshape(-1), at.scalars.shape[2], splat(x.dtype.type(-1.0))
    work.delta[b, t] = 0
    for p in range(pairs.count[b]):
        if knot[p] < 0:
            continue
        i, j, s = n * width * pairs.first[begin + p], n * width * pairs.second[begin + p], splat(fraction[p])
        couplings = p * n_scalars + 2 * n
        for c in range(0, width, lanes_of(x)):
            w = filters_at(table, knot[p] * 4 * wide + c, wide, width, s, degrees)
            x_j, to_i = load_all(x, j + c, width, sent), load_all(delta, i + c, width, degrees)
            store_all(delta, i + c, width, convolve(scalars, couplings, w, x_j, to_i))
            x_i, to_j, w = load_all(x, i + c, width, sent), load_all(delta, j + c, width, degrees), alternate(w, minus)
            store_all(delta, j + c, width, convolve(scalars, couplings, w, x_i, to_j))


@inner
def receive(b, t, low, high, pairs, at, filters, work, degrees, sent):
    """As exchange, for the atoms [low, high) alone."""
    begin, knot, fraction = pairs.offset[b], at.knot[b], at.fraction[b]
    x, delta, table = work.x[b, t].reshape(-1), work.delta[b, t].reshape(-1), filters.reshape(-1)
    width, n, wide = work.x.shape[4], len(degrees) ** 2, filters.shape[2]
    scalars, n_scalars = at.scalars[b].reshape(-1), at.scalars.shape[2]
    for i in range(low, high):
        for c in range(0, width, lanes_of(x)):
            to_i = zeros(x, degrees)
            for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
                p, j, sign = other_atom(pairs, begin, entry)
                if knot[p] < 0:
                    continue
                w = filters_at(table, knot[p] * 4 * wide + c, wide, width, splat(fraction[p]), degrees)
                x_j = load_all(x, n * width * j + c, width, sent)
                w = alternate(w, splat(x.dtype.type(sign)))
                to_i = convolve(scalars, p * n_scalars + 2 * n, w, x_j, to_i)
            store_all(delta, n * width * i + c, width, to_i)


@inner
def differentiate(b, t, start, stop, pairs, at, filters, work, degrees, sent):
    """Add layer t's share of ∂E/∂s and of the adjoints of the harmonics of the pairs [start, stop) of replica b."""
    begin, knot, fraction = pairs.offset[b], at.knot[b], at.fraction[b]
    x, bar, table = work.x[b, t].reshape(-1), work.delta_bar[b, t % 2].reshape(-1), filters.reshape(-1)
    width, n, wide = work.x.shape[4], len(degrees) ** 2, filters.shape[2]
    scalars, n_scalars = at.scalars[b].reshape(-1), at.scalars.shape[2]
    for p in range(start, stop):
        if knot[p] < 0:
            continue
        i, j, s = n * width * pairs.first[begin + p], n * width * pairs.second[begin + p], splat(fraction[p])
        by_s, y_bar = splat(x.dtype.type(0.0)), zeros(x, degrees)
        for c in range(0, width, lanes_of(x)):
            g_i, g_j = load_all(bar, i + c, width, degrees), load_all(bar, j + c, width, degrees)
            x_i, x_j = load_all(x, i + c, width, sent), load_all(x, j + c, width, sent)
            z, knot_at = pair_products(g_i, g_j, x_i, x_j, zeros(x, degrees)), knot[p] * 4 * wide + c
            y_bar = add_weighted(filters_at(table, knot_at, wide, width, s, degrees), z, y_bar)
            slopes = slopes_at(table, knot_at, wide, width, s, degrees)
            by_s = add_along(slopes, scalars, p * n_scalars, z, by_s)
        at.slope[b, p] += total(by_s)
        add_totals(scalars, p * n_scalars + n, y_bar)


@inner
def spread(b, t, pairs, at, filters, work, degrees):
    """The adjoint of exchange: what all atoms of replica b sent in layer t, added to x̄."""
    begin, knot, fraction = pairs.offset[b], at.knot[b], at.fraction[b]
    bar, x_bar, table = work.delta_bar[b, t % 2].reshape(-1), work.x_bar[b].reshape(-1), filters.reshape(-1)
    width, n, wide = work.x.shape[4], len(degrees) ** 2, filters.shape[2]
    scalars, n_scalars, minus = at.scalars[b].reshape(-1), at.scalars.shape[2], splat(bar.dtype.type(-1.0))
    for p in range(pairs.count[b]):
        if knot[p] < 0:
            continue
        i, j, s = n * width * pairs.first[begin + p], n * width * pairs.second[begin + p], splat(fraction[p])
        couplings = p * n_scalars + 2 * n
        for c in range(0, width, lanes_of(bar)):
            w = filters_at(table, knot[p] * 4 * wide + c, wide, width, s, degrees)
            opposite = alternate(w, minus)
            g_j, to_i = load_all(bar, j + c, width, degrees), load_all(x_bar, i + c, width, degrees)
            store_all(x_bar, i + c, width, convolve_back(scalars, couplings, opposite, g_j, to_i))
            g_i, to_j = load_all(bar, i + c, width, degrees), load_all(x_bar, j + c, width, degrees)
            store_all(x_bar, j + c, width, convolve_back(scalars, couplings, w, g_i, to_j))


@inner
def collect(b, t, low, high, pairs, at, filters, work, degrees):
    """As spread, for the atoms [low, high) alone."""
    begin, knot, fraction = pairs.offset[b], at.knot[b], at.fraction[b]
    bar, x_bar, table = work.delta_bar[b, t % 2].reshape(-1), work.x_bar[b].reshape(-1), filters.reshape(-1)
    width, n, wide = work.x.shape[4], len(degrees) ** 2, filters.shape[2]
    scalars, n_scalars = at.scalars[b].reshape(-1), at.scalars.shape[2]
    for j in range(low, high):
        for c in range(0, width, lanes_of(bar)):
            to_j = load_all(x_bar, n * width * j + c, width, degrees)
            for entry in range(2 * begin + pairs.around[b, j], 2 * begin + pairs.around[b, j + 1]):
                p, i, sign = other_atom(pairs, begin, entry)
                if knot[p] < 0:
                    continue
                w = filters_at(table, knot[p] * 4 * wide + c, wide, width, splat(fraction[p]), degrees)
                # The unit vector of the receiver points from it to this atom.
                w = alternate(w, splat(bar.dtype.type(-sign)))
                g_i = load_all(bar, n * width * i + c, width, degrees)
                to_j = convolve_back(scalars, p * n_scalars + 2 * n, w, g_i, to_j)
            store_all(x_bar, n * width * j + c, width, to_j)
