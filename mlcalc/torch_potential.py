"""Networks in torch: conversion between module and Model, and evaluation as a potential, the readable twin of the kernels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mlcalc.architectures import architecture_of
from mlcalc.architectures.torch_blocks import Network, initialise
from mlcalc.common.forks import renew_after_fork
from mlcalc.geometry.domain import ClosestPair, closest_of
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.priors import check_atoms, prior_energies
from mlcalc.readouts import READOUTS, sizes

_FLOAT64 = ("energy_scale", "energy_shift", "scale", "shift")  # of networks and of readouts


def network_of(model: Model, dtype: torch.dtype = torch.float32) -> Network:
    """The torch module of a model in the given precision, without its priors."""
    network = new_network(model.config, dtype, model.readouts)
    network.load_state_dict({name: torch.as_tensor(np.asarray(w)) for name, w in model.weights.items()})
    return network


def new_network(config, dtype: torch.dtype = torch.float32, readouts: Sequence[str] = ()) -> Network:
    """A torch module with random weights of torch's generator; constants of energies and scalars are always float64."""
    network = architecture_of(config).network(config)
    for name in readouts:
        network.readouts[name] = READOUTS[name].network(*sizes(config))
    initialise(network.readouts)
    network = network.to(dtype)
    for module in (network, *network.readouts.values()):
        for name, buffer in module.named_buffers(recurse=False):
            if name in _FLOAT64:
                setattr(module, name, buffer.to(torch.float64))
    return network


def model_of(network: Network, metadata: dict | None = None, priors: dict[str, Any] | None = None) -> Model:
    """The weights of a torch module as a Model."""
    weights = {name: tensor.detach().cpu().numpy().copy() for name, tensor in network.state_dict().items()}
    return Model(network.config, weights, metadata or {}, priors or {}, tuple(network.readouts))


class _TorchThreads:
    def renew_after_fork(self) -> None:
        """In a forked child: the threads of its parent are missing, and OpenMP would wait for them without end."""
        torch.set_num_threads(1)


_TORCH_THREADS = _TorchThreads()


class TorchPotential:
    """A network evaluated by PyTorch for one composition: a mlcalc.potential.Potential.

    Args:
        model: The model; numbers: (N,) atomic numbers; precision: ``"float32"`` or ``"float64"``.
        cell: (3, 3) rows are lattice vectors in Å; pbc: three booleans. Both None for a molecule.
    """

    def __init__(self, model: Model, numbers: np.ndarray, precision: str = "float32", cell=None, pbc=None):
        check_atoms(model.priors, numbers)
        self.dtype = getattr(torch, precision)
        self.network, self.priors = network_of(model, self.dtype).requires_grad_(False), model.priors
        renew_after_fork(_TORCH_THREADS)
        self.cell, self.pbc = cell, pbc
        order = {z: row for row, z in enumerate(model.config.elements)}
        self.species = torch.tensor([order[int(z)] for z in numbers])
        self.numbers = torch.as_tensor(np.asarray(numbers, dtype=np.int64))
        self.shift = self.network.energy_shift[self.species].numpy()
        # Of the last call, for every replica: first and second atom, Å.
        self._distances: list[tuple[np.ndarray, ...]] = []

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """See Potential."""
        result = self.evaluate(positions, cell)
        return result["energies"], result["forces"]

    def evaluate(self, positions: np.ndarray, cell=None) -> dict[str, np.ndarray]:
        """See Potential."""
        box = self.cell if cell is None else cell
        evaluated: list[dict[str, Any]] = [self._evaluate_one(frame, box) for frame in positions]
        self._distances = [result.pop("distances") for result in evaluated]
        return {key: np.stack([result[key] for result in evaluated]) for key in evaluated[0]}

    def smallest_distance(self) -> float:
        """See Potential."""
        return min(distance.min(initial=np.inf) for _, _, distance in self._distances)

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """See Potential."""
        return closest_of(self._distances, self.species.numpy(), limits)

    def _evaluate_one(self, positions: np.ndarray, cell) -> dict[str, Any]:
        pairs = half_pairs(positions, self.network.config.cutoff, cell, self.pbc)
        first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
        vectors = torch.from_numpy(positions[pairs.second] - positions[pairs.first] + pairs.shift)
        vectors = vectors.to(self.dtype).requires_grad_(True)
        atomic = self.network(self.species, first, second, vectors)["energy"]
        atomic = atomic + prior_energies(self.priors, self.numbers, first, second, vectors)
        (gradient,) = torch.autograd.grad(atomic.sum(), vectors)
        gradient, vectors = gradient.double(), vectors.detach().double()
        forces = torch.zeros(len(positions), 3, dtype=torch.float64)
        forces.index_add_(0, first, gradient).index_add_(0, second, -gradient)
        atomic_energies = atomic.detach().double().numpy() + self.shift
        return {
            "energies": atomic_energies.sum(),
            "forces": forces.numpy(),
            "atomic_energies": atomic_energies,
            "virials": torch.einsum("pa,pb->ab", vectors, gradient).numpy(),
            "distances": (pairs.first, pairs.second, vectors.norm(dim=1).numpy()),
        }
