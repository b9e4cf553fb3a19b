"""Ziegler–Biersack–Littmark repulsion between nuclei, switched off before bonding distances.

A network is undetermined at distances absent from its training set; this pair term keeps atoms apart there. It is
part of the energy during training, so inside the training domain the network corrects for it.

V(r) = Z_i Z_j e²/(4πε₀ r) · φ(r/a) · S(r),  φ(x) = Σ_k c_k exp(−d_k x),  a = 0.8854 a₀ / (Z_i^0.23 + Z_j^0.23),
S(r) falls from 1 at r_c/2 to 0 at r_c as 1 − 10u³ + 15u⁴ − 6u⁵ (twice continuously differentiable).

Source: J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985).
"""

import math
from dataclasses import dataclass

from ase.units import Bohr, Hartree
from numba.extending import register_jitable

from mlcalc.common.settings import check_distance

ZBL_COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
ZBL_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)
_COULOMB = Hartree * Bohr  # e²/4πε₀ in eV Å
_LENGTH = 0.8854 * Bohr


@dataclass(frozen=True)
class Repulsion:
    """Repulsion between nuclei, switched off at ``cutoff`` (Å); raises InputError for an invalid cutoff."""

    cutoff: float

    def __post_init__(self):
        check_distance("repulsion: cutoff", self.cutoff)

    def __str__(self) -> str:
        return f"nuclear repulsion below {self.cutoff:g} Å"


@register_jitable
def screening_length(z_i, z_j):
    """Screening length a in Å."""
    return _LENGTH / (z_i**0.23 + z_j**0.23)


@register_jitable
def zbl_prefactor(z_i, z_j):
    """Z_i Z_j e²/4πε₀ in eV Å."""
    return _COULOMB * z_i * z_j


@register_jitable
def zbl_pair(r, z_i, z_j, cutoff):
    """Energy (eV) and its derivative with respect to r (eV/Å) of one pair at distance r < cutoff (Å)."""
    a = screening_length(z_i, z_j)
    phi, dphi = 0.0, 0.0
    for k in range(4):
        term = ZBL_COEFFICIENTS[k] * math.exp(-ZBL_EXPONENTS[k] * r / a)
        phi += term
        dphi -= term * ZBL_EXPONENTS[k] / a
    u = min(max(2.0 * r / cutoff - 1.0, 0.0), 1.0)
    switch = 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
    dswitch = -30.0 * u**2 * (1.0 - u) ** 2 * 2.0 / cutoff
    q = zbl_prefactor(z_i, z_j)
    energy = q / r * phi * switch
    return energy, q / r * (dphi * switch + phi * dswitch) - energy / r
