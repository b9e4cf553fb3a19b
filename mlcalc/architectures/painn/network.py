"""PaiNN in PyTorch, as the paper defines it and SchNetPack 2 computes it.

=====================================  ====================================================  ==========
symbol                                 meaning                                               shape
=====================================  ====================================================  ==========
q_i, μ_i                               scalar and vector features of atom i, q⁰ = A[Z], 0    (F,), (3, F)
u_ij                                   unit vector from i to j, r_ij the distance            (3,)
W(r)                                   a dense layer on Gaussians of r, times the cutoff     (3F,)
x_j = D₂ silu(D₁ q_j)                  what atom j sends                                     (3F,)
(a, b, c) = W(r_ij)∘x_j                q_i += Σ_j a,  μ_i += Σ_j (b uᵀ_ij + c∘μ_j)           (F,) each
(V, U) = M μ_i                         mixing of channels, no bias; n = √(Σ_xyz V² + ε)      (3, F) each
(s, t, p) = D₄ silu(D₃ [q_i, n])       q_i += s + p∘⟨V, U⟩,  μ_i += t∘U                      (F,) each
E = Σ_i [s·readout(q_i) + shift(Z_i)]  energy; priors (mlcalc/priors) are added to it        scalar, eV
=====================================  ====================================================  ==========

Source: Schütt, Unke, Gastegger, ICML 2021 (arXiv:2102.03150).
"""

from typing import Any

import torch
from torch import Tensor, nn

from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.architectures.torch_blocks import ACTIVATIONS, Features, GaussianBasis, Network, cosine_cutoff, initialise


class Interaction(nn.Module):
    """Messages between atoms."""

    def __init__(self, n_features: int):
        super().__init__()
        layers = [nn.Linear(n_features, n_features), nn.Linear(n_features, 3 * n_features)]
        self.interatomic_context_net = nn.ModuleList(layers)

    def forward(self, q: Tensor, mu: Tensor, filters: Tensor, unit: Tensor, pairs: tuple[Tensor, Tensor]):
        """Update q (N, F) and μ (N, 3, F) by filters (n_pairs, 3F) and unit vectors (n_pairs, 3) of half pairs."""
        x = self.interatomic_context_net[1](nn.functional.silu(self.interatomic_context_net[0](q)))
        new_q, new_mu = q, mu
        for (receiver, sender), sign in ((pairs, 1.0), (pairs[::-1], -1.0)):
            a, b, c = (filters * x.index_select(0, sender)).chunk(3, dim=1)
            vectors = b[:, None, :] * (sign * unit)[:, :, None] + c[:, None, :] * mu.index_select(0, sender)
            new_q, new_mu = new_q.index_add(0, receiver, a), new_mu.index_add(0, receiver, vectors)
        return new_q, new_mu


class Mixing(nn.Module):
    """Scalars and vectors of one atom."""

    def __init__(self, n_features: int, norm_epsilon: float):
        super().__init__()
        self._epsilon = norm_epsilon
        layers = [nn.Linear(2 * n_features, n_features), nn.Linear(n_features, 3 * n_features)]
        self.intraatomic_context_net = nn.ModuleList(layers)
        self.mu_channel_mix = nn.Linear(n_features, 2 * n_features, bias=False)

    def forward(self, q: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Update q (N, F) and μ (N, 3, F)."""
        v, u = self.mu_channel_mix(mu).chunk(2, dim=2)
        norm = torch.sqrt(v.square().sum(dim=1) + self._epsilon)
        hidden = nn.functional.silu(self.intraatomic_context_net[0](torch.cat([q, norm], dim=1)))
        s, t, p = self.intraatomic_context_net[1](hidden).chunk(3, dim=1)
        return q + s + p * (v * u).sum(dim=1), mu + t[:, None, :] * u


class PaiNN(Network):
    """The network. Its ``state_dict`` names are the weight names of a model file."""

    radial_basis: GaussianBasis
    interactions: Any
    mixing: Any

    def __init__(self, config: PaiNNConfig):
        super().__init__(config)
        n_features, blocks = config.n_features, range(config.n_interactions)
        self.embedding = nn.Embedding(len(config.elements), n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, config.cutoff)
        self.filter_net = nn.Linear(config.n_rbf, len(blocks) * 3 * n_features)
        self.interactions = nn.ModuleList([Interaction(n_features) for _ in blocks])
        self.mixing = nn.ModuleList([Mixing(n_features, config.norm_epsilon) for _ in blocks])
        hidden = config.readout_hidden
        self.readout = nn.ModuleList([nn.Linear(n_features, hidden), nn.Linear(hidden, 1)])
        self.readout_activation = ACTIVATIONS[config.readout_activation]
        initialise(self)

    def features(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Features:
        """Features of atoms after the last block, see Network."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        unit = vectors / distance[:, None]
        filters = self.filter_net(self.radial_basis(distance)) * cosine_cutoff(distance, self.config.cutoff)[:, None]
        q = self.embedding(species)
        mu = q.new_zeros(len(species), 3, self.config.n_features)
        of_blocks = filters.chunk(self.config.n_interactions, dim=1)
        for interaction, mixing, of_block in zip(self.interactions, self.mixing, of_blocks, strict=True):
            q, mu = interaction(q, mu, of_block, unit, (first, second))
            q, mu = mixing(q, mu)
        return Features(q, mu)
