"""Training of a weave network on one target; it resumes where it was stopped, to the bit."""

import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.locks import alone
from mlcalc.common.safetensors_header import entries_of
from mlcalc.common.settings import as_toml, check_range
from mlcalc.molecules.graphs.autoencoder import trained_encoders
from mlcalc.molecules.graphs.dataset import Batches, Graphs
from mlcalc.molecules.graphs.weave import Weave, WeaveConfig
from mlcalc.training.schedule import learning_rate
from mlcalc.training.state import load_state, save_state

MODEL_FILE, STATE_FILE, BEGUN = "weave.safetensors", "state.safetensors", "begun.toml"
_CHUNK = 500  # molecules evaluated at once


@dataclass(frozen=True)
class GraphSettings:
    """Settings of a training.

    Attributes:
        target: A name of the data set's targets.
        width, n_modules, code: Of weave.WeaveConfig.
        noise: Of the autoencoder of a code, in units of the spread of each feature; encoder_steps: of its training.
        batch_size: Molecules in a step; steps, learning_rate, warmup_steps: as in mlcalc/training/schedule.py.
        ema_decay: Of the moving average of the weights, which is the network that is kept.
        validation_every_steps: Steps between validations, at which the state is written.
        seed: Of weights, order and noise.
    """

    target: str
    width: int = 64
    n_modules: int = 2
    code: int = 0
    noise: float = 0.1
    encoder_steps: int = 2000
    batch_size: int = 32
    steps: int = 20_000
    learning_rate: float = 1e-3
    warmup_steps: int = 500
    ema_decay: float = 0.998
    validation_every_steps: int = 1000
    seed: int = 0

    def __post_init__(self):
        for name in ("width", "n_modules", "batch_size", "steps", "validation_every_steps", "encoder_steps"):
            check_range(name, getattr(self, name), 1)
        check_range("learning_rate", self.learning_rate, 0, open_low=True)
        check_range("noise", self.noise, 0)
        check_range("code", self.code, 0)


class GraphTrainer:
    """A training: network, optimizer, moving average and how far they have come.

    Args:
        train, validation: Molecules of ``graphs`` by index.

    Raises:
        InputError: An unknown target.
    """

    def __init__(self, settings: GraphSettings, graphs: Graphs, train: np.ndarray, validation: np.ndarray):
        if settings.target not in graphs.targets:
            raise InputError(f"target {settings.target!r}: expected one of {', '.join(sorted(graphs.targets))}")
        torch.manual_seed(settings.seed)
        self.settings, self.batches = settings, Batches(graphs)
        self.values, self.train, self.validation = graphs.targets[settings.target], train, validation
        shares = self.values[train] / graphs.counts[train]
        config = WeaveConfig(settings.width, settings.n_modules, settings.code)
        self.network = Weave(config, float(shares.mean()), float(shares.std()))
        if settings.code:
            self.network.encoders = trained_encoders(
                self.batches.make(train), settings.code, settings.noise, settings.seed, settings.encoder_steps
            )
        self.offsets = torch.nn.Parameter(torch.zeros(0))
        self.average: Any = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
        self.optimizers = [torch.optim.AdamW(self.network.parameters(), lr=settings.learning_rate, weight_decay=0.0)]
        self._unit = float(self.values[train].std())
        self.step, self.best, self.since_best = 0, math.inf, 0
        self._epoch, self._order = -1, train
        parts = (train, validation, self.values, graphs.counts, graphs.atoms, graphs.pairs)
        digests = b"".join(hashlib.sha256(part.tobytes()).digest() for part in parts)
        self._begun = f"{as_toml(settings)}# data {hashlib.sha256(digests).hexdigest()}\n".encode()

    def run(self, output: Path) -> None:
        """Train to the end of the schedule, from the state in ``output`` if there is one.

        Raises:
            InputError: Another training has begun there, or is at work there; the loss is not finite.
        """
        make_folder(output)
        with alone(output, "training"):
            self._resume(output)
            self._train(output)

    def _resume(self, output: Path) -> None:
        """Load the state of this training; InputError for that of another, whose weights may have the same shapes."""
        begun = output / BEGUN
        if not begun.is_file():
            write_atomically(begun, self._begun)
        elif check_regular(begun).read_bytes() != self._begun:
            raise InputError(f"{output}: a training with other settings or data has begun there: choose another folder")
        if (output / STATE_FILE).is_file():
            load_state(self, output / STATE_FILE)

    def _train(self, output: Path) -> None:
        settings, began, first = self.settings, time.monotonic(), self.step
        with tqdm(total=settings.steps, initial=self.step, unit="step", disable=None) as bar:
            while self.step < settings.steps:
                self._advance()
                bar.update()
                if self.step % settings.validation_every_steps == 0 or self.step == settings.steps:
                    error = float(np.abs(self.deviations(self.validation)).mean())
                    if not math.isfinite(error):
                        raise InputError(f"the error is {error} at step {self.step}: lower learning_rate")
                    if error < self.best:
                        self.best = error
                        save_weave(self.average.module, settings.target, output / MODEL_FILE)
                    save_state(self, output / STATE_FILE)
                    left = (settings.steps - self.step) * (time.monotonic() - began) / (self.step - first) / 60
                    if bar.disable:
                        print(f"step {self.step} of {settings.steps}: MAE {error:.4g}, {left:.0f} min left", flush=True)
                    bar.set_postfix_str(f"MAE {error:.4g}")

    def deviations(self, molecules: np.ndarray) -> np.ndarray:
        """(n,) predictions of the averaged network minus the target."""
        return predictions(self.average.module, self.batches, molecules) - self.values[molecules]

    def _advance(self) -> None:
        chosen = self._molecules_of(self.step)
        (optimizer,) = self.optimizers
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.step)
        optimizer.zero_grad(set_to_none=True)
        target = torch.from_numpy(self.values[chosen].astype(np.float32))
        deviation = (self.network(self.batches.make(chosen)) - target) / self._unit
        torch.nn.functional.smooth_l1_loss(deviation, torch.zeros_like(deviation), beta=0.1).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1

    def _molecules_of(self, step: int) -> np.ndarray:
        """The batch of a step: a function of seed and step, so that resuming fits in."""
        size = min(self.settings.batch_size, len(self.train))
        per_epoch = len(self.train) // size
        epoch, k = divmod(step, per_epoch)
        if self._epoch != epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.settings.seed, epoch]).permutation(self.train)
        return self._order[k * size : (k + 1) * size]


def predictions(network: Weave, batches: Batches, molecules: np.ndarray) -> np.ndarray:
    """(n,) predictions for molecules by index, float64."""
    parts = np.array_split(molecules, max(1, -(-len(molecules) // _CHUNK)))
    with torch.no_grad():
        return np.concatenate([network(batches.make(part)).double().numpy() for part in parts])


def save_weave(network: Weave, target: str, path: Path) -> None:
    """Write a network with its configuration and the name of its target (safetensors, atomically)."""
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    header = {"weave": to_json({"config": network.config._asdict(), "target": target})}
    write_atomically(path, save(tensors, metadata=header))


def load_weave(path: Path) -> tuple[Weave, str]:
    """Read a network and the name of its target.

    Raises:
        InputError: Missing, damaged, or another kind of file.
    """
    content = check_regular(path).read_bytes()
    try:
        tensors = load(content)
        known = from_json(entries_of(content)["weave"])
        config = WeaveConfig(**known["config"])
        if not all(type(value) is int and 0 <= value <= 4096 for value in config):
            raise ValueError(f"configuration {config}")
        network = Weave(config)
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: no weave network: {error}") from error
    return network.eval(), str(known["target"])
