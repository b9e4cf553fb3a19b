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
        super().__init__(manager, lanes, _ir_type(lanes))


def _ir_type(lanes: Lanes) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if lanes.scalar == types.float32 else ir.DoubleType(), lanes.count)


def _place(context, builder, array_type, array, index):
    """Pointer to the vector that begins at an element of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.gep(data, [index])
    return builder.bitcast(pointer, _ir_type(Lanes(array_type.dtype)).as_pointer())


@intrinsic
def load(typing, array, index):
    """The vector that begins at ``array[index]``."""
    lanes = Lanes(array.dtype)

    def generate(context, builder, signature, arguments):
        place = _place(context, builder, signature.args[0], *arguments)
        vector = builder.load(place)
        vector.align = array.dtype.bitwidth // 8
        return vector

    return lanes(array, types.intp), generate


@intrinsic
def store(typing, array, index, vector):
    """Write a vector to ``array[index]`` and the elements behind it."""

    def generate(context, builder, signature, arguments):
        stored = builder.store(arguments[2], _place(context, builder, signature.args[0], *arguments[:2]))
        stored.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def splat(typing, number):
    """A vector with the same number in every lane; its type decides."""
    lanes = Lanes(number)

    def generate(context, builder, signature, arguments):
        type_, zero = _ir_type(lanes), ir.Constant(ir.IntType(32), 0)
        first = builder.insert_element(ir.Constant(type_, ir.Undefined), arguments[0], zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes.count), [0] * lanes.count)
        return builder.shuffle_vector(first, ir.Constant(type_, ir.Undefined), mask)

    return lanes(number), generate


@intrinsic
def fma(typing, a, b, c):
    """a·b + c, rounded once where the processor can."""

    def generate(context, builder, signature, arguments):
        type_ = _ir_type(a)
        name = f"llvm.fmuladd.v{a.count}f{a.scalar.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(type_, [type_] * 3), name)
        return builder.call(function, arguments)

    return a(a, a, a), generate


@intrinsic
def root(typing, a):
    """√a."""

    def generate(context, builder, signature, arguments):
        type_ = _ir_type(a)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(type_, [type_]), f"llvm.sqrt.v{a.count}f{a.scalar.bitwidth}"
        )
        return builder.call(function, arguments)

    return a(a), generate


@intrinsic
def total(typing, a):
    """Sum of all lanes, by halves."""

    def generate(context, builder, signature, arguments):
        (vector,), count = arguments, a.count
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
