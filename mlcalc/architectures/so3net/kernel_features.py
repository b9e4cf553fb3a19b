"""What an SO3net does to the features of single atoms, in Numba: atoms [low, high) of a replica; symbols as in kernel.py.

``kept`` stands for the components that are needed behind the product: (0,) in the last layer, whose scalars alone give energies.
Scratch memory of a block is then filled from its beginning, so that no block reaches into that of another.
"""

from mlcalc.architectures.kernels.activation import apply_logistic
from mlcalc.architectures.kernels.lanes import fma, lanes_of, load, splat, store
from mlcalc.architectures.kernels.products import multiply
from mlcalc.architectures.so3net.contractions import couple, couple_back_first, couple_back_second
from mlcalc.architectures.so3net.vectors import load_all, store_all, widen, zeros
from mlcalc.common.compiled import inner


@inner
def embed(b, low, high, atoms, net, work):
    """x of the first layer."""
    for i in range(low, high):
        work.x[b, 0, i] = 0
        work.x[b, 0, i, 0] = net.embedding[atoms.species[i]]


@inner
def _multiply(features, n_rows, weight, out):
    """The first rows of ``out`` = those of ``features``·weight, all flat but the weight."""
    n_in, n_out = weight.shape
    multiply(features[: n_rows * n_in].reshape(n_rows, n_in), weight, out[: n_rows * n_out].reshape(n_rows, n_out))


@inner
def update(b, t, low, high, net, work, degrees, kept):
    """x behind layer t from Δ; behind the last, its scalars."""
    rows, width, n, m = high - low, work.row.shape[2], len(degrees) ** 2, len(kept) ** 2
    delta, mixed = work.delta[b, t, low:high].reshape(-1), work.mixed[b, t, low:high].reshape(-1)
    one, two = work.one[b, low:high].reshape(-1), work.two[b, low:high].reshape(-1)
    _multiply(delta, rows * n, net.m1[t], mixed)
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            place = k * n * width + c
            first, second = load_all(delta, place, width, degrees), load_all(mixed, place, width, degrees)
            product = couple(first, second, load_all(delta, place, width, kept))
            store_all(one, k * m * width + c, width, product)
    _multiply(one, rows * m, net.m2[t], work.value[b, t, low:high].reshape(-1))
    _gate(b, t, low, high, net, work, kept)
    _multiply(one, rows * m, net.m3[t], two)
    before, after = work.x[b, t, low:high].reshape(-1), work.scalars[b, low:high].reshape(-1)
    if t + 1 < len(net.m1):
        after = work.x[b, t + 1, low:high].reshape(-1)
    for k in range(rows):
        for c in range(0, m * width, lanes_of(one)):
            store(after, k * m * width + c, load(before, k * n * width + c) + load(two, k * m * width + c))


@inner
def _gate(b, t, low, high, net, work, kept):
    """``one`` = σ(B Δ_0 + b)_l∘Δ_s, with Δ in ``value``."""
    rows, width, n_gates, m = high - low, work.row.shape[2], len(kept), len(kept) ** 2
    value, gate = work.value[b, t, low:high].reshape(-1), work.gate[b, t, low:high].reshape(-1)
    one, row = work.one[b, low:high].reshape(-1), work.row[b, low:high].reshape(-1)
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            store(row, k * width + c, load(value, k * m * width + c))
    if t + 1 == len(net.m1):
        _multiply(row, rows, net.last_gate, gate)
    else:
        _multiply(row, rows, net.gate[t], gate)
    apply_logistic(gate[: rows * n_gates * width].reshape(rows, n_gates * width), net.gate_bias[t])
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            for degree in range(n_gates):
                factor = load(gate, (k * n_gates + degree) * width + c)
                for s in range(degree * degree, (degree + 1) * (degree + 1)):
                    place = (k * m + s) * width + c
                    store(one, place, factor * load(value, place))


@inner
def begin_back(b, low, high, work):
    """x̄ behind the last layer, whose scalars are in ``scalars``."""
    for i in range(low, high):
        work.x_bar[b, i] = 0
        work.x_bar[b, i, 0] = work.scalars[b, i]


@inner
def update_back(b, t, low, high, net, work, degrees, kept):
    """Adjoint of update: from x̄ to Δ̄ of layer t; x̄ stays, a part of that of the x before."""
    rows, width, n, m = high - low, work.row.shape[2], len(degrees) ** 2, len(kept) ** 2
    delta, mixed = work.delta[b, t, low:high].reshape(-1), work.mixed[b, t, low:high].reshape(-1)
    one, two = work.one[b, low:high].reshape(-1), work.two[b, low:high].reshape(-1)
    bar, x_bar = work.delta_bar[b, t % 2, low:high].reshape(-1), work.scalars[b, low:high].reshape(-1)
    if t + 1 < len(net.m1):
        x_bar = work.x_bar[b, low:high].reshape(-1)
    _multiply(x_bar, rows * m, net.m3_adjoint[t], one)
    _gate_back(b, t, low, high, net, work, kept)
    _multiply(one, rows * m, net.m2_adjoint[t], two)
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            place, g = k * n * width + c, load_all(two, k * m * width + c, width, kept)
            first, second = load_all(delta, place, width, degrees), load_all(mixed, place, width, degrees)
            store_all(bar, place, width, couple_back_first(g, second, widen(g, degrees)))
            store_all(one, place, width, couple_back_second(g, first, zeros(one, degrees)))
    _multiply(one, rows * n, net.m1_adjoint[t], two)
    for place in range(0, rows * n * width, lanes_of(one)):
        store(bar, place, load(bar, place) + load(two, place))


@inner
def _gate_back(b, t, low, high, net, work, kept):
    """Adjoint of _gate in ``one``: ḡ_l = σ(1 − σ)∘Σ_s Δ_s∘z̄_s, Δ̄_s = σ_l∘z̄_s, Δ̄_0 += Bᵀḡ, with z = σ_l∘Δ_s."""
    rows, width, n_gates, m = high - low, work.row.shape[2], len(kept), len(kept) ** 2
    value, gate = work.value[b, t, low:high].reshape(-1), work.gate[b, t, low:high].reshape(-1)
    one, row = work.one[b, low:high].reshape(-1), work.row[b, low:high].reshape(-1)
    gate_bar, zero = work.gate_bar[b, low:high].reshape(-1), splat(one.dtype.type(0.0))
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            for degree in range(n_gates):
                at = (k * n_gates + degree) * width + c
                factor, along = load(gate, at), zero
                for s in range(degree * degree, (degree + 1) * (degree + 1)):
                    place = (k * m + s) * width + c
                    z_bar = load(one, place)
                    along = fma(load(value, place), z_bar, along)
                    store(one, place, factor * z_bar)
                store(gate_bar, at, (factor - factor * factor) * along)
    if t + 1 == len(net.m1):
        _multiply(gate_bar, rows, net.last_gate_adjoint, row)
    else:
        _multiply(gate_bar, rows, net.gate_adjoint[t], row)
    for k in range(rows):
        for c in range(0, width, lanes_of(one)):
            store(one, k * m * width + c, load(one, k * m * width + c) + load(row, k * width + c))
