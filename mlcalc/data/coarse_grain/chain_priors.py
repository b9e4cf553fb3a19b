"""Priors of a chain from frames of it: Boltzmann inversion of its bonds, angles and dihedral angles.

The density of a coordinate x is p(x) ∝ J(x) exp(−U(x)/kT), with the Jacobian J = r² of a distance, 1 of cos θ and of a dihedral
angle. Inverting a histogram needs bins, and says nothing where they are empty. Here U = kT Σ_n a_n f_n(x) of the form that the
prior has is the one with the largest likelihood: the minimum of the convex function::

    ln ∫ J exp(−Σ a_n f_n) dx + Σ_n a_n ⟨f_n⟩      gradient ⟨f⟩ of the frames − ⟨f⟩ of the density, Hessian cov(f) of the density

It agrees with the inverted histogram where there are data, and is high where there are none. For a spring (f = r, r²) it is the
mean and the variance of r with weights r⁻². Coefficients a are held by a normal distribution of 100, in units of kT, which narrow
data need.

Beads that are not bonded: most pairs of a folded chain are held by their neighbours, so that inverting their distances would count
these again. Their repulsion is one kT at the closest approach of their types, the distance below which are 0.1 % of the frames,
or at 5 Å where they stay farther apart.

A bond is one spring. That between Cα atoms is 3.8 Å long with a spread of about 0.05 Å where the peptide bond is trans, and 3.0 Å
where it is cis: frames of both would make a spring of their common spread, 30 times too soft, and are refused.

Source: Reith, Pütz, Müller-Plathe, J. Comput. Chem. 24, 1624 (2003), doi:10.1002/jcc.10307, for the inversion.
"""

import math
from typing import Any

import numpy as np
from ase import units
from scipy.optimize import minimize

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.priors import AnglePrior, BeadRepulsion, BondPrior, DihedralPrior
from mlcalc.priors.angles import N_POWERS

_GRID = 2000  # points of an integral
_LOOSE = 100.0  # kT
_FEWEST = 20  # frames
_CLOSEST, _FARTHEST_A = 1e-3, 5.0
_NEAREST_A = 0.1  # of bonded beads
# Of a bond: frames differ by their rounding below the first, and it is no single spring above the second.
_LEAST_SPREAD_A, _MOST_SPREAD_A = 1e-3, 0.2


def fit_chain_priors(
    positions: np.ndarray, numbers: np.ndarray, temperature_K: float, cutoff: float, excluded: int = 3, n_orders: int = 4
) -> dict[str, Any]:  # fmt: skip
    """Priors by name from frames of one chain.

    Args:
        positions: (n_frames, n_beads, 3) Å, bead i bonded to i + 1; numbers: (n_beads,) types.
        temperature_K: Of the frames.
        cutoff: Å, of the network. excluded: See bead_repulsion.py; n_orders: cosines and sines of a dihedral angle.

    Raises:
        InputError: Fewer than 20 frames or 4 beads, numbers out of bounds, or a bond longer than the cutoff, between beads at one
            point, or whose lengths do not differ, or differ by more than one spring allows.
    """
    check_range("temperature_K", temperature_K, 0.0, open_low=True)
    check_range("n_orders", n_orders, 1, 12)
    if positions.ndim != 3 or len(positions) < _FEWEST or positions.shape[1:] != (len(numbers), 3) or len(numbers) < 4:
        raise InputError(
            f"frames {positions.shape} of {len(numbers)} beads: expected at least {_FEWEST} frames of one chain of at least 4"
        )
    bonds = np.diff(positions, axis=1)
    lengths = np.linalg.norm(bonds, axis=2)
    _check_lengths(lengths, cutoff)
    kT = units.kB * temperature_K
    means, variances = spring_moments(lengths)
    _check_spreads(means, np.sqrt(variances))
    cosines = np.clip(-(bonds[:, :-1] * bonds[:, 1:]).sum(2) / (lengths[:, :-1] * lengths[:, 1:]), -1.0, 1.0)
    dihedrals = dihedral_angles(bonds)
    angles = [fit_angle(x) for x in cosines.T]
    chain_types = tuple(int(number) for number in numbers)
    waves = [fit_dihedral(x, n_orders) for x in dihedrals.T]
    return {
        "bonds": BondPrior(_numbers(kT / variances), _numbers(means), cutoff, chain_types),
        "angles": AnglePrior(tuple(_numbers(kT * a) for a in angles), cutoff, chain_types),
        "dihedrals": DihedralPrior(
            _numbers([kT * a[0] for a in waves]), tuple(_numbers(kT * a[1 : n_orders + 1]) for a in waves),
            tuple(_numbers(kT * a[n_orders + 1 :]) for a in waves), cutoff, chain_types,
        ),
        "bead_repulsion": _repulsion(positions, np.asarray(numbers), kT, excluded, cutoff),
    }  # fmt: skip


def _check_lengths(lengths: np.ndarray, cutoff: float) -> None:
    """Raise InputError for bonds (n_frames, n_bonds) Å between beads at one point, or longer than the cutoff."""
    for wrong, expected in (
        (lengths < _NEAREST_A, f"a bond of at least {_NEAREST_A:g} Å"),
        (lengths >= cutoff, f"a bond below the cutoff of {cutoff:g} Å; is the order of beads that along the chain?"),
    ):
        if wrong.any():
            frame, bond = np.argwhere(wrong)[0]
            raise InputError(
                f"frame {frame + 1}: beads {bond + 1} and {bond + 2} are {lengths[frame, bond]:.2f} Å apart: expected {expected}"
            )


def _check_spreads(means: np.ndarray, spreads: np.ndarray) -> None:
    """Raise InputError for bonds of these lengths and standard deviations (n_bonds,) Å that are no springs."""
    if (spreads < _LEAST_SPREAD_A).all():
        raise InputError(
            f"the frames do not differ: no bond varies by {_LEAST_SPREAD_A:g} Å (standard deviation); expected a chain in motion"
        )
    for bond, (mean, spread) in enumerate(zip(means, spreads, strict=True), start=1):
        where = f"beads {bond} and {bond + 1} are {mean:.2f} Å apart on average, with a standard deviation of {spread:.2g} Å"
        if spread < _LEAST_SPREAD_A:
            raise InputError(f"{where}: the frames do not differ there; expected at least {_LEAST_SPREAD_A:g} Å")
        if spread > _MOST_SPREAD_A:
            raise InputError(
                f"{where}: expected at most {_MOST_SPREAD_A:g} Å, of one spring; Cα atoms of a trans peptide bond are 3.8 Å apart, "
                "of a cis one 3.0 Å: fit to frames that have one of them"
            )


def spring_moments(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (n_bonds,) Å, Å² of lengths (n_frames, n_bonds) in a density without the Jacobian r²."""
    weights = lengths**-2.0
    means = (weights * lengths).sum(0) / weights.sum(0)
    return means, (weights * (lengths - means) ** 2).sum(0) / weights.sum(0)


def dihedral_angles(bonds: np.ndarray) -> np.ndarray:
    """(n_frames, n_beads − 3) in radians of bonds (n_frames, n_beads − 1, 3), as in mlcalc/priors/dihedrals.py."""
    a, b, d = bonds[:, :-2], bonds[:, 1:-1], bonds[:, 2:]
    m, n = np.cross(a, b), np.cross(b, d)
    return np.arctan2(np.linalg.norm(b, axis=2) * (a * n).sum(2), (m * n).sum(2))


def angle_features(x: np.ndarray) -> np.ndarray:
    """(n, 4) powers 1 … 4 of cosines (n,)."""
    return x[:, None] ** np.arange(1, N_POWERS)


def dihedral_features(phi: np.ndarray, n_orders: int) -> np.ndarray:
    """(n, 2·n_orders) cosines, then sines of multiples of angles (n,)."""
    multiples = phi[:, None] * np.arange(1, n_orders + 1)
    return np.concatenate([np.cos(multiples), np.sin(multiples)], axis=1)


def fit_angle(cosines: np.ndarray) -> np.ndarray:
    """(5,) coefficients in kT of powers of the cosine, from samples (n,); the least energy is 0."""
    # Midpoints: the ends are points like others.
    grid = angle_features((np.arange(_GRID) + 0.5) * (2.0 / _GRID) - 1.0)
    return _of_density(angle_features(cosines).mean(0), grid, len(cosines))


def fit_dihedral(phi: np.ndarray, n_orders: int) -> np.ndarray:
    """(1 + 2·n_orders,) coefficients in kT: constant, cosines, sines, from samples (n,); the least energy is 0."""
    grid = dihedral_features(np.arange(_GRID) * (2.0 * math.pi / _GRID), n_orders)
    return _of_density(dihedral_features(phi, n_orders).mean(0), grid, len(phi))


def _of_density(means: np.ndarray, grid: np.ndarray, n_samples: int) -> np.ndarray:
    """Coefficients of the density in kT, a constant first: see the module; grid: (n_points, m) features, with equal weights."""
    hold = 1.0 / (n_samples * _LOOSE**2)

    def parts(a: np.ndarray):
        exponents = -grid @ a
        top = exponents.max()
        density = np.exp(exponents - top)
        total = density.sum()
        return top + np.log(total), density / total

    def value(a):
        return parts(a)[0] + a @ means + 0.5 * hold * a @ a

    def gradient(a):
        return means - parts(a)[1] @ grid + hold * a

    def hessian(a):
        density = parts(a)[1]
        off = grid - density @ grid
        return (density[:, None] * off).T @ off + hold * np.eye(len(a))

    found = minimize(
        value, np.zeros(len(means)), jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-7}
    )
    return np.concatenate([[-(grid @ found.x).min()], found.x])


def _repulsion(positions: np.ndarray, numbers: np.ndarray, kT: float, excluded: int, cutoff: float) -> BeadRepulsion:
    types = sorted({int(z) for z in numbers})
    farthest = min(_FARTHEST_A, 0.5 * cutoff)
    table = np.full((len(types),) * 2, farthest)
    rows = np.searchsorted(types, numbers)
    first, second = np.triu_indices(len(numbers), excluded + 1)
    found = np.linalg.norm(positions[:, first] - positions[:, second], axis=2)
    for a, b in {tuple(sorted(pair)) for pair in zip(rows[first], rows[second], strict=True)}:
        mine = (np.minimum(rows[first], rows[second]) == a) & (np.maximum(rows[first], rows[second]) == b)
        table[a, b] = table[b, a] = min(float(np.quantile(found[:, mine], _CLOSEST)), farthest)
    return BeadRepulsion(kT, tuple(types), tuple(_numbers(row) for row in table), len(numbers), excluded, cutoff)


def _numbers(values) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
