"""The network of a training before its first step: random weights or those of a model, and what training data measure for it."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from mlcalc.architectures.torch_blocks import Network
from mlcalc.common.errors import InputError
from mlcalc.model import Model
from mlcalc.outputs import OUTPUTS
from mlcalc.readouts import READOUTS
from mlcalc.torch_potential import model_of, network_of, new_network
from mlcalc.training.dataset import Batches, Dataset
from mlcalc.training.energy_zero import fit_shifts
from mlcalc.training.settings import TrainingSettings


def first_network(
    settings: TrainingSettings, config: Any, dataset: Dataset, frames: np.ndarray, weights: np.ndarray | None,
    levels: np.ndarray, init: Model | None,
) -> Network:  # fmt: skip
    """A network of this configuration with the readouts of the settings, on the CPU.

    Args:
        frames: Indices of those to train on.
        weights: (n_frames,) of frames in the loss; None for equal ones.
        levels: (n_frames,) level of theory of each frame.
        init: A model whose weights to start from; what it does not have is as in a new network.

    Raises:
        InputError: An element of the configuration of which no frame says what a new readout learns.
    """
    _check_elements(settings, config.elements, dataset, frames, () if init is None else init.readouts)
    network = new_network(config, getattr(torch, settings.precision), settings.readouts)
    if init is None:
        network.energy_scale.fill_(_typical_force(dataset, frames, weights))
        _measure(network, dataset, frames, levels, settings.batch_size)
    else:
        state = network.state_dict() | {name: torch.as_tensor(np.asarray(w)) for name, w in init.weights.items()}
        network.load_state_dict(state)
    if settings.scalar and (init is None or init.scalar is None):
        shifts, scale = fit_shifts(dataset, frames, config.elements, weights)
        network.readouts["scalar"].shift.copy_(torch.as_tensor(shifts))
        network.readouts["scalar"].scale.fill_(scale)
    return network


def _check_elements(
    settings: TrainingSettings, elements: Sequence[int], dataset: Dataset, frames: np.ndarray, known: Collection[str]
) -> None:
    """Raise InputError if a readout that is not known yet would answer for an element of which no frame tells it anything."""
    for readout in (name for name in settings.readouts if name not in known):
        learnt = [name for name in READOUTS[readout].outputs if name in settings.readout_weights]
        seen: set[int] = set()
        for k in frames:
            rows = {name: dataset.atoms_of(k) if OUTPUTS[name].per_atom else slice(k, k + 1) for name in learnt}
            if any(np.isfinite(dataset.labels[name][its]).all() for name, its in rows.items()):
                seen.update(dataset.numbers[dataset.atoms_of(k)].tolist())
        if absent := [chemical_symbols[z] for z in elements if z not in seen]:
            raise InputError(
                f"the network knows {', '.join(absent)}, of which no structure to train on says the {' or '.join(learnt)}: add "
                "structures with these elements"
            )


def _typical_force(dataset: Dataset, frames: np.ndarray, weights: np.ndarray | None) -> float:
    """Root mean square of the components of training forces, eV/Å, frames by their weights; 1 where all are zero."""
    rows = np.concatenate([np.arange(*dataset.offsets[k : k + 2]) for k in frames])
    forces, finite = dataset.forces[rows], np.isfinite(dataset.forces[rows])
    if not forces[finite].any():
        return 1.0
    if weights is None:
        return float(np.sqrt(np.mean(forces[finite] ** 2)))
    of_atoms = np.repeat(weights[frames], dataset.counts[frames])
    return float(np.sqrt(np.average(forces[finite] ** 2, weights=np.repeat(of_atoms, 3)[finite.ravel()])))


def _measure(network: Network, dataset: Dataset, frames: np.ndarray, levels: np.ndarray, size: int) -> None:
    """Let a new network measure on batches of the training frames what it does not learn, in float64."""
    nothing, config = np.zeros(len(dataset)), network.config
    batches = Batches(dataset, config.elements, config.cutoff, levels, nothing, torch.float64)
    precise = network_of(model_of(network), torch.float64)
    precise.measure(batches.make(frames[k : k + size])[:4] for k in range(0, len(frames), size))
    network.load_state_dict(precise.state_dict())
