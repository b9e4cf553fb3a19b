"""Figures of distance distributions."""

from itertools import cycle
from string import ascii_lowercase
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.distances.pair_distances import Histogram
from analysis.distances.run_distances import RunDistances
from analysis.figures import DASHES, OKABE_ITO, STYLE
from analysis.harmonic import HarmonicDistances

PANELS = {"all": "All pairs", "bonds": "Nearest-neighbour bonds", "diameters": "Cage diameters"}
_COLUMNS = 3


def distance_figure(analysed: list[RunDistances]) -> Figure:
    """Draw P(r) of the beads of several runs: all pairs on top, a panel for each group of pairs below.

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
                plot_density(axes, histogram, item.run.label, color)
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
    """Number of bins to merge in the figure: a sixth of the narrowest distribution's standard deviation, at least one bin."""
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
    """Draw the harmonic density of a group of pairs, dashed and in a darker shade; r (n_bins,) in Å."""
    fine = np.linspace(r[0], r[-1], 8 * len(r))
    dark = 0.5 * np.array(to_rgb(color))  # a line of the same colour would be invisible where the two agree
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


def _legend(axes: Axes, with_harmonic: bool) -> None:
    handles, labels = axes.get_legend_handles_labels()
    handles.append(axes.fill_between([], [], [], color="0.5", alpha=0.3, lw=0))
    labels.append("±1 standard error")
    if with_harmonic:
        handles += axes.plot([], [], color="0.15", lw=1.1, ls=DASHES)
        labels.append("harmonic, same model")
    axes.legend(handles, labels, loc="upper right")
