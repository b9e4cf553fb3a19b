"""The model card: what a committee was made of, how wrong it is on structures that it never saw, and what it does not know."""

from ase.data import chemical_symbols

from mlcalc.common.errors import one_line
from mlcalc.common.tables import with_error
from mlcalc.learn.calibration import SHARE
from mlcalc.learn.labels import quarantined
from mlcalc.learn.rounds import Work
from mlcalc.model_file import load_model


def card(work: Work, records: list[dict], result: dict, vibrations: str, lower: str) -> str:
    """Markdown text; arguments as result.write_result has them."""
    settings, last = work.settings, records[-1]
    verdict = "**Converged.**" if result["converged"] else "**Not converged:**"
    parts = [
        f"# {work.start.atoms.get_chemical_formula()} by {settings.engine}",
        "\n".join([verdict, *(f"- {reason}" for reason in result["reasons"])]),
        f"Made by `{result['command']}`: {result['labels']} labels, {result['rounds']} round(s), "
        f"{result['seconds'] / 60:.0f} minutes. `learn.toml` has all settings; `rpmd run {work.folder.name}/rpmd.toml` moves it."
        + (f" The networks started from those in `{settings.refines}`, a cheaper level." if settings.refines else ""),
        *([f"**A lower minimum:** {lower}"] if lower else []),
        _errors(records),
        _calibration(last["calibration"]),
        _motion(work, last),
        _observables(records),
        _labels(work, result),
        f"## Vibrations\n\n```text\n{vibrations}\n```",
        _limits(work, records),
    ]
    return "\n\n".join(one_line_each(part) for part in parts) + "\n"


def one_line_each(text: str) -> str:
    """The lines of a text without characters that control a terminal."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _number(value: float | None, error: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if error is None else with_error(value, error)


def _errors(records: list[dict]) -> str:
    rows = [
        [str(record["round"]), str(record["labels"]), group["kind"], str(group["frames"]),
         _number(group["mae"], group["mae_error"]), f"{group['rmse']:.1f}", f"{group['energy_mae_meV_per_atom']:.2f}"]
        for record in records for group in record["errors"]
    ]  # fmt: skip
    header = ["round", "labels", "structures", "number", "force MAE / meV/Å", "force RMSE", "energy MAE / meV/atom"]
    return (
        "## Errors\n\nOf force components of the model that moves the atoms (`models/model-1`), on structures of its own motion "
        "at the temperature of interest, drawn at random and labelled anew; no training of that round had seen them.\n\n"
        + _table(header, rows)
    )


def _calibration(found: dict) -> str:
    if "bound" not in found:
        return "## Disagreement and error\n\nNot calibrated: there were no fresh labels."
    bound = "unknown (too few labels)" if found["bound"] is None else f"{found['bound']:.2f} times its disagreement"
    coverage = "unknown" if found["coverage"] is None else f"{found['coverage']:.1%}"
    return (
        "## Disagreement and error\n\nThe expected error of the force on an atom is "
        f"{found['factor']:.2f} times the disagreement of the committee on it. For {SHARE:.0%} of atoms the error is at most "
        f"{bound}; measured on structures that did not set this bound: {coverage} ({found['structures']} structures)."
    )


def _motion(work: Work, last: dict) -> str:
    step_ps = 1e-3 * work.settings.timestep_fs
    rows = [
        [
            run["run"],
            f"{run['steps'] * step_ps:.2f}",
            run["guard"] or "none",
            str(run["records_with_other_bonds"]),
            f"{run['below_minimum_eV']:.2f}",
        ]
        for run in last["runs"]
    ]
    quiet = sum(run["steps"] for run in last["runs"] if not run["guard"]) * step_ps
    header = ["exploration", "ps", "guard", "records with other bonds", "lowest below the minimum / eV"]
    return (
        f"## Motion of the last round\n\n{quiet:.1f} ps without a guard. Structures with broken or new bonds are kept: the "
        f"engine's labels say what they cost, unless a force exceeds {work.settings.max_label_force_eV_A:g} eV/Å."
        f"\n\n{_table(header, rows)}"
    )


def _observables(records: list[dict]) -> str:
    rows = [
        [
            name,
            *(
                "–" if name not in record["observables"] else with_error(*record["observables"][name])
                for record in records
            ),
        ]
        for name in ("potential_eV", "bond_width_A")
    ]
    header = ["ring polymers", *(f"round {record['round']}" for record in records)]
    return f"## Observables\n\n{_table(header, rows)}"


def _labels(work: Work, result: dict) -> str:
    lines = [f"- set apart: {count} × {reason}" for reason, count in quarantined(work.folder).items()]
    if result["spot_check_eV_A"] is not None:
        lines.append(
            f"- {work.settings.spot_check} random labels computed again: forces differ by at most "
            f"{1e3 * result['spot_check_eV_A']:.2g} meV/Å"
        )
    return "\n".join(["## Labels", "", "`labels.xyz` has all, with the stage of each in its comment line.", *lines])


def _limits(work: Work, records: list[dict]) -> str:
    model = load_model(work.folder / "models" / "model-1.safetensors")
    domain, settings = model.domain, work.settings
    symbols = ", ".join(chemical_symbols[z] for z in model.config.elements)
    distances = ", ".join(f"{pair} {value:.2f}" for pair, value in domain.get("min_distances_A", {}).items())
    return (
        f"## Domain, and what it does not know\n\n- elements {symbols}; charge {domain.get('charge', 0)}; this composition only\n"
        f"- shortest distances learnt / Å: {distances}\n"
        f"- motion at {settings.temperature_K:g} K was measured; at {settings.temperatures[-1]:g} K it was explored, not measured\n"
        "- conformers and reactions that no exploration reached; other charges, spins and excited states\n"
        f"- whatever {settings.engine} does not know: errors are relative to it"
    )
