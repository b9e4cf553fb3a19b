"""Figures of training and evaluation. They are drawn without a display and written atomically."""

import io
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mlcalc.common.files import write_atomically
from mlcalc.outputs import OUTPUTS, Output

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "0.6"  # Okabe and Ito's, distinct for all kinds of colour vision
_PARITY_POINTS = 20_000  # drawn at most; more only make the file larger


def plot_learning_curve(log_path: str | Path, png_path: str | Path, outputs: dict[str, Output] = OUTPUTS) -> None:
    """Validation errors of these outputs and the loss against the step, from the JSON-lines log of a training."""
    records = [json.loads(line) for line in Path(log_path).read_text(encoding="utf-8").splitlines()]
    steps = [record["step"] for record in records]
    shown = [row for row in outputs.values() if row.error and np.isfinite(_validated(records, row, "mae")).any()]
    figure = Figure(figsize=(5.2, 1.0 + 1.8 * (len(shown) + 1)), layout="constrained")
    *upper, lower = figure.subplots(len(shown) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for axes, row in zip(upper, shown, strict=True):
        for key, label, color in (("mae", "MAE", BLUE), ("rmse", "RMSE", ORANGE)):
            axes.plot(steps, _validated(records, row, key), color=color, label=f"{label} (validation)")
        axes.set(yscale="log", ylabel=f"{row.error[0].replace('_', ' ')} error / {row.thousandth()}")
        axes.legend(frameon=False)
    lower.plot(steps, [record["loss"] for record in records], color=GREY)
    lower.set(yscale="log", xlabel="step", ylabel="training loss")
    save_figure(figure, png_path)


def _validated(records: list[dict], row: Output, kind: str) -> np.ndarray:
    """Errors of an output by record, in thousandths of its unit, NaN without labels.

    NaN, too, where forces of free atoms alone are known: errors of zero, which a logarithmic axis cannot show.
    """
    what, unit = row.error or ("", "")
    errors = np.array([record.get(f"validation_{what}_{kind}_{unit}") for record in records], dtype=float)
    return np.where(errors > 0.0, 1e3 * errors, np.nan)


def plot_parity(energies: np.ndarray, forces: np.ndarray, title: str, png_path: str | Path) -> None:
    """Predicted against reference energies and force components.

    Args:
        energies: (n, 2) reference and predicted, eV, both relative to the same zero.
        forces: (m, 2) reference and predicted components, eV/Å.
    """
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = ((energies, "energy", "eV"), (forces, "force component", "eV Å$^{-1}$"))
    for axes, (pairs, name, unit) in zip(figure.subplots(1, 2), panels, strict=True):
        if not len(pairs):
            axes.set_title(f"no {name} in the data", fontsize=9)
            continue
        shown = pairs[:: max(1, len(pairs) // _PARITY_POINTS)]
        ends = [pairs.min(), pairs.max()]
        axes.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
        axes.plot(shown[:, 0], shown[:, 1], ".", color=BLUE, ms=2, alpha=0.4, rasterized=True)
        axes.set(xlabel=f"reference {name} / {unit}", ylabel=f"predicted {name} / {unit}", aspect="equal")
    save_figure(figure, png_path)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, atomically."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=160)
    write_atomically(path, image.getvalue())
