"""The ``distances`` command: runs in; table, figure and numbers out."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.distances import KINDS, N_BLOCKS, Histogram, Moments, PairDistances
from analysis.harmonic import HarmonicDistances, harmonic_distances, reference_modes
from analysis.run_pairs import PairChoice, choose_pairs, shortest_pair
from analysis.universe import Run, bead_universe, model_content, open_run, pool
from md.statistics import Mean
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.model_file import load_model
from mlcalc.tables import aligned, with_error
from mlcalc.vibrations import NormalModes

NAMES = {"bonds": "bonds", "diameters": "cage diameters"}


@dataclass(frozen=True)
class RunDistances:
    """One run's part of the report.

    Attributes:
        run: The run.
        frames: Frames used, after those discarded.
        time_ps: (first, last) time used, of the first and last folder.
        pairs: Group name → (n_pairs, 2) atom indices.
        histograms, moments: As in PairDistances.results; empty for a periodic run without pairs, whose distances are those of g(r).
        shortest: Smallest distance of two atoms in any bead, Å, periodic images included.
        pairs_note: Which pairs are left out, and where else their distances are found, or "".
        harmonic: ``(group, kind)`` → harmonic reference at the run's temperature and beads; empty if there is none.
        harmonic_note: Why there is none, or "".
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


def analyse(
    folders: list[Path], discard: float, model_name: str | None = None, pooled: bool = False
) -> list[RunDistances]:
    """Analyse runs of one molecule; most beads first.

    Args:
        folders: Run folders.
        discard: Share of the frames left out at the start, in [0, 1).
        model_name: Model of the harmonic reference of all runs. None takes each run's own, and goes without where that
            cannot be used.
        pooled: Take runs of the same kind as one (universe.pool).

    Raises:
        InputError: What open_run refuses; runs of different molecules; a single atom; fewer than 20 frames left; a
            ``model_name`` that cannot be used.
    """
    runs = sorted((open_run(folder) for folder in folders), key=lambda run: -run.n_beads)
    for run in runs[1:]:
        _check_same_atoms(run, runs[0])
    runs = pool(runs) if pooled else runs
    structure = runs[0].structure
    for run in runs:
        _check_length(run, discard)
    choice = choose_pairs(structure)
    modes: dict = {}
    for run in runs:  # each keeps a copy of its model: the same content is relaxed once
        content = model_content(model_name or run.model)
        if content not in modes:
            wanted = choice.pairs or model_name
            modes[content] = _modes(model_name or run.model, structure, model_name) if wanted else (None, "")
    return [_analyse_run(run, choice, discard, *modes[model_content(model_name or run.model)]) for run in runs]


def _check_same_atoms(run: Run, other: Run) -> None:
    if not np.array_equal(run.structure.numbers, other.structure.numbers):
        raise InputError(
            f"{run} holds {run.structure.get_chemical_formula('reduce')} and {other} "
            f"{other.structure.get_chemical_formula('reduce')}: expected the same atoms in the same order in all runs"
        )


def _check_length(run: Run, discard: float) -> None:
    used = len(run.kept(discard))
    if used < N_BLOCKS:
        raise InputError(
            f"{run}: {run.n_frames} frames, {used} after discarding the first {discard:.0%}; expected at least {N_BLOCKS}"
        )
    if len(run.structure) < 2:
        raise InputError(f"{run}: a single atom has no distances; expected at least two")


def _modes(model_name: str, structure: Atoms, required: str | None) -> tuple[NormalModes | None, str]:
    """Normal modes of a model, or None and the reason why not; InputError if the model was asked for by name."""
    try:
        return reference_modes(structure, load_model(model_name)), ""
    except InputError as error:
        if required is not None:
            raise
        return None, str(error)


def _analyse_run(run: Run, choice: PairChoice, discard: float, modes: NormalModes | None, note: str) -> RunDistances:
    kept = run.kept(discard)
    if run.axes is not None and not choice.pairs:
        trajectory = bead_universe(run).trajectory
        times = [float(trajectory[frame].time) for frame in kept[[0, -1]].tolist()]
        return RunDistances(
            run=run, frames=len(kept), time_ps=(times[0], times[1]), pairs={}, histograms={}, moments={},
            shortest=shortest_pair(run, kept), pairs_note=choice.note, harmonic={}, harmonic_note=note,
        )  # fmt: skip
    analysis = PairDistances(bead_universe(run), choice.pairs, choice.r_max, molecule=choice.molecule).run(frames=kept)
    harmonic = {}
    if modes is not None:
        for name, group in choice.pairs.items():
            for kind, beads in zip(KINDS, (run.n_beads, 1), strict=True):  # a centroid spreads classically
                harmonic[name, kind] = harmonic_distances(modes, group, run.temperature_K, beads)
    results = analysis.results
    return RunDistances(
        run=run, frames=analysis.n_frames, time_ps=(float(analysis.times[0]), float(analysis.times[-1])), pairs=choice.pairs,
        histograms=results.histograms, moments=results.moments, shortest=results.shortest, pairs_note=choice.note,
        harmonic=harmonic, harmonic_note=note,
    )  # fmt: skip


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
    """Pairs (more beads, fewest beads) of runs at one temperature."""
    fewest = analysed[-1]
    return [
        (item, fewest)
        for item in analysed
        if item.run.n_beads > fewest.run.n_beads and item.run.temperature_K == fewest.run.temperature_K
    ]


def as_text(analysed: list[RunDistances]) -> str:
    """Table of means and standard deviations, and what they say, as printed by the command."""
    header = ["P", "T / K", "pairs", "positions", "mean / Å", "harmonic", "std / Å", "harmonic"]
    rows = []
    for item in analysed:
        for name, kind in item.moments:
            if kind == "centroid" and item.run.n_beads == 1:
                continue  # one bead is its own centroid
            moments, harmonic = item.moments[name, kind], item.harmonic.get((name, kind))
            rows.append([
                f"{item.run.n_beads}", f"{item.run.temperature_K:g}", f"{len(item.pairs[name])} {NAMES[name]}", kind,
                with_error(moments.mean.value, moments.mean.error), f"{harmonic.mean:.4f}" if harmonic else "–",
                with_error(moments.std.value, moments.std.error), f"{harmonic.std:.4f}" if harmonic else "–",
            ])  # fmt: skip
    lines = [aligned(header, rows), "std: of each pair's distance, averaged over the pairs. ±: one standard error."]
    lines = lines if rows else []
    if any(item.harmonic for item in analysed):
        lines.append("harmonic: the same model with its energy quadratic about the minimum.")
    for item in analysed:
        if len(item.run.folders) == 1:
            extent = f"from {item.time_ps[0]:.4g} to {item.time_ps[1]:.4g} ps"
        else:
            extent = f"over {item.frames * item.run.frame_interval_ps:.4g} ps"
        lines.append(
            f"P = {item.run.n_beads}: {item.frames} frames {extent} of {item.run}; shortest pair {item.shortest:.3f} Å"
        )
        if outside := _outside(item):
            lines.append(f"  {outside:.2%} of the distances lie beyond the histogram")
        if item.pairs_note:
            lines.append(f"  {item.pairs_note}")
        if item.harmonic_note:
            lines.append(f"  no harmonic reference: {item.harmonic_note}")
    for quantum, classical in comparisons(analysed):
        for name in quantum.pairs:
            ratio, harmonic_ratio = broadening(quantum, classical, name)
            wider = with_error(ratio.value, ratio.error)
            lines.append(
                f"With P = {quantum.run.n_beads} the {NAMES[name]} are {wider} times as wide as with "
                f"P = {classical.run.n_beads}" + (f" (harmonic: {harmonic_ratio:.3f})." if harmonic_ratio else ".")
            )
    return "\n".join(lines)


def _outside(item: RunDistances) -> float | None:
    return item.histograms["all", "beads"].outside if item.histograms else None


def as_json(analysed: list[RunDistances]) -> str:
    """The table's numbers as JSON; keys carry their unit, NaN becomes null."""
    runs = []
    for item in analysed:
        groups: dict = {}
        for (name, kind), moments in item.moments.items():
            groups.setdefault(name, {"n_pairs": len(item.pairs[name])})[kind] = {
                "mean_A": moments.mean.value, "mean_error_A": moments.mean.error,
                "std_A": moments.std.value, "std_error_A": moments.std.error,
                **({"harmonic_mean_A": item.harmonic[name, kind].mean, "harmonic_std_A": item.harmonic[name, kind].std}
                   if item.harmonic else {}),
            }  # fmt: skip
        run = item.run
        runs.append({
            "folders": [str(folder) for folder in run.folders], "beads": run.n_beads, "temperature_K": run.temperature_K,
            "model": run.model, "frames": item.frames, "frame_interval_ps": run.frame_interval_ps,
            "time_ps": item.time_ps, "groups": groups, "shortest_A": item.shortest,
            "outside_histogram": _outside(item), "pairs_note": item.pairs_note, "harmonic_note": item.harmonic_note,
        })  # fmt: skip
    ratios = []
    for quantum, classical in comparisons(analysed):
        for name in quantum.pairs:
            ratio, harmonic_ratio = broadening(quantum, classical, name)
            ratios.append({
                "group": name, "beads": quantum.run.n_beads, "against_beads": classical.run.n_beads,
                "std_ratio": ratio.value, "std_ratio_error": ratio.error, "harmonic": harmonic_ratio,
            })  # fmt: skip
    return to_json({"runs": runs, "broadening": ratios}, indent=1)


def densities(analysed: list[RunDistances]) -> dict[str, np.ndarray]:
    """Arrays of the NPZ file: ``r_A`` in Å; ``run{k}_P{P}_{group}_{kind}_{density or error}`` in Å⁻¹."""
    arrays = {"r_A": analysed[0].histograms["all", "beads"].r}
    for k, item in enumerate(analysed):
        for (name, kind), histogram in item.histograms.items():
            prefix = f"run{k}_P{item.run.n_beads}_{name}_{kind}"
            arrays |= {f"{prefix}_density": histogram.density, f"{prefix}_error": histogram.error}
    return arrays


def write_files(analysed: list[RunDistances], figure_path: Path) -> list[Path]:
    """Write the table (TXT), the figure (PNG, SVG) and the numbers (JSON, NPZ) beside each other; returns their paths.

    Periodic runs without pairs have no distributions, and nothing is written.
    """
    from analysis.plots import distance_figure, write_beside

    if not all(item.histograms for item in analysed):
        return []
    archive = io.BytesIO()
    np.savez_compressed(archive, **densities(analysed))  # type: ignore[arg-type]  # NumPy's stub takes names for options
    figure = distance_figure(analysed)
    return write_beside(figure_path, figure, as_text(analysed), as_json(analysed), npz=archive.getvalue())
