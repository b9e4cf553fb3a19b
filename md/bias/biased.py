"""A potential with bias on collective variables of a ring polymer.

The engine samples exp(−H_P/(P k_BT)) with H_P = Σ_j V(q_j) + springs. A bias W of a variable ξ enters in one of three ways:

==========  =============================  ==========================  =====================================================
``on``      added to every bead's energy    force on bead j             free energy that W flattens or restrains
==========  =============================  ==========================  =====================================================
centroid    W(ξ(q̄)), q̄ = (1/P) Σ_j q_j      −W′(ξ(q̄)) ∂ξ/∂q̄            of the centroid, −k_BT ln⟨δ(ξ(q̄) − ξ)⟩: the potential of
                                                                        mean force of quantum transition-state theory; its
                                                                        barrier belongs to rates, it is no distribution of
                                                                        positions
mean        W(ξ̄), ξ̄ = (1/P) Σ_j ξ(q_j)      −W′(ξ̄) ∂ξ/∂q_j             of the mean: as of the centroid where ξ is linear in
                                                                        positions; for curved ξ (angles, a proton that swings)
                                                                        the variable whose mean is the observable ⟨ξ⟩
bead        W(ξ(q_j))                       −W′(ξ(q_j)) ∂ξ/∂q_j         V + W is a physical potential, in which the nuclei are
                                                                        quantum particles; beads are distributed as positions
==========  =============================  ==========================  =====================================================

In all three a configuration of the unbiased ensemble is weighted by exp(−β (1/P) Σ_j W_j), W_j what bead j gets; so any of them
gives any unbiased average, also the quantum distribution of the beads, by the inverse weights. At P = 1 they are the same.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase.calculators.calculator import CalculationFailed

from md.bias.applied import Applied
from md.bias.laws import Law, Metadynamics
from md.bias.variables import Coordinate, mean_value
from md.dynamics.ring_polymer import configuration


class Term(NamedTuple):
    """One bias: a law of a coordinate, applied ``on`` centroid, mean or bead."""

    coordinate: Coordinate
    on: str
    law: Law

    def add(self, positions: np.ndarray, cell: np.ndarray | None, forces: np.ndarray) -> tuple[float, float]:
        """Add its forces to those (P, N, 3) eV/Å of beads (P, N, 3) Å; returns ξ and the mean over beads of W in eV."""
        return WAYS[self.on](self, positions, cell, forces)


def _on_centroid(term: Term, positions, cell, forces) -> tuple[float, float]:
    values, gradients = term.coordinate(positions.mean(axis=0)[None], cell)
    energies, slopes = term.law(values)
    forces[:, term.coordinate.atoms] -= slopes * gradients
    return float(values[0]), float(energies[0])


def _on_mean(term: Term, positions, cell, forces) -> tuple[float, float]:
    values, gradients = term.coordinate(positions, cell)
    value = mean_value(values, term.coordinate.period)
    energies, slopes = term.law(np.array([value]))
    forces[:, term.coordinate.atoms] -= slopes * gradients
    return float(value), float(energies[0])


def _on_bead(term: Term, positions, cell, forces) -> tuple[float, float]:
    values, gradients = term.coordinate(positions, cell)
    energies, slopes = term.law(values)
    forces[:, term.coordinate.atoms] -= slopes[:, None, None] * gradients
    return float(mean_value(values, term.coordinate.period)), float(energies.mean())


WAYS: dict[str, Callable[..., tuple[float, float]]] = {"centroid": _on_centroid, "mean": _on_mean, "bead": _on_bead}


class BiasedPotential:
    """A potential whose forces hold the bias and whose energies do not.

    Energies stay those of the potential, so that guards and records see physical energies; ``applied`` has those of the bias.

    Args:
        potential: As potential.Potential.
        terms: The bias.

    Attributes:
        applied: Applied, of the last call.
    """

    applied: Applied

    def __init__(self, potential: Any, terms: Sequence[Term]):
        self.potential, self.terms = potential, tuple(terms)

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Physical energies (P,) eV, and forces (P, N, 3) eV/Å with the bias, of beads (P, N, 3) Å.

        Raises:
            CalculationFailed: A bias that is not finite.
        """
        energies, forces = self.potential(*configuration(positions, cell))
        return energies, self._with_bias(forces, positions, cell)

    @property
    def every(self) -> int:
        """As of a split.SplitPotential; 1 for other potentials."""
        return getattr(self.potential, "every", 1)

    def at(self, step: int, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """As split.SplitPotential.at; the bias acts at every step."""
        energies, forces, extra = self.potential.at(step, *configuration(positions, cell))
        return energies, self._with_bias(forces, positions, cell), extra

    def _with_bias(self, physical: np.ndarray, positions: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
        forces = physical.copy()
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.array([term.add(positions, cell, forces) for term in self.terms]).reshape(-1, 2)
        if not (np.isfinite(found).all() and np.isfinite(forces).all()) and np.isfinite(physical).all():
            raise CalculationFailed(f"a bias is not finite: variables {found[:, 0].tolist()}")
        self.applied = Applied(found[:, 0], found[:, 1], self.hills.work if self.hills else 0.0, physical)
        return forces

    def closest_pair(self, limits: np.ndarray):
        """As potential.Potential.closest_pair."""
        return self.potential.closest_pair(limits)

    @property
    def hills(self) -> Metadynamics | None:
        """The law that grows, if there is one."""
        return next((term.law for term in self.terms if isinstance(term.law, Metadynamics)), None)

    def deposit(self, positions: np.ndarray, cell: np.ndarray | None, forces: np.ndarray) -> np.ndarray:
        """Add a hill where the last call was, and bring its forces (P, N, 3) up to date, in place; returns the row of the hill.

        The forces are, to the bit, those that the next call at the same positions returns; the potential is not evaluated again.
        """
        place, law = next((n, term.law) for n, term in enumerate(self.terms) if isinstance(term.law, Metadynamics))
        row = law.deposit(float(self.applied.values[place]))
        forces[:] = self._with_bias(self.applied.physical_forces, positions, cell)
        return row
