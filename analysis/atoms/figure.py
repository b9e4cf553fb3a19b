"""Energies and charges of atoms as pictures: the first structure, and boxes by element and by environment."""

from itertools import cycle, islice

import matplotlib
import numpy as np
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.atoms import charges as of_charges
from analysis.atoms.charges import AtomCharges
from analysis.atoms.panels import FILE_COLOUR, chosen, draw_boxes, draw_structure, legend
from analysis.atoms.partition import by_environment
from analysis.atoms.values import AtomValues, elements_of
from analysis.figures import OKABE_ITO, STYLE

_WIDTH, _HEIGHT = 7.2, 6.2  # inch, of one quantity
_PAD = 0.12  # inch: labels of ticks that appear only once the panels have their size stay in the figure


def atoms_figure(energies: AtomValues, charges: AtomCharges | None, first: Atoms) -> Figure:
    """Energies and, below, charges if there are any; a colour for each model.

    Of each: the first structure in colours of the means over models; values by element, or against those of the file; boxes by
    environment.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(_WIDTH, _HEIGHT * (1 if charges is None else 2)), layout=ConstrainedLayoutEngine(w_pad=_PAD)
        )
        grid = figure.add_gridspec(2 if charges is None else 4, 2, width_ratios=[1.0, 1.3])
        _draw_energies(_panels(figure, grid, 0), energies, first)
        if charges is not None:
            _draw_charges(_panels(figure, grid, 2), charges, first, energies.models)
    return figure


def _panels(figure: Figure, grid: GridSpec, row: int) -> tuple[Axes, Axes, Axes]:
    """Two side by side in a row, one below."""
    places = grid[row, 0], grid[row, 1], grid[row + 1, :]
    picture, beside, below = map(figure.add_subplot, places)
    return picture, beside, below


def _draw_energies(panels: tuple[Axes, Axes, Axes], found: AtomValues, first: Atoms) -> None:
    """Energies of the picture and of environments are relative to the mean of the element."""
    picture, elements, below = panels
    deviations = found.deviations()
    symbols = np.array([elements_of(found)[z] for z in found.numbers.tolist()])
    of_first = deviations[:, found.frames == found.frames[0]].mean(axis=0)
    draw_structure(picture, first, of_first, "energy − mean of the element / eV")
    draw_boxes(elements, found.values, symbols, list(elements_of(found).values()))
    elements.set(title="by element", ylabel="energy / eV")
    names, left = chosen(by_environment(found))
    draw_boxes(below, deviations, found.environments, names)
    below.set(title=f"{_by_environment(left)}, from the mean of the element", ylabel="energy / eV")
    below.axhline(0.0, color="0.3", lw=0.6, zorder=0)
    if len(found.models) > 1:
        # Below the panel, where the picture beside has its bar of colours: boxes of few elements leave no room above.
        legend(elements, found.models, loc="upper center", bbox_to_anchor=(0.5, -0.1))


def _draw_charges(panels: tuple[Axes, Axes, Axes], found: AtomCharges, first: Atoms, models: list[str]) -> None:
    """Models keep the colours that they have for energies; models: all of these."""
    picture, beside, below = panels
    values, origin = found.networks, ", ".join(found.origins)
    colour_of = dict(zip(models, islice(cycle(OKABE_ITO), len(models)), strict=True))
    colours = [colour_of[name] for name in values.models]
    of_first = values.values[:, values.frames == values.frames[0]].mean(axis=0)
    draw_structure(picture, first, of_first, "charge / e")
    rows, names = values.values, values.models
    if found.compared:
        _draw_against(beside, found, colours, origin)
        rows, names, colours = np.vstack([found.labels, rows]), [f"file ({origin})", *names], [FILE_COLOUR, *colours]
    else:
        symbols = np.array([elements_of(values)[z] for z in values.numbers.tolist()])
        draw_boxes(beside, rows, symbols, list(elements_of(values).values()), colours)
        beside.set(title="by element", ylabel="charge / e")
    shown, left = chosen(of_charges.by_environment(found))
    draw_boxes(below, rows, values.environments, shown, colours)
    below.set(title=_by_environment(left), ylabel="charge / e")
    below.axhline(0.0, color="0.3", lw=0.6, zorder=0)
    if len(names) > 1:
        legend(below, names, colours)


def _draw_against(axes: Axes, found: AtomCharges, colours: list[str], origin: str) -> None:
    known = np.isfinite(found.labels)
    labels, values = found.labels[known], found.networks.values[:, known]
    ends = [min(labels.min(), values.min()), max(labels.max(), values.max())]
    axes.plot(ends, ends, color="0.6", lw=0.8, zorder=0)
    for of_model, colour in zip(values, colours, strict=True):
        axes.plot(labels, of_model, ".", color=colour, ms=3, alpha=0.5, rasterized=True)
    axes.set(
        title="of the networks, against the file's", xlabel=f"charge of the file ({origin}) / e", ylabel="charge / e"
    )


def _by_environment(left: int) -> str:
    return "by environment" + (f" ({left} with fewer atoms left out)" if left else "")
