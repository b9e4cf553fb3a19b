"""Bar chart of the benchmark."""

from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO

COLORS = OKABE_ITO
_HATCHES = {"": "", "forces alone": "////", "motion alone": "...."}


def draw(rows: list[dict], path: Path) -> Path:
    """One panel per model, one group of bars per (P, threads), logarithmic time; quartiles as error bars, the floor as a line."""
    models, peers = list(dict.fromkeys(r["model"] for r in rows)), list(dict.fromkeys(r["peer"] for r in rows))
    programs = list(dict.fromkeys(peer.partition(", ")[0] for peer in peers))
    figure = Figure(figsize=(8.0, 3.2 * len(models)), layout="constrained")
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False).ravel(), models, strict=True):
        groups = list(dict.fromkeys((r["beads"], r["threads"]) for r in rows if r["model"] == model))
        width = 0.8 / len(peers)
        for n, peer in enumerate(peers):
            program, _, part = peer.partition(", ")
            mine = {(r["beads"], r["threads"]): r for r in rows if (r["model"], r["peer"]) == (model, peer)}
            places = [k + (n - (len(peers) - 1) / 2) * width for k, group in enumerate(groups) if group in mine]
            found = [mine[group] for group in groups if group in mine]
            medians = [r["median_ms"] for r in found]
            low, high = ([abs(r["median_ms"] - r[key]) for r in found] for key in ("low_ms", "high_ms"))
            color = COLORS[programs.index(program) % len(COLORS)]
            axes.bar(places, medians, width, yerr=(low, high), label=peer, color=color, hatch=_HATCHES.get(part, ""),
                     edgecolor="white", error_kw={"elinewidth": 0.8})  # fmt: skip
        floors = {(r["beads"], r["threads"]): r["floor_ms"] for r in rows if r["model"] == model and "floor_ms" in r}
        for k, group in enumerate(groups):
            if group in floors:
                axes.plot([k - 0.42, k + 0.42], 2 * [floors[group]], color="black", linewidth=1.0, linestyle=":")
        labels = [f"P = {beads}\n{threads} thread{'s' if threads > 1 else ''}" for beads, threads in groups]
        axes.set(
            yscale="log", ylabel="ms per step", title=model + (" (dotted: matrix products alone)" if floors else "")
        )
        axes.set_xticks(range(len(groups)), labels)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    figure.savefig(path, dpi=150)
    return path
