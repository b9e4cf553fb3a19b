"""SchNet in PyTorch, as the papers define it: the reference that every other form is tested against.

=====================================  ====================================================  ==========
symbol                                 meaning                                               shape
=====================================  ====================================================  ==========
x_i                                    features of atom i, x_i⁰ = A[Z_i]                     (F,)
r_ij                                   distance of a pair                                    scalar, Å
W(r)                                   continuous filter, a dense network on Gaussians of r  (F,)
c_i = Σ_j (W_in x_j)∘W(r_ij)           continuous-filter convolution                         (F,)
x ← x + W₂ ssp(W₁ c + b₁) + b₂         one of T interaction blocks                           (F,)
E = Σ_i [s·readout(x_i) + shift(Z_i)]  energy; priors (mlcalc/priors) are added to it        scalar, eV
=====================================  ====================================================  ==========

ssp(x) = ln(½eˣ + ½). Both dialects of the literature are configurations of this one network (config.SchNetConfig):
SchNetPack 2 (cosine cutoff on a linear filter output) and the original TensorFlow SchNet (ssp on the filter output, all pairs).

Sources: Schütt et al., NeurIPS 2017 (arXiv:1706.08566); J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.architectures.torch_blocks import (
    ACTIVATIONS,
    Features,
    GaussianBasis,
    Network,
    cosine_cutoff,
    initialise,
    shifted_softplus,
)


class Interaction(nn.Module):
    """One interaction block: filters from distances, convolution, atom-wise update."""

    def __init__(self, config: SchNetConfig):
        super().__init__()
        n_features = config.n_features
        self.filter_network = nn.ModuleList([nn.Linear(config.n_rbf, n_features), nn.Linear(n_features, n_features)])
        self.in2f = nn.Linear(n_features, n_features, bias=False)
        self.f2out = nn.ModuleList([nn.Linear(n_features, n_features), nn.Linear(n_features, n_features)])
        self.filter_output_activation = config.filter_output_activation

    def filters(self, basis: Tensor, cutoff_value: Tensor | None) -> Tensor:
        """Continuous filters W(r) of all pairs: (n_pairs, n_rbf) → (n_pairs, F)."""
        filters = self.filter_network[1](shifted_softplus(self.filter_network[0](basis)))
        if self.filter_output_activation:
            filters = shifted_softplus(filters)
        return filters if cutoff_value is None else filters * cutoff_value[:, None]

    def forward(self, features: Tensor, filters: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Update features (n_atoms, F). A half pair serves both directions, since W depends only on the distance."""
        messages = self.in2f(features)
        convolved = torch.zeros_like(messages)
        convolved = convolved.index_add(0, first, messages.index_select(0, second) * filters)
        convolved = convolved.index_add(0, second, messages.index_select(0, first) * filters)
        return features + self.f2out[1](shifted_softplus(self.f2out[0](convolved)))


class SchNet(Network):
    """The network. Its ``state_dict`` names are the weight names of a model file."""

    radial_basis: GaussianBasis
    interactions: Any  # torch has no type for a list of Interaction

    def __init__(self, config: SchNetConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(len(config.elements), config.n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, config.cutoff or 20.0)
        self.interactions = nn.ModuleList([Interaction(config) for _ in range(config.n_interactions)])
        self.readout = nn.ModuleList(
            [nn.Linear(config.n_features, config.readout_hidden), nn.Linear(config.readout_hidden, 1)]
        )
        self.readout_activation = ACTIVATIONS[config.readout_activation]
        initialise(self)

    def features(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Features:
        """Features of atoms after the last block, see Network."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        basis = self.radial_basis(distance)
        cutoff_value = self.cutoff_value(distance)
        features = self.embedding(species)
        for interaction in self.interactions:
            features = interaction(features, interaction.filters(basis, cutoff_value), first, second)
        return Features(features)

    def cutoff_value(self, distance: Tensor) -> Tensor | None:
        """½(cos(πr/r_c) + 1), or 1 without a cutoff function, inside the cutoff and 0 beyond; None without a cutoff."""
        if self.config.cutoff is None:
            return None
        if self.config.cutoff_function == "none":  # a molecule's pairs reach beyond the cutoff
            return (distance < self.config.cutoff).to(distance.dtype)
        return cosine_cutoff(distance, self.config.cutoff)
