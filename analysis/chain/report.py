"""Tables and numbers of the relevance of residues."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.chain.frames import Chain
from analysis.chain.means import ERRORS, as_dict, mean_of, rows_of, shown
from analysis.chain.residues import ResidueRelevance, agreement
from analysis.chain.secondary import LOCAL, PairClass, SecondaryStructure, pair_classes
from analysis.figures import write_beside
from analysis.relevance.explain import explained_text
from md.observables.statistics import Mean
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.zip_files import npz_bytes

SEPARATIONS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 9), (10, 19), (20, None))  # first and last |i − j| of a row
_SHOWN = 10  # pairs and triples


class Report(NamedTuple):
    """Networks that explain one chain.

    Attributes:
        chain: The frames; found: A network each; gamma: γ; contact: Å, below which two residues are in contact.
        secondary: Helices, strands and core; origin: where these come from.
    """

    chain: Chain
    found: list[ResidueRelevance]
    gamma: float
    contact: float
    secondary: SecondaryStructure
    origin: str

    @property
    def contacts(self) -> np.ndarray:
        """(N, N) share of frames in which two residues are in contact."""
        return (self.chain.distances() < self.contact).mean(axis=0)

    @property
    def upper(self) -> np.ndarray:
        """(N, N) mask of pairs i < j that are more than LOCAL apart along the chain."""
        return np.triu(np.ones((len(self.chain.sequence),) * 2, dtype=bool), LOCAL + 1)

    def mean(self, series: np.ndarray) -> Mean:
        """Mean of a series (n_frames,) over the frames."""
        return mean_of(series, self.chain.trajectories)

    @property
    def columns(self) -> list[str]:
        """Networks, and their mean if there are several."""
        return [item.model for item in self.found] + ["mean of networks"] * (len(self.found) > 1)


def separation_classes(n: int) -> list[PairClass]:
    """Pairs of a chain of n residues by the rows of SEPARATIONS."""
    apart = np.subtract.outer(np.arange(n), np.arange(n)).T
    rows = []
    for first, last in SEPARATIONS:
        name = f"{first}" if first == last else f"≥ {first}" if last is None else f"{first}–{last}"
        rows.append(PairClass(name, (apart >= first) & (apart <= (last or n))))
    return rows


def strongest_pairs(report: Report) -> list[tuple[int, int]]:
    """Residues, from 0, of the pairs with the largest mean relevance (absolute, over networks) beyond LOCAL places."""
    first, second = np.nonzero(report.upper)
    strength = np.abs(np.mean([item.pairs.mean(axis=0) for item in report.found], axis=0)[first, second])
    order = np.argsort(-strength, kind="stable")[:_SHOWN]
    return [(int(first[k]), int(second[k])) for k in order if strength[k] > 0]


def strongest_triples(report: Report) -> list[int]:
    """Keys of the triples with the largest mean relevance (absolute, over networks)."""
    sums: dict[int, float] = {}
    for item in report.found:
        for key, value in item.triples.means().items():
            sums[key] = sums.get(key, 0.0) + value
    return sorted(sums, key=lambda key: -abs(sums[key]))[:_SHOWN]


def as_text(report: Report) -> str:
    """Energies and orders; sums by separation and by class; the strongest pairs and triples; what the numbers are."""
    blocks = [
        _energies(report),
        _sums(report, separation_classes(len(report.chain.sequence)), "ΣR of pairs / eV, |i−j|"),
    ]
    blocks.append(_sums(report, pair_classes(report.secondary, len(report.chain.sequence)), "ΣR of pairs / eV, class"))
    blocks.append(f"{report.secondary} ({report.origin})")
    blocks += [_pairs(report), _triples(report)]
    return "\n\n".join([*(block for block in blocks if block), _notes(report)])


def _energies(report: Report) -> str:
    found = report.found
    rows = [["energy of the network / eV", *_cells(report, [item.energy for item in found])]]
    rows.append(["ΣR / eV", *_cells(report, [item.total for item in found])])
    ratios = [f"{item.total.mean() / item.energy.mean():.3f}" for item in found]
    rows.append(["ΣR/E", *ratios, *["–"] * (len(found) > 1)])
    for order in dict.fromkeys(name for item in found for name in item.orders):
        series = [item.orders.get(order) for item in found]
        rows.append([f"ΣR of order {order} / eV", *_cells(report, series)])
    for name in dict.fromkeys(name for item in found for name in item.apart):
        energies = (shown(report.mean(item.apart[name])) if name in item.apart else "–" for item in found)
        rows.append([f"not explained: prior {name} / eV", *energies, *["–"] * (len(found) > 1)])
    return aligned(["", *report.columns], rows, left=1)


def _cells(report: Report, series: list[np.ndarray | None]) -> list[str]:
    """Means of networks, and over them where all have one; a dash where a network has none."""
    if any(values is None for values in series):
        return ["–" if values is None else shown(report.mean(values)) for values in series] + ["–"] * (len(series) > 1)
    return [shown(mean) for mean in rows_of(series, report.chain.trajectories)]


def _sums(report: Report, classes: list[PairClass], title: str) -> str:
    rows = [
        ["  " * (item.within is not None) + item.name, str(int(item.pairs.sum())),
         *_cells(report, [found.of_pairs(item.pairs) for found in report.found])]
        for item in classes if item.pairs.any()
    ]  # fmt: skip
    return aligned([title, "pairs", *report.columns], rows, left=1)


def _pairs(report: Report) -> str:
    labels, distances, contacts = report.chain.labels, report.chain.distances().mean(axis=0), report.contacts
    rows = [
        [f"{labels[i]} {labels[j]}", f"{distances[i, j]:.2f}", f"{contacts[i, j]:.2f}",
         *_cells(report, [item.pairs[:, i, j] for item in report.found])]
        for i, j in strongest_pairs(report)
    ]  # fmt: skip
    header = [f"strongest pairs, |i−j| > {LOCAL}", "r / Å", f"r < {report.contact:g} Å", *report.columns]
    return aligned(header, rows, left=1) if rows else ""


def _triples(report: Report) -> str:
    labels, rows = report.chain.labels, []
    for key in strongest_triples(report):
        name = " ".join(labels[k] for k in report.found[0].triples.residues(key))
        rows.append([name, *_cells(report, [item.triples.series(key) for item in report.found])])
    return aligned(["strongest triples, R / eV", *report.columns], rows, left=1) if rows else ""


def _notes(report: Report) -> str:
    """What was explained, with which γ, and what the errors are."""
    explained = " and ".join(dict.fromkeys(explained_text(item.apart) for item in report.found))
    rules = "; ".join(f"{item.model}: {item.network}, rule {item.rule}" for item in report.found if item.rule)
    lines = [
        f"E and R: {explained}, without constants of the types. γ = {report.gamma:g}{f'; {rules}' if rules else ''}.",
        f"{len(report.chain.positions)} frames of {report.chain.source}; ±: one standard error over frames, {ERRORS}"
        + ("; of the mean of networks: over networks." if len(report.found) > 1 else "."),
    ]
    mean_maps = [item.pairs.mean(axis=0) for item in report.found]
    for k, one in enumerate(report.found):
        for other, item in enumerate(report.found[k + 1 :], start=k + 1):
            r = agreement(mean_maps[k], mean_maps[other], report.upper)
            lines.append(f"Correlation of the maps of {one.model} and {item.model}, |i−j| > {LOCAL}: {r:.3f}.")
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """All numbers of the tables; residues from 1."""
    chain, n = report.chain, len(report.chain.sequence)
    names = report.columns

    def numbers(series: list[np.ndarray]) -> dict:
        return {name: as_dict(mean) for name, mean in zip(names, rows_of(series, chain.trajectories), strict=True)}

    def of_classes(classes: list[PairClass]) -> list[dict]:
        return [
            {"class": item.name, "within": item.within, "pairs": int(item.pairs.sum()),
             "relevance": numbers([found.of_pairs(item.pairs) for found in report.found])}
            for item in classes
        ]  # fmt: skip

    triples = [
        {"residues": [k + 1 for k in report.found[0].triples.residues(key)],
         "relevance": numbers([item.triples.series(key) for item in report.found])}
        for key in strongest_triples(report)
    ]  # fmt: skip
    pairs = [
        {"residues": [i + 1, j + 1], "relevance": numbers([item.pairs[:, i, j] for item in report.found])}
        for i, j in strongest_pairs(report)
    ]
    return to_json({
        "sequence": chain.sequence, "frames": len(chain.positions), "source": chain.source, "gamma": report.gamma,
        "networks": [
            {
                "model": item.model, "network": item.network, "rule": item.rule, "explained": explained_text(item.apart),
                "energy": as_dict(report.mean(item.energy)), "total_relevance": as_dict(report.mean(item.total)),
                "relevance_by_order": {order: as_dict(report.mean(v)) for order, v in item.orders.items()},
                "prior_energies": {name: as_dict(report.mean(v)) for name, v in item.apart.items()},
            }
            for item in report.found
        ],
        "secondary_structure": {
            "origin": report.origin, "helices": report.secondary.helices, "strands": report.secondary.strands,
            "core": report.secondary.core,
        },
        "by_separation": of_classes(separation_classes(n)), "by_class": of_classes(pair_classes(report.secondary, n)),
        "strongest_pairs": pairs, "strongest_triples": triples,
    }, indent=1)  # fmt: skip


def arrays(report: Report) -> dict[str, np.ndarray]:
    """Maps (N, N) of the NPZ file: mean distances, contacts, and of each network its pairs with their errors."""
    maps = {"distance_A": report.chain.distances().mean(axis=0), "contacts": report.contacts}
    for k, item in enumerate(report.found):
        maps |= {f"network{k}_pairs_eV": item.pairs.mean(axis=0), f"network{k}_residues_eV": item.singles.mean(axis=0)}
        maps[f"network{k}_pairs_error_eV"] = error_map(item.pairs, report.chain.trajectories)
    return maps


def error_map(series: np.ndarray, trajectories: np.ndarray | None) -> np.ndarray:
    """(N, N) standard errors of symmetric maps (n_frames, N, N), as of means.mean_of."""
    n = series.shape[1]
    first, second = np.triu_indices(n, 1)
    found = np.zeros((n, n))
    found[first, second] = [mean_of(values, trajectories).error for values in series[:, first, second].T]
    return found + found.T


def write_files(report: Report, figure, path: Path, **others: bytes) -> list[Path]:
    """Write figure (PNG, SVG), table (TXT), numbers (JSON) and maps (NPZ) beside each other; returns their paths."""
    return write_beside(path, figure, as_text(report), as_json(report), npz=npz_bytes(arrays(report)), **others)
