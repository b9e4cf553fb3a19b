"""A local chemical potential in three dimensions, as a web page."""

import matplotlib
import numpy as np
from ase import Atoms
from matplotlib.colors import to_hex

from analysis.probe.figure import COLOURS, colour_scale
from analysis.probe.report import LocalPotential
from analysis.structure.web_page import Scale
from analysis.structure.web_page import web_page as page_of

_BANDS = 24  # of colour: a shape of chemiscope has only one


def web_page(found: LocalPotential) -> bytes | None:
    """A page with the surface; None if chemiscope is not installed."""
    norm = colour_scale(found)
    colours = [to_hex(colour) for colour in matplotlib.colormaps[COLOURS](np.linspace(0.0, 1.0, 9))]
    return page_of(
        Atoms(found.atoms.numbers, found.atoms.positions),
        {"surface": {"kind": "combined", "shapes": bands(found)}},
        f"Ω of a probe {found.symbol} around {found.formula}, {found.title}",
        Scale(float(norm.vmin), float(norm.vmax), colours),
    )


def bands(found: LocalPotential) -> list[dict]:
    """Shapes of chemiscope: the triangles of the surface by their colour."""
    triangles = found.surface.triangles
    share = colour_scale(found)(found.energies[triangles].mean(axis=1)).clip(0.0, 1.0)
    of_band, shapes = np.minimum((share * _BANDS).astype(int), _BANDS - 1), []
    for band in np.unique(of_band):
        corners, simplices = np.unique(triangles[of_band == band], return_inverse=True)
        colour = to_hex(matplotlib.colormaps[COLOURS]((band + 0.5) / _BANDS))
        parameters = {
            "vertices": found.surface.points[corners].round(4).tolist(),
            "simplices": simplices.reshape(-1, 3).tolist(), "color": colour,
        }  # fmt: skip
        shapes.append({"kind": "custom", "parameters": {"global": {}, "structure": [parameters]}})
    return shapes
