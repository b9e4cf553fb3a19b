"""Heat capacity of a ring polymer by scaled coordinates, whose spread does not grow with the number of beads.

With V± the mean over beads of V at q̄ + √(1 ± δ)(q − q̄) and N_f = N atoms, less one where the centre of mass is at rest::

    ε  = 3N_f/2β + [(1+δ)V₊ − (1−δ)V₋]/2δ             its mean is the energy
    ε′ = −3N_f/2β² + [(1+δ)V₊ + (1−δ)V₋ − 2V]/δ²β      ⟨ε′⟩ = ⟨dε/dβ at fixed scaled coordinates⟩
    C_V / k_B = β²(⟨ε²⟩ − ⟨ε⟩² − ⟨ε′⟩)

No second derivatives of V are needed, only its values at 2P more configurations; the differences are exact for a harmonic V.

Source: Yamamoto, J. Chem. Phys. 123, 104101 (2005), doi:10.1063/1.2013257.
"""

import numpy as np
from ase import units

from md.statistics import Mean, block_average

ENERGY, SLOPE = "energy_scaled_eV", "energy_scaled_slope_eV2"  # columns of properties.csv: ε and ε′
_DELTA = 0.1  # small against 1, large against the rounding of a float32 network


def scaled_energies(sample) -> dict[str, float]:
    """ε (eV) and ε′ (eV²) of an estimators.Sample that knows its potential, which is evaluated twice."""
    q = sample.ring_polymer.positions
    centroid = q.mean(axis=0)
    thermal = units.kB * sample.temperature_K
    kinetic = 1.5 * (q.shape[1] - sample.remove_com) * thermal
    # About V, whose size would cost digits: both differences are blind to a constant, but for V itself in ε.
    middle = sample.potential_energies.mean()
    above, below = (
        sample.potential(centroid + np.sqrt(1.0 + sign * _DELTA) * (q - centroid))[0].mean() - middle
        for sign in (1, -1)
    )
    outer, inner = (1.0 + _DELTA) * above, (1.0 - _DELTA) * below
    return {
        ENERGY: float(kinetic + middle + (outer - inner) / (2.0 * _DELTA)),
        SLOPE: float(-kinetic * thermal + (outer + inner) * thermal / _DELTA**2),
    }


def heat_capacity(energy: np.ndarray, slope: np.ndarray, temperature_K: float) -> Mean:
    """C_V in k_B with its standard error from series (n,) of ε and ε′ (scaled_energies).

    To first order C_V depends on the trajectory as the mean of β²[(ε − ⟨ε⟩)² − ε′] does; that series is blocked. The sample
    variance falls short by the squared error of the mean, which is added back.
    """
    beta = 1.0 / (units.kB * temperature_K)
    about = block_average(energy)
    found = block_average(beta**2 * ((np.asarray(energy) - about.value) ** 2 - np.asarray(slope)))
    bias = beta**2 * about.error**2
    return found._replace(value=found.value + bias) if np.isfinite(bias) else found
