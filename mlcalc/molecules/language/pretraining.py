"""Pre-training: find the hidden tokens of SMILES."""

import math
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from mlcalc.common.errors import InputError
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.locks import alone
from mlcalc.common.settings import as_toml, build_settings, read_toml
from mlcalc.molecules.language.corpus import (
    Corpus,
    batches_by_length,
    build_corpus,
    files_of,
    load_corpus,
    reasons,
    save_corpus,
)  # fmt: skip
from mlcalc.molecules.language.inputs import batch_of, hide
from mlcalc.molecules.language.model_file import FILE_IN_FOLDER, LanguageModel, parameters_of, save_language_model
from mlcalc.molecules.language.network import Batch, MaskedTokens
from mlcalc.molecules.language.settings import PretrainingSettings
from mlcalc.molecules.language.tables import refusals_as_csv
from mlcalc.training.schedule import learning_rate
from mlcalc.training.state import load_state, save_state

STATE_FILE, LOG_FILE, CORPUS_FILE, CONFIG_FILE = "state.safetensors", "log.jsonl", "corpus.safetensors", "config.toml"
_MOST_VALIDATION = 2000  # molecules


class Pretrainer:
    """One pre-training: network, its moving average, optimizer, and how far they have come (see mlcalc/training/state.py)."""

    def __init__(self, settings: PretrainingSettings, corpus: Corpus):
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings, self.corpus = settings, corpus
        order = np.random.default_rng(settings.seed).permutation(len(corpus))
        held_out = max(1, min(_MOST_VALIDATION, round(settings.validation_share * len(corpus))))
        if held_out >= len(corpus):
            raise InputError(f"{len(corpus)} molecules: expected at least 2")
        self.validation, self.train = order[:held_out], order[held_out:]
        self.network = MaskedTokens(settings.encoder(len(corpus.vocabulary.tokens)))
        self.average: Any = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay))
        self.optimizers = [_optimizer(self.network, settings.learning_rate, settings.weight_decay)]
        self.offsets = torch.nn.Parameter(torch.zeros(0))  # potentials have zeros of energy here
        self.step, self.best, self.since_best = 0, math.inf, 0

    def batches(self) -> Iterator[tuple[Batch, Tensor]]:
        """Hidden batches from the present step on, a function of seed and step alone."""
        seed, lengths = self.settings.seed, self.corpus.lengths()[self.train]
        chosen = batches_by_length(lengths, self.settings.batch_tokens, seed)
        for step, rows in enumerate(islice(chosen, self.step, None), self.step):
            rng = np.random.default_rng([seed, 1, step])
            writings = rng.integers(0, self.corpus.writings, len(rows))
            inputs = [self.corpus.input(m, w) for m, w in zip(self.train[rows], writings, strict=True)]
            yield self._hidden(inputs, rng)

    def _hidden(self, inputs: list[np.ndarray], rng: np.random.Generator) -> tuple[Batch, Tensor]:
        """What the network reads, and the true token number at the places to be found, 0 elsewhere (B, L)."""
        batch = batch_of(inputs)
        hidden, places = hide(batch, self.settings.mask_share, len(self.corpus.vocabulary.tokens), rng)
        return hidden, torch.where(places, batch.tokens, 0)

    def advance(self, batch: Batch, truth: Tensor) -> float:
        """One step; returns the cross entropy per hidden token."""
        places = truth > 0
        (optimizer,) = self.optimizers
        optimizer.zero_grad(set_to_none=True)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.settings, self.step)
        if places.any():
            loss = functional.cross_entropy(self.network(batch, places), truth[places])
            value = self._finite("loss", loss.item())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)
            optimizer.step()
        else:
            value = math.nan
        self.average.update_parameters(self.network)
        self.step += 1
        return value

    def validate(self) -> tuple[float, float]:
        """Cross entropy per hidden token, and the share found, of held-out molecules with the averaged weights."""
        rng = np.random.default_rng([self.settings.seed, 2])
        losses, found, count = 0.0, 0, 0
        ordered = self.validation[np.argsort(self.corpus.lengths()[self.validation], kind="stable")]
        with torch.no_grad():
            for rows in np.array_split(ordered, -(-len(ordered) // 100)):
                batch, truth = self._hidden([self.corpus.input(m) for m in rows], rng)
                if not (places := truth > 0).any():
                    continue
                logits = self.average.module(batch, places)
                losses += functional.cross_entropy(logits, truth[places], reduction="sum").item()
                found += int((logits.argmax(-1) == truth[places]).sum())
                count += int(places.sum())
        return (losses / count, found / count) if count else (math.nan, math.nan)

    def model(self, errors: dict[str, float]) -> LanguageModel:
        """The averaged network, with what is known of it."""
        metadata = {"errors": errors, "provenance": {"molecules": len(self.train), "steps": self.step}}
        return LanguageModel(self.average.module, self.corpus.vocabulary, (), metadata)

    def run(self, output: Path) -> None:
        """Train to the last step; state, model and log are written at every checkpoint."""
        settings, first, began = self.settings, self.step, time.monotonic()
        bar = tqdm(
            total=settings.steps, initial=self.step, unit="step", disable=None, desc="pre-training", smoothing=0.05
        )
        losses: list[float] = []
        tokens = 0
        batches = self.batches()
        while self.step < settings.steps:
            batch, truth = next(batches)
            losses.append(self.advance(batch, truth))
            tokens += int(batch.real.sum())
            bar.update()
            if self.step % settings.checkpoint_every_steps == 0 or self.step == settings.steps:
                seconds = time.monotonic() - began
                self._checkpoint(
                    output, float(np.nanmean(losses)), tokens / seconds, seconds / (self.step - first), bar
                )
                losses = []
        bar.close()

    def _checkpoint(self, output: Path, loss: float, rate: float, seconds_per_step: float, bar: tqdm) -> None:
        validation, share = self.validate()
        self._finite("loss of held-out molecules", validation)
        self.best = min(self.best, validation)
        errors = {"masked_cross_entropy": validation, "masked_found": share}
        save_language_model(self.model(errors), output / FILE_IN_FOLDER)
        record = {"step": self.step, "loss": loss, **errors, "tokens_per_s": round(rate)}
        with open(output / LOG_FILE, "a", encoding="utf-8") as log:
            log.write(to_json(record) + "\n")
        save_state(self, output / STATE_FILE)
        left = (self.settings.steps - self.step) * seconds_per_step / 3600
        text = f"loss {loss:.3f}, held out {validation:.3f}, {100 * share:.1f} % found, {rate:.0f} tokens/s, {left:.2f} h left"
        bar.set_postfix_str(text)
        if bar.disable:
            print(f"step {self.step} of {self.settings.steps}: {text}", flush=True)

    def _finite(self, what: str, value: float) -> float:
        """The value; InputError for one that is not finite, before it spoils what is on disk."""
        if not math.isfinite(value):
            raise InputError(
                f"the {what} is {value} at step {self.step}: lower learning_rate ({self.settings.learning_rate})"
            )
        return value


def _optimizer(network: torch.nn.Module, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW; biases, normalisations and embeddings do not decay."""
    decaying = [p for name, p in network.named_parameters() if p.ndim == 2 and not _embeds(name)]
    others = [p for name, p in network.named_parameters() if p.ndim != 2 or _embeds(name)]
    groups = [{"params": decaying, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def _embeds(name: str) -> bool:
    return name.startswith(("encoder.token.", "encoder.position.", "encoder.segment."))


def pretrain(config: str | Path, output: str | Path, resume: bool = False, overrides: dict | None = None) -> Path:
    """Pre-train a network with the settings of a TOML file, or resume: the result is the same to the bit.

    Args:
        config: TOML with the keys of PretrainingSettings; data paths are relative to it.
        output: New folder: model.safetensors, state.safetensors, corpus.safetensors, refused.csv, log.jsonl, config.toml.
        resume: Resume in an existing folder; the settings must be those that it began with, but for steps and threads.

    Raises:
        InputError: Unusable configuration, data or folder.
    """
    config, output = Path(config), Path(output)
    settings = build_settings(PretrainingSettings, read_toml(config) | (overrides or {}), config)
    if not resume:
        if os.path.lexists(output):
            raise InputError(f"{output} exists already: pass --resume to resume there, or another --output")
        corpus, refused = build_corpus(
            files_of(settings.data, config.parent),
            settings.writings,
            settings.window,
            settings.least_molecules,
            settings.seed,
        )
        trainer = Pretrainer(settings, corpus)
        make_folder(output)
        write_atomically(output / "refused.csv", refusals_as_csv(refused))
        save_corpus(corpus, output / CORPUS_FILE)
        write_atomically(output / CONFIG_FILE, as_toml(settings).encode())
        print(
            f"{len(corpus)} molecules, {len(corpus.vocabulary.tokens)} tokens; {reasons(refused)}: {output}/refused.csv"
        )
    else:
        _check_same(settings, output)
        trainer = Pretrainer(settings, load_corpus(output / CORPUS_FILE))
    with alone(output, "mlcalc molecules pretrain"):
        if resume:
            _resume(trainer, output)
        per_epoch = int(trainer.corpus.lengths()[trainer.train].sum())
        print(
            f"{parameters_of(trainer.network)} weights; step {trainer.step} of {settings.steps}, about "
            f"{settings.steps * settings.batch_tokens / per_epoch:.0f} passes over {per_epoch} tokens", flush=True,
        )  # fmt: skip
        trainer.run(output)
    return output / FILE_IN_FOLDER


def _resume(trainer: Pretrainer, output: Path) -> None:
    """Load the state, and leave out what was logged after it, a half-written last line too: it is done, and logged, again."""
    if os.path.isfile(output / STATE_FILE):  # none before the first checkpoint
        load_state(trainer, output / STATE_FILE)
    path = output / LOG_FILE
    if os.path.isfile(path):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        try:
            kept = [line for line in lines if from_json(line)["step"] <= trainer.step]
        except (InputError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not the log of a pre-training: {error}") from error
        write_atomically(path, "".join(kept).encode())


def _check_same(settings: PretrainingSettings, output: Path) -> None:
    """Raise InputError unless a folder was begun with the same settings, but for steps, threads and how often it checkpoints."""
    begun = build_settings(PretrainingSettings, read_toml(output / CONFIG_FILE), output / CONFIG_FILE)
    free = {"steps", "threads", "checkpoint_every_steps"}
    changed = [k for k in PretrainingSettings.__dataclass_fields__ if getattr(begun, k) != getattr(settings, k)]
    if differing := [key for key in changed if key not in free]:
        was = ", ".join(f"{key} = {getattr(begun, key)!r}" for key in differing)
        raise InputError(f"{output} was begun with {was}: resume with the same settings, or choose another --output")
