"""Molecules drawn by RDKit, each atom coloured by its relevance."""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import imread

from analysis.figures import OKABE_ITO, STYLE
from analysis.molecules.language.methods import METHODS
from analysis.molecules.language.report import Explained
from mlcalc.molecules.toolkit import rdkit

_COLUMNS, _PIXELS = 3, (700, 500)
_SIGNED = LinearSegmentedColormap.from_list("signed", [OKABE_ITO[1], "white", OKABE_ITO[0]])
_UNSIGNED = LinearSegmentedColormap.from_list("unsigned", ["white", OKABE_ITO[2]])


def relevance_figure(found: list[Explained], solvent: str) -> Figure:
    """A panel for each molecule, with a scale of its own."""
    method = METHODS[found[0].method]
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns, 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, one in zip(panels, found, strict=False):
            largest = float(np.abs(one.relevance.atoms).max()) or 1.0
            scale = ScalarMappable(Normalize(-largest if method.signed else 0.0, largest), _colours(method.signed))
            axes.imshow(_picture(one, scale))
            title = one.smiles if len(one.smiles) <= 40 else one.smiles[:39] + "…"
            axes.set_title(f"{title}\nlog10 S = {one.prediction:.2f} in {solvent}")
            bar = figure.colorbar(scale, ax=axes, orientation="horizontal", shrink=0.8, aspect=30, pad=0.02)
            bar.set_label(f"{method.title}: " + ("less soluble ← → more" if method.signed else "without sign"))
        for axes in panels:
            axes.set_axis_off()
    return figure


def _colours(signed: bool) -> Colormap:
    return _SIGNED if signed else _UNSIGNED


def _picture(one: Explained, scale: ScalarMappable) -> np.ndarray:
    """Pixels of the molecule."""
    rdkit()
    from rdkit.Chem.Draw import rdMolDraw2D

    colours = {k: tuple(scale.to_rgba(value)[:3]) for k, value in enumerate(one.relevance.atoms)}
    drawing = rdMolDraw2D.MolDraw2DCairo(*_PIXELS)
    options: Any = drawing.drawOptions()  # RDKit declares no types of their own for its entries
    options.useBWAtomPalette()
    options.setBackgroundColour((1.0, 1.0, 1.0))
    options.highlightRadius = 0.4
    options.addAtomIndices = False
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawing, one.molecule, highlightAtoms=list(colours), highlightAtomColors=colours, highlightBonds=[]
    )
    drawing.FinishDrawing()
    return imread(io.BytesIO(drawing.GetDrawingText()), format="png")
