"""The state of a training on disk: weights, their moving average, optimizers, progress."""

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, write_atomically
from mlcalc.common.safetensors_header import entries_of


class Progress(Protocol):
    """What of a trainer is its state: see trainer.Trainer."""

    network: Any
    average: Any
    optimizers: Any
    offsets: Any
    step: int
    best: float
    since_best: int


def save_state(trainer: Progress, path: Path) -> None:
    """Write everything that resuming a training.Trainer needs (safetensors, atomically)."""
    tensors = {f"average.{k}": v for k, v in trainer.average.module.state_dict().items()}
    tensors |= {f"network.{k}": v for k, v in trainer.network.state_dict().items()}
    tensors["offsets"] = trainer.offsets.data
    for n, optimizer in enumerate(trainer.optimizers):
        for k, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{n}.{k}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    progress = {"step": trainer.step, "best": trainer.best, "since_best": trainer.since_best}
    write_atomically(path, save(tensors, metadata={"progress": json.dumps(progress)}))


def load_state(trainer: Progress, path: Path) -> None:
    """Restore a training.Trainer from a state file.

    Raises:
        InputError: The state belongs to another architecture, or is damaged; the trainer is then unusable.
    """
    try:
        content = check_regular(path).read_bytes()  # not mapped: a mapped file truncated meanwhile causes a bus error
        tensors, progress = load(content), _progress(content)
        trainer.network.load_state_dict(_with_prefix(tensors, "network."))
        trainer.average.module.load_state_dict(_with_prefix(tensors, "average."))
        if tensors["offsets"].shape != trainer.offsets.shape:
            raise ValueError(f"{tensors['offsets'].numel()} zeros of energy, expected {trainer.offsets.numel()}")
        trainer.offsets.data.copy_(tensors["offsets"])
        for n, optimizer in enumerate(trainer.optimizers):
            state = optimizer.state_dict()
            for name, tensor in _with_prefix(tensors, f"optimizer.{n}.").items():
                index, key = name.split(".", 1)
                state["state"].setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict(state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: cannot resume from this state: {error}") from error
    trainer.average.n_averaged.fill_(progress["step"])
    trainer.step, trainer.best, trainer.since_best = progress["step"], progress["best"], progress["since_best"]


def _progress(content: bytes) -> dict:
    """Step, best score (infinite before the first) and validations since."""
    progress = json.loads(entries_of(content)["progress"])
    counts = progress["step"], progress["since_best"]
    if not all(type(count) is int and 0 <= count < 1 << 53 for count in counts) or type(progress["best"]) is not float:
        raise ValueError(f"progress {str(progress)[:80]}")
    return progress


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
