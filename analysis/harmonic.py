"""The harmonic reference: how wide a model's distances would be if its energy were quadratic about the minimum."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError
from ase.optimize import BFGS

from mlcalc.calculator import SchNetCalculator
from mlcalc.errors import InputError
from mlcalc.model_file import Model
from mlcalc.vibrations import NormalModes, Potential, normal_modes, position_covariance

MAX_FORCE = 1e-4  # eV/Å left at the minimum; moves distances by under 1e-4 Å even along C20's softest mode
MAX_STEPS = 2000


@dataclass(frozen=True)
class HarmonicDistances:
    """Distances of a group of pairs in the harmonic approximation, each pair's own Gaussian.

    Attributes:
        means: (n_pairs,) Å.
        stds: (n_pairs,) Å.
    """

    means: np.ndarray
    stds: np.ndarray

    @property
    def mean(self) -> float:
        """Å, averaged over the pairs."""
        return float(self.means.mean())

    @property
    def std(self) -> float:
        """Å, averaged over the pairs."""
        return float(self.stds.mean())

    def density(self, r: np.ndarray) -> np.ndarray:
        """P(r) in Å⁻¹ at distances r (n,) in Å: the mean of the pairs' Gaussians."""
        z = (r[:, None] - self.means) / self.stds
        return (np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * self.stds)).mean(axis=1)


def relaxed_modes(structure: Atoms, model: Model) -> NormalModes:
    """Relax a molecule with a model and return the normal modes of the minimum (``.atoms`` is the relaxed structure).

    Args:
        structure: Starting point, N atoms, positions in Å; its masses are used.

    Raises:
        InputError: The model cannot describe the structure, the relaxation does not end, or it ends in a saddle point.
    """
    atoms = structure.copy()
    atoms.calc = SchNetCalculator(model, dtype="float64")
    try:
        converged = BFGS(atoms, logfile=None).run(fmax=MAX_FORCE, steps=MAX_STEPS)
    except CalculatorError as error:
        raise InputError(f"the model cannot relax this structure: {error}") from error
    if not converged:
        raise InputError(f"no minimum found: forces above {MAX_FORCE} eV/Å after {MAX_STEPS} steps of relaxation")
    modes = normal_modes(atoms, _potential_of(atoms))
    if modes.energies[0] <= 0:
        raise InputError(f"no minimum found: the relaxed structure has a mode of {modes.wavenumbers[0]:.1f} cm⁻¹")
    return modes


def _potential_of(atoms: Atoms) -> Potential:
    """The calculator of ``atoms`` for mlcalc.vibrations (a kernel of its own would tabulate the filters anew)."""

    def potential(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        displaced = atoms.copy()
        displaced.calc = atoms.calc
        energies, forces = np.empty(len(batch)), np.empty_like(batch)
        for k, displaced.positions in enumerate(batch):
            energies[k], forces[k] = displaced.get_potential_energy(), displaced.get_forces()
        return energies, forces

    return potential


def harmonic_distances(
    modes: NormalModes, pairs: np.ndarray, temperature_K: float, beads: int | None
) -> HarmonicDistances:
    """Mean and standard deviation of pair distances in a harmonic ring polymer.

    The displacement of atom j against atom i, δ, is Gaussian with covariance C (3, 3). With u the unit vector along the
    relaxed distance r, and P the projector across it,

        σ² = uᵀCu,        ⟨d⟩ = r + tr(PC)/2r,

    which are the first-order variance and the second-order mean of |ru + δ|.

    Args:
        pairs: (n_pairs, 2) atom indices.
        beads: P ≥ 1 for the beads; 1 for the centroid of any P, since ⟨q̄²⟩ = 1/βmω² is the classical value; None for
            the quantum limit.

    Raises:
        InputError: A mode without a positive frequency; a temperature or number of beads out of range.
    """
    covariance = position_covariance(modes, temperature_K, beads).reshape(len(modes.atoms), 3, len(modes.atoms), 3)
    i, j = pairs.T
    # Advanced indices on axes 0 and 2 come first in the result: (n_pairs, 3, 3).
    relative = covariance[i, :, i] + covariance[j, :, j] - covariance[i, :, j] - covariance[j, :, i]
    vectors = modes.atoms.positions[j] - modes.atoms.positions[i]
    r = np.linalg.norm(vectors, axis=1)
    along = np.einsum("pa,pab,pb->p", vectors, relative, vectors) / r**2
    across = np.trace(relative, axis1=1, axis2=2) - along
    return HarmonicDistances(means=r + across / (2 * r), stds=np.sqrt(along))
