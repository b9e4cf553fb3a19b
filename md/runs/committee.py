"""The committee of a run: further models, whose disagreement with the model of the run is recorded and can stop it.

Only the run's model moves the atoms, so that a run with a committee is bit for bit the run without one; the others are evaluated
at every record.
"""

from collections.abc import Sequence

import numpy as np

from md.guards.endings import Exit, SimulationError
from md.observables.estimators import Sample
from md.potentials import force_disagreement
from md.simulation import Potential, frame_of


def disagreement(sample: Sample, committee: Sequence[Potential]) -> np.ndarray:
    """(P, N) eV/Å, disagreement of the run's model and its committee on the force on every bead of every atom."""
    place = sample.ring_polymer.configuration
    return force_disagreement(np.array([sample.physical_forces, *(potential(*place)[1] for potential in committee)]))


def check_agreement(sample: Sample, limit: float, indices: np.ndarray | None = None) -> None:
    """Raise SimulationError if a sample's disagreement exceeds the limit, eV/Å; indices as in limits.Guard."""
    bead, atom = np.unravel_index(sample.disagreement.argmax(), sample.disagreement.shape)
    largest = sample.disagreement[bead, atom]
    if not largest <= limit:
        atom = atom if indices is None else indices[atom]
        raise SimulationError(
            f"step {sample.step}: the committee disagrees by {largest:.4g} eV/Å on atom {atom} in bead {bead}, above "
            f"max_disagreement_eV_A = {limit:g}; label breach.xyz (mlcalc label), add it to the training data, and run again",
            Exit.DISAGREEMENT, frame_of(sample),
        )  # fmt: skip
