"""A better level of theory for a molecule that was learnt at a cheap one: which structures are labelled again, and what is kept.

The networks of the cheap level are trained on, from their weights, with labels of the better one (transfer). The first of these are
of structures that the cheap level has; the rest is as in any learning: explorations on the new networks, fresh labels, a verdict.
"""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.data.labelling import write_frames
from mlcalc.geometry.diversity import farthest_first, fingerprints
from mlcalc.learn.labels import read_frames
from mlcalc.learn.settings import LABELS, MODELS, PLAN_FILE, RESULT, LearnSettings, read_plan

_OWN = {"structure", "engine", "refines", "labels", "hours", "rounds", "spot_check", "seed"}
_OTHERS: dict[str, Any] = {"rounds": 2, "spot_check": 5}
_LEAST_A = 0.01  # structures whose distances differ by less, root mean square, count as one
BEFORE = "before"


class Earlier(NamedTuple):
    """What a refinement takes over: structures to label first, and model files (name → content) to train on."""

    structures: list[Atoms]
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
    labels = read_frames(source / LABELS)
    chosen = subset(labels, settings.cold_labels, settings.max_label_force_eV_A)
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
    return Earlier([labels[k] for k in chosen], {name: (source / MODELS / name).read_bytes() for name in models})


def take_over(earlier: Earlier, folder: Path, cold: Path) -> None:
    """Write the structures to label first into the file ``cold``, and the networks to start from into the folder ``before``."""
    make_folder(folder / BEFORE)
    for name, content in earlier.models.items():
        write_atomically(folder / BEFORE / name, content)
    write_frames(earlier.structures, cold)


def networks_before(settings: LearnSettings, folder: Path) -> list[Path]:
    """The networks from which the first round starts; none where learning begins with random weights."""
    if settings.refines is None:
        return []
    return [folder / BEFORE / f"model-{member}.safetensors" for member in range(1, settings.members + 1)]


def subset(labels: list[Atoms], count: int, max_force_eV_A: float) -> list[int]:
    """Indices of at most ``count`` labelled structures that differ most from each other.

    Half of them are of the half with the lower energies, where the molecule mostly is, the lowest one among them; the others of
    all, so that bounds of the domain are known at the new level too. Larger forces than ``max_force_eV_A`` stay out.
    """
    forces = [np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max() for atoms in labels]
    usable = [k for k, force in enumerate(forces) if force <= max_force_eV_A]
    if not usable:
        return []
    by_energy = sorted(usable, key=lambda k: labels[k].get_potential_energy())
    lower = by_energy[: (len(by_energy) + 1) // 2]
    chosen = list(islice(_most_different(labels, lower), (count + 1) // 2))
    others = (k for k in _most_different(labels, by_energy) if k not in set(chosen))
    return chosen + list(islice(others, count - len(chosen)))


def _most_different(labels: list[Atoms], indices: list[int]):
    """Indices in the order of greedy farthest-point sampling, from the first one on."""
    first = labels[indices[0]]
    positions = np.array([labels[k].positions for k in indices])
    prints = fingerprints(positions, first.cell.array, first.pbc)
    return (indices[k] for k in farthest_first(prints, 0, _LEAST_A))
