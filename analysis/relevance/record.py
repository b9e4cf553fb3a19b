"""Record the inputs and outputs of a network's modules in its forward pass, without a second implementation of the network."""

from functools import partial
from typing import Any

import numpy as np
import torch

from analysis.relevance.gamma_rule import Dense
from mlcalc.model import Model
from mlcalc.torch_potential import network_of


class Record:
    """A forward pass in float64.

    Args:
        model: The model.
        species: (N,) rows of the embedding; first, second: (n_pairs,) atoms of half pairs; vectors: (n_pairs, 3) Å.

    Attributes:
        config: The model's.
        energy: eV, without the constants of the elements and without priors.
        embedding: (N, F) features in front of the first layer.
    """

    def __init__(self, model: Model, species: np.ndarray, first: np.ndarray, second: np.ndarray, vectors: np.ndarray):
        self._network: Any = network_of(model, torch.float64).requires_grad_(False)
        self._calls: dict[str, tuple] = {}
        for name, module in self._network.named_modules():
            module.register_forward_hook(partial(self._keep, name))
        outputs = self._network(*map(torch.from_numpy, (species, first, second, vectors)))
        self.config, self.energy = model.config, float(outputs["energy"].sum())
        self.embedding = self.output("embedding")

    def _keep(self, name: str, module, inputs: tuple, output) -> None:
        self._calls[name] = inputs, output

    def given(self, name: str, number: int = 0) -> np.ndarray:
        """An argument of a module, by its name in the network."""
        return self._calls[name][0][number].numpy()

    def output(self, name: str) -> np.ndarray:
        """The output of a module."""
        return self._calls[name][1].numpy()

    def weights(self, name: str) -> np.ndarray:
        """(in, out) of a dense layer."""
        return self._network.get_submodule(name).weight.numpy().T

    def two_layers(self, name: str) -> tuple[Dense, np.ndarray]:
        """The activated first of two dense layers, and the weights (hidden, out) of the second."""
        first, second = f"{name}.0", f"{name}.1"
        bias = self._network.get_submodule(first).bias.numpy()
        dense = Dense(self.weights(first), bias, self.given(first), self.output(first), self.given(second))
        return dense, self.weights(second)

    def readout(self) -> tuple[Dense, np.ndarray]:
        """The activated layer of the readout, and the weights (hidden,) of the energy behind it, eV."""
        dense, weights = self.two_layers("readout")
        z = torch.tensor(dense.before, requires_grad=True)
        (derivative,) = torch.autograd.grad(self._network.readout_activation(z).sum(), z)
        dense = dense._replace(derivative=derivative.numpy())
        return dense, weights[:, 0] * float(self._network.energy_scale)
