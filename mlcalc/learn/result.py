"""The result of learning: models, labels, an input for rpmd, vibrations, figures and the model card."""

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.settings import toml_value
from mlcalc.common.tables import aligned
from mlcalc.data.labelling import label_file, write_frames
from mlcalc.learn.card import card
from mlcalc.learn.figure import plot_learning
from mlcalc.learn.rounds import COLD, PARITY, Work, models_of
from mlcalc.learn.settings import LABELS, MODELS, RESULT, LearnSettings, command_of
from mlcalc.modes import modes_by

CARD, RUN = "model_card.md", "rpmd.toml"
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
    vibrations = compared_vibrations(work, folder / MODELS / models_of(work, number)[0].name)
    write_atomically(folder / "vibrations.txt", f"{vibrations}\n".encode())
    write_atomically(folder / RUN, _run_input(work, records[-1]).encode())
    result = {
        "converged": not reasons, "reasons": reasons, "rounds": number, "labels": len(labels), "spot_check_eV_A": largest,
        "seconds": work.progress.seconds, "command": command_of(folder), "bounds": bounds_of(settings),
    }  # fmt: skip
    write_atomically(folder / CARD, card(work, records, result, vibrations).encode())
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


def compared_vibrations(work: Work, model: Path) -> str:
    """A table of the frequencies of engine and model, each at its own minimum."""
    if work.start.modes is None:
        return "a periodic structure has no normal modes here"
    try:
        modes = modes_by(NetworkCalculator(str(model), precision="float64", threads=1), work.start.atoms)
    except InputError as error:
        return f"the network has no minimum near that of the engine: {error}"
    reference, found = work.start.modes.wavenumbers, modes.wavenumbers
    if len(found) != len(reference):
        return f"the minimum of the network has {len(found)} vibrations, that of the engine {len(reference)}"
    rows = [[f"{a:.1f}", f"{b:.1f}", f"{b - a:+.1f}"] for a, b in zip(reference, found, strict=True)]
    table = aligned([f"{work.settings.engine} / cm⁻¹", "network", "difference"], rows)
    mean = np.abs(found - reference).mean()
    return f"{table}\nmean absolute difference {mean:.1f} cm⁻¹, zero-point energies {work.start.modes.zero_point_energy:.4f} and " \
        f"{modes.zero_point_energy:.4f} eV"  # fmt: skip


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
