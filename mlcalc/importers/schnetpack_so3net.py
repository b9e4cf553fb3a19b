"""SO3net of SchNetPack 2: its tensors, and whether its harmonics and coefficients are those of mlcalc."""

from typing import Any

import numpy as np

from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.architectures.so3net.harmonics import LARGEST_L, clebsch_gordan, degrees, harmonics, orders
from mlcalc.common.errors import InputError
from mlcalc.importers.schnetpack_values import array, dense, expect, indices, linear, number, shaped
from mlcalc.importers.torch_file import Hollow

_ROUNDING = 1e-5  # of tables in float32
_LISTS = ("mixings1", "mixings2", "mixings3", "gatings")


def so3net_options(so3net: Hollow) -> dict[str, Any]:
    """The largest degree; InputError unless it is one that mlcalc knows."""
    lmax = number(so3net.lmax)
    if lmax not in range(1, LARGEST_L + 1):
        raise InputError(f"lmax = {lmax}: only 1 to {LARGEST_L} can be imported")
    return {"lmax": int(lmax)}


def so3net_tensors(so3net: Hollow, config: SO3netConfig) -> dict[str, Any]:
    """See schnetpack_representations.Representation."""
    _check_harmonics(so3net.sphharm, config.lmax)
    _check_coefficients(so3net.so3product, "SO3TensorProduct", "so3product", config.lmax)
    blocks = so3net.so3convs.children
    tensors: dict[str, Any] = {}
    for name in _LISTS:
        if (count := len(getattr(so3net, name).children)) != len(blocks):
            raise InputError(f"{len(blocks)} so3convs and {count} {name}: expected as many of both")
    for t, block in enumerate(blocks):
        _check_coefficients(block, "SO3Convolution", f"so3convs.{t}", config.lmax)
        _check_same(indices(block.Widx), degrees(config.lmax)[indices(block.idx_in_1)], f"so3convs.{t}.Widx")
        tensors |= dense(block.filternet, f"interactions.{t}.filter_net")
        for k in range(3):
            mixing = getattr(so3net, f"mixings{k + 1}").children[t]
            tensors |= linear(mixing, f"interactions.{t}.mixings.{k}", bias=False)
        gating = so3net.gatings.children[t]
        expect(gating.kind, "SO3ParametricGatedNonlinearity", what=f"gatings.{t} of the class")
        _check_same(indices(gating.lidx), degrees(config.lmax), f"gatings.{t}.lidx")
        tensors |= linear(gating.scaling, f"interactions.{t}.gating")
    return tensors


def _check_same(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    if found.shape != expected.shape or not (abs(found - expected) < _ROUNDING).all():
        raise InputError(
            f"{name} differs from the table of mlcalc: another order, sign or norm of the components (l, m)"
        )


def _check_coefficients(module: Hollow, kind: str, name: str, lmax: int) -> None:
    """Raise InputError unless the non-zero coefficients of a module are those of mlcalc."""
    expect(module.kind, kind, what=f"{name} of the class")
    values, expected = array(module.clebsch_gordan), clebsch_gordan(lmax)
    places = [indices(getattr(module, f"idx_{which}")) for which in ("in_1", "in_2", "out")]
    found = np.zeros_like(expected)
    if all(place.shape == values.shape and ((place >= 0) & (place < len(found))).all() for place in places):
        np.add.at(found, tuple(places), values)
    _check_same(found, expected, f"{name}.clebsch_gordan")


def _check_harmonics(sphharm: Hollow, lmax: int) -> None:
    """Raise InputError unless the polynomials of a module are the harmonics of mlcalc, at points that tell polynomials apart."""
    expect(sphharm.kind, "RealSphericalHarmonics", what="sphharm of the class")
    _check_same(indices(sphharm.lidx), degrees(lmax), "sphharm.lidx")
    _check_same(indices(sphharm.midx), orders(lmax), "sphharm.midx")
    points = np.random.default_rng(0).normal(size=(3, 64))
    x, y, z = points / np.linalg.norm(points, axis=0)
    with np.errstate(all="ignore"):
        found = _polynomials(sphharm, x, y, z, lmax)
    _check_same(found, np.array(harmonics(x, y, z, lmax)), "sphharm")


def _polynomials(sphharm: Hollow, x: np.ndarray, y: np.ndarray, z: np.ndarray, lmax: int) -> np.ndarray:
    """((lmax + 1)², n_points): √((2l+1)/2π) · Σ_k P z^p of l and |m| · Σ_k A x^p y^q, B for m < 0, or √½ for m = 0."""

    def table(name: str, *shape: int) -> np.ndarray:
        return shaped(f"sphharm.{name}", getattr(sphharm, name), shape)[..., None]

    sizes, degree, order = (lmax + 1, lmax + 1, lmax // 2 + 1), degrees(lmax), orders(lmax)
    along_z = (table("cPi", *sizes) * z ** table("zpow", *sizes)).sum(axis=2)
    powers = table("powers", lmax, lmax + 1, 2)
    across = x ** powers[:, :, 0] * y ** powers[:, :, 1]
    a, b = ((table(name, lmax, lmax + 1) * across).sum(axis=1) for name in ("cAm", "cBm"))
    around = np.concatenate([b[::-1], np.full((1, len(x)), np.sqrt(0.5)), a])[order + lmax]
    return np.sqrt((2 * degree + 1) / (2 * np.pi))[:, None] * along_z[degree, abs(order)] * around
