"""Energies of atoms as pictures: the first structure, and boxes by element and by environment."""

from itertools import cycle

import matplotlib
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.atoms.energies import AtomEnergies, elements_of
from analysis.atoms.partition import by_environment
from analysis.figures import OKABE_ITO, STYLE
from analysis.structure.picture import draw_molecule, view_along_thinnest

MOST_BOXES = 24  # environments, those of most atoms
_COLOURS = "RdBu_r"
_SMALLEST = 1e-6  # eV, of the colours where all energies are equal
_MOST_LABELS = 60  # atoms
_PALE = 0.3  # from the middle of the colours: these carry black letters
_BOX = 0.8  # width of the boxes of one group, of their distance


def atoms_figure(found: AtomEnergies, first: Atoms) -> Figure:
    """Above the first structure and boxes by element, below boxes by environment; a colour for each model.

    Energies of the picture (mean over models) and of environments are relative to the mean of the element.
    """
    deviations = found.deviations()
    symbols = np.array([elements_of(found)[z] for z in found.numbers.tolist()])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 6.2), layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=[1.0, 1.3])
        picture, elements = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
        below = figure.add_subplot(grid[1, :])
        _draw_structure(figure, picture, first, deviations[:, found.frames == found.frames[0]].mean(axis=0))
        _draw_boxes(elements, found.energies, symbols, list(elements_of(found).values()))
        elements.set(title="by element", ylabel="energy / eV")
        chosen, left = _chosen(found)
        _draw_boxes(below, deviations, found.environments, chosen)
        note = f" ({left} with fewer atoms left out)" if left else ""
        below.set(title=f"by environment{note}", ylabel="energy − mean of the element / eV")
        below.axhline(0.0, color="0.3", lw=0.6, zorder=0)
        below.tick_params(axis="x", rotation=90 if len(chosen) > 4 else 0)
        if len(found.models) > 1:
            handles = [
                Line2D([], [], color=colour, lw=5, alpha=0.6, label=name)
                for name, colour in zip(found.models, cycle(OKABE_ITO), strict=False)
            ]
            elements.legend(handles=handles, loc="best")
    return figure


def _chosen(found: AtomEnergies) -> tuple[list[str], int]:
    """Environments to draw, in the order of the table, and how many others there are."""
    table = by_environment(found)
    most = set(sorted(table, key=lambda name: -table[name].atoms)[:MOST_BOXES])
    return [name for name in table if name in most], len(table) - len(most)


def _draw_structure(figure: Figure, axes: Axes, atoms: Atoms, values: np.ndarray) -> None:
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
    figure.colorbar(mappable, ax=axes, orientation="horizontal", shrink=0.8, label="energy − mean of the element / eV")


def _draw_boxes(axes: Axes, values: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """A group of boxes for each name, a box for each model: quartiles, whiskers to 1.5 times their distance, outliers as points."""
    width = _BOX / len(values)
    for place, (of_model, colour) in enumerate(zip(values, cycle(OKABE_ITO), strict=False)):
        left = np.arange(len(names)) + (place + 0.5) * width - 0.5 * _BOX
        axes.boxplot(
            [of_model[labels == name] for name in names], positions=left, widths=0.85 * width, patch_artist=True,
            boxprops={"facecolor": to_rgba(colour, 0.45), "edgecolor": colour, "linewidth": 0.8},
            medianprops={"color": colour, "linewidth": 1.2}, whiskerprops={"color": colour, "linewidth": 0.8},
            capprops={"color": colour, "linewidth": 0.8},
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": colour},
        )  # fmt: skip
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
