"""Tuples of vectors of a processor (kernels/lanes.py), one for each component or degree, as values of compiled code.

``degrees`` is a tuple (0, …, lmax); its length, a part of the type, says for how many components the straight-line code is made.
The tuple (0,) stands for the scalars alone.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from mlcalc.architectures.kernels.lanes import (
    Lanes,
    emit_fma,
    emit_load,
    emit_place,
    emit_splat,
    emit_store,
    emit_total,
    ir_type,
)
from mlcalc.architectures.so3net.tables import degrees_of


def steps(builder, place, step, count: int) -> list:
    """The indices place, place + step, …"""
    found = [place]
    for _ in range(count - 1):
        found.append(builder.add(found[-1], step))
    return found


def constant(lanes: Lanes, number: float) -> ir.Constant:
    """A vector of one number."""
    return ir.Constant(ir_type(lanes), [number] * lanes.count)


@intrinsic
def load_all(typing, array, place, step, degrees):
    """The vectors of all components at a place of an array, ``step`` elements apart."""
    count = len(degrees) ** 2

    def generate(context, builder, signature, arguments):
        data, first, between, _ = arguments
        places = steps(builder, first, between, count)
        vectors = [emit_load(context, builder, array, data, one) for one in places]
        return context.make_tuple(builder, signature.return_type, vectors)

    return types.UniTuple(Lanes(array.dtype), count)(array, types.intp, types.intp, degrees), generate


@intrinsic
def store_all(typing, array, place, step, vectors):
    """Write such vectors."""

    def generate(context, builder, signature, arguments):
        data, first, between, values = arguments
        places = steps(builder, first, between, vectors.count)
        for one, vector in zip(places, cgutils.unpack_tuple(builder, values, vectors.count), strict=True):
            emit_store(context, builder, array, data, one, vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vectors), generate


@intrinsic
def zeros(typing, array, degrees):
    """Vectors of zeros for all components, of the type of an array."""
    lanes, count = Lanes(array.dtype), len(degrees) ** 2

    def generate(context, builder, signature, arguments):
        return context.make_tuple(builder, signature.return_type, [constant(lanes, 0.0)] * count)

    return types.UniTuple(lanes, count)(array, degrees), generate


def _filters(polynomial):
    @intrinsic
    def of_all_degrees(typing, filters, place, step, width, s, degrees):
        count = len(degrees)

        def generate(context, builder, signature, arguments):
            data, first, between, across, at, _ = arguments
            vectors = []
            for start in steps(builder, first, across, count):
                places = steps(builder, start, between, 4)
                pieces = [emit_load(context, builder, filters, data, one) for one in places]
                vectors.append(polynomial(builder, at, *pieces))
            return context.make_tuple(builder, signature.return_type, vectors)

        arguments = filters, types.intp, types.intp, types.intp, s, degrees
        return types.UniTuple(s, count)(*arguments), generate

    return of_all_degrees


def _cubic(builder, s, a0, a1, a2, a3):
    return emit_fma(builder, emit_fma(builder, emit_fma(builder, a3, s, a2), s, a1), s, a0)


def _cubic_slope(builder, s, a0, a1, a2, a3):
    two_s, half = builder.fadd(s, s), ir.Constant(s.type, [1.5] * s.type.count)
    return emit_fma(builder, emit_fma(builder, a3, builder.fmul(half, s), a2), two_s, a1)


# The filters of all degrees, ``width`` elements apart in a table, at s, and their derivatives by s; coefficients are ``step``
# elements apart.
filters_at, slopes_at = _filters(_cubic), _filters(_cubic_slope)


@intrinsic
def alternate(typing, filters, sign):
    """The filters, those of odd degrees times a sign: Y(−u) = (−1)^l Y(u)."""

    def generate(context, builder, signature, arguments):
        vectors = cgutils.unpack_tuple(builder, arguments[0], filters.count)
        vectors = [builder.fmul(one, arguments[1]) if degree % 2 else one for degree, one in enumerate(vectors)]
        return context.make_tuple(builder, filters, vectors)

    return filters(filters, sign), generate


@intrinsic
def add_weighted(typing, filters, vectors, out):
    """out_s + W_l∘z_s for all components s of degrees l."""

    def generate(context, builder, signature, arguments):
        w, z, to = (cgutils.unpack_tuple(builder, value) for value in arguments)
        found = [emit_fma(builder, w[degree], z[s], to[s]) for s, degree in enumerate(degrees_of(filters.count - 1))]
        return context.make_tuple(builder, out, found)

    return out(filters, vectors, out), generate


@intrinsic
def add_along(typing, slopes, scalars, place, vectors, out):
    """out + Σ_l W′_l∘Σ_s Y_s z_s for a pair whose harmonics Y are at a place of ``scalars``."""
    lanes = Lanes(scalars.dtype)

    def generate(context, builder, signature, arguments):
        slope, z = (cgutils.unpack_tuple(builder, arguments[k]) for k in (0, 3))
        along: list = [None] * slopes.count
        for s, degree in enumerate(degrees_of(slopes.count - 1)):
            if s == 0:
                along[0] = z[0]
                continue
            y = emit_splat(builder, lanes, load_scalar(context, builder, scalars, arguments[1], arguments[2], s))
            so_far = along[degree]
            along[degree] = builder.fmul(y, z[s]) if so_far is None else emit_fma(builder, y, z[s], so_far)
        total = arguments[4]
        for one, sum_ in zip(slope, along, strict=True):
            total = emit_fma(builder, one, sum_, total)
        return total

    return out(slopes, scalars, types.intp, vectors, out), generate


def load_scalar(context, builder, array_type, array, place, offset: int):
    """The element ``offset`` behind a place of an array."""
    index = builder.add(place, ir.Constant(place.type, offset))
    return builder.load(emit_place(context, builder, array_type, array, index))


@intrinsic
def add_totals(typing, scalars, place, vectors):
    """Add the sum over the lanes of each vector to the elements from a place on."""

    def generate(context, builder, signature, arguments):
        data, first, values = arguments
        for s, vector in enumerate(cgutils.unpack_tuple(builder, values, vectors.count)):
            pointer = emit_place(context, builder, scalars, data, builder.add(first, ir.Constant(first.type, s)))
            builder.store(builder.fadd(builder.load(pointer), emit_total(builder, vector)), pointer)
        return context.get_dummy_value()

    return types.void(scalars, types.intp, vectors), generate


@intrinsic
def widen(typing, vectors, degrees):
    """The vectors of all components, with zeros for those that are missing."""
    missing = len(degrees) ** 2 - vectors.count

    def generate(context, builder, signature, arguments):
        values = [*cgutils.unpack_tuple(builder, arguments[0]), *[constant(vectors.dtype, 0.0)] * missing]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(vectors.dtype, len(degrees) ** 2)(vectors, degrees), generate
