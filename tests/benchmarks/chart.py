"""Bar chart of the benchmark."""

from pathlib import Path

from matplotlib.figure import Figure

COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#999999")  # Okabe and Ito


def draw(rows: list[dict], path: Path) -> Path:
    """One panel per model, one group of bars per (P, threads), logarithmic time; quartiles as error bars."""
    models, peers = list(dict.fromkeys(r["model"] for r in rows)), list(dict.fromkeys(r["peer"] for r in rows))
    figure = Figure(figsize=(8.0, 3.2 * len(models)), layout="constrained")
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False).ravel(), models, strict=True):
        groups = list(dict.fromkeys((r["beads"], r["threads"]) for r in rows if r["model"] == model))
        width = 0.8 / len(peers)
        for n, peer in enumerate(peers):
            mine = {(r["beads"], r["threads"]): r for r in rows if (r["model"], r["peer"]) == (model, peer)}
            places = [k + (n - (len(peers) - 1) / 2) * width for k, group in enumerate(groups) if group in mine]
            found = [mine[group] for group in groups if group in mine]
            medians = [r["median_ms"] for r in found]
            spread = [
                [r["median_ms"] - r["low_ms"] for r in found],
                [r["high_ms"] - r["median_ms"] for r in found],
            ]
            axes.bar(places, medians, width, yerr=spread, label=peer, color=COLORS[n % len(COLORS)])
        labels = [f"P = {beads}\n{threads} thread{'s' if threads > 1 else ''}" for beads, threads in groups]
        axes.set(yscale="log", ylabel="ms per step", title=model)
        axes.set_xticks(range(len(groups)), labels)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=4)
    figure.savefig(path, dpi=150)
    return path
