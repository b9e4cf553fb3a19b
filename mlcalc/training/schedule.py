"""The schedule of a training: learning rate and order of frames, functions of settings and step, so that resuming fits in."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from mlcalc.training.dataset import Dataset
from mlcalc.training.settings import TrainingSettings


class Rates(Protocol):
    """Settings of a schedule of learning rates."""

    @property
    def learning_rate(self) -> float:
        """The largest."""

    @property
    def warmup_steps(self) -> int:
        """Steps until it is reached."""

    @property
    def steps(self) -> int:
        """Of the training."""


def learning_rate(settings: Rates, step: int) -> float:
    """Linear warm-up, then half a cosine down to a thousandth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.learning_rate * (1e-3 + (1.0 - 1e-3) * 0.5 * (1.0 + math.cos(math.pi * progress)))


def frame_order(settings: TrainingSettings, dataset: Dataset, frames: np.ndarray, step: int) -> Iterator[np.ndarray]:
    """Batches of indices of ``frames`` (n,) from a step on, each as often as its file is repeated, shuffled in each epoch."""
    repeat = np.array(settings.repeat or [1] * len(settings.data))
    frames = np.repeat(frames, repeat[dataset.sources[frames]])
    size = min(settings.batch_size, len(frames))
    per_epoch = len(frames) // size
    while True:
        shuffled = np.random.default_rng([settings.seed, step // per_epoch]).permutation(frames)
        for k in range(step % per_epoch, per_epoch):
            yield shuffled[k * size : (k + 1) * size]
            step += 1
