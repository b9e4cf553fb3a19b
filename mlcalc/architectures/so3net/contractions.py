"""Sums over components with the coefficients of Clebsch and Gordan, as straight-line code on vectors of features.

Coefficients are constants of the compiled code. Each lmax has code of its own; the number of vectors in an argument determines it.
A tuple of one vector holds the scalars, s = 0, where all other components are zero or not needed.
"""

from math import isqrt

from numba.core import cgutils, types
from numba.extending import intrinsic

from mlcalc.architectures.kernels.lanes import Lanes, emit_fma, emit_splat
from mlcalc.architectures.so3net.tables import degrees_of, sums, terms
from mlcalc.architectures.so3net.vectors import constant, load_scalar


def _lmax(*tuples) -> int:
    return isqrt(max(one.count for one in tuples)) - 1


def _contract(builder, lanes: Lanes, listed, multiply, out: list) -> list:
    """out[c] + Σ coefficient·multiply(a, b) over the listed (a, b, c, coefficient); every product is made once."""
    products: dict = {}
    for a, b, c, coefficient in sorted(listed):
        if (a, b) not in products:
            products[a, b] = multiply(a, b)
        out[c] = emit_fma(builder, constant(lanes, coefficient), products[a, b], out[c])
    return out


def _coupling(order: tuple[int, int, int]):
    """Σ C a∘b, where ``order`` says which of (s1, s2, s) are the components of a, of b, and of the sum."""

    @intrinsic
    def couple(typing, a, b, out):
        listed = [(*(term[k] for k in order), term.coefficient) for term in terms(_lmax(a, b, out))]
        counts = a.count, b.count, out.count
        listed = [term for term in listed if all(s < n for s, n in zip(term, counts, strict=False))]

        def generate(context, builder, signature, arguments):
            one, other, to = (cgutils.unpack_tuple(builder, value) for value in arguments)

            def multiply(s, s2):
                return builder.fmul(one[s], other[s2])

            return context.make_tuple(builder, out, _contract(builder, out.dtype, listed, multiply, list(to)))

        return out(a, b, out), generate

    return couple


# out_s + Σ C^s_{s1 s2} a_s1∘b_s2, and the adjoints: out_s1 + Σ C a_s∘b_s2 and out_s2 + Σ C a_s∘b_s1.
couple, couple_back_first, couple_back_second = _coupling((0, 1, 2)), _coupling((2, 1, 0)), _coupling((2, 0, 1))


@intrinsic
def pair_products(typing, g_i, g_j, x_i, x_j, out):
    """out_s1 + Σ C^s_{s1 s2} (g_i,s∘x_j,s2 + (−1)^l1 g_j,s∘x_i,s2)."""
    lmax = _lmax(g_i, x_i)
    listed = [(s, s2, s1, coefficient) for s1, s2, s, coefficient in terms(lmax) if s < g_i.count and s2 < x_i.count]
    degree = degrees_of(lmax)

    def generate(context, builder, signature, arguments):
        of_i, of_j, sent_i, sent_j, to = (cgutils.unpack_tuple(builder, value) for value in arguments)

        def multiply(s, s2):
            # l1 + l2 + l is even.
            turned = builder.fneg(of_j[s]) if (degree[s] + degree[s2]) % 2 else of_j[s]
            return emit_fma(builder, turned, sent_i[s2], builder.fmul(of_i[s], sent_j[s2]))

        return context.make_tuple(builder, out, _contract(builder, out.dtype, listed, multiply, list(to)))

    return out(g_i, g_j, x_i, x_j, out), generate


def _convolution(transposed: bool):
    """out_s + Σ_l1 W_l1∘Σ_s2 A[l1][s, s2] x_s2, or, transposed, out_s2 + Σ_l1 W_l1∘Σ_s A[l1][s, s2] x_s."""

    @intrinsic
    def convolve(typing, scalars, place, filters, x, out):
        table, lanes = sums(filters.count - 1, transposed), out.dtype

        def generate(context, builder, signature, arguments):
            w, sent, to = (cgutils.unpack_tuple(builder, arguments[k]) for k in (2, 3, 4))

            def message(s, degree):
                total = sent[s] if degree == 0 and s < x.count else None
                for other, k in table.get((s, degree), ()):
                    if other < x.count:
                        a = emit_splat(builder, lanes, load_scalar(context, builder, scalars, *arguments[:2], k))
                        new = sent[other]
                        total = builder.fmul(a, new) if total is None else emit_fma(builder, a, new, total)
                return total

            found = []
            for s, total in enumerate(to):
                for degree, filter_ in enumerate(w):
                    if (part := message(s, degree)) is not None:
                        total = emit_fma(builder, filter_, part, total)
                found.append(total)
            return context.make_tuple(builder, out, found)

        return out(scalars, types.intp, filters, x, out), generate

    return convolve


convolve, convolve_back = _convolution(False), _convolution(True)
