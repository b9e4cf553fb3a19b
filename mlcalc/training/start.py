"""A training from its files: settings, data and tests are read and checked, then the trainer runs."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlcalc.common.errors import InputError, one_line
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.locks import alone
from mlcalc.common.settings import as_toml, build_settings, read_toml
from mlcalc.model_file import load_model
from mlcalc.priors.prior_file import read_priors
from mlcalc.training.dataset import Dataset, read_dataset
from mlcalc.training.domain import check_known
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.state import load_state
from mlcalc.training.trainer import MODEL_FILE, STATE_FILE, Trainer


def train(
    config: str | Path, output: str | Path, init: str | None = None, resume: bool = False, overrides: dict | None = None
) -> Path:
    """Train a network with the settings of a TOML file; progress goes to stderr, everything else into the folder ``output``.

    Args:
        config: TOML with the keys of TrainingSettings; data paths are relative to it.
        output: New folder: model.safetensors (best moving average so far), state.safetensors, log.jsonl,
            learning_curve.png, split.json, config.toml.
        init: Model (name or path) whose weights to start from; its architecture must be the configured one, and its readouts among
            those configured.
        resume: Resume the training in an existing folder.
        overrides: Keys that replace those of the file.

    Returns:
        Path of the model file.

    Raises:
        InputError: Unusable configuration, data or folder; nothing is written then.
    """
    config, output = Path(config), Path(output)
    settings = build_settings(TrainingSettings, read_toml(config) | (overrides or {}), config)
    if os.path.lexists(output) and not resume:
        raise InputError(f"{output} exists already: pass --resume to resume there, or another --output")
    if resume and not os.path.isfile(output / STATE_FILE):
        raise InputError(f"{output} holds no {STATE_FILE} to resume from")
    names = settings.label_names
    data = [config.parent / name for name in settings.data]
    outputs = tuple(settings.readout_weights)
    dataset = read_dataset(data, names[: len(data)], settings.energy_only, outputs)
    tests = [
        (config.parent / name, its) for name, its in zip(settings.test_data, names[len(settings.data) :], strict=True)
    ]
    unseen = [read_dataset([test], [its], energy_only=True, outputs=outputs) for test, its in tests]
    _check_energies(settings, dataset)
    model = load_model(init) if init else None
    if settings.only_readouts and init is None and not resume:
        raise InputError("only_readouts = true: expected --init MODEL, whose features the readouts read")
    begun = output / MODEL_FILE
    origin = load_model(begun) if resume and os.path.isfile(begun) else model
    more = read_priors(config.parent / settings.priors_file) if settings.priors_file else {}
    trainer = Trainer(settings, dataset, model, origin, more)
    for its in unseen:  # faults show now, not after hours of training
        check_known(its, trainer.network.config.elements, trainer.domain)
    print("\n".join(one_line(found) for read in (dataset, *unseen) for found in read.contents))
    print(trainer.describe(), flush=True)
    make_folder(output)
    with alone(output, "mlcalc train"):
        write_atomically(output / "config.toml", as_toml(settings).encode() if overrides else config.read_bytes())
        parts = {name: indices.tolist() for name, indices in asdict(trainer.split).items()}
        write_atomically(output / "split.json", json.dumps(parts).encode())
        if resume:
            load_state(trainer, output / STATE_FILE)
        trainer.run(output)
        from mlcalc.training.evaluation import evaluate, record

        for test, its in tests:
            record(evaluate(output / MODEL_FILE, test, label_names=its), output / MODEL_FILE)
    return output / MODEL_FILE


def _check_energies(settings: TrainingSettings, dataset: Dataset) -> None:
    """Raise InputError if the loss needs energies that are missing: they would silently not be learnt."""
    if not settings.energy_weight or settings.only_readouts or np.isfinite(dataset.energies).all():
        return
    lacking = next(found for found in dataset.contents if found.energies[0] < found.frames)
    others = f"found {', '.join(lacking.others)}: set energy_key if it is meant, or " if lacking.others else ""
    raise InputError(
        f"{lacking.name}: energies in {lacking.energies[0]} of {lacking.frames} structures, but energy_weight = "
        f"{settings.energy_weight:g}; {others}set energy_weight = 0 to train on forces alone"
    )
