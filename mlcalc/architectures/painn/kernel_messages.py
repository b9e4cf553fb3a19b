"""Messages of a PaiNN in Numba, and their adjoint: loops over pairs, a vector of features at a time; formulas in kernel.py.

There are two ways, with the same sums in the same order. ``exchange`` and ``differentiate`` visit each pair of a replica once and
add to both its atoms: filters are looked up once. ``receive`` and ``collect`` let an atom meet every pair that it is part of, so
that no thread writes another's rows.
"""

from mlcalc.architectures.kernels.lanes import fma, lanes_of, load, splat, store, total
from mlcalc.architectures.kernels.pairs import other_atom
from mlcalc.common.compiled import inner


@inner
def _cubic(filters, place, step, s):
    """The filter whose four coefficients lie ``step`` elements apart, at s."""
    high = fma(load(filters, place + 3 * step), s, load(filters, place + 2 * step))
    return fma(fma(high, s, load(filters, place + step)), s, load(filters, place))


@inner
def _cubic_slope(filters, place, step, two_s, three_halves_s):
    """Its derivative by s."""
    return fma(
        fma(load(filters, place + 3 * step), three_halves_s, load(filters, place + 2 * step)),
        two_s,
        load(filters, place + step),
    )


@inner
def exchange(b, t, pairs, at, filters, work):
    """q_i += Σ_j a, μ_i += Σ_j (b u_ij + c∘μ_j) for all atoms of replica b in layer t; filters (n_knots, 4, 3F)."""
    width, begin = work.q.shape[2], pairs.offset[b]
    knot, fraction, unit = at.knot[b], at.fraction[b], at.unit[b]
    q, mu, x, nu = work.q[b].reshape(-1), work.mu[b, t].reshape(-1), work.x[b, t].reshape(-1), work.nu[b, t].reshape(-1)
    table = filters.reshape(-1)
    if t > 0:
        work.mu[b, t] = work.mu[b, t - 1]
    else:
        work.mu[b, t] = 0
    for p in range(pairs.count[b]):
        if knot[p] < 0:
            continue
        i, j, s = pairs.first[begin + p], pairs.second[begin + p], splat(fraction[p])
        for c in range(0, width, lanes_of(q)):
            place, x_i, x_j = knot[p] * 12 * width + c, 3 * i * width + c, 3 * j * width + c
            of_a = _cubic(table, place, 3 * width, s)
            _add(q, i * width + c, of_a, load(x, x_j))
            _add(q, j * width + c, of_a, load(x, x_i))
            of_b = _cubic(table, place + width, 3 * width, s)
            to_i, to_j = of_b * load(x, x_j + width), of_b * load(x, x_i + width) * splat(q.dtype.type(-1.0))
            for axis in range(3):
                along, up = splat(unit[p, axis]), axis * width
                _add(mu, x_i + up, to_i, along)
                _add(mu, x_j + up, to_j, along)
            if t > 0:
                of_c = _cubic(table, place + 2 * width, 3 * width, s)
                for axis in range(3):
                    up = axis * width
                    _add(mu, x_i + up, of_c, load(nu, x_j + up))
                    _add(mu, x_j + up, of_c, load(nu, x_i + up))


@inner
def _add(array, place, a, b):
    """Add a∘b to the vector at a place of an array."""
    store(array, place, fma(a, b, load(array, place)))


@inner
def receive(b, t, low, high, pairs, at, filters, work):
    """As exchange, for the atoms [low, high) alone."""
    width, begin = work.q.shape[2], pairs.offset[b]
    knot, fraction, unit = at.knot[b], at.fraction[b], at.unit[b]
    q, after, before = work.q[b].reshape(-1), work.mu[b, t].reshape(-1), work.mu[b, max(t - 1, 0)].reshape(-1)
    x, nu, table = work.x[b, t].reshape(-1), work.nu[b, t].reshape(-1), filters.reshape(-1)
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            scalar = load(q, i * width + c)
            if t > 0:
                mu_x = load(before, (3 * i) * width + c)
                mu_y = load(before, (3 * i + 1) * width + c)
                mu_z = load(before, (3 * i + 2) * width + c)
            else:
                mu_x = mu_y = mu_z = splat(q.dtype.type(0.0))
            for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
                p, j, sign = other_atom(pairs, begin, entry)
                if knot[p] < 0:
                    continue
                place, s = knot[p] * 12 * width + c, splat(fraction[p])
                of_a = _cubic(table, place, 3 * width, s)
                of_b = _cubic(table, place + width, 3 * width, s)
                scalar = fma(of_a, load(x, 3 * j * width + c), scalar)
                along = of_b * load(x, (3 * j + 1) * width + c) * splat(q.dtype.type(sign))
                mu_x = fma(along, splat(unit[p, 0]), mu_x)
                mu_y = fma(along, splat(unit[p, 1]), mu_y)
                mu_z = fma(along, splat(unit[p, 2]), mu_z)
                if t > 0:
                    of_c = _cubic(table, place + 2 * width, 3 * width, s)
                    mu_x = fma(of_c, load(nu, (3 * j) * width + c), mu_x)
                    mu_y = fma(of_c, load(nu, (3 * j + 1) * width + c), mu_y)
                    mu_z = fma(of_c, load(nu, (3 * j + 2) * width + c), mu_z)
            store(q, i * width + c, scalar)
            store(after, (3 * i) * width + c, mu_x)
            store(after, (3 * i + 1) * width + c, mu_y)
            store(after, (3 * i + 2) * width + c, mu_z)


@inner
def differentiate(b, t, start, stop, pairs, at, filters, work, spread):
    """Add layer t's share of ∂E/∂s and ∂E/∂u of the pairs [start, stop) of replica b.

    With ``spread``, for all pairs, also the adjoint of exchange, for what atoms sent: Σ_i A∘q̄_i and Σ_i B∘(u_ij·μ̄_i), the first
    parts of x̄, into ``row``, and G = Σ_i C∘μ̄_i into ``vectors``; sums over those that received.
    """
    width, begin = work.q.shape[2], pairs.offset[b]
    knot, fraction, unit, slope, turn = at.knot[b], at.fraction[b], at.unit[b], at.slope[b], at.turn[b]
    adjoint, table = work.adjoint[b, t % 2].reshape(-1), filters.reshape(-1)
    x, nu = work.x[b, t].reshape(-1), work.nu[b, t].reshape(-1)
    row, vectors = work.row[b].reshape(-1), work.vectors[b].reshape(-1)
    if spread:
        work.row[b] = 0
        work.vectors[b] = 0
    minus, two, three_halves = splat(x.dtype.type(-1.0)), splat(x.dtype.type(2.0)), splat(x.dtype.type(1.5))
    for p in range(start, stop):
        if knot[p] < 0:
            continue
        i, j, s = pairs.first[begin + p], pairs.second[begin + p], splat(fraction[p])
        two_s, three_halves_s = two * s, three_halves * s
        u_x, u_y, u_z = splat(unit[p, 0]), splat(unit[p, 1]), splat(unit[p, 2])
        by_s = t_x = t_y = t_z = splat(x.dtype.type(0.0))
        for c in range(0, width, lanes_of(x)):
            place, x_i, x_j = knot[p] * 12 * width + c, 3 * i * width + c, 3 * j * width + c
            a_i, a_j = 4 * i * width + c, 4 * j * width + c
            q_i, q_j = load(adjoint, a_i), load(adjoint, a_j)
            i_x, i_y, i_z = load(adjoint, a_i + width), load(adjoint, a_i + 2 * width), load(adjoint, a_i + 3 * width)
            j_x, j_y, j_z = load(adjoint, a_j + width), load(adjoint, a_j + 2 * width), load(adjoint, a_j + 3 * width)
            change = fma(load(x, x_i), q_j, load(x, x_j) * q_i)
            by_s = fma(_cubic_slope(table, place, 3 * width, two_s, three_halves_s), change, by_s)
            sent_i, sent_j = load(x, x_i + width), load(x, x_j + width)
            w_x, w_y, w_z = sent_j * i_x - sent_i * j_x, sent_j * i_y - sent_i * j_y, sent_j * i_z - sent_i * j_z
            change = fma(w_z, u_z, fma(w_y, u_y, w_x * u_x))
            by_s = fma(_cubic_slope(table, place + width, 3 * width, two_s, three_halves_s), change, by_s)
            of_b = _cubic(table, place + width, 3 * width, s)
            t_x, t_y, t_z = fma(of_b, w_x, t_x), fma(of_b, w_y, t_y), fma(of_b, w_z, t_z)
            if t > 0:
                change = fma(load(nu, x_i), j_x, load(nu, x_j) * i_x)
                change = fma(load(nu, x_i + width), j_y, fma(load(nu, x_j + width), i_y, change))
                change = fma(load(nu, x_i + 2 * width), j_z, fma(load(nu, x_j + 2 * width), i_z, change))
                by_s = fma(_cubic_slope(table, place + 2 * width, 3 * width, two_s, three_halves_s), change, by_s)
            if spread:
                of_a, of_c = _cubic(table, place, 3 * width, s), _cubic(table, place + 2 * width, 3 * width, s)
                _add(row, x_i, of_a, q_j)
                _add(row, x_j, of_a, q_i)
                _add(row, x_i + width, of_b * minus, fma(j_z, u_z, fma(j_y, u_y, j_x * u_x)))
                _add(row, x_j + width, of_b, fma(i_z, u_z, fma(i_y, u_y, i_x * u_x)))
                _add(vectors, x_i, of_c, j_x)
                _add(vectors, x_j, of_c, i_x)
                _add(vectors, x_i + width, of_c, j_y)
                _add(vectors, x_j + width, of_c, i_y)
                _add(vectors, x_i + 2 * width, of_c, j_z)
                _add(vectors, x_j + 2 * width, of_c, i_z)
        slope[p] += total(by_s)
        turn[p, 0] += total(t_x)
        turn[p, 1] += total(t_y)
        turn[p, 2] += total(t_z)


@inner
def collect(b, t, low, high, pairs, at, filters, work):
    """x̄ of the atoms [low, high) into ``row`` and G into ``vectors``, see differentiate; in layers above the first."""
    width, begin = work.q.shape[2], pairs.offset[b]
    knot, fraction, unit = at.knot[b], at.fraction[b], at.unit[b]
    adjoint, table = work.adjoint[b, t % 2].reshape(-1), filters.reshape(-1)
    row, vectors = work.row[b].reshape(-1), work.vectors[b].reshape(-1)
    for j in range(low, high):
        for c in range(0, width, lanes_of(row)):
            a_bar = b_bar = g_x = g_y = g_z = splat(row.dtype.type(0.0))
            for entry in range(2 * begin + pairs.around[b, j], 2 * begin + pairs.around[b, j + 1]):
                p, i, sign = other_atom(pairs, begin, entry)
                if knot[p] < 0:
                    continue
                place, s, of_i = knot[p] * 12 * width + c, splat(fraction[p]), 4 * i * width + c
                m_x, m_y = load(adjoint, of_i + width), load(adjoint, of_i + 2 * width)
                m_z = load(adjoint, of_i + 3 * width)
                a_bar = fma(_cubic(table, place, 3 * width, s), load(adjoint, of_i), a_bar)
                along = fma(m_z, splat(unit[p, 2]), fma(m_y, splat(unit[p, 1]), m_x * splat(unit[p, 0])))
                # The unit vector of the receiver points from it to this atom.
                of_b = _cubic(table, place + width, 3 * width, s) * splat(row.dtype.type(-sign))
                b_bar = fma(of_b, along, b_bar)
                of_c = _cubic(table, place + 2 * width, 3 * width, s)
                g_x, g_y, g_z = fma(of_c, m_x, g_x), fma(of_c, m_y, g_y), fma(of_c, m_z, g_z)
            place = 3 * j * width + c
            store(row, place, a_bar)
            store(row, place + width, b_bar)
            store(vectors, place, g_x)
            store(vectors, place + width, g_y)
            store(vectors, place + 2 * width, g_z)


@inner
def conclude(b, t, low, high, work):
    """The third part of x̄, μ·G, into ``row``, and μ̄ before layer t, μ̄ + x_c∘G, into ``vectors``."""
    width, adjoint, x = work.q.shape[2], work.adjoint[b, t % 2].reshape(-1), work.x[b, t].reshape(-1)
    mu, row, vectors = work.mu[b, t - 1].reshape(-1), work.row[b].reshape(-1), work.vectors[b].reshape(-1)
    for j in range(low, high):
        for c in range(0, width, lanes_of(x)):
            place = 3 * j * width + c
            c_bar, x_c = splat(x.dtype.type(0.0)), load(x, place + 2 * width)
            for axis in range(3):
                g = load(vectors, place + axis * width)
                c_bar = fma(load(mu, place + axis * width), g, c_bar)
                store(vectors, place + axis * width, fma(x_c, g, load(adjoint, (4 * j + 1 + axis) * width + c)))
            store(row, place + 2 * width, c_bar)
