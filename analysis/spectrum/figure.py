"""The figure of spectra, and the files beside it."""

from itertools import cycle
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.spectrum.real_time_run import RealTimeRun
from analysis.spectrum.report import Analysed, as_json, as_text, edge
from analysis.spectrum.spectra import Spectrum


def spectrum_figure(analysed: Analysed) -> Figure:
    """Draw all spectra with bands of one standard error, the harmonic one dashed with its frequencies as ticks, and parts below."""
    highest = analysed.wavenumbers.max() if len(analysed.wavenumbers) else edge(analysed.spectra)
    with matplotlib.rc_context(STYLE):
        heights = [3.4] + [1.8] * len(analysed.parts)
        figure = Figure(figsize=(7.2, sum(heights)), layout="constrained")
        top, *others = figure.subplots(len(heights), height_ratios=heights, squeeze=False)[:, 0]
        if analysed.harmonic is not None:
            top.plot(analysed.wavenumbers, np.zeros(len(analysed.wavenumbers)), "|", color="0.3", ms=7, clip_on=False)
        _draw(top, analysed.runs, analysed.spectra, analysed.harmonic)
        for letter, axes, (name, part) in zip(
            cycle("bcdefghijklmnopqrstuvwxyz"), others, analysed.parts.items(), strict=False
        ):
            _draw(axes, analysed.runs, part.spectra, part.harmonic)
            axes.set_title(f"$\\bf{{{letter}}}$  {name}")
        if others:
            top.set_title("$\\bf{a}$  all atoms")
        top.fill_between([], [], [], color="0.5", alpha=0.3, lw=0, label="±1 standard error")
        for axes in (top, *others):
            axes.set(xlim=(0, 1.15 * highest), ylim=(0, None))
        for axes in (top, *others[-1:]):
            axes.set(xlabel="wavenumber / cm$^{-1}$")
        top.set(ylabel=analysed.quantity.axis)
        top.legend(loc="upper left")
    return figure


def _draw(axes: Axes, runs: list[RealTimeRun], spectra: list[Spectrum], harmonic: Spectrum | None) -> None:
    if harmonic is not None:
        axes.plot(harmonic.wavenumbers, harmonic.mean, "--", color="0.45", lw=1, label="harmonic, same model")
    for run, spectrum, color in zip(runs, spectra, OKABE_ITO, strict=False):
        axes.plot(spectrum.wavenumbers, spectrum.mean, color=color, lw=1.2, label=run.label)
        low, high = spectrum.mean - spectrum.error, spectrum.mean + spectrum.error
        axes.fill_between(spectrum.wavenumbers, low, high, color=color, alpha=0.3, lw=0)


def write_files(analysed: Analysed, figure_path: Path) -> list[Path]:
    """Write figure, table and numbers beside each other (figures.write_beside); returns their paths."""
    return write_beside(figure_path, spectrum_figure(analysed), as_text(analysed), as_json(analysed))
