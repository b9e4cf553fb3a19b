"""The relevance of residues as pictures: maps, and sums by separation and by class."""

from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.chain.report import Report, separation_classes
from analysis.chain.secondary import PairClass, pair_classes
from analysis.figures import OKABE_ITO, STYLE
from analysis.relevance.explain import WITHOUT_PRIORS

COLOURS = "RdBu_r"  # blue lowers the energy
_MOST_LABELS = 60


def chain_figure(report: Report) -> Figure:
    """A map for each network, then distances and contacts; below, sums by separation and by class with errors."""
    columns, n = len(report.found) + 1, len(report.chain.sequence)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.9 * columns, 7.0), layout="constrained")
        grid = figure.add_gridspec(2, 2 * columns, height_ratios=[1.35, 1.0])
        panels = [figure.add_subplot(grid[0, 2 * k : 2 * k + 2]) for k in range(columns)]
        for axes, item in zip(panels, report.found, strict=False):
            values = item.pairs.mean(axis=0)
            scale = map_scale(values, report.upper)
            draw_map(axes, values, scale, report.chain.labels, "2-body relevance / eV")
            _mark_parts(axes, report)
            axes.set_title(f"{item.model} ({item.network})" + f"\n{WITHOUT_PRIORS}" * bool(item.apart))
        _draw_contacts(panels[-1], report)
        by_separation, by_class = figure.add_subplot(grid[1, :columns]), figure.add_subplot(grid[1, columns:])
        _bars(by_separation, report, separation_classes(n))
        by_separation.set(xlabel="places apart along the chain", ylabel=_sum_label(report))
        _bars(by_class, report, [item for item in pair_classes(report.secondary, n) if item.pairs.any()])
        by_class.set(ylabel=_sum_label(report))
        for label in by_class.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
        if len(report.found) > 1:
            by_separation.legend()
    return figure


def _sum_label(report: Report) -> str:
    return "ΣR of pairs / eV" + f", {WITHOUT_PRIORS}" * all(item.apart for item in report.found)


def map_scale(values: np.ndarray, mask: np.ndarray) -> Normalize:
    """A scale about zero up to the strongest of the values that a mask of the same shape shows; others may lie beyond it."""
    strongest = float(np.abs(values[mask]).max(initial=0.0)) or float(np.abs(values).max(initial=0.0)) or 1.0
    return Normalize(-strongest, strongest)


def draw_map(axes: Axes, values: np.ndarray, scale: Normalize, labels: list[str], name: str) -> None:
    """A map (N, N) of pairs with residues on both axes and its bar of colours."""
    image = axes.imshow(values, cmap=COLOURS, norm=scale, origin="lower", interpolation="nearest")
    label_residues(axes, labels)
    axes.figure.colorbar(image, ax=axes, label=name, extend="both", shrink=0.8, pad=0.02)


def label_residues(axes: Axes, labels: list[str], x: bool = True, y: bool = True) -> None:
    """Every residue by letter and number; of a long chain each second, third …"""
    step = -(-len(labels) // _MOST_LABELS)
    places = np.arange(0, len(labels), step)
    size: Any = max(3.0, min(7.0, 165.0 / len(places)))
    if x:
        axes.set_xticks(places, labels[::step], rotation=90, fontsize=size)
    if y:
        axes.set_yticks(places, labels[::step], fontsize=size)
    axes.tick_params(length=1.5, pad=1.5)


def _mark_parts(axes: Axes, report: Report) -> None:
    """Helices and strands as lines along the diagonal, with their names."""
    for name, (first, last) in report.secondary.parts.items():
        ends = np.array([first - 1.4, last - 0.6])
        color = OKABE_ITO[1] if name in report.secondary.helices else OKABE_ITO[2]
        axes.plot(ends, ends, color=color, lw=2.5, solid_capstyle="butt")
        axes.annotate(name, (ends.mean() + 1.0, ends.mean() - 1.0), fontsize=6.5, ha="left", va="top", color=color)


def _draw_contacts(axes: Axes, report: Report) -> None:
    """The share of frames in contact above the diagonal, mean distances below."""
    distances, contacts = report.chain.distances().mean(axis=0), report.contacts
    below = np.triu(np.ones(distances.shape, dtype=bool), 1)  # rows upwards: a later column lies below
    options: dict[str, Any] = {"origin": "lower", "interpolation": "nearest"}
    far = axes.imshow(np.ma.masked_where(~below, distances), cmap="viridis_r", **options)
    near = axes.imshow(np.ma.masked_where(~below.T, contacts), cmap="Greys", vmin=0.0, vmax=1.0, **options)
    label_residues(axes, report.chain.labels)
    axes.figure.colorbar(far, ax=axes, label="below: mean distance / Å", shrink=0.8, pad=0.02)
    share = f"above: share of frames with r < {report.contact:g} Å"
    axes.figure.colorbar(near, ax=axes, label=share, location="top", shrink=0.8, pad=0.02)


def _bars(axes: Axes, report: Report, classes: list[PairClass]) -> None:
    """Sums over classes, a colour for each network; ±1 standard error over frames."""
    width, networks = 0.8 / len(report.found), report.found
    for place, (item, color) in enumerate(zip(networks, cycle(OKABE_ITO), strict=False)):
        means = [report.mean(item.of_pairs(part.pairs)) for part in classes]
        at = np.arange(len(classes)) + (place - 0.5 * (len(networks) - 1)) * width
        errors = np.nan_to_num([mean.error for mean in means])
        axes.bar(at, [mean.value for mean in means], width, yerr=errors, color=color, capsize=2, label=item.model)
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xticks(range(len(classes)), [part.name for part in classes], fontsize=7.5)
