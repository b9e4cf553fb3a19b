"""What a bias did at a force call, for samples and records."""

from typing import NamedTuple

import numpy as np


class Applied(NamedTuple):
    """The bias at the last call.

    Attributes:
        values: (n,) ξ of each term: of the centroid, or the mean over beads.
        energies: (n,) eV, means over beads of W.
        work: eV, work of the hills so far (laws.Metadynamics), which the conserved energy lacks.
        physical_forces: (P, N, 3) eV/Å, without the bias.
    """

    values: np.ndarray
    energies: np.ndarray
    work: float
    physical_forces: np.ndarray
