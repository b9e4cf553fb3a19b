"""What a PaiNN does to the features of single atoms, in Numba: rows [low, high) of a replica; symbols as in kernel.py."""

from mlcalc.architectures.kernels.activation import activate
from mlcalc.architectures.kernels.lanes import fma, lanes_of, load, root, splat, store
from mlcalc.architectures.kernels.products import multiply
from mlcalc.architectures.painn.kernel_state import EPSILON
from mlcalc.common.compiled import inner


@inner
def embed(b, low, high, atoms, net, work):
    """q and x of the first layer, which depend on the element alone."""
    for i in range(low, high):
        work.q[b, i] = net.embedding[atoms.species[i]]
        work.x[b, 0, i] = net.first[atoms.species[i]]


@inner
def prepare(b, t, low, high, net, work):
    """x = D₂ silu(D₁ q) of layer t > 0, and ν = x_c∘μ."""
    u, value, slope = work.row_one[b, low:high], work.value[b, low:high], work.d1_slope[b, t, low:high]
    multiply(work.q[b, low:high], net.d1[t], u)
    activate(u, net.d1_bias[t], True, value, slope)
    multiply(value, net.d2[t], work.x[b, t, low:high])
    width, bias, x = work.q.shape[2], net.d2_bias[t], work.x[b, t].reshape(-1)
    mu, nu = work.mu[b, t - 1].reshape(-1), work.nu[b, t].reshape(-1)
    for i in range(low, high):
        for c in range(0, width, lanes_of(x)):
            place = 3 * i * width + c
            store(x, place, load(x, place) + load(bias, c))
            store(x, place + width, load(x, place + width) + load(bias, width + c))
            x_c = load(x, place + 2 * width) + load(bias, 2 * width + c)
            store(x, place + 2 * width, x_c)
            for axis in range(3):
                store(nu, place + axis * width, x_c * load(mu, place + axis * width))


@inner
def mix(b, t, low, high, net, work):
    """q += s + p∘⟨V, U⟩ and μ += t∘U of layer t, with (V, U) = M μ and (s, t, p) = D₄ silu(D₃ [q, n])."""
    rows, width = high - low, work.q.shape[2]
    vu_rows = work.vu[b, t, low:high].reshape(3 * rows, 2 * width)
    multiply(work.mu[b, t, low:high].reshape(3 * rows, width), net.m[t], vu_rows)
    q, vu, norm = work.q[b].reshape(-1), work.vu[b, t].reshape(-1), work.norm[b, t].reshape(-1)
    context, epsilon = work.row_two[b].reshape(-1), splat(q.dtype.type(EPSILON))
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            v_x, v_y, v_z = _three(vu, 6 * i * width + c, 2 * width)
            n = root(fma(v_z, v_z, fma(v_y, v_y, fma(v_x, v_x, epsilon))))
            store(norm, i * width + c, n)
            store(context, 2 * i * width + c, load(q, i * width + c))
            store(context, (2 * i + 1) * width + c, n)
    u, value, slope = work.row_one[b, low:high], work.value[b, low:high], work.d3_slope[b, t, low:high]
    multiply(work.row_two[b, low:high], net.d3[t], u)
    activate(u, net.d3_bias[t], True, value, slope)
    multiply(value, net.d4[t], work.stp[b, t, low:high])
    stp, bias, mu = work.stp[b, t].reshape(-1), net.d4_bias[t], work.mu[b, t].reshape(-1)
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            place = 3 * i * width + c
            gate = load(stp, place + width) + load(bias, width + c)
            part = load(stp, place + 2 * width) + load(bias, 2 * width + c)
            store(stp, place + width, gate)
            store(stp, place + 2 * width, part)
            scalar = load(q, i * width + c) + load(stp, place) + load(bias, c)
            store(q, i * width + c, fma(part, _product(vu, 6 * i * width + c, width), scalar))
            u_x, u_y, u_z = _three(vu, (6 * i + 1) * width + c, 2 * width)
            store(mu, place, fma(gate, u_x, load(mu, place)))
            store(mu, place + width, fma(gate, u_y, load(mu, place + width)))
            store(mu, place + 2 * width, fma(gate, u_z, load(mu, place + 2 * width)))


@inner
def mix_back(b, t, low, high, net, work):
    """Adjoint of mix: from q̄ in ``q`` and, but for the last layer, μ̄ in ``vectors`` to both in ``adjoint``.

    s̄ = q̄, p̄ = q̄∘⟨V, U⟩, t̄ = ⟨μ̄, U⟩; V̄ = q̄∘p∘U + n̄/n∘V, Ū = μ̄∘t + q̄∘p∘V.
    """
    rows, width, last = high - low, work.q.shape[2], t + 1 == len(net.m)
    q, vu, stp = work.q[b].reshape(-1), work.vu[b, t].reshape(-1), work.stp[b, t].reshape(-1)
    row, vectors = work.row[b].reshape(-1), work.vectors[b].reshape(-1)
    zero = splat(q.dtype.type(0.0))
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            place, q_bar = 3 * i * width + c, load(q, i * width + c)
            gate_bar = zero
            if not last:
                u_x, u_y, u_z = _three(vu, (6 * i + 1) * width + c, 2 * width)
                m_x, m_y, m_z = _three(vectors, place, width)
                gate_bar = fma(m_z, u_z, fma(m_y, u_y, m_x * u_x))
            store(row, place, q_bar)
            store(row, place + width, gate_bar)
            store(row, place + 2 * width, q_bar * _product(vu, 6 * i * width + c, width))
    _through(work.row[b, low:high], net.d4_adjoint[t], work.d3_slope[b, t, low:high], work.row_one[b, low:high])
    multiply(work.row_one[b, low:high], net.d3_adjoint[t], work.row_two[b, low:high])
    norm, context, two_vectors = (
        work.norm[b, t].reshape(-1),
        work.row_two[b].reshape(-1),
        work.two_vectors[b].reshape(-1),
    )
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            place = 3 * i * width + c
            along = load(q, i * width + c) * load(stp, place + 2 * width)
            by_norm = load(context, (2 * i + 1) * width + c) / load(norm, i * width + c)
            gate = load(stp, place + width)
            for axis in range(3):
                of_v = (6 * i + 2 * axis) * width + c
                v, u = load(vu, of_v), load(vu, of_v + width)
                store(two_vectors, of_v, fma(along, u, by_norm * v))
                u_bar = along * v
                if not last:
                    u_bar = fma(gate, load(vectors, place + axis * width), u_bar)
                store(two_vectors, of_v + width, u_bar)
    multiply(
        work.two_vectors[b, low:high].reshape(3 * rows, 2 * width), net.m_adjoint[t],
        work.mixed[b, low:high].reshape(3 * rows, width),
    )  # fmt: skip
    mixed, adjoint = work.mixed[b].reshape(-1), work.adjoint[b, t % 2].reshape(-1)
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            store(adjoint, 4 * i * width + c, load(q, i * width + c) + load(context, 2 * i * width + c))
            for axis in range(3):
                place = (3 * i + axis) * width + c
                m_bar = load(mixed, place)
                if not last:
                    m_bar = m_bar + load(vectors, place)
                store(adjoint, (4 * i + 1 + axis) * width + c, m_bar)


@inner
def prepare_back(b, t, low, high, net, work):
    """Adjoint of prepare: from x̄ in ``row`` and q̄ in ``adjoint`` to q̄ before layer t, in ``q``."""
    _through(work.row[b, low:high], net.d2_adjoint[t], work.d1_slope[b, t, low:high], work.row_one[b, low:high])
    multiply(work.row_one[b, low:high], net.d1_adjoint[t], work.q[b, low:high])
    width, q, adjoint = work.q.shape[2], work.q[b].reshape(-1), work.adjoint[b, t % 2].reshape(-1)
    for i in range(low, high):
        for c in range(0, width, lanes_of(q)):
            store(q, i * width + c, load(q, i * width + c) + load(adjoint, 4 * i * width + c))


@inner
def _through(row, weight, slope, out):
    """out = (row·weight)∘slope, all (rows, …)."""
    multiply(row, weight, out)
    for i in range(out.shape[0]):
        for f in range(out.shape[1]):
            out[i, f] *= slope[i, f]


@inner
def _three(array, place, step):
    """Three vectors, ``step`` elements apart."""
    return load(array, place), load(array, place + step), load(array, place + 2 * step)


@inner
def _product(vu, place, width):
    """⟨V, U⟩ of the features from ``place`` on."""
    v_x, v_y, v_z = _three(vu, place, 2 * width)
    u_x, u_y, u_z = _three(vu, place + width, 2 * width)
    return fma(v_z, u_z, fma(v_y, u_y, v_x * u_x))
