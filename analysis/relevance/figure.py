"""Tables, numbers and figures of relevances along runs."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.liquid.pair_density import Density
from analysis.relevance.along_run import Binned, RunRelevance
from analysis.relevance.explain import WITHOUT_PRIORS, explained_text, gamma_text
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.common.zip_files import npz_bytes

_FEWEST_ENTRIES = 20  # in a bin that is drawn
_GREY = "0.45"
_STYLES, _NAMES = {"beads": "-", "centroid": "--"}, {"beads": "beads", "centroid": "centroids"}


def relevance_figure(found: list[RunRelevance]) -> Figure:
    """2-body relevance over the distances, 3-body over the angles, and the sums by order; a colour for each run."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.4), layout="constrained")
        panels = figure.subplot_mosaic([["pairs", "pairs"], ["triples", "orders"]])
        first = found[0]
        name = "g(r)" if first.periodic else "pair distances, Å$^{-1}$"
        labels = _labels(found, lambda run: run.label)
        # For a run explained with several γ, the distributions are drawn once.
        once = [all(item.run.folders != other.run.folders for other in found[:k]) for k, item in enumerate(found)]
        series = [
            (item.pairs, item.distances if new else {}, label)
            for item, new, label in zip(found, once, labels, strict=True)
        ]
        _relevance_over(panels["pairs"], series, name)
        panels["pairs"].set(xlabel="distance r / Å", ylabel="2-body relevance per pair / eV")
        series = [
            (item.triples, {"beads": item.angles} if new else {}, "") for item, new in zip(found, once, strict=True)
        ]
        _relevance_over(panels["triples"], series, "angles, degree$^{-1}$")
        for prior in (item.prior for item, new in zip(found, once, strict=True) if new and item.prior is not None):
            drawn = np.where(prior.counts.sum(axis=0) >= _FEWEST_ENTRIES, prior.mean, np.nan)
            panels["triples"].plot(prior.centres, drawn, color="0.2", ls=":", lw=1.2, label="angular prior alone")
        panels["triples"].set(
            xlabel=f"angle, both sides < {first.shell:.2f} Å / degree", ylabel="3-body relevance / eV"
        )
        _bars(panels["orders"], found)
        if any(item.prior is not None for item in found):
            panels["triples"].legend(frameon=False)
        figure.legend(
            *panels["pairs"].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=4 if len(found) < 3 else 2,
            columnspacing=1.2,
        )
        for letter, axes in zip("abc", panels.values(), strict=True):
            axes.set_title(f"$\\bf{{{letter}}}$")
    return figure


def _labels(found: list[RunRelevance], name) -> list[str]:
    """name(run) for each run, with γ if there are several; it says if priors are not explained."""
    gammas = [gamma_text(item.gamma, item.rule) for item in found]
    several = len(set(gammas)) > 1
    return [
        name(item.run) + f", γ = {g}" * several + f", {WITHOUT_PRIORS}" * bool(item.apart)
        for item, g in zip(found, gammas, strict=True)
    ]


def _relevance_over(axes: Axes, series: list[tuple[Binned, dict[str, Density], str]], name: str) -> None:
    """Relevances with bands of ±1 standard error, over pale distributions of the same colours on a second axis."""
    twin = axes.twinx()
    twin.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    twin.spines["right"].set_visible(True)
    twin.set_ylabel(name, color=_GREY)
    for (binned, densities, label), color in zip(series, cycle(OKABE_ITO), strict=False):
        for kind, density in densities.items():
            middle = 0.5 * (density.edges[1:] + density.edges[:-1])
            twin.plot(middle, density.value, color=color, ls=_STYLES[kind], lw=0.8, alpha=0.6)
            if kind == "beads":
                twin.fill_between(middle, density.value, color=color, alpha=0.1, lw=0)
        draw_binned(axes, binned, color, label)
    for kind in series[0][1] if series[0][2] else ():
        axes.plot([], [], color=_GREY, ls=_STYLES[kind], lw=0.8, label=f"pairs of {_NAMES[kind]}")
    twin.set_ylim(bottom=0)
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xlim(*occupied([binned for binned, *_ in series]))


def draw_binned(axes: Axes, binned: Binned, color: str, label: str) -> None:
    """Means with a band of ±1 standard error, where bins have entries enough."""
    drawn = binned.counts.sum(axis=0) >= _FEWEST_ENTRIES
    value, error = np.where(drawn, binned.mean, np.nan), np.where(drawn, binned.error, np.nan)
    axes.plot(binned.centres, value, color=color, lw=1.6, label=label)
    axes.fill_between(binned.centres, value - error, value + error, color=color, alpha=0.3, lw=0)


def occupied(curves: list[Binned]) -> tuple[float, float]:
    """The range of bins that are drawn."""
    limits = []
    for binned in curves:
        bins = np.flatnonzero(binned.counts.sum(axis=0) >= _FEWEST_ENTRIES)
        limits += [binned.edges[bins[0] if len(bins) else 0], binned.edges[bins[-1] + 1 if len(bins) else -1]]
    return min(limits), max(limits)


def _bars(axes: Axes, found: list[RunRelevance]) -> None:
    orders = list(found[0].orders)
    width = 0.8 / len(found)
    for place, (item, color) in enumerate(zip(found, cycle(OKABE_ITO), strict=False)):
        values = [item.orders[order] for order in orders]
        axes.bar(
            np.arange(len(orders)) + (place - 0.5 * (len(found) - 1)) * width, [v.mean() for v in values], width,
            yerr=[v.std(ddof=1) / np.sqrt(len(v)) for v in values], color=color, capsize=2,
        )  # fmt: skip
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xticks(range(len(orders)), [order.replace("more than", ">") for order in orders])
    axes.set(xlabel="atoms on a walk", ylabel="ΣR / eV")


def as_text(found: list[RunRelevance]) -> str:
    """Sums by order with standard errors, and the peaks of the 2-body curve."""
    rows = [["energy without constants / eV", *(_mean(item.energy) for item in found)]]
    rows.append(["ΣR / eV", *(_mean(item.total) for item in found)])
    rows.append(["ΣR/E", *(f"{item.total.mean() / item.energy.mean():.4f}" for item in found)])
    for order in found[0].orders:
        rows.append([f"ΣR of order {order} / eV", *(_mean(item.orders[order]) for item in found)])
        if order == "3" and any(item.prior is not None for item in found):
            rows.append(["of this, the angular prior / eV", *(_mean(item.angular) for item in found)])
    for name in dict.fromkeys(name for item in found for name in item.apart):
        values = (_mean(item.apart[name]) if name in item.apart else "–" for item in found)
        rows.append([f"not explained: prior {name} / eV", *values])
    rows.append(["end of the first shell / Å", *(f"{item.shell:.3f}" for item in found)])
    for inside, name in ((True, "within"), (False, "beyond")):
        rows.append([f"2-body ΣR {name} it / eV", *(_part(item, inside) for item in found)])
    header = ["", *_labels(found, lambda run: f"P = {run.n_beads}")]
    gammas = " and ".join(dict.fromkeys(gamma_text(item.gamma, item.rule) for item in found))
    frames = ", ".join(dict.fromkeys(f"{item.frames} frames of {item.run}" for item in found))
    table = aligned(header, rows, left=1)
    shells = [item.shells for item in found]
    if None not in shells and all(np.array_equal(shells[0].bonds, other.bonds) for other in shells):
        table += f"\n\n{_by_bonds(found)}"
    return f"{table}\nγ = {gammas}; {frames}. Means over beads; ±: one standard error over frames."


def _by_bonds(found: list[RunRelevance]) -> str:
    """One row per number of bonds between the atoms of a pair."""
    header = ["bonds between", "pairs"]
    for label in _labels(found, lambda run: f"P = {run.n_beads}"):
        header += [f"r / Å, {label}", "σ(r) / Å", "R of a pair / eV"]
    rows = []
    for k, (bonds, pairs) in enumerate(zip(found[0].shells.bonds, found[0].shells.pairs, strict=True)):
        row = [str(bonds) if bonds else "–", f"{pairs:.0f}"]
        for shells in (item.shells for item in found):
            row += [f"{shells.distance[k]:.4f}", f"{shells.spread[k]:.4f}", _mean(shells.relevance[:, k])]
        rows.append(row)
    return aligned(header, rows)


def _mean(values: np.ndarray) -> str:
    return with_error(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def _part(item: RunRelevance, inside: bool) -> str:
    which = (item.pairs.edges[1:] <= item.shell) == inside
    return _mean(item.pairs.sums[:, which].sum(axis=1) / item.run.n_beads)


def as_json(found: list[RunRelevance]) -> str:
    """The table's numbers."""
    runs = [
        {
            "folders": [str(folder) for folder in item.run.folders], "beads": item.run.n_beads, "frames": item.frames,
            "gamma": list(item.gamma) if isinstance(item.gamma, Sequence) else item.gamma, "rule": item.rule, "shell_A": item.shell,
            "explained": explained_text(item.apart), "energy_eV": item.energy.mean(), "total_relevance_eV": item.total.mean(),
            "ratio": item.total.mean() / item.energy.mean(),
            "relevance_by_order_eV": {order: values.mean() for order, values in item.orders.items()},
            "prior_energies_eV": {name: values.mean() for name, values in item.apart.items()},
            "angular_prior_eV": None if item.prior is None else item.angular.mean(),
            "relevance_by_bonds_between": _shells_as_json(item),
        }
        for item in found
    ]  # fmt: skip
    return to_json({"runs": runs}, indent=1)


def _shells_as_json(item: RunRelevance) -> list[dict] | None:
    if item.shells is None:
        return None
    *columns, relevance = item.shells
    error = relevance.std(axis=0, ddof=1) / np.sqrt(len(relevance))
    names = ("bonds", "pairs", "distance_A", "spread_A", "relevance_per_pair_eV", "error_eV")
    return [
        dict(zip(names, map(float, row), strict=True))
        for row in zip(*columns, relevance.mean(axis=0), error, strict=True)
    ]


def arrays(found: list[RunRelevance]) -> dict[str, np.ndarray]:
    """Curves of the NPZ file by run, quantity and unit."""
    curves: dict = {}
    for k, item in enumerate(found):
        prefix = f"run{k}_P{item.run.n_beads}"
        curves_by_name = [("pairs", item.pairs, "A"), ("triples", item.triples, "degree")]
        for name, binned, unit in curves_by_name + [("prior", item.prior, "degree")] * (item.prior is not None):
            curves |= {
                f"{prefix}_{name}_{unit}": binned.centres, f"{prefix}_{name}_eV": binned.mean,
                f"{prefix}_{name}_error_eV": binned.error,
            }  # fmt: skip
        for name, density in (*item.distances.items(), ("angles", item.angles)):
            curves |= {f"{prefix}_{name}_density": density.value, f"{prefix}_{name}_density_error": density.error}
    return curves


def write_files(found: list[RunRelevance], figure_path: Path) -> list[Path]:
    """Write table (TXT), figure (PNG, SVG) and numbers (JSON, NPZ) beside each other; returns their paths."""
    return write_beside(
        figure_path, relevance_figure(found), as_text(found), as_json(found), npz=npz_bytes(arrays(found))
    )
