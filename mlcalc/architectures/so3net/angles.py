"""The scalars of a pair in compiled code: harmonics of its unit vector and couplings, made once, and the adjoint of both."""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from mlcalc.architectures.kernels.lanes import emit_place
from mlcalc.architectures.so3net.tables import Polynomial, couplings, polynomials
from mlcalc.architectures.so3net.vectors import load_scalar


def _evaluate(builder, polynomial: Polynomial, type_, monomials: dict):
    """The value of a polynomial; ``monomials`` holds those of x, y and z, and all products made so far."""

    def monomial(powers):
        if powers not in monomials:
            axis = next(axis for axis in range(3) if powers[axis])
            one = tuple(int(k == axis) for k in range(3))
            rest = tuple(power - int(k == axis) for k, power in enumerate(powers))
            monomials[powers] = builder.fmul(monomial(rest), monomials[one])
        return monomials[powers]

    total = None
    for powers, coefficient in sorted(polynomial.coefficients.items(), reverse=True):
        part = ir.Constant(type_, coefficient)
        if any(powers):
            part = builder.fmul(part, monomial(powers))
        total = part if total is None else builder.fadd(total, part)
    return ir.Constant(type_, 0.0) if total is None else total


def _axes(x, y, z) -> dict:
    return {(1, 0, 0): x, (0, 1, 0): y, (0, 0, 1): z}


@intrinsic
def set_scalars(typing, x, y, z, scalars, place, degrees):
    """Write the scalars of a pair with the unit vector (x, y, z): harmonics, zeros for their adjoints, couplings."""
    lmax = len(degrees) - 1

    def generate(context, builder, signature, arguments):
        *unit, data, first, _ = arguments
        type_, monomials = unit[0].type, _axes(*unit)
        harmonics = [_evaluate(builder, one, type_, monomials) for one in polynomials(lmax)]
        values = harmonics + [ir.Constant(type_, 0.0)] * len(harmonics)
        for coupling in couplings(lmax):
            total = None
            for s1, coefficient in coupling.sum:
                part = builder.fmul(ir.Constant(type_, coefficient), harmonics[s1])
                total = part if total is None else builder.fadd(total, part)
            values.append(total)
        for k, value in enumerate(values):
            index = builder.add(first, ir.Constant(first.type, k))
            builder.store(value, emit_place(context, builder, scalars, data, index))
        return context.get_dummy_value()

    return types.void(x, y, z, scalars, types.intp, degrees), generate


@intrinsic
def turned(typing, x, y, z, scalars, place, degrees):
    """∂E/∂u (3,) = Σ_s Ȳ_s ∂Y_s/∂u of a pair with the unit vector u = (x, y, z), whose Ȳ are at a place of ``scalars``."""
    lmax = len(degrees) - 1

    def generate(context, builder, signature, arguments):
        *unit, data, first, _ = arguments
        type_, monomials = unit[0].type, _axes(*unit)
        totals = [ir.Constant(type_, 0.0)] * 3
        for s, polynomial in enumerate(polynomials(lmax)):
            bar = load_scalar(context, builder, scalars, data, first, s)
            for axis in range(3):
                derivative = polynomial.derivative(axis)
                if derivative.coefficients:
                    value = _evaluate(builder, derivative, type_, monomials)
                    totals[axis] = builder.fadd(totals[axis], builder.fmul(bar, value))
        return context.make_tuple(builder, signature.return_type, totals)

    return types.UniTuple(x, 3)(x, y, z, scalars, types.intp, degrees), generate
