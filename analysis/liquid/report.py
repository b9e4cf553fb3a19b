"""Table, figure and numbers of the ``liquid`` command."""

from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.liquid.structure import LiquidStructure, landmarks, overlaps
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_LANDMARKS = ("first maximum", "first minimum", "second maximum")


def as_text(found: list[LiquidStructure]) -> str:
    """Extrema of g(r) by liquid, and the overlap of each with the first."""
    header = ["g(r)", *(item.liquid.name for item in found)]
    marks = [landmarks(item) for item in found]
    rows = []
    for k, name in enumerate(_LANDMARKS):
        rows.append([f"{name}: r / Å", *(with_error(values[2 * k], errors[2 * k]) for values, errors in marks)])
        rows.append([f"{name}: g", *(with_error(values[2 * k + 1], errors[2 * k + 1]) for values, errors in marks)])
    shared = [overlaps(found[0], item) for item in found[1:]]
    for k, name in enumerate(("overlap of pairs", "overlap of angles")):
        rows.append([f"{name} with the first", "", *(with_error(values[k], errors[k]) for values, errors in shared)])
    rows.append(["frames", *(str(item.liquid.frames) for item in found)])
    lines = [aligned(header, rows, left=1)]
    lines.append(f"Neighbours: within {found[0].shell:.2f} Å. ±: one standard error, from blocks.")
    for item in found:
        if item.liquid.cells is not None:
            volumes, lengths = item.liquid.volumes, item.liquid.lengths
            spread = ", ".join(
                f"{mean:.3f} ({std:.3f})" for mean, std in zip(lengths.mean(0), lengths.std(0), strict=True)
            )
            lines.append(
                f"{item.liquid.name}: cells differ, volume {volumes.mean():.1f} Å³, standard deviation {volumes.std():.1f} Å³; "
                f"lengths (standard deviations) {spread} Å."
            )
    return "\n".join(lines)


def as_json(found: list[LiquidStructure]) -> str:
    """The table's numbers and the curves."""
    liquids = []
    for item in found:
        values, errors = landmarks(item)
        entry = {"name": item.liquid.name, "frames": item.liquid.frames, "shell_A": item.shell}
        for k, name in enumerate(_LANDMARKS):
            numbers = (values[2 * k], errors[2 * k], values[2 * k + 1], errors[2 * k + 1])
            entry[name.replace(" ", "_")] = dict(
                zip(("r_A", "r_error_A", "g", "g_error"), map(float, numbers), strict=True)
            )
        shared, uncertain = overlaps(found[0], item)
        entry |= {"overlap_of_pairs": float(shared[0]), "overlap_of_pairs_error": float(uncertain[0])}
        entry |= {"overlap_of_angles": float(shared[1]), "overlap_of_angles_error": float(uncertain[1])}
        for name, density in (("g", item.g), ("angles_per_degree", item.angle_density)):
            entry[name] = {
                "edges": density.edges.tolist(),
                "value": density.value.tolist(),
                "error": density.error.tolist(),
            }
        liquids.append(entry)
    return to_json({"liquids": liquids}, indent=1)


def liquid_figure(found: list[LiquidStructure]) -> Figure:
    """g(r) and the angles between neighbours, with bands of ±1 standard error."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for item, color in zip(found, cycle(OKABE_ITO), strict=False):
            for axes, density in ((left, item.g), (right, item.angle_density)):
                middle = 0.5 * (density.edges[1:] + density.edges[:-1])
                axes.plot(middle, density.value, color=color, lw=1.2, label=item.liquid.name)
                low, high = density.value - density.error, density.value + density.error
                axes.fill_between(middle, np.maximum(low, 0.0), high, color=color, alpha=0.3, lw=0)
        left.axhline(1.0, color="0.6", lw=0.6)
        left.set(xlabel="distance r / Å", ylabel="g(r)", xlim=(0.6 * landmarks(found[0])[0][0], found[0].edges[-1]))
        right.set(xlabel=f"angle, both sides < {found[0].shell:.2f} Å / degree", ylabel="density / degree$^{-1}$")
        right.set(xlim=(0.0, 180.0), ylim=(0.0, None))
        left.set_ylim(bottom=0.0)
        for letter, axes in (("a", left), ("b", right)):
            axes.set_title(f"$\\bf{{{letter}}}$")
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def write_files(found: list[LiquidStructure], figure_path: Path) -> list[Path]:
    """Write table (TXT), figure (PNG, SVG) and numbers (JSON) beside each other; returns their paths."""
    return write_beside(figure_path, liquid_figure(found), as_text(found), as_json(found))
