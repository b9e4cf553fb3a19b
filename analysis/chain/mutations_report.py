"""Tables, numbers and figures of exchanges of types."""

from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.chain.figure import COLOURS, draw_map, label_residues, map_scale
from analysis.chain.frames import Chain
from analysis.chain.means import ERRORS, as_dict, mean_of, over_networks, shown
from analysis.chain.mutations import Exchange, Mutated
from analysis.chain.report import error_map
from analysis.figures import OKABE_ITO, STYLE, write_beside
from md.observables.statistics import Mean
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.zip_files import npz_bytes

MEANING = (
    "Exchange of the type of one bead at fixed coordinates: nothing relaxes, and ΔE is no free energy, of folding or any other.",
    "Forces leave a constant of each type undetermined, and ΔE of one set of frames contains it; the difference between two sets"
    " (--against) does not.",
    "A type where training never had it is an extrapolation. Unseen: share of the bead's neighbours whose pair of types training"
    " never had, or never so near.",
    "Priors: the repulsion of beads goes with the type; bonds, angles and dihedral angles keep the parameters of their place.",
)  # fmt: skip
_ENERGY, _PRIORS = "ΔE of the network / eV", "Δ priors / eV"
_PAIRS_SHOWN, _MAPS = 5, 3  # strongest changes; exchanges that are drawn as maps


class MutationReport(NamedTuple):
    """Networks, exchanges and frames.

    Attributes:
        chain: The frames; exchanges: k of them; found: A network each.
        against: Frames to compare with, and what each network says of them; None without.
        gamma: γ.
    """

    chain: Chain
    exchanges: list[Exchange]
    found: list[Mutated]
    against: tuple[Chain, list[Mutated]] | None
    gamma: float

    def others(self) -> list[Mutated | None]:
        """Of each network that of ``against``, if any."""
        return list(self.against[1]) if self.against else [None] * len(self.found)

    def mean(self, series: np.ndarray) -> Mean:
        """Mean of a series (n_frames,) over the frames."""
        return mean_of(series, self.chain.trajectories)

    def difference(self, own: np.ndarray, other: np.ndarray) -> Mean:
        """Of a mean over the frames and one over those of ``against``, which are independent."""
        assert self.against is not None
        one, two = self.mean(own), mean_of(other, self.against[0].trajectories)
        error = float(np.hypot(one.error, two.error))
        return Mean(one.value - two.value, error, min(one.n_effective, two.n_effective))


def changes(report: MutationReport, k: int) -> list[tuple[str, str, dict[str, Mean]]]:
    """(model, unseen share, means by name) of exchange k by every network, then their mean if there are several."""
    rows: list[tuple[str, str, dict[str, Mean]]] = []
    for item, other in zip(report.found, report.others(), strict=True):
        means = {_ENERGY: report.mean(item.energy[k])}
        if other is not None:
            means["difference to --against / eV"] = report.difference(item.energy[k], other.energy[k])
        means[_PRIORS] = report.mean(item.priors[k])
        means |= {f"ΔΣR of order {order} / eV": report.mean(values[k]) for order, values in item.orders.items()}
        unseen = "–" if np.isnan(item.unseen[k]) else f"{100 * item.unseen[k]:.0f} %"
        rows.append((item.model, unseen, means))
    if len(rows) > 1:
        # Networks may share their priors, whose scatter means nothing.
        shared = [name for name in rows[0][2] if name != _PRIORS and all(name in means for *_, means in rows)]
        rows.append(("mean of networks", "", {name: over_networks([row[2][name] for row in rows]) for name in shared}))
    return rows


def as_text(report: MutationReport) -> str:
    """Energies and sums of relevances, the pairs that change most, and what all this means."""
    names = list(dict.fromkeys(name for *_, means in changes(report, 0) for name in means))
    rows = [
        [str(exchange), model, *(shown(means[name]) if name in means else "–" for name in names), unseen]
        for k, exchange in enumerate(report.exchanges)
        for model, unseen, means in changes(report, k)
    ]
    pairs = [[str(exchange), _strongest(report, k)] for k, exchange in enumerate(report.exchanges)]
    against = (
        f", against {len(report.against[0].positions)} frames of {report.against[0].source}" if report.against else ""
    )
    return "\n".join([
        aligned(["exchange", "model", *names, "unseen"], rows, left=2), "",
        aligned(["exchange", "pairs that change most, ΔR / eV, mean of networks"], pairs, left=2), "", *MEANING,
        f"ΔE and ΔR: {' and '.join(dict.fromkeys(item.explained for item in report.found))}, without constants of the types.",
        f"γ = {report.gamma:g}; {len(report.chain.positions)} frames of {report.chain.source}{against}; ±: one standard error over "
        f"frames, {ERRORS}" + ("; of the mean of networks: over networks." if len(report.found) > 1 else "."),
    ])  # fmt: skip


def mean_change(report: MutationReport, k: int) -> np.ndarray:
    """(N, N) eV: change of the map by exchange k, mean over frames and networks."""
    return np.mean([item.pairs[k].mean(axis=0) for item in report.found], axis=0)


def _strongest(report: MutationReport, k: int) -> str:
    values, labels = np.triu(mean_change(report, k), 1), report.chain.labels
    order = np.argsort(-np.abs(values), axis=None, kind="stable")[:_PAIRS_SHOWN]
    places = [np.unravel_index(key, values.shape) for key in order]
    return "  ".join(f"{labels[i]} {labels[j]} {values[i, j]:+.4f}" for i, j in places if values[i, j]) or "–"


def as_json(report: MutationReport) -> str:
    """The numbers of the table; residues from 1."""
    return to_json({
        "meaning": list(MEANING), "explained": {item.model: item.explained for item in report.found},
        "sequence": report.chain.sequence, "frames": len(report.chain.positions),
        "source": report.chain.source, "against": report.against and report.against[0].source, "gamma": report.gamma,
        "exchanges": [
            {
                "exchange": str(exchange), "residue": exchange.place + 1, "before": exchange.before, "after": exchange.after,
                "unseen": {item.model: float(item.unseen[k]) for item in report.found},
                "changes": {
                    model: {name.removesuffix(" / eV"): as_dict(mean) for name, mean in means.items()}
                    for model, _, means in changes(report, k)
                },
            }
            for k, exchange in enumerate(report.exchanges)
        ],
    }, indent=1)  # fmt: skip


def mutations_figure(report: MutationReport) -> Figure:
    """ΔE by exchange with errors; below, changes of the map: all of it for few exchanges, else pairs of the mutated residue."""
    n, few = len(report.exchanges), len(report.exchanges) <= _MAPS
    lower = 3.6 if few else 1.4 + 0.17 * n  # inch
    maps = [mean_change(report, k) for k in range(n)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(5.6, 3.9 * n) if few else 7.6, 2.8 + lower), layout="constrained")
        grid = figure.add_gridspec(2, n if few else 1, height_ratios=[2.8, lower])
        _draw_energies(figure.add_subplot(grid[0, :]), report)
        if not few:
            _draw_rows(figure.add_subplot(grid[1, 0]), report, maps)
            return figure
        for k, (values, exchange) in enumerate(zip(maps, report.exchanges, strict=True)):
            axes, scale = figure.add_subplot(grid[1, k]), map_scale(values, np.ones(values.shape, dtype=bool))
            draw_map(axes, values, scale, report.chain.labels, "change of 2-body relevance / eV")
            axes.set_title(f"{exchange}{', mean of networks' if len(report.found) > 1 else ''}")
    return figure


def _draw_energies(axes: Axes, report: MutationReport) -> None:
    """Of each network, and lighter the difference to the other frames."""
    bars: list[tuple[str, np.ndarray, np.ndarray | None]] = [(item.model, item.energy, None) for item in report.found]
    if report.against:
        bars = [
            (f"{item.model}, difference to {report.against[0].source}", item.energy, other.energy)
            for item, other in zip(report.found, report.against[1], strict=True)
        ]
    width = 0.8 / len(bars)
    for place, ((label, own, other), color) in enumerate(zip(bars, cycle(OKABE_ITO), strict=False)):
        if other is None:
            means = [report.mean(values) for values in own]
        else:
            means = [report.difference(a, b) for a, b in zip(own, other, strict=True)]
        at = np.arange(len(means)) + (place - 0.5 * (len(bars) - 1)) * width
        errors = np.nan_to_num([mean.error for mean in means])
        axes.bar(at, [mean.value for mean in means], width, yerr=errors, color=color, capsize=2, label=label)
    axes.axhline(0.0, color="0.3", lw=0.6)
    axes.set_xticks(
        range(len(report.exchanges)), list(map(str, report.exchanges)), rotation=90 if len(report.exchanges) > 8 else 0
    )
    axes.set_ylabel("difference of ΔE / eV" if report.against else "ΔE of the network / eV")
    explained = " and ".join(dict.fromkeys(item.explained for item in report.found))
    axes.set_title(f"{explained}, fixed coordinates, no free energy")
    axes.legend()


def _draw_rows(axes: Axes, report: MutationReport, maps: list[np.ndarray]) -> None:
    """A row for each exchange: change of the 2-body relevance of the mutated residue with every other."""
    rows = np.array([values[exchange.place] for values, exchange in zip(maps, report.exchanges, strict=True)])
    scale = map_scale(rows, np.ones(rows.shape, dtype=bool))
    image = axes.imshow(rows, cmap=COLOURS, norm=scale, aspect="auto", interpolation="nearest")
    label_residues(axes, report.chain.labels, y=False)
    axes.set_yticks(range(len(rows)), list(map(str, report.exchanges)), fontsize=7)
    axes.figure.colorbar(image, ax=axes, label="ΔR / eV")
    axes.set_title("change of the 2-body relevance of the mutated residue with each other one")


def write_files(report: MutationReport, path: Path) -> list[Path]:
    """Write figure (PNG, SVG), table (TXT), numbers (JSON) and maps with errors (NPZ) beside each other; returns their paths."""
    arrays = {}
    for number, item in enumerate(report.found):
        for k, exchange in enumerate(report.exchanges):
            arrays[f"network{number}_{exchange}_pairs_eV"] = item.pairs[k].mean(axis=0)
            arrays[f"network{number}_{exchange}_pairs_error_eV"] = error_map(item.pairs[k], report.chain.trajectories)
    return write_beside(path, mutations_figure(report), as_text(report), as_json(report), npz=npz_bytes(arrays))
