"""``rpmd info``: a run on one screen, or as numbers for scripts; changes nothing, and may read a run in progress."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from md.dynamics.clamped import Clamped
from md.dynamics.settings import QUANTUM_BATH
from md.files.layout import INPUT, PROPERTIES, STRUCTURE, TRAJECTORY
from md.files.properties import read_table
from md.files.run_status import read_status
from md.files.trajectory import read_frames
from md.observables.averages import Ensemble, means
from md.observables.statistics import Mean
from md.runs.config import read_settings
from md.runs.inspection import is_being_written
from md.runs.progress import property_rows
from md.runs.run_folder import FROM_IPI, check_files, kind_of, own_settings
from md.runs.structures import read_structure
from md.runs.verdict import as_line, verdict
from mlcalc.common.errors import InputError
from mlcalc.common.tables import aligned


def overview(folder: Path) -> dict[str, Any]:
    """The overview of a run folder, JSON-able; ``means`` has [mean, standard error] of every column of properties.csv.

    Raises:
        InputError: A file is missing or cannot be read; 'rpmd check' gives details.
    """
    check_files(folder)
    if kind_of(folder) == FROM_IPI:
        return _converted(folder)
    settings, atoms = own_settings(folder), read_structure(folder / STRUCTURE)
    try:
        status = read_status(folder)
    except InputError as error:
        raise InputError(f"{error}; see rpmd check {folder}") from error
    state = _state(status["state"], is_being_written(folder))
    found = {
        "folder": str(folder), "kind": kind_of(folder), "state": state, "error": status.get("error"),
        "formula": atoms.get_chemical_formula(), "atoms": len(atoms), "held": int(Clamped.of(atoms).mask.sum()),
        "cell_A": atoms.cell.lengths().round(4).tolist() if atoms.pbc.any() else None,
        "masses_u": _masses(atoms), "precision": settings.precision,
        "model": status.get("model"), "model_sha256": status.get("model_sha256"), "engine": status.get("engine"),
        "beads": settings.beads, "temperature_K": settings.temperature_K, "timestep_fs": settings.timestep_fs,
        "integrator": settings.integrator, "thermostat": settings.thermostat, "seed": settings.seed,
        "pressure_GPa": settings.pressure_GPa if settings.has_barostat else None,
        "potential": [str(part) for part in read_settings(folder / INPUT, {}).potential],
        "bias": [str(bias) for bias in settings.bias],
        "step": max(0, status.get("step", 0)), "steps": settings.steps, "ns_per_day": status.get("ns_per_day"),
        "seconds_left": status.get("seconds_left") if state == "running" else None,
        "smallest_distance_A": status.get("smallest_distance_A"), "bonds_changed": status.get("bonds_changed"),
        "versions": status.get("versions"),
    }  # fmt: skip
    masses = atoms.get_masses()[Clamped.of(atoms).moving]
    ensemble = Ensemble(settings.bead_counts[0], len(masses), settings.temperature_K)
    known = _means(folder, ensemble)
    n_records = len(read_table(folder / PROPERTIES)["step"]) if known else 0
    averages = {name: Mean(value, error, 0.0) for name, (value, error) in known.items()}
    return found | {
        "means": known,
        "verdict": as_line(verdict(averages, n_records, ensemble, settings.thermostat, masses, status)) or None,
    }


def _converted(folder: Path) -> dict[str, Any]:
    """The same for a run written by i-PI, as far as known."""
    settings, atoms = read_settings(folder / INPUT, {}), read_structure(folder / STRUCTURE)
    steps, _ = read_frames(folder / TRAJECTORY)
    status = read_status(folder)
    return {
        "folder": str(folder), "kind": FROM_IPI, "state": status.get("state"), "error": status.get("error"),
        "formula": atoms.get_chemical_formula(), "atoms": len(atoms),
        "cell_A": atoms.cell.lengths().round(4).tolist() if atoms.pbc.any() else None,
        "masses_u": _masses(atoms), "model": settings.model, "beads": settings.beads,
        "temperature_K": settings.temperature_K, "timestep_fs": settings.timestep_fs, "frames": len(steps),
        "step": int(steps[-1]), "first_step": int(steps[0]), "source": status.get("source"),
        "means": _means(folder, Ensemble(settings.bead_counts[0], len(atoms), settings.temperature_K)),
    }  # fmt: skip


def _state(recorded: str, writing: bool) -> str:
    if writing:
        return "running"
    return "killed" if recorded == "running" else recorded


def _means(folder: Path, ensemble: Ensemble) -> dict[str, list[float]]:
    if not os.path.exists(folder / PROPERTIES):
        return {}
    series = read_table(folder / PROPERTIES)
    recorded = {name: values for name, values in series.items() if name not in ("step", "time_fs")}
    if not all(len(values) > 1 for values in recorded.values()):
        return {}
    return {name: [float(mean.value), float(mean.error)] for name, mean in means(recorded, ensemble).items()}


def as_text(found: dict[str, Any]) -> str:
    """An overview that fits on one screen."""
    rows = _rows_of_ipi(found) if found["kind"] == FROM_IPI else _rows(found)
    if found["means"]:
        rows += property_rows([{name: Mean(value, error, 0.0) for name, (value, error) in found["means"].items()}])
    if found.get("verdict"):
        rows.append(["verdict", found["verdict"]])
    if found.get("versions"):
        rows.append(["made with", ", ".join(f"{name} {version}" for name, version in found["versions"].items())])
    return aligned([found["folder"], ""], rows, left=2)


def _rows_of_ipi(found: dict[str, Any]) -> list[list[str]]:
    time_ps = [1e-3 * found[key] * found["timestep_fs"] for key in ("first_step", "step")]
    return [
        ["state", f"written by i-PI ({found['source']}), converted by 'analysis from-ipi'"],
        ["frames", f"{found['frames']}, {time_ps[0]:g} to {time_ps[1]:g} ps"],
        ["system", _system(found)],
        _masses_row(found),
        ["beads", _beads(found)],
        ["motion", "{temperature_K:g} K, {timestep_fs:g} fs a step, by i-PI".format(**found)],
    ]


def _masses(atoms) -> list[float]:
    """The distinct masses of a structure, u."""
    return np.unique(atoms.get_masses().round(6)).tolist()


def _masses_row(found: dict[str, Any]) -> list[str]:
    return ["masses", ", ".join(f"{mass:g}" for mass in found["masses_u"]) + " u"]


def _system(found: dict[str, Any]) -> str:
    system = f"{found['formula']}, {found['atoms']} atoms" + (
        f", {found['held']} of them held" if found.get("held") else ""
    )
    if found["cell_A"]:
        system += ", cell " + " × ".join(f"{length:g}" for length in found["cell_A"]) + " Å"
    return system


def _source(found: dict[str, Any]) -> list[str]:
    """The row of what the forces come from."""
    if found["engine"]:
        name, _, digest = found["engine"].partition(" sha256:")
        return ["engine", f"{name} ({digest[:12]})" if digest else name]
    return ["model", f"{found['model']} ({(found['model_sha256'] or 'unknown')[:12]}), {found['precision']}"]


def _beads(found: dict[str, Any]) -> str:
    kind = (
        " (quantum bath)" if found.get("thermostat") == QUANTUM_BATH else " (classical)" if found["beads"] == 1 else ""
    )
    return f"P = {found['beads']}{kind}"


def _rows(found: dict[str, Any]) -> list[list[str]]:
    time_ps = 1e-3 * found["step"] * found["timestep_fs"]
    rows = [
        ["state", found["state"] + (f": {found['error']}" if found["error"] else "")],
        ["done", f"step {found['step']} of {found['steps']}, {time_ps:g} ps"],
        ["system", _system(found)],
        _masses_row(found),
        _source(found),
        ["beads", _beads(found)],
        [
            "motion",
            "{temperature_K:g} K, {thermostat}, {integrator}, {timestep_fs:g} fs a step, seed {seed}".format(**found)
            + (f", {found['pressure_GPa']:g} GPa" if found["pressure_GPa"] is not None else ""),
        ],
        *(["slow component", part] for part in found["potential"]),
        *(["bias", bias] for bias in found["bias"]),
    ]
    if found["ns_per_day"]:
        left = f", {found['seconds_left']:.0f} s left" if found["seconds_left"] else ""
        rows.append(["speed", f"{found['ns_per_day']:.1f} ns/day{left}"])
    if found["smallest_distance_A"]:
        rows.append(["smallest distance", f"{found['smallest_distance_A']:.3f} Å"])
    if found["bonds_changed"]:
        n = found["bonds_changed"]["records"]
        rows.append(
            ["bonds", f"differ from those of the start in {n} records" if n else "those of the start in all records"]
        )
    return rows
