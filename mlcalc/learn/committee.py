"""The committee of a round: its trainings, its forces on structures, and which structures it knows least."""

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_type_hints

import numpy as np
from ase import Atoms

from mlcalc.architectures import ARCHITECTURES
from mlcalc.common.files import write_atomically
from mlcalc.common.settings import as_toml
from mlcalc.geometry.diversity import farthest_first, fingerprints
from mlcalc.learn.processes import MLCALC, Command, check_codes, run_all
from mlcalc.learn.settings import LearnSettings
from mlcalc.model import Model
from mlcalc.model_file import load_model
from mlcalc.potential import build_potential
from mlcalc.training.settings import TrainingSettings

_BATCH = 64  # structures in a call of a potential
_POOL = 5  # structures among which one is chosen for being different
_LEAST_A = 0.01  # structures whose distances differ by less, root mean square, count as one
_VALIDATIONS = 5


class Training(NamedTuple):
    """A training: its name, its settings with data relative to the folder, and the model from whose weights it starts, if any."""

    name: str
    settings: TrainingSettings
    init: Path | None


def train_committee(
    settings: LearnSettings, folder: Path, number: int, data: list[Path], before: list[Path]
) -> list[Path]:
    """Train all members on the same labels, from ``before`` on if there are any; returns their model files.

    Members have independent seeds, not shared layers: what layers have in common they cannot disagree on.

    Raises:
        InputError, OSError: A training failed.
    """
    files = tuple(os.path.relpath(path, folder) for path in data)
    trainings = []
    for member in range(1, settings.members + 1):
        seed = settings.seed + 1000 * number + member
        trained = training_settings(settings, files, seed, first=not before)
        trainings.append(Training(str(member), trained, before[member - 1] if before else None))
    return train_all(folder, trainings, settings.jobs)


def train_all(folder: Path, trainings: list[Training], jobs: int) -> list[Path]:
    """Make trainings, or what is left of them, at most ``jobs`` at once; returns model-NAME.safetensors of each in the folder.

    Raises:
        InputError, OSError: A training failed.
    """
    models, commands = [folder / f"model-{training.name}.safetensors" for training in trainings], []
    for training, model in zip(trainings, models, strict=True):
        if model.is_file():
            continue
        config, output = folder / f"train-{training.name}.toml", folder / f"net-{training.name}"
        write_atomically(config, as_toml(training.settings).encode())
        options: list[str | Path] = ["--init", training.init] if training.init else []
        if (output / "state.safetensors").is_file():
            options.append("--resume")
        elif output.is_dir():  # killed before its first state: begun again
            for path in output.iterdir():
                path.unlink()
            output.rmdir()
        commands.append(
            Command(MLCALC, ["train", config, "-o", output, *options], folder / f"train-{training.name}.log")
        )
    check_codes(commands, run_all(commands, jobs))
    for training, model in zip(trainings, models, strict=True):
        if not model.is_file():
            write_atomically(model, (folder / f"net-{training.name}" / "model.safetensors").read_bytes())
    return models


# Of networks with norms of vectors: wide enough that a symmetric minimum has no cusp, whose vibrations it would spoil.
_NORM_EPSILON = 1e-2


def training_settings(settings: LearnSettings, data: tuple[str, ...], seed: int, first: bool) -> TrainingSettings:
    """Settings of a training on these files, of a network with random weights (``first``) or of one that is trained on."""
    steps = settings.steps if first else settings.later_steps
    of_network = get_type_hints(ARCHITECTURES[settings.architecture].config)
    return TrainingSettings(
        norm_epsilon=_NORM_EPSILON if "norm_epsilon" in of_network else None,
        data=data, architecture=settings.architecture,
        n_features=settings.n_features, n_interactions=settings.n_interactions, n_rbf=settings.n_rbf,
        cutoff_A=settings.cutoff_A, batch_size=settings.batch_size, steps=steps, warmup_steps=min(500, steps // 10),
        learning_rate=settings.learning_rate if first else 0.5 * settings.learning_rate, force_huber_eV_per_A=1.0,
        energy_huber_eV=1.0, split="random", validation_fraction=0.05, test_fraction=0.0,
        validation_every_steps=max(1, steps // _VALIDATIONS), compile=settings.compile, seed=seed, threads=1,
        ema_decay=min(0.999, 1.0 - 10.0 / steps) if steps > 10 else 0.0,
        energy_zeros="one" if settings.refines is None else "shared",  # corrected labels are of the better level
    )  # fmt: skip


def predict(models: Sequence[Path | Model], frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Energies (M, n) eV and forces (M, n, N, 3) eV/Å of M models for n structures of one composition and order of atoms."""
    numbers, pbc = frames[0].numbers, frames[0].pbc if frames[0].pbc.any() else None
    cells = [None if pbc is None else np.ascontiguousarray(atoms.cell.array) for atoms in frames]
    positions = np.array([atoms.positions for atoms in frames])
    energies = np.empty((len(models), len(frames)))
    forces = np.empty((len(models), *positions.shape))
    size = _BATCH if pbc is None else 1
    for m, model in enumerate(models):
        loaded = model if isinstance(model, Model) else load_model(model)
        potential = build_potential(loaded, numbers, pbc=pbc, cell=cells[0])
        for k in range(0, len(frames), size):
            part = slice(k, k + size)
            place = (positions[part],) if pbc is None else (positions[part], cells[k])
            energies[m, part], forces[m, part] = potential(*place)
    return energies, forces


def choose(frames: list[Atoms], expected: np.ndarray, most: int) -> list[int]:
    """Indices of at most ``most`` structures that are worth a label: known least, and different from each other.

    Of the five times as many with the largest expected errors, the worst, then repeatedly the one that is farthest from all chosen.

    Args:
        frames: Structures of one composition.
        expected: (n,) eV/Å, expected error of each.
    """
    pool = np.argsort(-expected, kind="stable")[: _POOL * most]
    if not len(pool) or not most:
        return []
    structures = [frames[k] for k in pool]
    cell, pbc = structures[0].cell.array, structures[0].pbc
    prints = fingerprints(np.array([atoms.positions for atoms in structures]), cell, pbc)
    return [int(pool[k]) for k in islice(farthest_first(prints, 0, _LEAST_A), most)]
