"""Local chemical potentials of several molecules or networks side by side: which places each network likes, and whether they agree.

Energies of two networks are compared by places on one surface, since the zero of Ω is an accident of each training.
"""

from typing import NamedTuple

import matplotlib
import numpy as np
from ase.data import chemical_symbols
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.figures import STYLE
from analysis.probe.figure import COLOURS, colour_scale, draw_surface, picture_limits
from analysis.probe.report import LocalPotential
from analysis.structure.picture import draw_molecule, view_along_thinnest
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned

_PANEL = 1.75  # inches
_PAD = 0.12  # inches: names of networks, beside panels that keep their aspect, stay in the figure


class Comparison(NamedTuple):
    """Ω of one probe on the surfaces of all molecules by all networks.

    Attributes:
        molecules, networks: Names; found: by molecule, then by network, on one surface for each molecule.
    """

    molecules: list[str]
    networks: list[str]
    found: list[list[LocalPotential]]


def near_elements(found: LocalPotential) -> dict[str, float]:
    """Mean of Ω where an element is nearest, by symbol, relative to the mean over the surface, eV."""
    shares, nearest = found.surface.shares, found.atoms.numbers[found.nearest]
    mean, near = found.surface.mean(found.energies), {}
    for element in np.unique(nearest).tolist():
        there = nearest == element
        near[chemical_symbols[element]] = float(np.average(found.energies[there], weights=shares[there])) - mean
    return near


def correlation(one: LocalPotential, other: LocalPotential) -> float:
    """Pearson correlation over the area of two potentials on one surface."""
    covariance = np.cov(one.energies, other.energies, aweights=one.surface.shares)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def as_text(compared: Comparison) -> str:
    """A row for each molecule and network."""
    first = compared.found[0][0]
    near = [[near_elements(found) for found in of_molecule] for of_molecule in compared.found]
    elements = [symbol for symbol in chemical_symbols if any(symbol in row for rows in near for row in rows)]
    rows = []
    for molecule, of_molecule, of_elements in zip(compared.molecules, compared.found, near, strict=True):
        for network, found, means in zip(compared.networks, of_molecule, of_elements, strict=True):
            low = int(found.energies.argmin())
            rows.append([
                molecule, network, f"{found.surface.mean(found.energies):.3f}",
                f"{found.energies[low] - found.surface.mean(found.energies):.3f}",
                f"{found.atoms.symbols[found.nearest[low]]}{found.nearest[low]}",
                *(f"{means[symbol]:+.3f}" if symbol in means else "" for symbol in elements),
                f"{correlation(of_molecule[0], found):.2f}",
                "unknown" if np.isnan(found.too_near) else f"{100 * found.too_near:.0f} %",
            ])  # fmt: skip
    header = [
        "molecule", "network", "mean", "minimum", "at", *(f"near {symbol}" for symbol in elements), "agreement", "too near",
    ]  # fmt: skip
    return "\n".join([
        f"energy Ω / eV of a probe {first.symbol} where Σ‖r − r_i‖⁻² = {first.level:g} Å⁻²; all but the mean are relative to it",
        aligned(header, rows, left=2),
        "near: mean where an atom of this element is the nearest; agreement: correlation over the surface with the first network",
        "too near: share of the surface where an atom is nearer to the probe than distances in training allow: extrapolation",
    ])  # fmt: skip


def as_json(compared: Comparison) -> str:
    """The numbers of the table."""
    return to_json([
        {
            "molecule": molecule, "network": network, "probe": found.symbol, "level_per_A2": found.level,
            "mean_eV": found.surface.mean(found.energies), "minimum_eV": float(found.energies.min()),
            "nearest_atom_of_minimum": int(found.nearest[found.energies.argmin()]), "without_neighbours_eV": found.alone,
            "near_elements_relative_to_mean_eV": near_elements(found),
            "correlation_with_first_network": correlation(of_molecule[0], found),
            "share_nearer_than_training": found.too_near,
        }
        for molecule, of_molecule in zip(compared.molecules, compared.found, strict=True)
        for network, found in zip(compared.networks, of_molecule, strict=True)
    ])  # fmt: skip


def comparison_figure(compared: Comparison) -> Figure:
    """The molecules above, below the surface of each by each network; one scale of colours for each network."""
    colours, symbol = matplotlib.colormaps[COLOURS], compared.found[0][0].symbol
    n_rows, n_columns = len(compared.networks) + 1, len(compared.molecules)
    with matplotlib.rc_context(STYLE):
        size = (_PANEL * n_columns + 1.6, _PANEL * n_rows)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=_PAD))
        panels = figure.subplots(n_rows, n_columns, squeeze=False)
        for molecule, of_molecule, column in zip(compared.molecules, compared.found, panels.T, strict=True):
            view = view_along_thinnest(of_molecule[0].atoms.positions)
            draw_molecule(column[0], of_molecule[0].atoms, view)
            column[0].set_title(molecule)
            limits = _square(**picture_limits(of_molecule[0].surface.points, [view]))
            for axes in column:
                axes.set(aspect="equal", xticks=[], yticks=[], **limits)
                axes.spines[:].set_visible(False)
        for k, network in enumerate(compared.networks):
            row = [of_molecule[k] for of_molecule in compared.found]
            norm = colour_scale(*row)
            for axes, found in zip(panels[k + 1], row, strict=True):
                draw_surface(axes, found, view_along_thinnest(found.atoms.positions), norm, colours)
            panels[k + 1, 0].set_ylabel(network)
            mappable = matplotlib.cm.ScalarMappable(norm, colours)
            bar = figure.colorbar(mappable, ax=list(panels[k + 1]), extend="both", shrink=0.85)
            bar.set_label(f"Ω$_\\mathrm{{{symbol}}}$ / eV")
    return figure


def _square(xlim: tuple[float, float], ylim: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """The smallest square around these limits, so that all panels have one size."""
    half = 0.5 * max(xlim[1] - xlim[0], ylim[1] - ylim[0])
    x, y = 0.5 * sum(xlim), 0.5 * sum(ylim)
    return {"xlim": (x - half, x + half), "ylim": (y - half, y + half)}
