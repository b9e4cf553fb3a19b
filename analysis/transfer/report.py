"""The ``transfer`` command: runs in; table, figure and numbers out."""

from pathlib import Path

from ase import units

from analysis.transfer.free_energy import Barrier, Landscape
from analysis.transfer.run_transfer import RunTransfer, coordinate_name, difference, differences, ends_name
from analysis.transfer.run_transfer import analyse as analyse
from md.observables.statistics import Mean
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_KCAL_MOL = units.kcal / units.mol


def as_text(analysed: list[RunTransfer]) -> str:
    """Table of barriers, places of the minimum and distances, with notes and differences, as printed by the command."""
    first = analysed[0]
    apart = ends_name(first)
    header = ["run", "positions", "barrier / meV", "kcal/mol", "minimum: |δ| / Å", f"{apart} / Å", "std / Å"]
    rows = [
        [
            item.label, kind, _barrier(item.used[kind].barrier, 1e-3), _barrier(item.used[kind].barrier, _KCAL_MOL),
            f"{abs(item.used[kind].well):.2f}", *(with_error(*mean[:2]) for mean in item.apart[kind]),
        ]
        for item in analysed for kind in item.kinds
    ]  # fmt: skip
    lines = [
        aligned(header, rows, left=2),
        f"{coordinate_name(first)}; barrier: F(0) above the minimum of F = −k_BT ln p(δ). ±: one standard error.",
    ]
    for item in analysed:
        lines += _notes(item)
    return "\n".join(lines + [line for pair in differences(analysed) for line in _difference_lines(*pair)])


def _barrier(barrier: Barrier, unit: float) -> str:
    value, error, _ = barrier.mean
    if not barrier.bound:
        return with_error(value / unit, error / unit)
    return f"> {value / unit:.2g}" if value > 0 else "not sampled"


def _notes(item: RunTransfer) -> list[str]:
    share = with_error(*item.acceptor_share[:2])
    symbol = item.run.structure.get_chemical_symbols()[item.site.acceptor]
    equal = " (0.5 by symmetry; distributions are averaged with their mirror image)" if item.symmetric else ""
    length = item.frames * item.run.frame_interval_ps
    return [
        f"{item.label}: {item.frames} frames over {length:.4g} ps at {item.run.temperature_K:g} K of {item.run}; "
        f"{item.transfers} transfers; share of beads on {symbol}{item.site.acceptor} {share}{equal}",
        *(f"  {warning}" for warning in item.warnings),
    ]


def _difference_lines(item: RunTransfer, other: RunTransfer) -> list[str]:
    lines = []
    for kind in item.kinds:
        one, two = (run.used[kind].barrier for run in (item, other))
        if one.bound or two.bound:
            bounded = item if one.bound else other
            lines.append(
                f"{item.label} against {other.label}, {kind}: no difference of barriers, {bounded.label} has no more than a bound"
            )
            continue
        change = difference(one.mean, two.mean)
        word = "lower" if change.value < 0 else "higher"
        amounts = (with_error(abs(change.value) / unit, change.error / unit) for unit in (1e-3, _KCAL_MOL))
        lines.append(
            "{}, {}: the barrier is {} meV ({} kcal/mol) {} than that of {}".format(
                item.label, kind, *amounts, word, other.label
            )
        )
    change = difference(item.apart["beads"].mean, other.apart["beads"].mean)
    word = "shorter" if change.value < 0 else "longer"
    lines.append(
        f"{item.label}: {ends_name(item)} is {with_error(abs(change.value), change.error)} Å {word} than that of {other.label}"
    )
    return lines


def as_json(analysed: list[RunTransfer]) -> str:
    """The numbers of table and figure as JSON; keys carry their unit, NaN and infinity become null."""
    runs = []
    for item in analysed:
        run, apart = item.run, item.apart_density
        runs.append({
            "label": item.label, "folders": [str(folder) for folder in run.folders], "beads": run.n_beads,
            "isotope": item.isotope, "temperature_K": run.temperature_K, "model": run.model, "frames": item.frames,
            "frame_interval_ps": run.frame_interval_ps, "atoms": item.site._asdict(), "transfers": item.transfers,
            "symmetrised": item.symmetric, "acceptor_share": item.acceptor_share._asdict(),
            "sampled": {kind: _landscape(item.sampled[kind]) for kind in item.kinds},
            "used": {kind: _landscape(item.used[kind]) for kind in item.kinds},
            "apart": {
                kind: {"mean_A": item.apart[kind].mean._asdict(), "std_A": item.apart[kind].std._asdict()}
                for kind in item.kinds
            },
            "apart_density": {
                "r_A": apart.r.tolist(), "density_per_A": apart.density.tolist(), "error_per_A": apart.error.tolist(),
            },
            "warnings": item.warnings,
        })  # fmt: skip
    pairs = [_difference_entry(*pair) for pair in differences(analysed)]
    return to_json({"runs": runs, "differences": pairs}, indent=1)


def _landscape(found: Landscape) -> dict:
    barrier = found.barrier
    return {
        "barrier_eV": barrier.mean.value, "barrier_error_eV": barrier.mean.error, "barrier_is_lower_bound": barrier.bound,
        "minimum_A": found.well, "delta_A": found.delta.tolist(), "density_per_A": found.density.tolist(),
        "density_error_per_A": found.density_error.tolist(), "free_energy_eV": found.free_energy.tolist(),
        "free_energy_error_eV": found.free_energy_error.tolist(),
    }  # fmt: skip


def _difference_entry(item: RunTransfer, other: RunTransfer) -> dict:
    entry: dict = {"run": item.label, "against": other.label}
    for kind in item.kinds:
        one, two = (run.used[kind].barrier for run in (item, other))
        known = not (one.bound or two.bound)
        change = difference(one.mean, two.mean) if known else Mean(float("nan"), float("nan"), 0.0)
        entry[kind] = {"barrier_eV": change.value, "barrier_error_eV": change.error}
    change = difference(item.apart["beads"].mean, other.apart["beads"].mean)
    return entry | {"apart_A": change.value, "apart_error_A": change.error}


def write_files(analysed: list[RunTransfer], figure_path: Path) -> list[Path]:
    """Write the table (TXT), the figure (PNG, SVG) and the numbers (JSON) beside each other; returns their paths."""
    from analysis.figures import write_beside
    from analysis.transfer.figure import transfer_figure

    return write_beside(figure_path, transfer_figure(analysed), as_text(analysed), as_json(analysed))
