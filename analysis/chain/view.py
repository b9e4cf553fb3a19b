"""The relevance of pairs of residues on the structure, as a web page."""

import numpy as np
from ase import Atoms

from analysis.chain.report import Report
from analysis.chain.secondary import LOCAL
from analysis.relevance.view import LOWERS, RAISES, cylinders
from analysis.structure.web_page import Scale, web_page

_BACKBONE_A, _GREY = 0.12, "#999999"


def chain_page(report: Report) -> bytes | None:
    """The map of the first network on the frame whose distances are nearest to the mean ones, to turn in a browser.

    Cylinders join pairs more than LOCAL apart along the chain, as in analysis/relevance/view.py; None without chemiscope.
    """
    distances = report.chain.distances()
    middle = report.chain.positions[int(((distances - distances.mean(axis=0)) ** 2).sum(axis=(1, 2)).argmin())]
    first, second = np.nonzero(report.upper)
    values = report.found[0].pairs.mean(axis=0)[first, second]
    strongest = float(np.abs(values).max(initial=0.0)) or 1.0
    shape = cylinders(middle[first], middle[second], values, strongest)
    bonds = np.diff(middle, axis=0)
    shape = {
        "bases": shape["bases"] + middle[:-1].tolist(), "vectors": shape["vectors"] + bonds.tolist(),
        "radii": shape["radii"] + [_BACKBONE_A] * len(bonds), "colors": shape["colors"] + [_GREY] * len(bonds),
    }  # fmt: skip
    atoms = Atoms(["C"] * len(middle), middle)  # the elements of the types mean nothing
    title = f"2-body relevance of residues more than {LOCAL} apart, {report.found[0].model}"
    shapes = {"pair relevance": {"kind": "cylinders", "parameters": {"global": {}, "structure": [shape]}}}
    colours = (LOWERS, "#ffffff", RAISES)
    return web_page(atoms, shapes, title, Scale(-strongest, strongest, colours), bonds=False)
