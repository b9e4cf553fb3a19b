"""The figure of proton transfer: distribution of δ, free energy along it, and distance of donor and acceptor."""

from itertools import cycle

import matplotlib
import numpy as np
from ase import units
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.distances.figure import merging, plot_density, zoom
from analysis.figures import OKABE_ITO, STYLE
from analysis.transfer.free_energy import Landscape
from analysis.transfer.run_transfer import RunTransfer, coordinate_name, ends_name

_LOWEST_KT, _HIGHEST_KT = -0.15, 4.0  # free energies above are rarely sampled
_DRAWN = 0.002  # of the largest density: δ where all are lower is not drawn


def transfer_figure(analysed: list[RunTransfer]) -> Figure:
    """Draw p(δ) as sampled, F(δ) of beads (solid) and centroids (dotted), and the distance of the ends; one colour for each run."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        panels = figure.subplot_mosaic([["a", "b"], ["c", "b"]])
        histograms = [item.apart_density for item in analysed]
        histograms = [histogram.coarsened(merging(histograms)) for histogram in histograms]
        for item, histogram, colour in zip(analysed, histograms, cycle(OKABE_ITO), strict=False):
            _density(panels["a"], item.sampled["beads"], item.label, colour)
            for kind in item.kinds:
                drawn = item.used[kind].free_energy_error < units.kB * item.run.temperature_K
                _free_energy(panels["b"], item.used[kind], drawn, colour, "-" if kind == "beads" else ":")
            plot_density(panels["c"], histogram, item.label, colour)
        zoom(panels["c"], histograms)
        _finish(panels, analysed)
    return figure


def _density(axes: Axes, found: Landscape, label: str, colour: str) -> None:
    axes.plot(found.delta, found.density, color=colour, lw=1.2, label=label)
    low, high = found.density - found.density_error, found.density + found.density_error
    axes.fill_between(found.delta, np.maximum(low, 0.0), high, color=colour, alpha=0.3, lw=0)


def _free_energy(axes: Axes, found: Landscape, drawn: np.ndarray, colour: str, style: str) -> None:
    """F(δ) in the bins ``drawn`` (n_bins,): an error above k_BT means that not even p(δ) is known to a factor."""
    energy, error = (np.where(drawn, 1e3 * values, np.nan) for values in (found.free_energy, found.free_energy_error))
    axes.plot(found.delta, energy, style, color=colour, lw=1.2)
    axes.fill_between(found.delta, energy - error, energy + error, color=colour, alpha=0.3, lw=0)


def _finish(panels: dict[str, Axes], analysed: list[RunTransfer]) -> None:
    """Limits, titles and legends."""
    densities = np.array([item.sampled["beads"].density for item in analysed])
    delta = analysed[0].sampled["beads"].delta
    drawn = np.abs(delta[(densities > _DRAWN * densities.max(axis=1, keepdims=True)).any(axis=0)]).max()
    thermal = 1e3 * units.kB * max(item.run.temperature_K for item in analysed)
    panels["a"].set(xlim=(-drawn, drawn), ylim=(0, None), ylabel="p(δ) / Å$^{-1}$", xlabel="δ / Å")
    panels["b"].set(
        xlim=(-drawn, drawn), ylim=(_LOWEST_KT * thermal, _HIGHEST_KT * thermal), ylabel="F(δ) / meV", xlabel="δ / Å"
    )
    panels["c"].set(xlabel="distance / Å", ylabel="P / Å$^{-1}$")
    mirrored = ", symmetrised" if any(item.symmetric for item in analysed) else ""
    panels["a"].set_title(f"$\\bf{{a}}$  {coordinate_name(analysed[0])}, as sampled")
    panels["b"].set_title(f"$\\bf{{b}}$  free energy{mirrored}")
    panels["c"].set_title(f"$\\bf{{c}}$  {ends_name(analysed[0])}")
    for axes in (panels["a"], panels["b"]):
        axes.axvline(0.0, color="0.8", lw=0.8, zorder=0)
    panels["c"].legend(loc="upper right")
    kinds = [("-", "beads"), (":", "centroids")][: 1 + any(item.run.n_beads > 1 for item in analysed)]
    for style, name in kinds:
        panels["b"].plot([], [], style, color="0.3", lw=1.2, label=name)
    panels["b"].fill_between([], [], [], color="0.5", alpha=0.3, lw=0, label="±1 standard error")
    # Below: within, wells and barriers fill the panel.
    panels["b"].legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, columnspacing=1.2, handlelength=1.6)
