"""Isotope effects from runs of several masses, by thermodynamic integration.

With K_i the mean kinetic energy of atom i at mass m, ∂(ln Z)/∂(ln m) = Σ_i K_i/k_BT over the replaced atoms. Of it 3/2 per atom is
classical; the rest is the centroid virial Q = (1/2P)⟨Σ_j (q_ij − q̄_i)·∂V/∂q_ij⟩, and, without the classical ratio (scaled.py),

    ln β = ∫_{ln m}^{ln m′} Q/k_BT d ln μ = 2 ∫_{g(m′)}^{g(m)} Q/(g k_BT) dg,    g = 1/√μ.

In g the integrand is smooth: Q of a quantum oscillator is ħω/4 ∝ g, so that Q/g is constant. It is integrated as the cubic spline
through the masses of the runs (a line through two, a parabola through three). The result is linear in the means of the runs, which
are independent: errors add in quadrature. What a spline through these masses misses is estimated by the harmonic vibrations.

Source: Ceriotti, Markland, J. Chem. Phys. 138, 014112 (2013), doi:10.1063/1.4772676.
"""

from typing import NamedTuple

import numpy as np
from ase import units
from scipy.interpolate import CubicSpline

from analysis.isotopes.sites import Site
from analysis.runs.per_atom import atom_series
from analysis.runs.run import Run
from md.observables.statistics import Mean, block_average


class Integral(NamedTuple):
    """An integral over mass.

    Attributes:
        masses: (K,) u, of the runs, ascending; integrand: K means of 2Q/(g k_BT), √u.
        log_ratio: ln β, from the smallest to the largest mass.
    """

    masses: np.ndarray
    integrand: list[Mean]
    log_ratio: Mean


def integrate(runs: list[Run], masses: np.ndarray, site: Site, discard: float, com_held: bool) -> Integral:
    """ln β of a site between the ends of ``masses`` (K,) u, ascending, which its atoms have in the runs.

    Args:
        com_held: Whether the runs hold the centre of mass at rest, which takes a share of the classical part of each atom.

    Raises:
        InputError: A run without records per atom.
    """
    means = []
    for run, mass in zip(runs, masses, strict=True):
        thermal = units.kB * run.temperature_K
        own = run.structure.get_masses()
        atoms = list(site.choices[0])
        classical = 1.5 * (1.0 - com_held * own / own.sum())[atoms].sum()
        kinetic = atom_series(run, discard)["kinetic_virial_per_atom_eV"][:, atoms].sum(axis=1) / thermal
        means.append(block_average(2.0 * np.sqrt(mass) * (kinetic - classical)))
    weights = quadrature(masses)
    value = float(weights @ [mean.value for mean in means])
    error = float(np.sqrt((weights**2) @ [mean.error**2 for mean in means]))
    return Integral(masses, means, Mean(value, error, min(mean.n_effective for mean in means)))


def quadrature(masses: np.ndarray) -> np.ndarray:
    """(K,) weights of an integral over g from that of the last mass to that of the first; masses ascending."""
    g = 1.0 / np.sqrt(masses[::-1])
    if len(g) == 2:
        return np.full(2, 0.5 * (g[1] - g[0]))
    return np.asarray(CubicSpline(g, np.eye(len(g))).integrate(g[0], g[-1]))[::-1]
