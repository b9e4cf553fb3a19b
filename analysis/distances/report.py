"""The ``distances`` command: runs in; table, figure and numbers out."""

from pathlib import Path

import numpy as np

from analysis.distances.run_distances import NAMES as NAMES  # re-exported for notebooks
from analysis.distances.run_distances import RunDistances, broadening, comparisons, title
from analysis.distances.run_distances import analyse as analyse
from analysis.distances.slow_motion import correlation_times
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.common.zip_files import npz_bytes


def as_text(analysed: list[RunDistances]) -> str:
    """Table of means and standard deviations with notes and conclusions, as printed by the command."""
    header = ["P", "T / K", "pairs", "positions", "mean / Å", "harmonic", "std / Å", "harmonic"]
    rows = []
    for item in analysed:
        for name, kind in item.moments:
            if kind == "centroid" and item.run.n_beads == 1:
                continue  # one bead is its own centroid
            moments, harmonic = item.moments[name, kind], item.harmonic.get((name, kind))
            rows.append([
                item.run.title.removeprefix("P = "), f"{item.run.temperature_K:g}", _counted(item, name), kind,
                with_error(moments.mean.value, moments.mean.error), f"{harmonic.mean:.4f}" if harmonic else "–",
                with_error(moments.std.value, moments.std.error), f"{harmonic.std:.4f}" if harmonic else "–",
            ])  # fmt: skip
    lines = [aligned(header, rows), "std: of each pair's distance, averaged over the pairs. ±: one standard error."]
    lines = lines if rows else []
    if any(item.swapped for item in analysed):
        lines.append("*: pairs of atoms that changed partners; a mean over several wells is not a bond length.")
    if any(item.harmonic for item in analysed):
        lines.append("harmonic: the same model with its energy quadratic about the minimum.")
    for item in analysed:
        if len(item.run.folders) == 1:
            extent = f"from {item.time_ps[0]:.4g} to {item.time_ps[1]:.4g} ps"
        else:
            extent = f"over {item.frames * item.run.frame_interval_ps:.4g} ps"
        lines.append(
            f"{item.run.title}: {item.frames} frames {extent} of {item.run}; shortest pair {item.shortest:.3f} Å"
        )
        lines += [f"  {warning}" for warning in item.warnings]
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
                f"With {quantum.run.title} the {_plural(name)} are {wider} times as wide as with {classical.run.title}"
                + (f" (harmonic: {harmonic_ratio:.3f})." if harmonic_ratio else ".")
            )
    return "\n".join(lines)


def _counted(item: RunDistances, name: str) -> str:
    return f"{len(item.pairs[name])} {title(name)}{'*' if name in item.swapped else ''}"


def _plural(name: str) -> str:
    return title(name) if title(name) != name or name == "bonds" else f"{name} distances"


def _outside(item: RunDistances) -> float | None:
    return item.histograms["all", "beads"].outside if item.histograms else None


def as_json(analysed: list[RunDistances]) -> str:
    """The table's numbers as JSON; keys carry their unit, NaN becomes null."""
    runs = []
    for item in analysed:
        groups: dict = {}
        for (name, kind), moments in item.moments.items():
            groups.setdefault(name, _group_entry(item, name))[kind] = {
                "mean_A": moments.mean.value, "mean_error_A": moments.mean.error,
                "std_A": moments.std.value, "std_error_A": moments.std.error,
                "correlation_time_ps": item.length_ps / correlation_times(moments.mean),
                **({"harmonic_mean_A": item.harmonic[name, kind].mean, "harmonic_std_A": item.harmonic[name, kind].std}
                   if item.harmonic else {}),
            }  # fmt: skip
        run = item.run
        runs.append({
            "folders": [str(folder) for folder in run.folders], "beads": run.n_beads, "thermostat": run.thermostat,
            "temperature_K": run.temperature_K, "model": run.model, "frames": item.frames,
            "frame_interval_ps": run.frame_interval_ps, "time_ps": item.time_ps, "groups": groups, "shortest_A": item.shortest,
            "outside_histogram": _outside(item), "pairs_note": item.pairs_note, "harmonic_note": item.harmonic_note,
            "exchanges": [exchange._asdict() for exchange in item.exchanges], "warnings": item.warnings,
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


def _group_entry(item: RunDistances, name: str) -> dict:
    return {"n_pairs": len(item.pairs[name]), "pairs": item.pairs[name].tolist(), "several_wells": name in item.swapped}


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

    Nothing is written for periodic runs without pairs, which have no distributions.
    """
    from analysis.distances.figure import distance_figure
    from analysis.figures import write_beside

    if not all(item.histograms for item in analysed):
        return []
    figure = distance_figure(analysed)
    return write_beside(figure_path, figure, as_text(analysed), as_json(analysed), npz=npz_bytes(densities(analysed)))
