"""The result of learning: models, labels, an input for rpmd, vibrations, figures and the model card."""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read

from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.settings import read_toml, toml_value
from mlcalc.common.tables import aligned
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.labelling import label_file, write_frames
from mlcalc.data.workers import discard
from mlcalc.learn.card import card
from mlcalc.learn.figure import plot_learning
from mlcalc.learn.labels import read_frames
from mlcalc.learn.lower_minimum import lower_minimum
from mlcalc.learn.rounds import COLD, PARITY, VISITED, Work, models_of
from mlcalc.learn.settings import LABELS, MODELS, PLAN_FILE, RESULT, LearnSettings, command_of, read_plan
from mlcalc.modes import modes_by

CARD, RUN, LOWER = "model_card.md", "rpmd.toml", "lower.xyz"
_SAME_EV_A = 1e-3  # forces of a label and of its repetition may differ by so much


def write_result(work: Work, records: list[dict], reasons: list[str]) -> dict:
    """Write the result of the last round into the folder; result.json, which ends learning, comes last.

    Args:
        records: Of all rounds; reasons: why learning has not converged, empty if it has.
    """
    folder, settings, number = work.folder, work.settings, len(records)
    work.progress.say("writing the result")
    make_folder(folder / MODELS)
    for model in models_of(work, number):
        write_atomically(folder / MODELS / model.name, model.read_bytes())
    labels = _labels(work)
    write_frames(labels, folder / LABELS)
    largest = _spot_check(work, labels)
    if largest is not None and largest > _SAME_EV_A:
        reasons = [
            *reasons,
            f"labels computed again differ by up to {1e3 * largest:.1f} meV/Å: the engine is not deterministic",
        ]
    parity = work.round_folder(number) / PARITY
    if parity.is_file():
        write_atomically(folder / PARITY, parity.read_bytes())
    plot_learning(records, settings.target_meV_A, folder / "learning_curve.png")
    model = folder / MODELS / models_of(work, number)[0].name
    vibrations = compared_vibrations(work, model)
    write_atomically(folder / "vibrations.txt", f"{vibrations.text}\n".encode())
    write_atomically(folder / RUN, _run_input(work, records[-1]).encode())
    result = {
        "converged": not reasons, "reasons": reasons, "rounds": number, "labels": len(labels), "spot_check_eV_A": largest,
        "vibrations": vibrations.differences, "lower_minimum": _lower_minimum(work, number, model),
        "seconds": work.progress.seconds, "command": command_of(folder), "bounds": bounds_of(settings),
    }  # fmt: skip
    write_atomically(
        folder / CARD, card(work, records, result, vibrations.text, lower_minimum_text(result, folder)).encode()
    )
    write_atomically(folder / RESULT, to_json(result, indent=1).encode())
    return from_json((folder / RESULT).read_bytes())


def bounds_of(settings: LearnSettings) -> list[float]:
    """What ends learning that has not converged: with other bounds it is resumed."""
    return [settings.labels, settings.hours, settings.rounds, settings.target_meV_A]


def _labels(work: Work) -> list[Atoms]:
    """All labels, also those that are not learnt, with the stage that they belong to."""
    frames = []
    for path in (work.folder / COLD, *sorted(work.folder.glob("round-*/[cf]*.xyz"))):
        everything = path.with_suffix(".all.xyz")
        if path.suffixes == [".xyz"] and everything.is_file():
            stage = path.stem if path.name == COLD else f"{path.parent.name} {path.stem}"
            for atoms in read(everything, ":"):
                atoms.info["stage"] = stage
                frames.append(atoms)
    return frames


def _spot_check(work: Work, labels: list[Atoms]) -> float | None:
    """eV/Å, largest difference of forces when random labels are computed again; None without a spot check."""
    count = min(work.settings.spot_check, len(labels))
    if not count:
        return None
    path, again = work.folder / "spot.xyz", work.folder / "spot.all.xyz"
    if not path.is_file():
        chosen = np.random.default_rng(work.settings.seed).choice(len(labels), count, replace=False)
        write_frames([labels[k] for k in chosen], path)
    report = label_file(path, work.settings.engine, again, work.settings.jobs)
    if report.failures:
        return float("inf")
    pairs = zip(read(path, ":"), read(again, ":"), strict=True)
    forces = ([atoms.get_forces(apply_constraint=False) for atoms in pair] for pair in pairs)
    return float(max(np.abs(one - other).max() for one, other in forces))


class Vibrations(NamedTuple):
    """A table of frequencies, and how far they are apart, cm⁻¹, by name; None where they cannot be compared."""

    text: str
    differences: dict[str, float] | None


def compared_vibrations(work: Work, model: Path) -> Vibrations:
    """The frequencies of engine and model, each at its own minimum."""
    if work.start.modes is None:
        return Vibrations("a periodic structure has no normal modes here", None)
    try:
        modes = modes_by(NetworkCalculator(str(model), precision="float64", threads=1), work.start.atoms)
    except InputError as error:
        return Vibrations(f"the network has no minimum near that of the engine: {error}", None)
    reference, found = work.start.modes.wavenumbers, modes.wavenumbers
    if len(found) != len(reference):
        text = f"the minimum of the network has {len(found)} vibrations, that of the engine {len(reference)}"
        return Vibrations(text, None)
    rows = [[f"{a:.1f}", f"{b:.1f}", f"{b - a:+.1f}"] for a, b in zip(reference, found, strict=True)]
    table = aligned([f"{work.settings.engine} / cm⁻¹", "network", "difference"], rows)
    apart = np.abs(found - reference)
    energies = f"{work.start.modes.zero_point_energy:.4f} and {modes.zero_point_energy:.4f} eV"
    text = f"{table}\nmean absolute difference {apart.mean():.1f} cm⁻¹, zero-point energies {energies}"
    return Vibrations(text, {"mean_cm-1": float(apart.mean()), "largest_cm-1": float(apart.max())})


def _lower_minimum(work: Work, number: int, model: Path) -> dict | None:
    """Write lower.xyz if explorations found a minimum below the start, and return what it is; None if not, or in a crystal."""
    settings, start, path = work.settings, work.start.atoms, work.folder / LOWER
    path.unlink(missing_ok=True)
    if start.pbc.any():
        return None
    visited = [atoms for k in range(1, number + 1) for atoms in read_frames(work.round_folder(k) / VISITED)]
    engine = make_calculator(settings.engine)
    try:
        set_state(settings.engine, engine, start)
        found = lower_minimum(start, visited, NetworkCalculator(str(model), precision="float64", threads=1), engine)
    finally:
        discard(engine)
    if found is None:
        return None
    found.atoms.info["engine"] = settings.engine
    write_frames([found.atoms], path)
    return {"file": path.name, "below_eV": found.below_eV, "other_bonds": found.other_bonds}


def lower_minimum_text(result: dict, folder: Path) -> str:
    """A sentence on a minimum below the start, and the command that learns it; empty without one."""
    found = result.get("lower_minimum")
    if found is None:
        return ""
    kind = "an isomer (its bonds differ)" if found["other_bonds"] else "a conformer"
    place, engine = folder / found["file"], read_plan(folder / PLAN_FILE).engine
    command = shlex.join(["mlcalc", "learn", str(place), "--engine", engine, "-o", f"{folder}-lower"])
    return f"{kind} {1e3 * found['below_eV']:.0f} meV below the start was found, {place}: learn from there, {command}"


def _run_input(work: Work, record: dict) -> str:
    """The input of a run of 20 ps with P beads and classically, guarded by the committee."""
    settings = work.settings
    names = [f"{MODELS}/{model.name}" for model in models_of(work, record["round"])]
    steps = round(20_000 / settings.timestep_fs)
    keys = {
        "structure": "minimum.xyz", "model": names[0], "committee": tuple(names[1:]),
        "max_disagreement_eV_A": settings.stop_error_eV_A / max(record["calibration"]["factor"], 1e-3),
        "output": "runs", "beads": settings.bead_counts, "temperature_K": settings.temperature_K,
        "timestep_fs": settings.timestep_fs, "integrator": "BCOCB", "equilibration_steps": steps // 20, "steps": steps,
        "properties_every_steps": 20, "trajectory_every_steps": 40,
    }  # fmt: skip
    head = f"# Ring polymers of {work.start.atoms.get_chemical_formula()}: rpmd run {json.dumps(work.folder.name)[1:-1]}/{RUN}\n"
    return head + "".join(f"{key} = {toml_value(value)}\n" for key, value in keys.items())


def read_result(folder: Path) -> dict | None:
    """The result of learning that has ended; None before."""
    path = folder / RESULT
    return from_json(path.read_bytes()) if path.is_file() else None


def learnt_labels(folder: Path) -> list[Atoms]:
    """The labels that the committee of a finished folder learnt, as the last training of its first member names them.

    Raises:
        InputError: Learning has not ended there.
    """
    result = read_result(folder)
    if result is None:
        raise InputError(
            f"{folder}: holds no {RESULT}: learning has not ended there; 'mlcalc learn {folder}/{PLAN_FILE}' resumes it"
        )
    last = folder / f"round-{result['rounds']}"
    return [atoms for name in read_toml(last / "train-1.toml")["data"] for atoms in read_frames(last / name)]
