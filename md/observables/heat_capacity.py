"""Heat capacity of a ring polymer, by scaled coordinates and from fluctuations.

With V± the mean over beads of V at q̄ + √(1 ± δ)(q − q̄) and f the degrees of freedom of the centroids (3N minus those at rest)::

    ε  = f/2β + [(1+δ)V₊ − (1−δ)V₋]/2δ             its mean is the energy
    ε′ = −f/2β² + [(1+δ)V₊ + (1−δ)V₋ − 2V]/δ²β      ⟨ε′⟩ = ⟨dε/dβ at fixed scaled coordinates⟩
    C_V / k_B = β²(⟨ε²⟩ − ⟨ε⟩² − ⟨ε′⟩)

No second derivatives of V are needed, only its values at 2P more configurations; the differences are exact for a harmonic V, and
the spread does not grow with P.

From fluctuations of quantities that every run records, with ε_T the primitive and ε_V the centroid-virial energy: dE/dβ of
E = ⟨ε_V⟩ under weights whose logarithm changes by −ε_T gives

    C_V / k_B = β²(⟨ε_T ε_V⟩ − ⟨ε_T⟩⟨ε_V⟩) + f/2,

which needs no extra evaluations and is exact at P = 1, but its spread grows with P.

Source of the scaled form: Yamamoto, J. Chem. Phys. 123, 104101 (2005), doi:10.1063/1.2013257.
"""

from collections.abc import Callable

import numpy as np
from ase import units

from md.observables.estimators import SCALING, Sample
from md.observables.statistics import Mean, block_average


def with_scaled_energies(sample: Sample, potential: Callable) -> Sample:
    """The sample with its V±; ``potential``, as simulation.simulate takes it, is evaluated twice."""
    state = sample.ring_polymer
    q = state.positions
    centroid = q.mean(axis=0)
    shifted = (centroid + np.sqrt(1.0 + sign * SCALING) * (q - centroid) for sign in (1, -1))
    scaled = (state._replace(positions=positions).configuration for positions in shifted)
    return sample._replace(scaled_energies=np.array([potential(*place)[0].mean() for place in scaled]))


def scaled_heat_capacity(energy: np.ndarray, slope: np.ndarray, temperature_K: float) -> Mean:
    """C_V in k_B with its standard error from series (n,) of ε (eV) and ε′ (eV²)."""
    beta = 1.0 / (units.kB * temperature_K)
    return _covariance(energy, energy, beta, -(beta**2) * np.asarray(slope))


def fluctuation_heat_capacity(
    primitive: np.ndarray, virial: np.ndarray, centroid_freedom: float, temperature_K: float
) -> Mean:
    """C_V in k_B with its standard error from series (n,) of ε_T and ε_V in eV and f."""
    beta = 1.0 / (units.kB * temperature_K)
    return _covariance(primitive, virial, beta, np.full(len(primitive), 0.5 * centroid_freedom))


def _covariance(a: np.ndarray, b: np.ndarray, beta: float, offset: np.ndarray) -> Mean:
    """β² cov(a, b) + ⟨offset⟩.

    To first order it depends on the trajectory as the mean of β²(a − ⟨a⟩)(b − ⟨b⟩) + offset does; that series is blocked. The
    sample covariance is too small by the covariance of the two means, which is added.
    """
    a, b = (beta * (np.asarray(x) - np.mean(x)) for x in (a, b))
    found = block_average(a * b + offset)
    bias = 0.25 * (block_average(a + b).error ** 2 - block_average(a - b).error ** 2)
    return found._replace(value=found.value + bias) if np.isfinite(bias) else found
