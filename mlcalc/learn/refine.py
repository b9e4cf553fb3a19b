"""A better level of theory for a molecule that was learnt at a cheap one.

    labels of the cheap level ──► a subset, labelled again ──► network of the difference ──► all labels, corrected ──► committee

The difference of two levels is small and smooth: a few labels teach it (Ramakrishnan et al., doi:10.1021/acs.jctc.5b00099). The
committee of the cheap level is trained on, from its weights, with the corrected and the new labels, so that networks alone move the
atoms. The rest is as in any learning: explorations on the new networks, fresh labels of the better level, a verdict.
"""

from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.data.labelling import write_frames
from mlcalc.geometry.diversity import farthest_first, fingerprints
from mlcalc.learn.committee import Training, predict, train_all, training_settings
from mlcalc.learn.labels import read_frames
from mlcalc.learn.settings import LABELS, MODELS, PLAN_FILE, RESULT, LearnSettings, read_plan
from mlcalc.model_file import load_model

_OWN = {"structure", "engine", "refines", "labels", "hours", "rounds", "spot_check", "seed"}
_OTHERS: dict[str, Any] = {"rounds": 2, "spot_check": 5}
_LEAST_A = 0.01  # structures whose distances differ by less, root mean square, count as one
BEFORE = "before"


class Earlier(NamedTuple):
    """What a refinement takes over.

    Attributes:
        labels: Of the cheap level, those within the limit of forces.
        chosen: Indices of those to label again.
        models: Networks to train on, name → content of the file.
    """

    labels: list[Atoms]
    chosen: list[int]
    models: dict[str, bytes]


def inherited(folder: Path) -> dict[str, Any]:
    """Keys of the plan that a refinement of the learning in a folder has, where nothing else sets them.

    Raises:
        InputError: No finished learning there.
    """
    if not (folder / RESULT).is_file():
        raise InputError(f"{folder}: holds no {RESULT}: expected a folder in which 'mlcalc learn' has ended")
    plan = asdict(read_plan(folder / PLAN_FILE))
    return {key: value for key, value in plan.items() if key not in _OWN and value is not None} | _OTHERS


def read_earlier(settings: LearnSettings) -> Earlier | None:
    """What a refinement takes over; None for a learning that begins by itself.

    Raises:
        InputError: The earlier learning has fewer labels, or other networks, than are asked for.
    """
    if settings.refines is None:
        return None
    source = Path(settings.refines)
    labels = [atoms for atoms in read_frames(source / LABELS) if _strongest(atoms) <= settings.max_label_force_eV_A]
    chosen = subset(labels, settings.cold_labels)
    if len(chosen) < settings.cold_labels:
        raise InputError(
            f"{source / LABELS}: {len(chosen)} different structures, of which labels = {settings.labels} would compute "
            f"{settings.cold_labels} again; lower labels"
        )
    models = [path.name for path in networks_before(settings, source)]
    if missing := [name for name in models if not (source / MODELS / name).is_file()]:
        raise InputError(
            f"{source / MODELS / missing[0]}: no such file; all {settings.members} networks are trained on"
        )
    return Earlier(labels, chosen, {name: (source / MODELS / name).read_bytes() for name in models})


def take_over(earlier: Earlier, folder: Path, cold: Path) -> None:
    """Write the structures to label first into the file ``cold``; all labels, and the networks, into the folder ``before``."""
    make_folder(folder / BEFORE)
    for name, content in earlier.models.items():
        write_atomically(folder / BEFORE / name, content)
    write_frames(earlier.labels, folder / BEFORE / LABELS)
    write_frames([earlier.labels[k] for k in earlier.chosen], cold)


def networks_before(settings: LearnSettings, folder: Path) -> list[Path]:
    """The networks from which the first round starts; none where learning begins with random weights."""
    if settings.refines is None:
        return []
    return [folder / BEFORE / f"model-{member}.safetensors" for member in range(1, settings.members + 1)]


def corrected_labels(settings: LearnSettings, folder: Path, refined: Path) -> Path:
    """Learn the difference of the levels, once, and correct the labels of the cheap one; returns the file of the result.

    Args:
        refined: Labels of the better level for structures of the cheap one; their own labels in full stay out of the result.

    Raises:
        InputError, OSError: The training failed.
    """
    path = folder / BEFORE / "corrected.labels.xyz"
    if path.is_file():
        return path
    new = {atoms.positions.tobytes(): atoms for atoms in read_frames(refined)}
    labels = read_frames(folder / BEFORE / LABELS)
    level = labels[0].info["engine"]
    pairs = [(atoms, new[key]) for atoms in labels if (key := atoms.positions.tobytes()) in new]
    differences = [
        _with_labels(old, _energy_and_forces(better), _energy_and_forces(old), -1.0) for old, better in pairs
    ]
    for atoms in differences:
        atoms.info |= {"engine": f"correction to {level}", "correction_to": level}
    write_frames(differences, path.with_name("difference.xyz"))
    short = replace(settings, steps=settings.later_steps)  # a difference is smooth
    trained = training_settings(short, ("difference.xyz",), settings.seed, first=True)
    (model,) = train_all(path.parent, [Training("difference", trained, None)], settings.jobs)
    rest = [atoms for atoms in labels if atoms.positions.tobytes() not in new]
    corrected = []
    if rest:
        energies, forces = predict([load_model(model).as_correction_to(level)], rest)
        found = zip(rest, energies[0], forces[0], strict=True)
        corrected = [_with_labels(atoms, _energy_and_forces(atoms), change, 1.0) for atoms, *change in found]
    for atoms in corrected:
        atoms.info["engine"] = f"{level} and its correction to {settings.engine}"
    write_frames(corrected, path)
    return path


def _energy_and_forces(atoms: Atoms) -> tuple[float, np.ndarray]:
    return atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)


def _with_labels(atoms: Atoms, one, other, sign: float) -> Atoms:
    """A copy with energies (eV) and forces (eV/Å): those of ``one``, and those of ``other`` times the sign."""
    labelled = atoms.copy()
    energy, forces = (a + sign * b for a, b in zip(one, other, strict=True))
    labelled.calc = SinglePointCalculator(labelled, energy=float(energy), forces=forces)
    return labelled


def _strongest(atoms: Atoms) -> float:
    """eV/Å."""
    return float(np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max())


def subset(labels: list[Atoms], count: int) -> list[int]:
    """Indices of at most ``count`` labelled structures that differ most from each other.

    Half of them are of the half with the lower energies, where the molecule mostly is, the lowest one among them; the others of
    all, so that the difference and the bounds of the domain are known there too.
    """
    if not labels:
        return []
    by_energy = sorted(range(len(labels)), key=lambda k: labels[k].get_potential_energy())
    lower, first = by_energy[: (len(by_energy) + 1) // 2], labels[0]
    prints = fingerprints(np.array([atoms.positions for atoms in labels]), first.cell.array, first.pbc)
    chosen = [lower[k] for k in islice(farthest_first(prints[lower], 0, _LEAST_A), (count + 1) // 2)]
    return list(islice(farthest_first(prints, chosen, _LEAST_A), count))
