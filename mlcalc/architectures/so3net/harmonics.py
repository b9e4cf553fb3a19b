"""Real spherical harmonics up to l = 3, and the coefficients that couple them.

Components s = (l, m) are numbered l² + l + m, so that l = 1 stands for y, z, x. The harmonics are orthonormal on the sphere and
have no phase of Condon and Shortley. The coefficients are those of Clebsch and Gordan in this real basis, where l₁ + l₂ + l is
even (parity is conserved). There the integral of three harmonics, after Gaunt, is a coefficient times a number for (l₁, l₂, l)::

    ∫ Y_s1 Y_s2 Y_s dΩ = √((2l₁+1)(2l₂+1)/(4π(2l+1))) ⟨l₁0 l₂0|l0⟩ C^s_{s1 s2},   sign ⟨l₁0 l₂0|l0⟩ = (−1)^((l₁+l₂−l)/2)

and coefficients are of unit norm, Σ_{m1 m2} (C^s_{s1 s2})² = 1: the integral, its norm and this sign give them.

Source: Varshalovich, Moskalev, Khersonskii, Quantum Theory of Angular Momentum (1988), 5.9 and 8.5.
"""

from functools import cache
from math import pi, sqrt
from typing import Any

import numpy as np

LARGEST_L = 3


def degrees(lmax: int) -> np.ndarray:
    """((lmax + 1)²,) degree l of each component."""
    return np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)


def orders(lmax: int) -> np.ndarray:
    """((lmax + 1)²,) order m of each component."""
    return np.arange((lmax + 1) ** 2) - degrees(lmax) * (degrees(lmax) + 1)


def harmonics(x: Any, y: Any, z: Any, lmax: int) -> list[Any]:
    """The (lmax + 1)² harmonics of unit vectors; x, y, z: arrays of NumPy or torch of one shape, as are those returned."""
    a, b, c = sqrt(3 / (4 * pi)), sqrt(15 / (4 * pi)), sqrt(5 / (16 * pi))
    found = [0.0 * x + 0.5 / sqrt(pi), a * y, a * z, a * x]
    if lmax > 1:
        found += [b * x * y, b * y * z, c * (3.0 * z * z - 1.0), b * x * z, 0.5 * b * (x * x - y * y)]
    if lmax > 2:
        d, e, f, g = sqrt(35 / (32 * pi)), sqrt(105 / (4 * pi)), sqrt(21 / (32 * pi)), sqrt(7 / (16 * pi))
        found += [
            d * y * (3.0 * x * x - y * y), e * x * y * z, f * y * (5.0 * z * z - 1.0), g * z * (5.0 * z * z - 3.0),
            f * x * (5.0 * z * z - 1.0), 0.5 * e * z * (x * x - y * y), d * x * (x * x - 3.0 * y * y),
        ]  # fmt: skip
    return found


@cache
def clebsch_gordan(lmax: int) -> np.ndarray:
    """C[s1, s2, s] = C^s_{s1 s2}, ((lmax + 1)²,) * 3, read-only."""
    l1, l2, l3 = np.meshgrid(*[degrees(lmax)] * 3, indexing="ij")
    allowed = (abs(l1 - l2) <= l3) & (l3 <= l1 + l2) & ((l1 + l2 + l3) % 2 == 0)
    integrals = np.where(allowed, _triple_integrals(lmax), 0.0)
    integrals[abs(integrals) < 1e-12] = 0.0  # those that vanish by symmetry, up to rounding
    members = np.arange(lmax + 1)[:, None] == degrees(lmax)
    norms = np.sqrt(np.einsum("ia,jb,abs->ijs", members, members, integrals**2))[degrees(lmax)][:, degrees(lmax)]
    signs = np.where((l1 + l2 - l3) % 4 == 0, 1.0, -1.0)
    found = np.divide(signs * integrals, norms, out=np.zeros_like(integrals), where=norms > 0.0)
    found.flags.writeable = False
    return found


def _triple_integrals(lmax: int) -> np.ndarray:
    """∫ Y_s1 Y_s2 Y_s dΩ by a quadrature that is exact for polynomials of degree 3 lmax."""
    n = 3 * lmax + 1
    z, weights = np.polynomial.legendre.leggauss(n)
    angles = np.arange(n) * (2 * pi / n)
    rho = np.sqrt(1.0 - z * z)[:, None]
    on_sphere = np.array(harmonics(rho * np.cos(angles), rho * np.sin(angles), z[:, None] + np.zeros(n), lmax))
    return np.einsum("azp,bzp,czp,z->abc", *[on_sphere] * 3, weights * (2 * pi / n), optimize=True)
