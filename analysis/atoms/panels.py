"""Panels of the figures of atoms: a structure in colours, and boxes by kind of atom."""

from itertools import cycle

import matplotlib
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, to_rgba
from matplotlib.lines import Line2D

from analysis.figures import OKABE_ITO
from analysis.structure.picture import draw_molecule, view_along_thinnest

MOST_BOXES = 24  # environments, those of most atoms
FILE_COLOUR = "0.45"  # of what the file carries
_COLOURS = "RdBu_r"
_SMALLEST = 1e-6  # of the colours where all values are equal
_MOST_LABELS = 60  # atoms
_PALE = 0.3  # from the middle of the colours: these carry black letters
_BOX = 0.8  # width of the boxes of one group, of their distance


def chosen(table: dict) -> tuple[list[str], int]:
    """Environments to draw, in the order of the table (its entries have ``atoms``), and how many others there are."""
    most = set(sorted(table, key=lambda name: -table[name].atoms)[:MOST_BOXES])
    return [name for name in table if name in most], len(table) - len(most)


def draw_structure(axes: Axes, atoms: Atoms, values: np.ndarray, label: str) -> None:
    """A structure, its atoms in the colours of values (N,), with a bar of this label."""
    view = view_along_thinnest(atoms.positions)
    norm = CenteredNorm(halfrange=max(float(np.abs(values).max()), _SMALLEST))
    draw_molecule(axes, atoms, view, matplotlib.colormaps[_COLOURS](norm(values)))
    projected = atoms.positions @ view.T
    if len(atoms) <= _MOST_LABELS:
        for (x, y, _), symbol, value in zip(projected, atoms.symbols, norm(values), strict=True):
            if symbol != "H":
                pale = abs(value - 0.5) < _PALE
                axes.annotate(symbol, (x, y), ha="center", va="center", fontsize=7, color="black" if pale else "white")
    low, high = projected.min(axis=0) - 1.0, projected.max(axis=0) + 1.0
    axes.set(
        aspect="equal", xticks=[], yticks=[], title=atoms.get_chemical_formula(), xlim=(low[0], high[0]),
        ylim=(low[1], high[1]),
    )  # fmt: skip
    axes.spines[:].set_visible(False)
    mappable = matplotlib.cm.ScalarMappable(norm, _COLOURS)
    axes.figure.colorbar(mappable, ax=axes, orientation="horizontal", shrink=0.8, label=label)


def draw_boxes(
    axes: Axes, values: np.ndarray, labels: np.ndarray, names: list[str], colours: list[str] | None = None
) -> None:
    """A group of boxes for each name, a box for each row of values: quartiles, whiskers to 1.5 times their distance, outliers.

    Args:
        values: (n_rows, n), NaN for none; labels: (n,) the name of each; colours: of the rows.
    """
    width = _BOX / len(values)
    for place, (row, colour) in enumerate(zip(values, cycle(colours or OKABE_ITO), strict=False)):
        left = np.arange(len(names)) + (place + 0.5) * width - 0.5 * _BOX
        known = np.isfinite(row)
        axes.boxplot(
            [row[known & (labels == name)] for name in names], positions=left, widths=0.85 * width, patch_artist=True,
            boxprops={"facecolor": to_rgba(colour, 0.45), "edgecolor": colour, "linewidth": 0.8},
            medianprops={"color": colour, "linewidth": 1.2}, whiskerprops={"color": colour, "linewidth": 0.8},
            capprops={"color": colour, "linewidth": 0.8},
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": colour},
        )  # fmt: skip
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="x", rotation=90 if len(names) > 4 and max(map(len, names)) > 2 else 0)


def legend(axes: Axes, names: list[str], colours: list[str] | None = None, **place) -> None:
    """A legend of the boxes of these rows; place: keys of matplotlib's Axes.legend."""
    handles = [
        Line2D([], [], color=colour, lw=5, alpha=0.6, label=name)
        for name, colour in zip(names, cycle(colours or OKABE_ITO), strict=False)
    ]
    axes.legend(handles=handles, **({"loc": "best"} | place))
