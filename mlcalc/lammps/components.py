"""What the plugin's SO3net does with the components of features, as straight-line C++ made from the tables of the compiled kernel.

A specialisation of ``Components<L>`` for each number of degrees L = lmax + 1, whose functions take vectors of the processor: a, b,
x and out for the S components, w for the degrees of filters; of a pair its couplings A, harmonics y and unit vector u. Symbols are
those of architectures/so3net/kernel.py. Unrolled, vectors stay in registers.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from mlcalc.architectures.so3net.harmonics import LARGEST_L
from mlcalc.architectures.so3net.tables import Polynomial, Term, couplings, polynomials, sums, terms

HEADER = "components.h"
_CONVOLUTION = "const float *A, const Lanes *w, const Lanes *x, Lanes *out"


def components_header() -> str:
    """The header, for all lmax."""
    lines = ["// Written by mlcalc/lammps/components.py, which explains it.", "#pragma once", '#include "lanes.h"']
    lines += ["namespace mlcalc {", "template <int L> struct Components;"]
    for lmax in range(1, LARGEST_L + 1):
        lines += [f"template <> struct Components<{lmax + 1}> {{", *_members(lmax), "};"]
    return "\n".join([*lines, "}  // namespace mlcalc", ""])


def _members(lmax: int) -> Iterator[str]:
    every = (lmax + 1) ** 2
    yield f"  static constexpr int COUPLINGS = {len(couplings(lmax))};"
    for suffix, count in {"": every, "_scalars": 1}.items():  # components that are needed, or that atoms send
        needed = [term for term in terms(lmax) if term.s < count]
        yield from _contraction("couple" + suffix, needed, ("s1", "s2", "s"))
        yield from _contraction("couple_back_first" + suffix, needed, ("s", "s2", "s1"))
        yield from _contraction("couple_back_second" + suffix, needed, ("s", "s1", "s2"))
        sent = [term for term in terms(lmax) if term.s2 < count]
        yield from _contraction("pair_products" + suffix, sent, ("s", "s2", "s1"))
        yield from _function("convolve" + suffix, _CONVOLUTION, _convolve(lmax, False, count))
    yield from _function("convolve_back", _CONVOLUTION, _convolve(lmax, True, every))
    yield from _function("set_scalars", "const float *u, float *y, float *A", _set_scalars(lmax))
    yield from _function("turn", "const float *u, const float *y, float *out", _turn(lmax))


def _function(name: str, arguments: str, statements: Iterable[str]) -> list[str]:
    return [f"  static void {name}({arguments}) {{", *(f"    {one};" for one in statements), "  }"]


def _number(value: float) -> str:
    return f"{float(value)!r}f"


def _scaled(coefficient: float, factor: str) -> str:
    return factor if coefficient == 1.0 else f"{_number(coefficient)} * {factor}"


def _contraction(name: str, listed: list[Term], order: tuple[str, str, str]) -> list[str]:
    """out += Σ C a∘b, where ``order`` says which of s1, s2, s are the components of a, of b, of out; every product is made once."""
    statements, made = [], None
    for term in sorted(listed, key=attrgetter(*order)):
        i, j, k = attrgetter(*order)(term)
        if made != (i, j):
            made = i, j
            statements.append(f"const Lanes p{i}_{j} = a[{i}] * b[{j}]")
        statements.append(f"out[{k}] += {_scaled(term.coefficient, f'p{i}_{j}')}")
    return _function(name, "const Lanes *a, const Lanes *b, Lanes *out", statements)


def _convolve(lmax: int, transposed: bool, n_sent: int) -> Iterator[str]:
    """out_s += Σ_l1 W_l1∘Σ_s2 A[l1][s, s2] x_s2, or, transposed, out_s2 from x_s."""
    table = sums(lmax, transposed)
    for s in range((lmax + 1) ** 2):
        if s < n_sent:
            yield f"out[{s}] += w[0] * x[{s}]"
        for degree in range(1, lmax + 1):
            parts = [f"A[{place}] * x[{by}]" for by, place in table.get((s, degree), ()) if by < n_sent]
            if parts:
                yield f"out[{s}] += w[{degree}] * ({' + '.join(parts)})"


def _polynomial(polynomial: Polynomial) -> str:
    parts = []
    for powers, coefficient in sorted(polynomial.coefficients.items(), reverse=True):
        factors = [f"u[{axis}]" for axis, power in enumerate(powers) for _ in range(power)]
        parts.append(" * ".join([_number(coefficient), *factors]))
    return " + ".join(parts)


def _set_scalars(lmax: int) -> Iterator[str]:
    for s, polynomial in enumerate(polynomials(lmax)):
        yield f"y[{s}] = {_polynomial(polynomial)}"
    for place, coupling in enumerate(couplings(lmax)):
        yield f"A[{place}] = {' + '.join(_scaled(c, f'y[{s1}]') for s1, c in coupling.sum)}"


def _turn(lmax: int) -> Iterator[str]:
    """out += Σ_s y_s ∂Y_s/∂u, with the adjoints of the harmonics in y."""
    for s, polynomial in enumerate(polynomials(lmax)):
        for axis in range(3):
            derivative = polynomial.derivative(axis)
            if derivative.coefficients:
                yield f"out[{axis}] += y[{s}] * ({_polynomial(derivative)})"
