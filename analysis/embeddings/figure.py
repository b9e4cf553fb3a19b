"""Pictures of vectors of elements: their first two principal components, coloured by group."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.embeddings.periodic_table import group
from analysis.embeddings.report import Compared
from analysis.figures import OKABE_ITO, STYLE

_COLOURS = dict(zip((1, 17, 13, 15, 16, 2, 14), OKABE_ITO, strict=True)) | {18: "#F0E442"}  # the colour they leave out
_OTHERS = "0.75"  # groups 3 to 12, and the f block
_COLUMNS = 3
_DARK = 0.5  # of luminance: text on darker circles is white


def colour_of(number: int) -> str:
    """The colour of an element, by its group."""
    return _COLOURS.get(group(number), _OTHERS)


def embeddings_figure(found: list[Compared]) -> Figure:
    """A panel for each model."""
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.5 * columns + 0.2, 3.4 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, item in zip(panels, found, strict=False):
            _draw(axes, item)
        for axes in panels[len(found) :]:
            axes.set_visible(False)
        figure.legend(
            handles=_legend(found), loc="outside lower center", ncols=9, title="group", handletextpad=0.0,
            columnspacing=0.6, handlelength=1.2, borderpad=0.0,
        )  # fmt: skip
    return figure


def _draw(axes: Axes, item: Compared) -> None:
    """Circles with symbols; lines join the elements of a group by period."""
    vectors = item.vectors
    x, y = np.hstack([vectors.components, np.zeros((len(vectors.numbers), 1))])[:, :2].T
    for of_group in sorted({group(z) for z in vectors.numbers} & set(_COLOURS)):
        rows = [row for row, z in enumerate(vectors.numbers) if group(z) == of_group]
        axes.plot(x[rows], y[rows], color=_COLOURS[of_group], lw=0.8, alpha=0.5, zorder=1)
    for row, (z, symbol) in enumerate(zip(vectors.numbers, vectors.symbols, strict=True)):
        colour = colour_of(z)
        dark = np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) < _DARK
        axes.scatter(x[row], y[row], s=130, color=colour, edgecolors="white", linewidths=0.6, zorder=2 + 2 * row)
        axes.annotate(
            symbol, (x[row], y[row]), ha="center", va="center_baseline", fontsize=7.5, zorder=3 + 2 * row,
            color="white" if dark else "black",
        )  # fmt: skip
    shares = (*vectors.explained, 0.0)[:2]
    tests = ", ".join(f"{name} p = {test.p:.2g}" for name, test in item.tests.items() if test is not None)
    axes.set(
        title=f"{vectors.title}\n{tests}".strip(), xlabel=f"component 1 ({100 * shares[0]:.0f} %)",
        ylabel=f"component 2 ({100 * shares[1]:.0f} %)",
    )  # fmt: skip
    axes.margins(0.08)


def _legend(found: list[Compared]) -> list[Line2D]:
    groups = sorted({group(z) for item in found for z in item.vectors.numbers})
    names = {str(number): _COLOURS[number] for number in groups if number in _COLOURS}
    names |= {"others": _OTHERS} if set(groups) - set(_COLOURS) else {}
    return [Line2D([], [], marker="o", ls="", ms=7, color=colour, label=name) for name, colour in names.items()]
