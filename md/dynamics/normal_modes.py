"""Normal modes of the free ring polymer: the orthonormal transform, its frequencies, its exact propagation.

=======  ==========================================  =====================
symbol   meaning                                     shape, unit
=======  ==========================================  =====================
C        transform, q̃_k = Σ_j C_kj q_j; k = 0 is     (P, P)
         √P times the centroid
ω_k      2ω_P sin(kπ/P)                              (P,), 1 / ASE time
R        contraction, q′ = R q: the modes of P′      (P′, P)
         beads that the ring of P beads has too
=======  ==========================================  =====================

Source: Ceriotti, Parrinello, Markland, Manolopoulos, J. Chem. Phys. 133, 124104 (2010), doi:10.1063/1.3489925; R:
Markland, Manolopoulos, J. Chem. Phys. 129, 024105 (2008), doi:10.1063/1.2953308.
"""

import numpy as np

from mlcalc.common.compiled import njit


def transform_matrix(n_beads: int) -> np.ndarray:
    """Real orthonormal C, (P, P), of eq. (18): cosines for k < P/2, the alternating mode, then sines."""
    j = np.arange(1, n_beads + 1)
    rows = np.empty((n_beads, n_beads))
    for k in range(n_beads):
        if k == 0:
            rows[k] = np.sqrt(1.0 / n_beads)
        elif 2 * k < n_beads:
            rows[k] = np.sqrt(2.0 / n_beads) * np.cos(2.0 * np.pi * j * k / n_beads)
        elif 2 * k == n_beads:
            rows[k] = np.sqrt(1.0 / n_beads) * (-1.0) ** j
        else:
            rows[k] = np.sqrt(2.0 / n_beads) * np.sin(2.0 * np.pi * j * k / n_beads)
    return rows


def mode_frequencies(n_beads: int, ring_frequency: float) -> np.ndarray:
    """ω_k = 2ω_P sin(kπ/P), (P,)."""
    return 2.0 * ring_frequency * np.sin(np.arange(n_beads) * np.pi / n_beads)


def exact_propagator(frequencies: np.ndarray, timestep: float) -> np.ndarray:
    """(P, 2, 2) maps of (q̃, ṽ = p̃/m) over a time step of the free ring polymer, minus the identity; free flight for k = 0.

    As increments, the maps leave a state unchanged to the last bit at zero time step and reduce rounding at small ones.
    """
    phase = frequencies * timestep
    maps = np.empty((len(frequencies), 2, 2))
    maps[:, 0, 0] = maps[:, 1, 1] = -2.0 * np.sin(0.5 * phase) ** 2  # cos − 1
    maps[:, 0, 1] = timestep * np.sinc(phase / np.pi)  # sin(ωΔt)/ω, also at ω = 0
    maps[:, 1, 0] = -frequencies * np.sin(phase)
    return maps


def cayley_propagator(frequencies: np.ndarray, timestep: float) -> np.ndarray:
    """As exact_propagator, but the square root of the Cayley map of twice the time step, which resonates at no time step.

    Source: Korol, Rosa-Raíces, Bou-Rabee, Miller, J. Chem. Phys. 152, 104102 (2020), doi:10.1063/1.5134810.
    """
    double = 2.0 * timestep
    root = np.sqrt(4.0 + (frequencies * double) ** 2)
    maps = np.empty((len(frequencies), 2, 2))
    maps[:, 0, 0] = maps[:, 1, 1] = -((frequencies * double) ** 2) / (root * (2.0 + root))  # 2/root − 1
    maps[:, 0, 1] = double / root
    maps[:, 1, 0] = -(frequencies**2) * double / root
    return maps


def contraction(n_beads: int, fewer: int) -> np.ndarray:
    """R = √(P′/P) C_P′ᵀ T C_P, (P′, P), of P′ ≤ P beads; T picks the P′ modes of lowest frequency.

    Its rows add up to 1, and R is the identity for P′ = P, the mean of the beads for P′ = 1. Of an even P′ < P the last mode,
    alternating, is the cosine of a pair whose sine is left out, as in i-PI; an odd P′ keeps pairs whole.
    """
    if fewer == n_beads:
        return np.eye(n_beads)
    modes = transform_matrix(n_beads)[kept_modes(n_beads, fewer)]
    return np.sqrt(fewer / n_beads) * transform_matrix(fewer).T @ modes


def kept_modes(n_beads: int, fewer: int) -> np.ndarray:
    """(P′,) the modes among those of P beads that T picks."""
    kept = np.arange(fewer)
    kept[fewer // 2 + 1 :] += n_beads - fewer  # the sines are last
    return kept


@njit(cache=True)
def to_modes(transform, beads, modes):
    """modes = C beads, both (P, N, 3)."""
    n_beads = beads.shape[0]
    np.dot(transform, beads.reshape(n_beads, -1), modes.reshape(n_beads, -1))


@njit(cache=True)
def to_beads(transform, modes, beads):
    """beads = Cᵀ modes, both (P, N, 3)."""
    n_beads = beads.shape[0]
    np.dot(transform.T, modes.reshape(n_beads, -1), beads.reshape(n_beads, -1))
