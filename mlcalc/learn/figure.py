"""The learning curve: error of fresh structures against the number of labels."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mlcalc.training.plots import BLUE, GREY, ORANGE, save_figure


def plot_learning(records: Sequence[dict], target_meV_A: float, path: Path) -> None:
    """Mean error of force components on fresh structures of each round, with its standard error, by number of beads."""
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    kinds = sorted({group["kind"] for record in records for group in record["errors"]}, reverse=True)
    for kind, color in zip(kinds, (BLUE, ORANGE), strict=False):
        known = [(r["labels"], group) for r in records for group in r["errors"] if group["kind"] == kind]
        labels = [n for n, _ in known]
        errors = [group["mae_error"] or 0.0 for _, group in known]
        axes.errorbar(
            labels, [group["mae"] for _, group in known], errors, fmt="o-", color=color, ms=4, capsize=3, label=kind
        )
    axes.axhline(target_meV_A, color=GREY, ls="--", lw=1, label="target")
    axes.set(xlabel="labels", ylabel="force error of fresh structures / meV Å$^{-1}$")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    save_figure(figure, path)
