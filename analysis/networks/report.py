"""Tables and figures of the comparison of networks."""

from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, rendered, write_beside
from analysis.liquid.pair_density import Density
from analysis.networks.comparison import AtomsStructure, Explained, at
from analysis.relevance.along_run import RunRelevance
from analysis.relevance.figure import draw_binned, occupied
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

TRIANGLE, TETRAHEDRON = 57.0, 109.5  # degrees: the commonest angle of three neighbours, and the angle of a tetrahedron
_GREY = "0.45"
_SURE = 2.0  # standard errors from zero: a sign that counts


def quantities(item: RunRelevance) -> dict[str, tuple[float, float]]:
    """Numbers of a run, meV, by name, each with its standard error: sums by order a bead, and points of the curves."""
    scale, g = 1e3 / len(item.run.structure), item.distances["beads"]
    found = {}
    for order, values in item.orders.items():
        found[f"order {order.replace('more than', '>')}"] = (
            scale * values.mean(),
            scale * values.std(ddof=1) / np.sqrt(len(values)),
        )
    marks = {
        "pair": at(item.pairs, float(_middle(g)[g.value.argmax()])),
        f"{TRIANGLE:g}°": at(item.triples, TRIANGLE),
        f"{TETRAHEDRON:g}°": at(item.triples, TETRAHEDRON),
    }
    return found | {name: (1e3 * value, 1e3 * error) for name, (value, error) in marks.items()}


def as_text(found: list[Explained]) -> str:
    """A row for every run and γ, then what all of them agree on."""
    entries = [(item, explained.gamma, quantities(explained)) for item in found for explained in item.by_gamma]
    names, liquids = list(entries[0][2]), list(dict.fromkeys(item.liquid for item in found))
    rows = [
        [item.liquid, item.network, f"{gamma:g}", *(with_error(*pair) for pair in numbers.values())]
        for item, gamma, numbers in entries
    ]
    agreed = [
        [
            name,
            *(_signs([numbers[name] for item, _, numbers in entries if item.liquid == liquid]) for liquid in liquids),
        ]
        for name in names
    ]
    return "\n".join([
        aligned(["R / meV", "network", "γ", *names], rows, left=2),
        "Orders: ΣR a bead. Pair: at the maximum of g(r). Angles: triples whose two sides are shorter than the first shell.",
        f"{found[0].by_gamma[0].frames} frames of each run; ±: one standard error over frames.", *_apart(found), "",
        aligned(["sign, over networks and γ", *liquids], agreed, left=1), f"0: within {_SURE:g} standard errors.",
    ])  # fmt: skip


def _apart(found: list[Explained]) -> list[str]:
    """A line for each run with priors that are not explained, with their energies."""
    lines = []
    for item in found:
        run = item.by_gamma[0]
        scale = 1e3 / len(run.run.structure)
        energies = ", ".join(
            f"{name} {with_error(scale * v.mean(), scale * v.std(ddof=1) / np.sqrt(len(v)))}"
            for name, v in run.apart.items()
        )
        if energies:
            lines.append(f"{item.liquid}, {item.network}: energies of its priors, meV a bead: {energies}.")
    return lines


def _signs(pairs: list[tuple[float, float]]) -> str:
    """Such as "− in all 6" or "+ in 4, 0 in 2", of values and their standard errors."""
    values, errors = np.array(pairs).T
    signs = np.sign(values) * (np.abs(values) > _SURE * errors)
    counts = [(mark, int((signs == sign).sum())) for mark, sign in (("+", 1), ("−", -1), ("0", 0))]
    several = sum(count > 0 for _, count in counts) > 1
    return ", ".join(f"{mark} in {'' if several else 'all '}{count}" for mark, count in counts if count)


def as_json(found: list[Explained]) -> str:
    """The table's numbers."""
    return to_json({
        "runs": [
            {
                "liquid": item.liquid, "network": item.network, "folder": str(explained.run), "gamma": explained.gamma,
                "rule": explained.rule, "frames": explained.frames, "shell_A": explained.shell,
                "prior_energies_eV": {name: float(values.mean()) for name, values in explained.apart.items()},
                "numbers": {name: {"value": float(v), "error": float(e)} for name, (v, e) in quantities(explained).items()},
            }
            for item in found for explained in item.by_gamma
        ]
    }, indent=1)  # fmt: skip


def pairs_figure(found: list[Explained], atoms: dict[str, AtomsStructure]) -> Figure:
    """g(r) of atoms and beads with 2-body relevance: rows are architectures, columns liquids."""

    def draw(axes: Axes, item: Explained) -> None:
        densities = [(item.by_gamma[0].distances["beads"], "beads", "-")]
        if item.liquid in atoms:
            densities.append((atoms[item.liquid].g, "atoms", "--"))
        _draw(axes, item, [explained.pairs for explained in item.by_gamma], densities, "g(r)")

    return _grid(found, draw, "distance r / Å", "2-body relevance / meV")


def triples_figure(found: list[Explained]) -> Figure:
    """Angles between neighbours with 3-body relevance, in the same order."""

    def draw(axes: Axes, item: Explained) -> None:
        angles = [(item.by_gamma[0].angles, "beads", "-")]
        _draw(axes, item, [explained.triples for explained in item.by_gamma], angles, "angles, degree$^{-1}$")

    return _grid(found, draw, "angle between neighbours / degree", "3-body relevance / meV")


def _grid(found: list[Explained], draw, x: str, y: str) -> Figure:
    by = _rows_by(found)
    rows, liquids = (list(dict.fromkeys(getattr(item, name) for item in found)) for name in (by, "liquid"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(liquids) + 0.4, 2.3 * len(rows) + 0.6), layout="constrained")
        panels = figure.subplots(len(rows), len(liquids), squeeze=False)
        for axes in panels.flat:
            axes.set_visible(False)
        for item in found:
            axes = panels[rows.index(getattr(item, by)), liquids.index(item.liquid)]
            axes.set_visible(True)
            draw(axes, item)
            axes.set_title(f"{item.liquid}, {item.network}")
        for column in panels.T:
            [axes for axes in column if axes.get_visible()][-1].set_xlabel(x)
        for axes in panels[:, 0]:
            axes.set_ylabel(y)
        figure.legend(
            *next(a for a in panels.flat if a.get_visible()).get_legend_handles_labels(),
            loc="outside upper center",
            ncols=5,
        )
    return figure


def _rows_by(found: list[Explained]) -> str:
    """Architectures have a row each, unless a liquid has two networks of one, with and without a prior."""
    places = [(item.liquid, item.architecture) for item in found]
    return "architecture" if len(set(places)) == len(places) else "network"


def _draw(axes: Axes, item: Explained, curves: list, densities: list[tuple[Density, str, str]], name: str) -> None:
    """Relevances for every γ over the distributions, which have an axis of their own."""
    twin = axes.twinx()
    twin.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    twin.spines["right"].set_visible(True)
    twin.set_ylabel(name, color=_GREY)
    for density, label, style in densities:
        twin.plot(_middle(density), density.value, color=_GREY, ls=style, lw=1.0)
        low, high = density.value - density.error, density.value + density.error
        twin.fill_between(_middle(density), low, high, color=_GREY, alpha=0.3, lw=0)
        axes.plot([], [], color=_GREY, ls=style, lw=1.0, label=label)
    twin.set_ylim(bottom=0.0)
    for binned, explained, color in zip(curves, item.by_gamma, cycle(OKABE_ITO), strict=False):
        draw_binned(axes, binned._replace(sums=1e3 * binned.sums), color, f"γ = {explained.gamma:g}")
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xlim(occupied(curves)[0], densities[0][0].edges[-1])


def _middle(density: Density) -> np.ndarray:
    return 0.5 * (density.edges[1:] + density.edges[:-1])


def write_files(found: list[Explained], atoms: dict[str, AtomsStructure], figure_path: Path) -> list[Path]:
    """Write table (TXT), figures (PNG; SVG of the first) and numbers (JSON) beside each other; returns their paths."""
    triples = {"triples.png": rendered(triples_figure(found), "png")}
    return write_beside(figure_path, pairs_figure(found, atoms), as_text(found), as_json(found), **triples)
