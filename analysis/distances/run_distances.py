"""Distances along runs with their warnings and references; analysis/distances/report.py makes tables and files of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.distances.pair_checks import (
    Likes,
    exchange_lines,
    find_alike,
    joined_groups,
    scatter_lines,
    scatters,
    slow_line,
    widened,
)
from analysis.distances.pair_distances import KINDS, N_BLOCKS, Histogram, Moments, PairDistances
from analysis.distances.run_pairs import PairChoice, choose_pairs, shortest_pair
from analysis.harmonic import HarmonicDistances, harmonic_distances, reference_modes
from analysis.runs.run import Run, model_content, pool
from analysis.runs.run_files import check_kept, check_same_atoms
from analysis.runs.universe import bead_universe, open_run
from analysis.structure.exchange import Exchange
from md.observables.statistics import Mean
from mlcalc.common.errors import InputError
from mlcalc.vibrations import NormalModes

NAMES = {"bonds": "bonds", "diameters": "cage diameters"}
_QUANTUM_GLE = (
    "matrices of GLE with a covariance give few beads neither the distribution of rings nor quite the quantum limit"
)


def title(name: str) -> str:
    """Title of a group of pairs in tables."""
    return NAMES.get(name, name)


@dataclass(frozen=True)
class RunDistances:
    """One run's part of the report.

    Attributes:
        run: The run.
        frames: Frames used, after those discarded.
        time_ps: (first, last) time used, of the first and last folder.
        pairs: Group name → (n_pairs, 2) atom indices.
        histograms, moments: As in PairDistances.results; empty for a periodic run without pairs, whose distances g(r) describes.
        shortest: Smallest distance of two atoms in any bead, Å, periodic images included.
        pairs_note: Which pairs are left out, and which command gives their distances, or "".
        harmonic: ``(group, kind)`` → harmonic reference at the run's temperature and beads; empty if there is none.
        harmonic_note: The reason for its absence, or "".
        exchanges: Bonds of the start structure that did not persist.
        swapped: Groups with pairs that exchanges make equivalent: their distances have several wells.
        warnings: Sentences on exchanges, motion too slow for the run, and equivalent pairs that differ.
        nearest_images: Whether distances are between nearest periodic images, not within one molecule.
    """

    run: Run
    frames: int
    time_ps: tuple[float, float]
    pairs: dict[str, np.ndarray]
    histograms: dict[tuple[str, str], Histogram]
    moments: dict[tuple[str, str], Moments]
    shortest: float
    pairs_note: str
    harmonic: dict[tuple[str, str], HarmonicDistances]
    harmonic_note: str
    exchanges: tuple[Exchange, ...] = ()
    swapped: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()
    nearest_images: bool = False

    @property
    def length_ps(self) -> float:
        """Time that the frames cover."""
        return self.frames * self.run.frame_interval_ps


def analyse(
    folders: list[Path], discard: float, model_name: str | None = None, pooled: bool = False,
    choose: Callable[[Atoms], PairChoice] = choose_pairs,
) -> list[RunDistances]:  # fmt: skip
    """Analyse runs of one molecule, sorted by decreasing number of beads.

    Args:
        folders: Run folders.
        discard: Share of the frames left out at the start, in [0, 1).
        model_name: Model of the harmonic reference of all runs. None uses each run's own, and omits the reference if it is
            unusable.
        pooled: Combine runs of the same kind (run.pool).
        choose: Function from the first run's structure to its groups of pairs.

    Raises:
        InputError: Any error of open_run; runs of different molecules; a single atom; fewer than 20 frames left; an unusable
            ``model_name``.
    """
    runs = sorted((open_run(folder) for folder in folders), key=lambda run: -run.rank)
    for run in runs[1:]:
        check_same_atoms(run, runs[0])
    runs = pool(runs) if pooled else runs
    structure = runs[0].structure
    for run in runs:
        _check_length(run, discard)
    choice = choose(structure)
    measured = [_measure(run, choice, discard) for run in runs]
    exchanges = [item for found in measured if found for item in found.results.exchanges]
    likes = find_alike(structure, choice.pairs, exchanges)
    joined = joined_groups(structure, choice.pairs, likes) if choice.join else {}
    if joined:  # known only after the first pass
        choice = choice._replace(pairs=choice.pairs | joined)
        measured = [_measure(run, choice, discard) for run in runs]
    modes: dict = {}
    result = []
    for run, found in zip(
        runs, measured, strict=True
    ):  # each run keeps a copy of its model; identical copies are relaxed once
        content = model_content(model_name or run.model)
        if content not in modes:
            wanted = choice.pairs or model_name
            modes[content] = _modes(model_name or run.model, structure, model_name) if wanted else (None, "")
        reference = (None, _QUANTUM_GLE) if run.quantum_gle else modes[content]
        item = _collect(run, choice, found, *reference) if found else _without_pairs(run, choice, discard)
        result.append(_checked(item, structure, found, likes) if found else item)
    return result


def _check_length(run: Run, discard: float) -> None:
    check_kept(run, discard, N_BLOCKS)
    if len(run.structure) < 2:
        raise InputError(f"{run}: a single atom has no distances; expected at least two")


def _modes(model_name: str, structure: Atoms, required: str | None) -> tuple[NormalModes | None, str]:
    """Normal modes of a model, or None and the reason; InputError if the user gave the model."""
    try:
        return reference_modes(structure, model_name), ""
    except InputError as error:
        if required is not None:
            raise
        return None, str(error)


def _measure(run: Run, choice: PairChoice, discard: float) -> PairDistances | None:
    """None for a periodic run without pairs, whose distances g(r) describes."""
    if run.axes is not None and not choice.pairs:
        return None
    analysis = PairDistances(
        bead_universe(run), choice.pairs, choice.r_max, molecule=choice.molecule, watch=choice.watch
    )
    return analysis.run(frames=run.kept(discard))


def _without_pairs(run: Run, choice: PairChoice, discard: float) -> RunDistances:
    kept, trajectory = run.kept(discard), bead_universe(run).trajectory
    times = [float(trajectory[frame].time) for frame in kept[[0, -1]].tolist()]
    return RunDistances(
        run=run, frames=len(kept), time_ps=(times[0], times[1]), pairs={}, histograms={}, moments={},
        shortest=shortest_pair(run, kept), pairs_note=choice.note, harmonic={}, harmonic_note="", nearest_images=True,
    )  # fmt: skip


def _collect(
    run: Run, choice: PairChoice, analysis: PairDistances, modes: NormalModes | None, note: str
) -> RunDistances:
    harmonic = {}
    if modes is not None:
        for name, group in choice.pairs.items():
            # The centroid has the classical width, unless it is the only bead.
            for kind, beads in zip(
                KINDS, (run.reference_beads, 1 if run.n_beads > 1 else run.reference_beads), strict=True
            ):
                harmonic[name, kind] = harmonic_distances(modes, group, run.temperature_K, beads)
    results = analysis.results
    return RunDistances(
        run=run, frames=analysis.n_frames, time_ps=(float(analysis.times[0]), float(analysis.times[-1])), pairs=choice.pairs,
        histograms=results.histograms, moments=results.moments, shortest=results.shortest, pairs_note=choice.note,
        harmonic=harmonic, harmonic_note=note, exchanges=tuple(results.exchanges),
        nearest_images=run.axes is not None and choice.molecule is None,
    )  # fmt: skip


def _checked(item: RunDistances, structure: Atoms, analysis: PairDistances, likes: Likes) -> RunDistances:
    """Scale errors by the scatter of equivalent pairs, and add warnings."""
    groups, results = item.pairs, analysis.results
    found = {kind: scatters(likes, groups, {name: results.pair_means[name, kind] for name in groups}) for kind in KINDS}
    moments = {(name, kind): widened(value, groups[name], found[kind]) for (name, kind), value in item.moments.items()}
    warnings = [
        *exchange_lines(structure, list(item.exchanges), likes),
        *slow_line({name: title(name) for name in groups}, item.moments, item.length_ps),
        *scatter_lines(structure, found["beads"]),
    ]
    swapped = frozenset(name for name, group in groups.items() if likes.several_wells(group))
    return replace(item, moments=moments, swapped=swapped, warnings=tuple(warnings))


def broadening(quantum: RunDistances, classical: RunDistances, group: str) -> tuple[Mean, float | None]:
    """Ratio of the bead standard deviations of two independent runs with its error, and the harmonic ratio if known."""
    a, b = quantum.moments[group, "beads"].std, classical.moments[group, "beads"].std
    ratio = a.value / b.value
    error = ratio * float(np.hypot(a.error / a.value, b.error / b.value))
    harmonic = None
    if quantum.harmonic and classical.harmonic:
        harmonic = quantum.harmonic[group, "beads"].std / classical.harmonic[group, "beads"].std
    return Mean(ratio, error, min(a.n_effective, b.n_effective)), harmonic


def comparisons(analysed: list[RunDistances]) -> list[tuple[RunDistances, RunDistances]]:
    """Pairs (more beads, fewest beads) of runs at equal temperature."""
    fewest = analysed[-1]
    return [
        (item, fewest)
        for item in analysed
        if item.run.rank > fewest.run.rank and item.run.temperature_K == fewest.run.temperature_K
    ]
