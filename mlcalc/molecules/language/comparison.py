"""Pre-trained against random start, fine-tuned against frozen, and baselines, on the same splits."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.locks import alone
from mlcalc.common.settings import as_toml, build_settings, check_range, read_toml
from mlcalc.common.tables import aligned, with_error
from mlcalc.molecules.language.baselines import fingerprints, forest, ridge
from mlcalc.molecules.language.dataset import Solubilities, Split, described, read_dataset, split_of
from mlcalc.molecules.language.finetuning import REFUSED_FILE, by_solvent, fit, predictions, start_network
from mlcalc.molecules.language.inputs import batch_of
from mlcalc.molecules.language.model_file import LanguageModel, load_language_model
from mlcalc.molecules.language.settings import SPLITS, FinetuningSettings
from mlcalc.molecules.language.tables import refusals_as_csv

RESULTS = "results.json"
_NAMES = {"settings": "settings", "encoder": "sizes of the network", "data_sha256": "data"}


class Problem(NamedTuple):
    """What a method has: the pre-trained network, data, their split, settings and a seed."""

    pretrained: LanguageModel
    data: Solubilities
    split: Split
    settings: FinetuningSettings
    seed: int


def _tuned(problem: Problem, random_start: bool) -> np.ndarray:
    network = start_network(problem.pretrained, random_start, problem.seed)
    fit(network, problem.data, problem.split, problem.settings, problem.seed)
    return predictions(network, problem.data, problem.split.test)


def _frozen(problem: Problem, random_start: bool) -> np.ndarray:
    """Ridge regression on the mean state of the solute's tokens, of an encoder that stays as it is."""
    encoder = start_network(problem.pretrained, random_start, problem.seed).encoder
    features = []
    with torch.no_grad():
        for inputs, solvent in zip(problem.data.inputs, problem.data.solvents, strict=True):
            batch = batch_of([inputs[0]], [solvent])
            states = encoder(encoder.embed(batch), batch.real)[0]
            features.append(torch.cat([states[1 : len(inputs[0])].mean(0), states[len(inputs[0]) :].mean(0)]).numpy())
    return _regressed(problem, np.array(features, dtype=float), ridge)


def _regressed(problem: Problem, features: np.ndarray, learn: Callable[..., Any]) -> np.ndarray:
    """No parameter is chosen by validation molecules here, so they are for training too."""
    rows = np.concatenate([problem.split.train, problem.split.validation])
    return learn(features[rows], problem.data.values[rows]).predict(features[problem.split.test])


def _forest(problem: Problem) -> np.ndarray:
    return _regressed(problem, fingerprints(problem.data.entries), lambda x, y: forest(x, y, problem.seed))


def _mean(problem: Problem) -> np.ndarray:
    return np.full(len(problem.split.test), problem.data.values[problem.split.train].mean())


METHODS: dict[str, Callable[[Problem], np.ndarray]] = {
    "pre-trained, fine-tuned": lambda problem: _tuned(problem, False),
    "random start, fine-tuned": lambda problem: _tuned(problem, True),
    "pre-trained, frozen": lambda problem: _frozen(problem, False),
    "random start, frozen": lambda problem: _frozen(problem, True),
    "ECFP, random forest": _forest,
    "ECFP, ridge": lambda problem: _regressed(problem, fingerprints(problem.data.entries), ridge),
    "mean of the training": _mean,
}
PRETRAINED = ("pre-trained, fine-tuned", "pre-trained, frozen")  # of the others only the size of the network matters


def compare(config: str | Path, init: str | Path, output: str | Path, splits: int, overrides: dict) -> str:
    """Errors of METHODS on random and scaffold splits; what is in the output folder already is not computed again.

    Args:
        config: TOML with the keys of FinetuningSettings; init: Model of ``mlcalc molecules pretrain``.
        output: Folder, for results.json, results.txt and refused.csv.
        splits: Of each kind; their seeds are seed, seed + 1, …

    Returns:
        The table.

    Raises:
        InputError: Unusable configuration, model, data or folder; a folder with results of other settings, data or networks.
    """
    config, output = Path(config), Path(output)
    check_range("splits", splits, 1, 1000)
    settings = build_settings(FinetuningSettings, read_toml(config) | overrides, config)
    pretrained = load_language_model(init, "masked tokens")
    data, refused, repeated = read_dataset(settings, config.parent, pretrained.vocabulary, pretrained.config.window)
    key = {"settings": as_toml(settings), "encoder": asdict(pretrained.config), "data_sha256": _digest_of_data(data)}
    weights = _digest(pretrained)
    make_folder(output)
    with alone(output, "mlcalc molecules compare"):
        write_atomically(output / REFUSED_FILE, refusals_as_csv(refused))
        results = _begun(output, key, weights)
        wanted = [(kind, settings.seed + k, name) for kind in SPLITS for k in range(splits) for name in METHODS]
        for kind, seed, name in tqdm(wanted, unit="fit", disable=None, desc="comparing"):
            if any((row["split"], row["seed"], row["method"]) == (kind, seed, name) for row in results):
                continue
            problem = Problem(pretrained, data, split_of(data, settings, kind, seed), settings, seed)
            errors = by_solvent(data, problem.split.test, METHODS[name](problem))
            results.append({
                "split": kind, "seed": seed, "method": name, "weights_sha256": weights if name in PRETRAINED else None,
                "errors": {solvent: e._asdict() for solvent, e in errors.items()},
            })  # fmt: skip
            write_atomically(output / RESULTS, to_json(key | {"results": results}, indent=1).encode())
        text = f"{as_text(results)}\n{described(data, refused, repeated)}"
        write_atomically(output / "results.txt", (text + "\n").encode())
    return text


def _digest(model: LanguageModel) -> str:
    """SHA-256 of the weights, in order of their names."""
    weights = sorted(model.network.state_dict().items())
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for _, tensor in weights)).hexdigest()


def _digest_of_data(data: Solubilities) -> str:
    """SHA-256 of molecules, solvents and solubilities."""
    rows = [(entry.writing.smiles, entry.solvent, entry.log_s) for entry in data.entries]
    return hashlib.sha256(to_json(rows).encode()).hexdigest()


def _begun(output: Path, key: dict[str, Any], weights: str) -> list[dict[str, Any]]:
    if not os.path.isfile(output / RESULTS):
        return []
    try:
        begun = from_json((output / RESULTS).read_bytes())
    except InputError as error:
        raise InputError(f"{output / RESULTS}: {error}") from error
    if not isinstance(begun, dict) or not isinstance(begun.get("results"), list):
        raise InputError(f"{output / RESULTS}: no results of 'mlcalc molecules compare': choose another --output")
    if changed := [_NAMES[name] for name in key if begun.get(name) != key[name]]:
        raise InputError(f"{output / RESULTS}: results of other {' and '.join(changed)}: choose another --output")
    if any(row.get("weights_sha256") not in (weights, None) for row in begun["results"]):
        raise InputError(f"{output / RESULTS}: results of another pre-trained network: choose another --output")
    return begun["results"]


def as_text(results: list[dict[str, Any]]) -> str:
    """Means and standard errors over splits, and the difference from the first method on the same splits."""
    rows = []
    of = {(row["split"], row["method"], row["seed"]): row["errors"] for row in results}
    solvents = sorted({solvent for errors in of.values() for solvent in errors}, key=lambda name: (name != "all", name))
    first = next(iter(METHODS))
    for kind in SPLITS:
        for solvent in solvents:
            for name in METHODS:
                seeds = [seed for k, n, seed in of if (k, n) == (kind, name) and solvent in of[k, n, seed]]
                if not seeds:
                    continue
                rmse, mae = (np.array([of[kind, name, s][solvent][what] for s in seeds]) for what in ("rmse", "mae"))
                both = [s for s in seeds if solvent in of.get((kind, first, s), {})]
                less = np.array(
                    [of[kind, name, s][solvent]["rmse"] - of[kind, first, s][solvent]["rmse"] for s in both]
                )
                rows.append(
                    [kind, solvent, name, _mean_of(rmse), _mean_of(mae), "–" if name == first else _mean_of(less)]
                )
    header = ["split", "solvent", "method", "RMSE", "MAE", "RMSE − first"]
    count = len({row["seed"] for row in results})
    return (
        aligned(header, rows, left=3)
        + f"\nlog10(mol/L); mean ± standard error over {count} splits of each kind; differences are of the same splits."
    )


def _mean_of(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values.mean():.3f}" if len(values) else "–"
    return with_error(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
