"""What the disagreement of a committee means: expected errors, and bounds that hold for a stated share of atoms.

With σ the disagreement on the force on an atom (mlcalc/committee.py) and e = |F − F_engine| the error of the model that moves the
atoms, on labels that no member has seen:

    factor = Σ e / Σ σ        the expected error is factor · σ
    bound  = the ⌈(n + 1)·share⌉-th smallest of the n scores e/σ        e ≤ bound · σ with probability ≥ share

The second is split conformal prediction: it holds for any distribution, as long as new structures are drawn as the held-out ones
were. Source: Angelopoulos and Bates, arXiv:2107.07511 (2021), section 1.
"""

import math
from typing import NamedTuple

import numpy as np

SHARE = 0.9
_TINY = 1e-9  # eV/Å; a disagreement of zero would make scores infinite


class Calibration(NamedTuple):
    """How errors follow from disagreements.

    Attributes:
        factor: Mean error over mean disagreement.
        bound: Of the error of an atom, in disagreements; infinite with too few labels for the share.
        coverage: Share of atoms of other held-out structures within the bound; NaN with fewer than two structures.
        structures: Number of held-out structures.
    """

    factor: float
    bound: float
    coverage: float
    structures: int


def calibrate(disagreement: np.ndarray, errors: np.ndarray) -> Calibration:
    """The calibration from disagreements and errors (n, N) eV/Å of n held-out structures of N atoms.

    ``coverage`` is measured on each half of the structures with the bound of the other half.
    """
    sigma = np.maximum(disagreement, _TINY)
    scores = errors / sigma
    n = len(scores)
    halves = [(scores[k::2], scores[1 - k :: 2]) for k in (0, 1)]
    within = [other.ravel() <= conformal_bound(mine) for mine, other in halves] if n > 1 else [np.array([np.nan])]
    coverage = float(np.concatenate(within).mean())
    return Calibration(float(errors.sum() / sigma.sum()), conformal_bound(scores), coverage, n)


def conformal_bound(scores: np.ndarray, share: float = SHARE) -> float:
    """The smallest bound that a new score meets with probability of at least ``share``, from scores of any shape."""
    ordered = np.sort(scores, axis=None)
    rank = math.ceil((len(ordered) + 1) * share)
    return float(ordered[rank - 1]) if rank <= len(ordered) else math.inf
