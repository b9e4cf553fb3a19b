"""The free energy along a variable from weighted frames, with standard errors from a bootstrap of blocks.

F(ξ) = −k_BT ln p(ξ), p the distribution of the variable itself. Frames of windows are weighted by MBAR: in the unbiased ensemble
frame n counts with 1/Σ_k N_k exp(f_k − u_k(n)), u_k the bias of window k over k_BT, f_k such that the weights of each ensemble sum
to one; frames of one window or of metadynamics with exp(W/k_BT). Neighbouring frames are correlated: for the errors each run is
cut into blocks of consecutive frames, which are drawn with replacement; f_k are found anew each time. Hills depend on all that came
before them, which blocks of one run do not show: where there are enough runs of metadynamics, whole runs are drawn instead.

Source: Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008), doi:10.1063/1.2978177.
"""

import logging
from dataclasses import dataclass

import numpy as np

from analysis.free_energy.biased_run import FEWEST, BiasedRun, bias_energies, check_alike, hill_energies
from analysis.free_energy.variable import Variable
from md.observables.statistics import effective_count
from mlcalc.common.errors import InputError

_BLOCKS, _TRIALS = FEWEST // 2, 60
_LEAST_OVERLAP = 0.03  # Klimovich, Shirts, Mobley, doi:10.1007/s10822-015-9840-9
_SOLVER = ({"method": "adaptive", "options": {"maxiter": 200}},)  # 10 suffice where windows overlap
ENOUGH_RUNS = 4  # of metadynamics, to draw whole runs


@dataclass(frozen=True)
class FreeEnergy:
    """F(ξ) above its minimum.

    Attributes:
        centres: (n,) of bins, in the unit of the variable.
        values, errors: (n,) eV; infinite and NaN where no frame is, or none in a resampled set. The errors are those of
            −k_BT ln p, not of differences from the minimum.
        n_frames: Of all runs; n_effective: How many equally weighted frames theirs are worth (Kish), correlations left aside.
        overlap: Of the windows: 1 − λ₂ of the overlap matrix, 0 for groups that share no configurations, 1 for equal windows; NaN
            for one window and for metadynamics.
        beyond: F of values above the place that divides them, less F of those below, and its standard error, eV, if there is such
            a place.
    """

    centres: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    n_frames: int
    n_effective: float
    overlap: float
    beyond: tuple[float, float] | None


def free_energy(
    runs: list[BiasedRun], variable: Variable, on: str, bins: int, divide: float | None, rng: np.random.Generator
) -> FreeEnergy:
    """F along a variable of centroids, means over beads, or beads.

    Args:
        on: centroid, mean or bead; bins: Between the least and the largest value; divide: A place between two basins, or None.

    Raises:
        InputError: Runs of different ensembles; windows that do not overlap; a place that divides nothing; pymbar is not installed.
    """
    check_alike(runs)
    along = [variable.of(run.structure, run.positions, on) for run in runs]
    low, high = min(values.min() for values in along), max(values.max() for values in along)
    if divide is not None and not low < divide < high:
        raise InputError(
            f"--divide {divide:g}: expected a place between {low:.4g} and {high:.4g}, where the frames are"
        )
    edges = np.linspace(low, high, bins + 1)
    shares = [_shares(values, edges, divide) for values in along]
    weigh = _Hills(runs) if runs[0].hills else _Windows(runs)
    everything = [np.arange(len(run.steps)) for run in runs]
    weights = weigh(everything)
    found = _profile(weights, shares, everything, runs[0].thermal)
    trials = []
    for _ in range(_TRIALS):
        picked = weigh.resampled(everything, rng)
        trials.append(_profile(weigh(picked), shares, picked, runs[0].thermal))
    with np.errstate(invalid="ignore"):  # infinite − infinite, where a trial has no frame
        errors = np.std(trials, axis=0, ddof=1)
    beyond = None
    if divide is not None:
        apart = np.array(trials)[:, -1] - np.array(trials)[:, -2]
        beyond = float(found[-1] - found[-2]), float(apart.std(ddof=1))
    return FreeEnergy(
        0.5 * (edges[1:] + edges[:-1]), found[:-2] - found[:-2].min(), errors[:-2], len(weights),
        effective_count(weights), weigh.overlap, beyond,
    )  # fmt: skip


class _Hills:
    """Logarithms of the weights of frames of metadynamics; all its runs have the same bias."""

    overlap = float("nan")

    def __init__(self, runs: list[BiasedRun]):
        self._logs = [(bias_energies(run, [run.biases])[0] + hill_energies(run)) / run.thermal for run in runs]

    def __call__(self, picked: list[np.ndarray]) -> np.ndarray:
        """(n,) of the picked frames (n_k,) of every run, one after the other."""
        return np.concatenate([logs[frames] for logs, frames in zip(self._logs, picked, strict=True)])

    @staticmethod
    def resampled(frames: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """Frames (n_k,) of every run, drawn with replacement: whole runs, if there are enough, else blocks."""
        n = len(frames)
        if n < ENOUGH_RUNS:
            return _blocks_of(frames, rng)
        return [
            np.tile(one, count)
            for one, count in zip(frames, np.bincount(rng.integers(n, size=n), minlength=n), strict=True)
        ]


class _Windows:
    """Logarithms of the weights of frames of windows, by MBAR; overlap is that of all their frames."""

    overlap = float("nan")

    def __init__(self, runs: list[BiasedRun]):
        # (K, n) for each run: the bias of every window at its frames, over k_BT
        self._reduced = [bias_energies(run, [other.biases for other in runs]) / run.thermal for run in runs]
        self._start: np.ndarray | None = None

    def __call__(self, picked: list[np.ndarray]) -> np.ndarray:
        """As _Hills.__call__."""
        reduced = np.concatenate([part[:, frames] for part, frames in zip(self._reduced, picked, strict=True)], axis=1)
        if len(reduced) == 1:
            return reduced[0]
        counts = np.array([len(frames) for frames in picked])
        mbar = _solver()(reduced, counts, initial_f_k=self._start, solver_protocol=_SOLVER)
        if self._start is None:  # the first call has all frames; the others start from its result
            self._start, self.overlap = mbar.f_k, float(mbar.compute_overlap()["scalar"])
            if not self.overlap >= _LEAST_OVERLAP:
                raise InputError(
                    f"the windows overlap too little (1 − λ₂ = {self.overlap:.2g}, expected at least {_LEAST_OVERLAP}): they fall "
                    "into groups whose relative free energies these runs do not tell; add windows between them, or weaken their "
                    "force constants"
                )
        return -np.logaddexp.reduce((mbar.f_k + np.log(counts))[:, None] - reduced, axis=0)

    @staticmethod
    def resampled(frames: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """Frames (n_k,) of every run, drawn with replacement in blocks."""
        return _blocks_of(frames, rng)


def _solver() -> type:
    """pymbar's MBAR; InputError if it is not installed."""
    logging.getLogger("pymbar").setLevel(logging.ERROR)  # it speaks about JAX when it loads
    try:
        from pymbar import MBAR
    except ImportError as error:
        raise InputError(
            "windows are joined by pymbar, which is not installed: pip install 'mlcalc[free-energy]'"
        ) from error
    return MBAR


def _shares(values: np.ndarray, edges: np.ndarray, divide: float | None) -> np.ndarray:
    """(n, n_bins + 2) shares of the values (n, P) of each frame in bins, and below and above a place that divides them."""
    n_bins = len(edges) - 1
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, n_bins - 1)
    found = np.zeros((len(values), n_bins + 2))
    rows = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    np.add.at(found, (rows, places), 1.0 / values.shape[1])
    if divide is not None:
        found[:, -1] = (values > divide).mean(axis=1)
        found[:, -2] = 1.0 - found[:, -1]
    return found


def _profile(logs: np.ndarray, shares: list[np.ndarray], picked: list[np.ndarray], thermal: float) -> np.ndarray:
    """−k_BT ln of the weighted mean share of everything in _shares, eV; infinite where there is nothing."""
    weights = np.exp(logs - logs.max())
    parts = np.concatenate([part[frames] for part, frames in zip(shares, picked, strict=True)])
    with np.errstate(divide="ignore"):
        return -thermal * np.log(weights @ parts / weights.sum())


def _blocks_of(frames: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Of every run as many blocks of consecutive frames as it has, drawn with replacement."""
    drawn = []
    for one in frames:
        blocks = np.array_split(one, _BLOCKS)
        drawn.append(np.concatenate([blocks[k] for k in rng.integers(_BLOCKS, size=_BLOCKS)]))
    return drawn
