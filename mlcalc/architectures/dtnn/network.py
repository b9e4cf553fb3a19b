"""DTNN in PyTorch.

==========================================  ==================================================================  ==========
symbol                                      meaning                                                             shape
==========================================  ==================================================================  ==========
x_i                                         features of atom i, x_i⁰ = A[Z_i]                                   (F,)
r_ij                                        distance of a pair                                                  scalar, Å
D(r) = (W_d G(r) + b_d) f(r)                a layer on Gaussians of r; f ends it at the cutoff, or is 1         (K,)
v_ij = σ(W_out[(W_in x_j + b_in)∘D(r_ij)])  message from j to i, a factorised product; W_out has no bias        (F,)
x_i ← x_i + Σ_j v_ij                        one of T passes                                                     (F,)
E = Σ_i [s·readout(x_i) + shift(Z_i)]       energy; priors (mlcalc/priors) are added to it                      scalar, eV
==========================================  ==================================================================  ==========

The original has σ = tanh, the same W_in, b_in, W_out in all passes, and no cutoff; D is one for all passes in any case. Messages
end with D, since σ(0) = 0. The readout is dense, tanh, dense.

Source: Schütt, Arbabzadah, Chmiela, Müller, Tkatchenko, Nat. Commun. 8, 13890 (2017), doi:10.1038/ncomms13890.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mlcalc.architectures.dtnn.config import DTNNConfig
from mlcalc.architectures.torch_blocks import ACTIVATIONS, Features, GaussianBasis, Network, cosine_cutoff, initialise

_ORIGINAL_REACH_A = 20.0  # of the Gaussians without a cutoff


class Interaction(nn.Module):
    """One pass of messages."""

    def __init__(self, config: DTNNConfig):
        super().__init__()
        self.in2factors = nn.Linear(config.n_features, config.n_factors)
        self.factors2out = nn.Linear(config.n_factors, config.n_features, bias=False)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, features: Tensor, of_distances: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Update features (n_atoms, F) by D (n_pairs, K) of half pairs, which serves both directions."""
        factors, changed = self.in2factors(features), features
        for receiver, sender in ((first, second), (second, first)):
            messages = self.activation(self.factors2out(factors.index_select(0, sender) * of_distances))
            changed = changed.index_add(0, receiver, messages)
        return changed


class DTNN(Network):
    """The network. Its ``state_dict`` names are the weight names of a model file."""

    radial_basis: GaussianBasis
    interactions: Any

    def __init__(self, config: DTNNConfig):
        super().__init__(config)
        n_features, hidden = config.n_features, config.readout_hidden
        self.embedding = nn.Embedding(len(config.elements), n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, config.cutoff or _ORIGINAL_REACH_A)
        self.distance_layer = nn.Linear(config.n_rbf, config.n_factors)
        self.interactions = nn.ModuleList([Interaction(config) for _ in range(config.n_blocks)])
        self.readout = nn.ModuleList([nn.Linear(n_features, hidden), nn.Linear(hidden, 1)])
        self.readout_activation = torch.tanh
        initialise(self)

    def features(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Features:
        """Features of atoms after the last block, see Network."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        of_distances = self.distance_layer(self.radial_basis(distance))
        if self.config.cutoff is not None:
            of_distances = of_distances * cosine_cutoff(distance, self.config.cutoff)[:, None]
        x = self.embedding(species)
        for t in range(self.config.n_interactions):
            x = self.interactions[t % self.config.n_blocks](x, of_distances, first, second)
        return Features(x)
