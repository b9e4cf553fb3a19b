"""Multiple time steps (r-RESPA): a fast potential at every step, slow components at every M-th.

A slow component kicks where the number of the step is a multiple of its M, with M times its forces; in between it does not act.
A step (integrators.py) kicks for Δt/2 with the forces of its begin and for Δt/2 with those of its end, so that M steps are

    e^{MΔt/2 B_slow} (e^{Δt/2 B_fast} … e^{Δt/2 B_fast})^M e^{MΔt/2 B_slow},

with the O, A or C letters of any splitting inside: reversible, symplectic without O, of second order in MΔt. The integrator does
not know: it is given other forces at some steps.

A step of the run is the inner one, Δt = ``timestep_fs``, so that all intervals of an input count the same steps. The state is that
of a symmetric splitting at multiples of all M alone, the ends of the outer steps: there lie records, frames, hills and checkpoints.
There the total energy, Σ_c w_c V_c of all components, and its forces are known, and all estimators use these.

Sources: Tuckerman, Berne, Martyna, J. Chem. Phys. 97, 1990 (1992), doi:10.1063/1.463137; in path integrals Kapil, VandeVondele,
Ceriotti, J. Chem. Phys. 144, 054111 (2016), doi:10.1063/1.4941091.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from md.components.contracted import ContractedPotential
from md.dynamics.ring_polymer import configuration


class Component(NamedTuple):
    """A slow part of a sum.

    Attributes:
        potential: As potential.Potential.
        weight, every: w and M.
        beads: P′; 0 for all.
        limits: (E, E) Å, smallest distances at which it is valid, as its ``closest_pair`` takes them; None for those of the run.
    """

    potential: Any
    weight: float = 1.0
    beads: int = 0
    every: int = 1
    limits: np.ndarray | None = None


class SplitPotential:
    """A fast potential and slow components.

    Calls are of the beads of one ring polymer, and give the sum of all components; ``at`` is for motion with several time steps.

    Args:
        fast: As potential.Potential; evaluated on all beads at every step.
        slow: Its companions.

    Attributes:
        every: Steps of an outer step: least common multiple of all M.
    """

    def __init__(self, fast: Any, slow: Sequence[Component]):
        self.fast, self.slow = fast, tuple(slow)
        self.every = math.lcm(*(component.every for component in slow))
        self._rings = [
            ContractedPotential(part.potential, part.beads) if part.beads else part.potential for part in slow
        ]
        self._held: list[tuple[np.ndarray, np.ndarray]] = []  # as they last acted
        self._fresh: list[int] = []  # evaluated by the last call

    @property
    def parts(self) -> tuple[Any, ...]:
        """The potentials of all components."""
        return self.fast, *(part.potential for part in self.slow)

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å of all components, of beads (P, N, 3) Å of one ring polymer."""
        place, self._fresh = configuration(positions, cell), list(range(len(self.slow)))
        return _sum(self.fast(*place), [self._of(n, place) for n in self._fresh])

    def evaluate(self, positions: np.ndarray, cell: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """As potential.Potential.evaluate, of all components: energies, forces, virials."""
        place = configuration(positions, cell)
        fast, self._fresh = self.fast.evaluate(*place), list(range(len(self.slow)))
        slow = [(part.weight, ring.evaluate(*place)) for part, ring in zip(self.slow, self._rings, strict=True)]
        return {
            name: sum((weight * found[name] for weight, found in slow), fast[name])
            for name in ("energies", "forces", "virials")
        }

    def at(self, step: int, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å at a step, and what kicks have beside these forces, (P, N, 3) eV/Å.

        At multiples of ``every`` energies and forces are those of a call. In between they hold a slow component as it was when it
        last acted, which is what guards see of it there; kicks do not.

        Raises:
            ValueError: The first step is not a multiple of ``every``.
        """
        if not self._held and step % self.every:
            raise ValueError(f"step {step} is within an outer step of {self.every}")
        place = configuration(positions, cell)
        fast, before = self.fast(*place), self._held
        due = [step % part.every == 0 for part in self.slow]
        self._held = [self._of(n, place) if now else before[n] for n, now in enumerate(due)]
        self._fresh = [n for n, now in enumerate(due) if now]
        extra = np.zeros_like(positions)
        for part, now, (_, forces) in zip(self.slow, due, self._held, strict=True):
            extra += (part.every - 1 if now else -1) * forces
        return *_sum(fast, self._held), extra

    def closest_pair(self, limits: np.ndarray):
        """As potential.Potential.closest_pair: of the fast potential and of what else was evaluated, by the limits of each."""
        pairs = [self.fast.closest_pair(limits)]
        for n in self._fresh:
            own = self.slow[n].limits
            pairs.append(self._rings[n].closest_pair(limits if own is None else own))
        nearest = min(pairs, key=lambda pair: pair.distance / pair.limit if pair.limit else math.inf)
        return nearest._replace(smallest=min(pair.smallest for pair in pairs))

    def _of(self, n: int, place: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Weighted energies and forces of a slow component."""
        energies, forces = self._rings[n](*place)
        return self.slow[n].weight * energies, self.slow[n].weight * forces


def one_by_one(potential: Any, cell: np.ndarray | None) -> Any:
    """A potential of beads for configurations that are no beads of one ring polymer, in a cell (3, 3) Å unless a call gives one."""

    def found(positions: np.ndarray, other: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__."""
        place = cell if other is None else other
        parts = [potential(*configuration(one[None], place)) for one in positions]
        return np.concatenate([energies for energies, _ in parts]), np.concatenate([forces for _, forces in parts])

    return found


def _sum(fast: tuple, slow: Sequence[tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Energies and forces of fast and weighted slow parts."""
    energies, forces = (sum((part[k] for part in slow), fast[k]) for k in range(2))
    return energies, forces
