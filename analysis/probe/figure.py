"""Pictures of a local chemical potential: the molecule, its surface from the front and from behind."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from analysis.figures import STYLE
from analysis.probe.report import LocalPotential
from analysis.structure.picture import draw_molecule, view_along_thinnest

COLOURS = "viridis"
_EXTREMES = 0.5  # %, of the area at either end that share the colour of the end
_DARKEST = 0.6  # of a face that is seen edge on


def probe_figure(found: LocalPotential) -> Figure:
    """The molecule, and the surface from the front and from behind, coloured by Ω in eV."""
    norm, colours = colour_scale(found), matplotlib.colormaps[COLOURS]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.9), layout="constrained")
        panels = figure.subplots(1, 3)
        front, back = (view_along_thinnest(found.atoms.positions, turned) for turned in (False, True))
        draw_molecule(panels[0], found.atoms, front)
        for axes, view in zip(panels[1:], (front, back), strict=True):
            draw_surface(axes, found, view, norm, colours)
        limits = picture_limits(found.surface.points, [front, back])
        titles = (found.formula, "front", "from behind")
        for axes, title in zip(panels, titles, strict=True):
            axes.set(aspect="equal", xticks=[], yticks=[], title=title, **limits)
            axes.spines[:].set_visible(False)
        _draw_scale(panels[0], limits)
        mappable = matplotlib.cm.ScalarMappable(norm, colours)
        figure.colorbar(mappable, ax=panels, extend="both", shrink=0.85, label=f"Ω$_\\mathrm{{{found.symbol}}}$ / eV")
    return figure


def colour_scale(*of: LocalPotential) -> Normalize:
    """From the lowest to the highest energies, but for the last half per cent of the area at either end."""
    areas = np.concatenate([found.surface.areas for found in of])
    values = np.concatenate([found.energies[found.surface.triangles].mean(axis=1) for found in of])
    order = np.argsort(values)
    share = 100 * np.cumsum(areas[order]) / areas.sum()
    low, high = np.interp([_EXTREMES, 100 - _EXTREMES], share, values[order])
    return Normalize(low, high if high > low else low + 1e-6)


def draw_surface(axes: Axes, found: LocalPotential, view: np.ndarray, norm: Normalize, colours: Colormap) -> None:
    """Draw the faces towards the reader in a rotated view (3, 3), the farthest first; those at a slant are darker."""
    points, triangles = found.surface.points @ view.T, found.surface.triangles
    normals = found.surface.normals @ view.T
    slant = normals[:, 2] / np.linalg.norm(normals, axis=1).clip(1e-12)
    seen = np.flatnonzero(slant > 0)
    seen = seen[np.argsort(points[triangles[seen], 2].mean(axis=1))]
    faces = colours(norm(found.energies[triangles[seen]].mean(axis=1)))
    faces[:, :3] *= (_DARKEST + (1.0 - _DARKEST) * slant[seen])[:, None]
    collection = PolyCollection(points[triangles[seen], :2], facecolors=faces, edgecolors=faces, linewidths=0.3)
    collection.set_rasterized(True)
    axes.add_collection(collection)


def _draw_scale(axes: Axes, limits: dict) -> None:
    left, bottom = limits["xlim"][0], limits["ylim"][0]
    axes.plot([left, left + 1.0], [bottom, bottom], color="0.2", lw=1.5, clip_on=False)
    axes.annotate("1 Å", (left + 0.5, bottom), (0, 3), textcoords="offset points", ha="center")


def picture_limits(points: np.ndarray, views: list[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Limits of axes that hold points (n, 3) Å in all these views."""
    projected = np.concatenate([points @ view.T for view in views])
    low, high = projected.min(axis=0) - 0.1, projected.max(axis=0) + 0.1
    return {"xlim": (low[0], high[0]), "ylim": (low[1], high[1])}
