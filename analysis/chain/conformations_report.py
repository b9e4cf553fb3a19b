"""Table, numbers and figure of the conformations of a chain."""

from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.chain.conformations import ANGLES, DIHEDRALS, Conformations, overlap
from analysis.chain.figure import label_residues
from analysis.chain.means import ERRORS, mean_of, shown
from analysis.chain.secondary import LOCAL
from analysis.figures import OKABE_ITO, STYLE, write_beside
from md.observables.statistics import Mean
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.zip_files import npz_bytes

QUANTITIES = {"gyration": "Rg / Å", "rmsd": "RMSD / Å", "native_contacts": "Q"}
_SHARP = 60.0  # degrees, below which hardly any angle of a protein is


class ConformationsReport(NamedTuple):
    """Runs or files of one chain.

    Attributes:
        found: Of each; beside: Of the reference, such as frames of the all-atom simulation; None without one.
        discard: Share of each run left out of means and maps, not of series; 0 where all are files.
    """

    found: list[Conformations]
    beside: Conformations | None
    discard: float

    @property
    def shown(self) -> list[Conformations]:
        """All of them, the reference last."""
        return self.found if self.beside is None else [*self.found, self.beside]

    @property
    def upper(self) -> np.ndarray:
        """(N, N) mask of pairs i < j that are more than LOCAL apart along the chain."""
        return np.triu(np.ones((len(self.found[0].native),) * 2, dtype=bool), LOCAL + 1)


def means_of(item: Conformations) -> dict[str, Mean]:
    """Of each of QUANTITIES, over the kept frames."""
    trajectories = item.chain.trajectories
    kept = None if trajectories is None else trajectories[item.kept]
    return {name: mean_of(getattr(item, name)[item.kept], kept) for name in QUANTITIES}


def early_and_late(item: Conformations) -> tuple[float, float]:
    """Mean Q of the first and of the last tenth of the frames."""
    tenth = max(1, len(item.native_contacts) // 10)
    return float(item.native_contacts[:tenth].mean()), float(item.native_contacts[-tenth:].mean())


def against(item: Conformations, report: ConformationsReport) -> tuple[float, float] | None:
    """Shared contacts and backbone with the reference, each 1 for equal maps and 0 for apart ones; None for the reference.

    Shared contacts: Σ min(p, q) / Σ max(p, q) over pairs beyond LOCAL places with shares p and q of the frames.
    """
    if report.beside is None or item is report.beside:
        return None
    one, other = (map_.contacts[report.upper] for map_ in (item, report.beside))
    everything = np.maximum(one, other).sum()
    shared = float(np.minimum(one, other).sum() / everything) if everything > 0 else np.nan
    return shared, overlap(item.backbone, report.beside.backbone)


def as_text(report: ConformationsReport) -> str:
    """A row for each run or file, and what the columns are."""
    rows = []
    for item in report.shown:
        early, late = early_and_late(item)
        similar = against(item, report)
        rows.append([
            item.chain.source, str(len(item.chain.positions)), _length(item),
            *(shown(mean) for mean in means_of(item).values()),
            f"{early:.2f} → {late:.2f}" if item.chain.times_ps is not None else "–",
            *([f"{value:.3f}" for value in similar] if similar else ["–", "–"]),
        ])  # fmt: skip
    header = ["frames of", "number", "ns", *QUANTITIES.values(), "Q, first and last tenth", "contacts", "backbone"]
    first = report.found[0]
    notes = [
        f"native: {len(first.first)} contacts below {first.contact:g} Å, more than {LOCAL} apart along the chain.",
        f"±: one standard error over frames, {ERRORS}; a run may be near its start all the time.",
    ]
    if report.discard:
        notes.append(f"Means and maps leave out the first {100 * report.discard:g}% of each run.")
    if report.beside:
        notes.append(
            f"contacts, backbone: shared with the maps of {report.beside.chain.source}; 1 for equal ones, 0 for apart ones."
        )
    return "\n".join([aligned(header, rows, left=1), *notes])


def _length(item: Conformations) -> str:
    times = item.chain.times_ps
    return "–" if times is None else f"{1e-3 * (times[-1] - times[0]):.4g}"


def as_json(report: ConformationsReport) -> str:
    """The numbers of the table."""
    rows = []
    for item in report.shown:
        similar = against(item, report)
        rows.append({
            "source": item.chain.source, "frames": len(item.chain.positions),
            **{name: mean._asdict() for name, mean in means_of(item).items()},
            "native_contacts_first_and_last_tenth": early_and_late(item),
            "contacts_shared": similar and similar[0], "backbone_shared": similar and similar[1],
        })  # fmt: skip
    first = report.found[0]
    return to_json(
        {"native_contacts": len(first.first), "contact_A": first.contact, "discard": report.discard, "found": rows},
        indent=1,
    )


def conformations_figure(report: ConformationsReport) -> Figure:
    """Rg, RMSD and Q along each run; below, maps of contacts and of the backbone of each, beside the reference."""
    columns = max(3, len(report.shown))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * columns, 8.2), layout="constrained")
        rows: Any = figure.subfigures(3, 1, height_ratios=[0.85, 1.25, 1.0])
        for axes, name in zip(rows[0].subplots(1, 3), QUANTITIES, strict=True):
            _along(axes, report, name)
        maps, backbones = rows[1].subplots(1, columns), rows[2].subplots(1, columns)
        for item, above, below in zip(report.shown, maps, backbones, strict=False):
            _contacts(above, item, report)
            _backbone(below, item, _lowest_angle(report))
        for axes in (*maps[len(report.shown) :], *backbones[len(report.shown) :]):
            axes.set_axis_off()
    return figure


def _along(axes: Axes, report: ConformationsReport, name: str) -> None:
    for item, color in zip(report.found, cycle(OKABE_ITO), strict=False):
        times = item.chain.times_ps
        at = np.arange(len(item.chain.positions)) if times is None else 1e-3 * times
        for number, frames in enumerate(item.chain.parts()):  # no line from one trajectory to the next
            label = item.chain.source if number == 0 else None
            axes.plot(at[frames], getattr(item, name)[frames], lw=0.6, color=color, label=label)
    if report.beside:
        mean = means_of(report.beside)[name]
        axes.axhline(mean.value, color="0.3", lw=1.0, ls=":", label=f"mean of {report.beside.chain.source}")
    timed = all(item.chain.times_ps is not None for item in report.found)
    axes.set(xlabel="time / ns" if timed else "frame", ylabel=QUANTITIES[name])
    if name == "gyration":
        axes.legend(fontsize=6.5)


def _contacts(axes: Axes, item: Conformations, report: ConformationsReport) -> None:
    """Contacts of the frames above the diagonal, those of the reference, or else of the native structure, below."""
    name, below = "native", item.native_distances < item.contact
    if report.beside:
        name, below = report.beside.chain.source, report.beside.contacts
    # Rows upwards: a later row lies above.
    image = np.where(np.tril(np.ones(below.shape, dtype=bool), -1), item.contacts, below)
    options: dict[str, Any] = {"origin": "lower", "interpolation": "nearest", "cmap": "Greys", "vmin": 0.0, "vmax": 1.0}
    shade = axes.imshow(image, **options)
    label_residues(axes, item.chain.labels)
    axes.set_title(f"{item.chain.source}\nbelow: {name}", fontsize=7.5)
    axes.figure.colorbar(shade, ax=axes, label=f"share of frames with r < {item.contact:g} Å", shrink=0.8, pad=0.02)


def _lowest_angle(report: ConformationsReport) -> float:
    """Where maps of the backbone begin, degrees: a chain without sharp angles leaves the lower part empty."""
    seen = np.any([item.backbone.any(axis=1) for item in report.shown], axis=0)
    return float(min(_SHARP, *ANGLES[:-1][seen]))


def _backbone(axes: Axes, item: Conformations, lowest: float) -> None:
    with np.errstate(divide="ignore"):
        energy = np.ma.masked_invalid(-np.log(item.backbone / item.backbone.max()))
    shade = axes.pcolormesh(DIHEDRALS, ANGLES, energy, cmap="viridis", vmin=0.0, vmax=6.0)
    axes.set(xlabel="dihedral angle τ / degree", ylabel="angle θ / degree", title=item.chain.source)
    axes.set_ylim(lowest, 180.0)
    axes.set_xticks([-180, -90, 0, 90, 180])
    axes.figure.colorbar(shade, ax=axes, label="−ln p / p$_{max}$", shrink=0.8, pad=0.02)


def write_files(report: ConformationsReport, path: Path) -> list[Path]:
    """Write figure (PNG, SVG), table (TXT), numbers (JSON) and series with maps (NPZ) beside each other; returns their paths."""
    arrays = {"angle_edges_degree": ANGLES, "dihedral_edges_degree": DIHEDRALS}
    for k, item in enumerate(report.found):
        arrays |= {f"source{k}_{name}": getattr(item, name) for name in (*QUANTITIES, "contacts", "backbone")}
        if item.chain.times_ps is not None:
            arrays[f"source{k}_times_ps"] = item.chain.times_ps
    return write_beside(
        path, conformations_figure(report), as_text(report), as_json(report), npz=npz_bytes(arrays, np.savez)
    )
