"""The state of a training on disk: weights, their moving average, optimizers, progress."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mlcalc.errors import InputError
from mlcalc.files import write_atomically


def save_state(trainer, path: Path) -> None:
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


def load_state(trainer, path: Path) -> None:
    """Bring a training.Trainer to where a state file left off; InputError when it belongs to another architecture or is damaged."""
    try:
        with safe_open(path, framework="pt") as stream:
            progress = json.loads(stream.metadata()["progress"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        trainer.network.load_state_dict(_with_prefix(tensors, "network."))
        trainer.average.module.load_state_dict(_with_prefix(tensors, "average."))
        trainer.offsets.data.copy_(tensors["offsets"])
    except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot resume from this state: {error}") from error
    for n, optimizer in enumerate(trainer.optimizers):
        state = optimizer.state_dict()
        for name, tensor in _with_prefix(tensors, f"optimizer.{n}.").items():
            index, key = name.split(".", 1)
            state["state"].setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict(state)
    trainer.average.n_averaged.fill_(progress["step"])
    trainer.step, trainer.best, trainer.since_best = progress["step"], progress["best"], progress["since_best"]


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
