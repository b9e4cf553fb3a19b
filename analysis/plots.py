"""Figures of distance distributions. The colours are Okabe and Ito's, told apart by all kinds of colour vision."""

import io
from itertools import cycle
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.distances import Histogram
from analysis.harmonic import HarmonicDistances
from analysis.run_distances import RunDistances
from analysis.universe import Run
from mlcalc.errors import InputError
from mlcalc.files import write_atomically

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {  # matplotlib's own type lists every key
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 200,
    "svg.hashsalt": "mlcalc",  # the same figure gives the same file
}
DASHES = (0, (4, 2))
PANELS = {"all": "All pairs", "bonds": "Nearest-neighbour bonds", "diameters": "Cage diameters"}
_COLUMNS = 3


def distance_figure(analysed: list[RunDistances]) -> Figure:
    """P(r) of the beads of several runs: all pairs on top, a panel for each group of pairs below.

    Args:
        analysed: Runs of one molecule, one colour each.
    """
    groups = list(analysed[0].pairs)
    with matplotlib.rc_context(STYLE):
        mosaic = _mosaic(groups)
        figure = Figure(
            figsize=(7.2, (2.8, 5.4)[len(mosaic) - 1] if len(mosaic) < 3 else 2.5 * len(mosaic)), layout="constrained"
        )
        for letter, (name, axes) in zip(
            cycle(ascii_lowercase), figure.subplot_mosaic(mosaic, empty_sentinel="").items()
        ):
            factor = 1 if name == "all" else merging([item.histograms[name, "beads"] for item in analysed])
            histograms = [item.histograms[name, "beads"].coarsened(factor) for item in analysed]
            for item, histogram, color in zip(analysed, histograms, cycle(OKABE_ITO), strict=False):
                plot_density(axes, histogram, run_label(item.run), color)
                if (name, "beads") in item.harmonic:
                    plot_harmonic(axes, histogram.r, item.harmonic[name, "beads"], color)
            zoom(axes, histograms)
            axes.set(xlabel="distance r / Å", ylabel="P(r) / Å$^{-1}$")
            pairs = f" ({len(analysed[0].pairs[name])})" if name in groups else ""
            star = "*" if any(name in item.swapped for item in analysed) else ""
            images = ", nearest images" if name == "all" and by_images(analysed) else ""
            axes.set_title(f"$\\bf{{{letter}}}$  {PANELS.get(name, name)}{star}{images}{pairs}")
            if name == "all":
                _legend(axes, any(item.harmonic for item in analysed))
    return figure


def _mosaic(groups: list[str]) -> Any:
    """All pairs across the top, then rows of up to three groups of pairs."""
    columns = min(max(len(groups), 1), _COLUMNS)
    rows = [groups[start : start + columns] for start in range(0, len(groups), columns)]
    return [["all"] * columns, *(row + [""] * (columns - len(row)) for row in rows)]


def by_images(analysed: list[RunDistances]) -> bool:
    """Whether distances are those of nearest periodic images, not within one molecule."""
    return any(item.nearest_images for item in analysed)


def merging(histograms: list[Histogram]) -> int:
    """How many bins to draw as one: a sixth of the narrowest distribution's standard deviation, at least one bin."""
    widths = []
    for histogram in histograms:
        weight = histogram.density / max(histogram.density.sum(), 1e-300)
        widths.append(np.sqrt(weight @ (histogram.r - weight @ histogram.r) ** 2))
    return max(1, round(min(widths) / 6 / histograms[0].bin_width))


def plot_density(axes: Axes, histogram: Histogram, label: str, color: str) -> None:
    """Draw P(r) with a band of ±1 standard error."""
    axes.plot(histogram.r, histogram.density, color=color, lw=1.2, label=label)
    low, high = histogram.density - histogram.error, histogram.density + histogram.error
    axes.fill_between(histogram.r, np.maximum(low, 0.0), high, color=color, alpha=0.3, lw=0)


def plot_harmonic(axes: Axes, r: np.ndarray, harmonic: HarmonicDistances, color: str) -> None:
    """Draw the harmonic density of a group of pairs, dashed in a darker shade of the colour; r (n_bins,) in Å."""
    fine = np.linspace(r[0], r[-1], 8 * len(r))
    dark = 0.5 * np.array(to_rgb(color))  # a line of the same colour would vanish where the two agree
    axes.plot(fine, harmonic.density(fine), color=dark, lw=1.1, ls=DASHES)


def zoom(axes: Axes, histograms: list[Histogram]) -> None:
    """Limit r to where any density exceeds 0.2 % of its maximum, with a margin."""
    r = histograms[0].r
    drawn = np.any([h.density > 0.002 * h.density.max() for h in histograms], axis=0)
    if drawn.any():
        first, last = r[drawn][[0, -1]]
        margin = 0.04 * (last - first) + (r[1] - r[0])
        axes.set_xlim(first - margin, last + margin)
    axes.set_ylim(bottom=0)


def run_label(run: Run) -> str:
    """``P = 8 (ring polymer), 300 K``."""
    kind = "classical" if run.n_beads == 1 else "ring polymer"
    return f"P = {run.n_beads} ({kind}), {run.temperature_K:g} K"


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a ``"png"`` or ``"svg"`` file."""
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def write_beside(figure_path: Path, figure: Figure, text: str, json_text: str, **others: bytes) -> list[Path]:
    """Write a figure (PNG, SVG), its table (TXT), its numbers (JSON) and ``suffix=content`` beside each other.

    Returns:
        Their paths.

    Raises:
        InputError: One cannot be written, as on a full disk.
    """
    contents = {
        ".txt": (text + "\n").encode(), ".png": rendered(figure, "png"), ".svg": rendered(figure, "svg"),
        ".json": json_text.encode(), **{f".{suffix}": data for suffix, data in others.items()},
    }  # fmt: skip
    paths = [figure_path.with_suffix(suffix) for suffix in contents]
    for path, data in zip(paths, contents.values(), strict=True):
        try:
            write_atomically(path, data)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return paths


def _legend(axes: Axes, with_harmonic: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    handles.append(axes.fill_between([], [], [], color="0.5", alpha=0.3, lw=0))
    labels.append("±1 standard error")
    if with_harmonic:
        handles += axes.plot([], [], color="0.15", lw=1.1, ls=DASHES)
        labels.append("harmonic, same model")
    axes.legend(handles, labels, loc="upper right")
