"""Isotope effects from one run, by direct scaled coordinates.

Let Z(m) be the partition function of a ring polymer of P beads in which the atoms i of a site have the mass m, Z(m′) that in which
they have m′; nuclei are distinguishable. Substituting u = q − q̄ by √(m/m′)·u in Z(m′) leaves the springs as they were, and

    Z(m′)/Z(m) = (m′/m)^{3n/2} · ⟨w⟩_m,    w = exp{−(β/P) Σ_j [V(q̄_i + √(m/m′)(q_ij − q̄_i)) − V(q_j)]},

exactly at every P, n the number of replaced atoms. The factor before the mean is the ratio of classical partition functions: the
same for an atom in any molecule, it cancels from every equilibrium between two species, and is left out here. What is reported is

    ln β = ln⟨w⟩,

the logarithm of the reduced partition function ratio of Bigeleisen and Mayer without symmetry numbers (those of indistinguishable
atoms are combinatorial). The exchange A–H + B–D ⇌ A–D + B–H has the constant α = β_A/β_B. At P = 1, w = 1.

A frame counts with its weight w: where few frames have most of it, the mean is worth few frames, (Σw)²/Σw² (Kish). With m′ > m the
rings shrink and w grows with their size, without bound; for m′ > 2m a stiff vibration can give it an infinite variance. With m′ < m
w is bounded for a convex V. A harmonic mode of frequency ω has a finite variance if ω_k² > ω²(1 − 2m/m′) for all k > 0.

Source: Cheng, Ceriotti, J. Chem. Phys. 141, 244112 (2014), doi:10.1063/1.4904293; for the coordinates also Yamamoto, J. Chem. Phys.
123, 104101 (2005), doi:10.1063/1.2013257.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from analysis.isotopes.isotope_runs import recorded_energies
from analysis.isotopes.sites import Site, mass_of
from analysis.runs.run import Run
from analysis.runs.universe import bead_frames
from md.observables.statistics import Mean, block_average, effective_count
from mlcalc.common.errors import InputError

FEWEST = 10  # frames that weights are worth: below, a mean is refused
_CHUNK = 16  # frames read and evaluated at once
# Of a potential, between the record of a run and now, over k_BT: rounding of positions to float32 and of networks, not more.
_AGREEMENT = 0.05


class Weights(NamedTuple):
    """The weights w of a site in the frames of a run.

    Attributes:
        logarithms: (n_choices, n) ln w.
    """

    logarithms: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """(n,) means over the choices, divided by their mean over frames."""
        logarithms = np.logaddexp.reduce(self.logarithms, axis=0)
        weights = np.exp(logarithms - logarithms.max())
        return weights / weights.mean()

    @property
    def n_effective(self) -> float:
        """How many equally weighted frames these are worth (Kish), correlations left aside."""
        return effective_count(np.logaddexp.reduce(self.logarithms, axis=0))

    @property
    def log_mean(self) -> Mean:
        """ln⟨w⟩ with its standard error to first order, from blocks of the correlated weights."""
        logarithms = np.logaddexp.reduce(self.logarithms, axis=0) - np.log(len(self.logarithms))
        value = np.logaddexp.reduce(logarithms) - np.log(logarithms.size)
        return block_average(self.relative)._replace(value=float(value))


def scaled_weights(
    run: Run, frames: np.ndarray, sites: list[Site], mass: float, potential: Callable, show=lambda done: None
) -> list[Weights]:
    """The weights of sites, each replaced alone by the mass m′ = ``mass`` (u).

    Args:
        frames: (n,) numbers of frames of the run.
        potential: The run's own, mlcalc.potential.Potential.
        show: Called with a number of finished frames.

    Raises:
        InputError: Energies that are not finite, or not those that the run recorded; weights worth fewer than FEWEST frames.
    """
    thermal = units.kB * run.temperature_K
    found: list[list[np.ndarray]] = [[] for _ in sites]
    scales = [
        [(choice, float(np.sqrt(mass_of(site, run.structure) / mass))) for choice in site.choices] for site in sites
    ]
    recorded = recorded_energies(run, frames)
    for start in range(0, len(frames), _CHUNK):
        part = slice(start, start + _CHUNK)
        beads, cells = bead_frames(run, frames[part])
        before = _energies(potential, beads, cells)
        _check_potential(run, before, recorded[part], thermal)
        logarithms = {
            (choice, scale): (before - _energies(potential, _scaled(beads, choice, scale), cells)).mean(axis=1)
            / thermal
            for choice, scale in {pair for pairs in scales for pair in pairs}
        }
        for pairs, parts in zip(scales, found, strict=True):
            parts.append(np.array([logarithms[pair] for pair in pairs]))
        show(len(beads))
    results = [Weights(np.concatenate(parts, axis=1)) for parts in found]
    for site, weights in zip(sites, results, strict=True):
        _check_weights(run, site, mass, weights)
    return results


def _scaled(beads: np.ndarray, atoms: tuple[int, ...], scale: float) -> np.ndarray:
    """Positions (n, P, N, 3) Å with the rings of some atoms scaled about their centroids."""
    scaled, some = beads.copy(), list(atoms)
    centroids = beads[:, :, some].mean(axis=1, keepdims=True)
    scaled[:, :, some] = centroids + scale * (beads[:, :, some] - centroids)
    return scaled


def _energies(potential: Callable, beads: np.ndarray, cells: np.ndarray | None) -> np.ndarray:
    """(n, P) eV of positions (n, P, N, 3) Å; frames of a molecule in one batch."""
    if cells is None:
        return potential(np.ascontiguousarray(beads.reshape(-1, *beads.shape[2:])))[0].reshape(beads.shape[:2])
    return np.array([potential(np.ascontiguousarray(q), cell)[0] for q, cell in zip(beads, cells, strict=True)])


def _check_potential(run: Run, now: np.ndarray, recorded: np.ndarray, thermal: float) -> None:
    """Refuse energies (n, P) that differ from those of the run in more than rounding, in the mean over beads."""
    apart = np.abs((now - recorded).mean(axis=1)).max()
    if not apart < _AGREEMENT * thermal:
        raise InputError(
            f"{run}: energies of its frames, evaluated again, differ from the recorded ones by {1e3 * apart:.3g} meV: expected the "
            "potential of the run"
        )


def _check_weights(run: Run, site: Site, mass: float, weights: Weights) -> None:
    if not np.isfinite(weights.logarithms).all():
        raise InputError(f"{run}: the potential returned energies that are not finite for scaled rings of atoms {site}")
    if weights.n_effective < FEWEST:
        raise InputError(
            f"{run}: atoms {site}: the weights of {weights.logarithms.shape[1]} frames for {mass:g} u are worth "
            f"{weights.n_effective:.1f} equal ones, fewer than {FEWEST}: no mean can be given; use more frames, a run with the "
            "heavier mass (towards the lighter weights are bounded), or runs of several masses between"
        )
