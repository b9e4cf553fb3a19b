"""Fine-tuning: solubilities from a pre-trained encoder."""

import math
import os
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.locks import alone
from mlcalc.common.settings import as_toml, build_settings, read_toml
from mlcalc.common.tables import with_error
from mlcalc.molecules.language.dataset import Solubilities, Split, described, read_dataset, split_of
from mlcalc.molecules.language.inputs import batch_of
from mlcalc.molecules.language.model_file import FILE_IN_FOLDER, LanguageModel, load_language_model, save_language_model
from mlcalc.molecules.language.network import SolubilityNetwork
from mlcalc.molecules.language.settings import FinetuningSettings
from mlcalc.molecules.language.tables import refusals_as_csv
from mlcalc.training.schedule import learning_rate

CONFIG_FILE, REFUSED_FILE = "config.toml", "refused.csv"
_PREDICTED_AT_ONCE = 64
_SORTED_TOGETHER = 16  # batches


class Rates(NamedTuple):
    """A schedule: see mlcalc/training/schedule.py."""

    learning_rate: float
    warmup_steps: int
    steps: int


def start_network(pretrained: LanguageModel, random_start: bool, seed: int) -> SolubilityNetwork:
    """A network for solubilities with the encoder of a pre-trained one, or one of the same size with random weights."""
    torch.manual_seed(seed)
    network = SolubilityNetwork(pretrained.config)
    if not random_start:
        network.encoder.load_state_dict(pretrained.network.encoder.state_dict())
    return network


def fit(
    network: SolubilityNetwork, data: Solubilities, split: Split, settings: FinetuningSettings, seed: int
) -> list[float]:
    """Train a network in place; it keeps the weights of the epoch with the least RMSE of the validation molecules.

    Returns:
        The RMSE of the validation molecules after each epoch, log10(mol/L).
    """
    torch.set_num_threads(settings.threads)
    values = data.values[split.train]
    network.mean.fill_(float(values.mean()))
    network.scale.fill_(float(max(values.std(), 1e-3)))
    lengths = np.array([len(writings[0]) for writings in data.inputs])
    size = min(settings.batch_size, len(split.train))
    per_epoch = len(split.train) // size
    rates = Rates(settings.learning_rate, settings.warmup_steps, settings.epochs * per_epoch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rates.learning_rate, weight_decay=settings.weight_decay)
    history: list[float] = []
    best: dict[str, Any] = {}
    for epoch in tqdm(range(settings.epochs), unit="epoch", disable=None, desc="fine-tuning", leave=False):
        rng = np.random.default_rng([seed, epoch])
        for k, rows in enumerate(_batches(lengths, split.train, size, rng)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(rates, epoch * per_epoch + k)
            _advance(network, optimizer, data, rows, settings, rng)
        deviations = predictions(network, data, split.validation) - data.values[split.validation]
        history.append(float(np.sqrt(np.mean(deviations**2))))
        if not math.isfinite(history[-1]):
            raise InputError(
                f"the RMSE is {history[-1]} in epoch {epoch + 1}: lower learning_rate ({rates.learning_rate})"
            )
        if history[-1] == min(history):
            best = deepcopy(network.state_dict())
    network.load_state_dict(best)
    return history


def _batches(lengths: np.ndarray, rows: np.ndarray, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """An epoch of batches (size,) in random order, each of molecules of about equal length: half the padding of random batches."""
    order, found = rng.permutation(rows)[: len(rows) // size * size], []
    for start in range(0, len(order), _SORTED_TOGETHER * size):
        part = order[start : start + _SORTED_TOGETHER * size]
        found += np.split(part[np.argsort(lengths[part], kind="stable")], len(part) // size)
    return [found[k] for k in rng.permutation(len(found))]


def _advance(network, optimizer, data: Solubilities, rows: np.ndarray, settings: FinetuningSettings, rng) -> None:
    writings = rng.integers(0, settings.writings, len(rows))
    inputs = [data.inputs[row][writing] for row, writing in zip(rows, writings, strict=True)]
    found = network(batch_of(inputs, [data.solvents[row] for row in rows]))
    truth = torch.from_numpy(data.values[rows].astype(np.float32))
    # Huber's loss of standardised values: some measured solubilities are wrong by orders of magnitude.
    deviations = (found - network.mean) / network.scale, (truth - network.mean) / network.scale
    loss = functional.huber_loss(*deviations, delta=settings.huber)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
    optimizer.step()


def predictions(network: SolubilityNetwork, data: Solubilities, rows: np.ndarray) -> np.ndarray:
    """Solubilities (n,) of molecules by their canonical SMILES."""
    return predict_inputs(network, [data.inputs[row][0] for row in rows], [data.solvents[row] for row in rows])


def predict_inputs(network: SolubilityNetwork, solutes: Sequence, solvents: Sequence) -> np.ndarray:
    """Solubilities (n,) log10(mol/L) of token numbers, in batches of about equal length."""
    order = np.argsort([len(one) for one in solutes], kind="stable")
    found = np.empty(len(solutes))
    with torch.no_grad():
        for rows in np.array_split(order, -(-len(order) // _PREDICTED_AT_ONCE)):
            found[rows] = (
                network(batch_of([solutes[row] for row in rows], [solvents[row] for row in rows])).double().numpy()
            )
    return found


class Errors(NamedTuple):
    """RMSE and MAE with their standard errors, log10(mol/L), and the number of molecules."""

    rmse: float
    rmse_error: float
    mae: float
    mae_error: float
    molecules: int


def errors_of(deviations: np.ndarray) -> Errors:
    """Errors of deviations (n,); that of the RMSE is propagated from the spread of the squares."""
    n, squares, sizes = len(deviations), deviations**2, np.abs(deviations)
    rmse, root = float(np.sqrt(squares.mean())), math.sqrt(max(n - 1, 1))
    spread = float(squares.std()) / (2.0 * rmse) / root if rmse > 0.0 else 0.0
    return Errors(rmse, spread, float(sizes.mean()), float(sizes.std()) / root, n)


def by_solvent(data: Solubilities, rows: np.ndarray, found: np.ndarray) -> dict[str, Errors]:
    """Errors of all molecules, and of each solvent if there are several."""
    deviations = found - data.values[rows]
    names = np.array([data.entries[row].solvent for row in rows])
    one_by_one = {name: errors_of(deviations[names == name]) for name in sorted(set(names))}
    return {"all": errors_of(deviations)} | (one_by_one if len(one_by_one) > 1 else {})


def finetune(
    config: str | Path, init: str | Path, output: str | Path, random_start: bool, overrides: dict
) -> tuple[Path, str]:
    """Fine-tune a pre-trained network with the settings of a TOML file.

    Args:
        config: TOML with the keys of FinetuningSettings; data paths are relative to it.
        init: Model of ``mlcalc molecules pretrain``, or its folder.
        output: New folder, or that of a fine-tuning that did not end: model.safetensors, predictions.csv of the test molecules,
            refused.csv, config.toml.
        random_start: Take size and vocabulary of ``init``, but random weights.

    Returns:
        The model file, and a report.

    Raises:
        InputError: Unusable configuration, model, data or folder; nothing is written then. An RMSE that is not finite.
    """
    config, output = Path(config), Path(output)
    settings = build_settings(FinetuningSettings, read_toml(config) | overrides, config)
    unfinished = (output / CONFIG_FILE).is_file() and not (output / FILE_IN_FOLDER).exists()
    if os.path.lexists(output) and not unfinished:
        raise InputError(f"{output} exists already: choose another --output")
    pretrained = load_language_model(init, "masked tokens")
    data, refused, repeated = read_dataset(settings, config.parent, pretrained.vocabulary, pretrained.config.window)
    split = split_of(data, settings, settings.split, settings.seed)
    make_folder(output)
    with alone(output, "mlcalc molecules finetune"):
        write_atomically(output / CONFIG_FILE, as_toml(settings).encode())
        write_atomically(output / REFUSED_FILE, refusals_as_csv(refused))
        network = start_network(pretrained, random_start, settings.seed)
        history = fit(network, data, split, settings, settings.seed)
        found = predictions(network, data, split.test)
        errors = by_solvent(data, split.test, found)
        metadata = {
            "errors": {name: error._asdict() for name, error in errors.items()},
            "provenance": {
                "pre-training": None if random_start else pretrained.metadata.get("provenance"),
                "molecules": len(split.train), "split": settings.split, "epochs": len(history), "seed": settings.seed,
            },
        }  # fmt: skip
        solvents = tuple(sorted({entry.solvent for entry in data.entries}))
        save_language_model(LanguageModel(network, pretrained.vocabulary, solvents, metadata), output / FILE_IN_FOLDER)
        lines = [
            f"{data.entries[row].writing.smiles},{data.entries[row].solvent},{data.values[row]:.4f},{value:.4f}\n"
            for row, value in zip(split.test, found, strict=True)
        ]
        write_atomically(output / "predictions.csv", "".join(["smiles,solvent,log_s,predicted\n", *lines]).encode())
    text = [
        described(data, refused, repeated),
        f"{len(split.train)} for training, {len(split.validation)} for validation, {len(split.test)} for testing, "
        f"{settings.split} split",
        *(f"test, {name}: RMSE {with_error(*e[:2])}, MAE {with_error(*e[2:4])} log10(mol/L), {e.molecules} molecules"
          for name, e in errors.items()),
    ]  # fmt: skip
    return output / FILE_IN_FOLDER, "\n".join(text)
