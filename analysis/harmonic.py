"""The harmonic reference: distributions of distances for an energy that is quadratic about the model's minimum."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from analysis.structure.molecules import isolated
from md.dynamics.clamped import Clamped
from md.potentials import FROM_PYTHON
from md.runs.copies import SUM
from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError
from mlcalc.data.engines import FAMILIES, make_calculator, set_state
from mlcalc.model_file import find_model, load_model
from mlcalc.modes import modes_by, relaxed_modes
from mlcalc.vibrations import NormalModes, position_covariance

_QUICK = "tblite:"


def reference_modes(structure: Atoms, source: str) -> NormalModes:
    """Normal modes about the minimum near the start of a run, for one free molecule.

    Args:
        source: The model or the engine of the run.

    Raises:
        InputError: No minimum; held atoms; several molecules, or images within the model's cutoff; an engine that is not quick.
    """
    if held := int(Clamped.of(structure).mask.sum()):
        raise InputError(f"{held} of {len(structure)} atoms are held: the normal modes require a free molecule")
    if is_engine(source):
        return modes_by(reference_calculator(source, structure), isolated(structure, None))
    model = load_model(find_model(source))
    return relaxed_modes(isolated(structure, model.config.cutoff), model)


def reference_calculator(source: str, structure: Atoms) -> Calculator:
    """The calculator of a run's model, or of its engine if that takes seconds and runs no code that a run folder names.

    Raises:
        InputError: Another engine; no such model.
    """
    if not is_engine(source):
        return NetworkCalculator(load_model(find_model(source)), precision="float64")
    if source.startswith(SUM):
        raise InputError(
            "no harmonic reference for a run with [[potential]] tables; see mlcalc modes for one of its models"
        )
    if not source.startswith(_QUICK) or " + " in source:
        raise InputError(
            f"no harmonic reference for engine {source}: one is made for models and {_QUICK}METHOD only; see mlcalc modes --engine"
        )
    calculator = make_calculator(source)
    set_state(source, calculator, structure)
    return calculator


def is_engine(source: str) -> bool:
    """Whether the source of a run's forces is an engine, a potential from Python or a sum, and no network."""
    family, colon, _ = source.partition(":")
    return bool(colon) and (source.startswith((FROM_PYTHON, SUM)) or (family in FAMILIES and family != "schnet"))


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


def harmonic_distances(
    modes: NormalModes, pairs: np.ndarray, temperature_K: float, beads: int | None
) -> HarmonicDistances:
    """Mean and standard deviation of pair distances in a harmonic ring polymer.

    The displacement of atom j relative to atom i, δ, is Gaussian with covariance C (3, 3). With u the unit vector along the
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
