"""Vectors of a processor's register as values of compiled code: features are loaded, multiplied and stored 64 bytes at a time.

A loop over features that reads and writes many rows is not vectorised by the compiler, or only behind checks that none of the
rows overlap, which take as long as the loop. With vectors as values the order of every sum is the one written down, too, and
therefore the same in all schedules. LLVM splits a vector on a processor with narrower registers.

Rows have to be padded to ``lane_count`` elements; ``array`` below is one-dimensional and contiguous.
"""

import operator

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic, models, overload, register_model

from mlcalc.common.compiled import njit

BYTES = 64


def lane_count(dtype) -> int:
    """Elements of a type in one vector."""
    return BYTES // np.dtype(dtype).itemsize


@njit(cache=True)
def lanes_of(array):
    """Elements of an array in one vector, in compiled code."""
    return BYTES // array.itemsize


class Lanes(types.Type):
    """The Numba type of a vector of float32 or float64."""

    def __init__(self, scalar):
        self.scalar, self.count = scalar, 8 * BYTES // scalar.bitwidth
        super().__init__(name=f"Lanes({scalar})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, ir_type(lanes))


def ir_type(lanes: Lanes) -> ir.VectorType:
    """The type of LLVM."""
    return ir.VectorType(ir.FloatType() if lanes.scalar == types.float32 else ir.DoubleType(), lanes.count)


def emit_place(context, builder, array_type, array, index):
    """Pointer to an element of an array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _vector_place(context, builder, array_type, array, index):
    pointer = emit_place(context, builder, array_type, array, index)
    return builder.bitcast(pointer, ir_type(Lanes(array_type.dtype)).as_pointer())


def emit_load(context, builder, array_type, array, index):
    """The vector that begins at an element of an array."""
    vector = builder.load(_vector_place(context, builder, array_type, array, index))
    vector.align = array_type.dtype.bitwidth // 8
    return vector


def emit_store(context, builder, array_type, array, index, vector) -> None:
    """Write a vector to an element of an array and those behind it."""
    stored = builder.store(vector, _vector_place(context, builder, array_type, array, index))
    stored.align = array_type.dtype.bitwidth // 8


def emit_splat(builder, lanes: Lanes, number):
    """A vector with the same number in every lane."""
    type_, zero = ir_type(lanes), ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(type_, ir.Undefined), number, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
    return builder.shuffle_vector(first, ir.Constant(type_, ir.Undefined), mask)


def emit_fma(builder, a, b, c):
    """a·b + c of vectors, rounded once where the processor can."""
    width = {"float": 32, "double": 64}[str(a.type.element)]
    name = f"llvm.fmuladd.v{a.type.count}f{width}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


def emit_total(builder, vector):
    """Sum of all lanes, by halves."""
    count = vector.type.count
    while count > 1:
        count //= 2
        low, high = (
            builder.shuffle_vector(
                vector, ir.Constant(vector.type, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count))),
            )
            for start in (0, count)
        )  # fmt: skip
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def load(typing, array, index):
    """The vector that begins at ``array[index]``."""

    def generate(context, builder, signature, arguments):
        return emit_load(context, builder, signature.args[0], *arguments)

    return Lanes(array.dtype)(array, types.intp), generate


@intrinsic
def store(typing, array, index, vector):
    """Write a vector to ``array[index]`` and the elements behind it."""

    def generate(context, builder, signature, arguments):
        emit_store(context, builder, signature.args[0], *arguments)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def splat(typing, number):
    """A vector with the same number in every lane; its type decides."""
    lanes = Lanes(number)

    def generate(context, builder, signature, arguments):
        return emit_splat(builder, lanes, *arguments)

    return lanes(number), generate


@intrinsic
def fma(typing, a, b, c):
    """a·b + c, rounded once where the processor can."""

    def generate(context, builder, signature, arguments):
        return emit_fma(builder, *arguments)

    return a(a, a, a), generate


@intrinsic
def root(typing, a):
    """√a."""

    def generate(context, builder, signature, arguments):
        type_ = ir_type(a)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(type_, [type_]), f"llvm.sqrt.v{a.count}f{a.scalar.bitwidth}"
        )
        return builder.call(function, arguments)

    return a(a), generate


@intrinsic
def total(typing, a):
    """Sum of all lanes, by halves."""

    def generate(context, builder, signature, arguments):
        return emit_total(builder, *arguments)

    return a.scalar(a), generate


def _operation(instruction: str):
    @intrinsic
    def operation(typing, a, b):
        def generate(context, builder, signature, arguments):
            return impl_ret_untracked(context, builder, a, getattr(builder, instruction)(*arguments))

        return a(a, b), generate

    return operation


def _overload(of, operation) -> None:
    @overload(of)
    def _(a, b):
        if isinstance(a, Lanes) and a == b:
            return lambda a, b: operation(a, b)
        return None


for _of, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _overload(_of, _operation(_instruction))
