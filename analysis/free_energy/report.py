"""The ``free-energy`` command: runs in; table, figure and numbers out."""

import math
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.free_energy.biased_run import BiasedRun, read_biased
from analysis.free_energy.estimate import ENOUGH_RUNS, FreeEnergy, free_energy
from analysis.free_energy.variable import UNITS, Variable, read_variable, variable_of
from md.bias.settings import WAY_NAMES
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_ROWS = 25  # of the table; all bins are in the JSON
_FEW_EFFECTIVE = 50
_OF = {"bead": "beads (positions)", "mean": "means over beads", "centroid": "centroids"}


class Wanted(NamedTuple):
    """What to compute; what is None is that of the first bias of the first run, or none.

    Attributes:
        variable: Its name; atoms: their indices as I,J,…; on: centroid, mean or bead.
        bins: Of the free energy; divide: A place between two basins, in the unit of the variable.
        seed: Of the resampling.
    """

    variable: str | None = None
    atoms: str | None = None
    on: str | None = None
    bins: int = 50
    divide: float | None = None
    seed: int = 0


class Analysed(NamedTuple):
    """The free energy of runs, along a variable of beads, their means or centroids (``on``)."""

    runs: list[BiasedRun]
    variable: Variable
    on: str
    divide: float | None
    found: FreeEnergy


def analyse(folders: list[Path], discard: float, wanted: Wanted) -> Analysed:
    """The free energy of run folders without the first share of their frames.

    Raises:
        InputError: Unusable folders; runs of different ensembles; an unbiased first run and no variable.
    """
    if not 2 <= wanted.bins <= 10_000:
        raise InputError(f"--bins {wanted.bins}: expected 2 to 10000")
    if (wanted.variable is None) != (wanted.atoms is None):
        raise InputError("--variable and --atoms belong together: give both or neither")
    runs = [read_biased(folder, discard) for folder in folders]
    first = next(iter(runs[0].biases), None)
    if wanted.variable is not None:
        variable = read_variable(wanted.variable, wanted.atoms or "", runs[0].structure)
    elif first is not None:
        variable = variable_of(first)
    else:
        raise InputError(f"{folders[0]}: a run without a bias: expected --variable and --atoms")
    own = first is not None and variable_of(first) == variable
    on = wanted.on or (first.on if own and first is not None else WAY_NAMES[0])
    rng = np.random.default_rng(wanted.seed)
    return Analysed(runs, variable, on, wanted.divide, free_energy(runs, variable, on, wanted.bins, wanted.divide, rng))


def as_text(analysed: Analysed) -> str:
    """Table of F with standard errors, as printed by the command."""
    found, first, unit = analysed.found, analysed.runs[0], UNITS[analysed.variable.unit]
    lines = [
        f"{analysed.variable}, of {_OF[analysed.on]}: F = −k_BT ln p, above its minimum; ±: one standard error of −k_BT ln p",
        f"{first.temperature_K:g} K, P = {first.positions.shape[1]}; {found.n_frames} frames of {len(analysed.runs)} run(s), whose "
        f"weights are worth {found.n_effective:.0f} equal ones",
    ]
    if analysed.divide is not None and found.beyond is not None:
        amounts = with_error(*(1e3 * value for value in found.beyond))
        lines.append(f"F above {analysed.divide:g}{unit and f' {unit}'} less F below: {amounts} meV")
    lines += _warnings(analysed)
    step = -(-len(found.centres) // _ROWS)
    decimals = max(0, -math.floor(math.log10(step * (found.centres[1] - found.centres[0]))))
    rows = [
        [f"{centre:.{decimals}f}", with_error(1e3 * value, 1e3 * error) if np.isfinite(value) else "–"]
        for centre, value, error in list(zip(found.centres, found.values, found.errors, strict=True))[step // 2 :: step]
    ]
    header = [f"{analysed.variable.name}{unit and f' / {unit}'}", "F / meV"]
    return "\n".join([aligned(header, rows), *lines])


def _warnings(analysed: Analysed) -> list[str]:
    found, lines = analysed.found, []
    if np.isfinite(found.overlap):
        lines.append(f"overlap of the windows (1 − λ₂): {found.overlap:.3f}")
    if analysed.runs[0].hills and len(analysed.runs) < ENOUGH_RUNS:
        lines.append(
            f"note: errors from blocks of {len(analysed.runs)} run(s) of metadynamics, which leave out how hills depend on all "
            f"before them, and may be too small by a factor of two; from {ENOUGH_RUNS} independent runs on (other seeds) they are "
            "those of whole runs"
        )
    if found.n_effective < _FEW_EFFECTIVE:
        lines.append(
            f"warning: weights worth fewer than {_FEW_EFFECTIVE} frames: a few frames decide the result; its errors are too small"
        )
    return lines


def as_json(analysed: Analysed) -> str:
    """The numbers as JSON; keys carry their unit, NaN and infinity become null."""
    found, variable = analysed.found, analysed.variable
    return to_json(
        {
            "runs": [str(run.folder) for run in analysed.runs], "temperature_K": analysed.runs[0].temperature_K,
            "beads": analysed.runs[0].positions.shape[1], "variable": variable._asdict(), "on": analysed.on,
            f"values_{variable.unit}": found.centres.tolist(), "free_energy_eV": found.values.tolist(),
            "free_energy_error_eV": found.errors.tolist(), "frames": found.n_frames,
            "effective_frames": found.n_effective, "overlap": found.overlap, f"divide_{variable.unit}": analysed.divide,
            "above_less_below_eV": found.beyond,
        },
        indent=1,
    )  # fmt: skip


def write_files(analysed: Analysed, figure_path: Path) -> list[Path]:
    """Write the table (TXT), the figure (PNG, SVG) and the numbers (JSON) beside each other; returns their paths."""
    return write_beside(figure_path, _figure(analysed), as_text(analysed), as_json(analysed))


def _figure(analysed: Analysed) -> Figure:
    """F with a band of ±1 standard error, above the distribution of the frames of every run."""
    found, unit = analysed.found, UNITS[analysed.variable.unit]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 4.4), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        energy, error = (np.where(np.isfinite(found.values), 1e3 * x, np.nan) for x in (found.values, found.errors))
        upper.plot(found.centres, energy, color=OKABE_ITO[0], lw=1.2)
        upper.fill_between(
            found.centres,
            energy - error,
            energy + error,
            color=OKABE_ITO[0],
            alpha=0.3,
            lw=0,
            label="±1 standard error",
        )
        upper.set(ylabel="free energy / meV")
        upper.set_title(f"{analysed.variable.name} of {_OF[analysed.on]}, {analysed.runs[0].temperature_K:g} K")
        upper.legend()
        half = 0.5 * (found.centres[1] - found.centres[0])
        edges = np.linspace(found.centres[0] - half, found.centres[-1] + half, len(found.centres) + 1)
        for number, run in enumerate(analysed.runs):
            values = analysed.variable.of(run.structure, run.positions, analysed.on).ravel()
            lower.hist(values, edges, density=True, histtype="step", color=OKABE_ITO[number % len(OKABE_ITO)])
        lower.set(xlabel=f"{analysed.variable.name}{unit and f' / {unit}'}", ylabel="frames, with bias")
        lower.set_yticks([])
    return figure
