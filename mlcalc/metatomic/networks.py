"""SchNet and PaiNN in the part of PyTorch that TorchScript compiles; symbols as in architectures/*/network.py.

Each takes full neighbour lists: every pair from both of its atoms, of which the first receives what the second sends. Names of
weights are those of a model file. Lengths in Å and energies in eV, both in the precision of the network.
"""

import math

import torch
from torch import Tensor, nn

from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.architectures.torch_blocks import GaussianBasis, cosine_cutoff


def ssp(x: Tensor) -> Tensor:
    """ln(½eˣ + ½), as torch_blocks.shifted_softplus."""
    return nn.functional.softplus(x, threshold=40.0) - math.log(2.0)


class Readout(nn.ModuleList):
    """Energies of atoms (N,) from their features (N, F), without scale and constants."""

    def __init__(self, config):
        hidden = config.readout_hidden
        super().__init__([nn.Linear(config.n_features, hidden), nn.Linear(hidden, 1)])
        self.silu = config.readout_activation == "silu"

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) → (N,)."""
        hidden = self[0](features)
        return self[1](nn.functional.silu(hidden) if self.silu else ssp(hidden)).squeeze(-1)


class SchNetBlock(nn.Module):
    """A continuous-filter convolution and the atom-wise update behind it."""

    def __init__(self, config: SchNetConfig):
        super().__init__()
        f = config.n_features
        self.filter_network = nn.ModuleList([nn.Linear(config.n_rbf, f), nn.Linear(f, f)])
        self.in2f = nn.Linear(f, f, bias=False)
        self.f2out = nn.ModuleList([nn.Linear(f, f), nn.Linear(f, f)])
        self.filter_output_activation = config.filter_output_activation

    def forward(self, x: Tensor, basis: Tensor, cutoff: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Update features (N, F) by the Gaussians (n, n_rbf) and the cutoff function (n, 1) of pairs."""
        filters = self.filter_network[1](ssp(self.filter_network[0](basis)))
        if self.filter_output_activation:
            filters = ssp(filters)
        messages = self.in2f(x).index_select(0, second) * filters * cutoff
        convolved = torch.zeros_like(x).index_add(0, first, messages)
        return x + self.f2out[1](ssp(self.f2out[0](convolved)))


class SchNet(nn.Module):
    """A SchNet in either dialect."""

    def __init__(self, config: SchNetConfig):
        super().__init__()
        self.cutoff = float(config.cutoff)
        self.has_cutoff_function = config.cutoff_function == "cosine"
        self.embedding = nn.Embedding(len(config.elements), config.n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, self.cutoff)
        self.interactions = nn.ModuleList([SchNetBlock(config) for _ in range(config.n_interactions)])
        self.readout = Readout(config)

    def forward(self, species: Tensor, first: Tensor, second: Tensor, distance: Tensor, unit: Tensor) -> Tensor:
        """Energies of atoms (N,) without scale and constants.

        Args:
            species: (N,) rows of the embedding; first, second: (n,) atoms of each pair.
            distance: (n,) Å; unit: (n, 3) unit vectors from the first atom to the second.
        """
        basis, cutoff = self.radial_basis(distance), torch.ones_like(distance)[:, None]
        if self.has_cutoff_function:
            cutoff = cosine_cutoff(distance, self.cutoff)[:, None]
        x = self.embedding(species)
        for interaction in self.interactions:
            x = interaction(x, basis, cutoff, first, second)
        return self.readout(x)


def thirds(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n, 3F) → three of (n, F).

    Tensor.chunk would do, but TorchScript's own derivative of it is wrong where a part is not used, as t of the last block.
    """
    f = x.shape[1] // 3
    return x[:, :f], x[:, f : 2 * f], x[:, 2 * f :]


class PaiNNMessages(nn.Module):
    """Messages between atoms."""

    def __init__(self, f: int):
        super().__init__()
        self.interatomic_context_net = nn.ModuleList([nn.Linear(f, f), nn.Linear(f, 3 * f)])

    def forward(
        self, q: Tensor, mu: Tensor, filters: Tensor, unit: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update q (N, F) and μ (N, 3, F) by filters (n, 3F) and unit vectors (n, 3) of pairs."""
        x = self.interatomic_context_net[1](nn.functional.silu(self.interatomic_context_net[0](q)))
        a, b, c = thirds(filters * x.index_select(0, second))
        vectors = b[:, None, :] * unit[:, :, None] + c[:, None, :] * mu.index_select(0, second)
        return q.index_add(0, first, a), mu.index_add(0, first, vectors)


class PaiNNMixing(nn.Module):
    """Scalars and vectors of one atom."""

    def __init__(self, f: int, norm_epsilon: float):
        super().__init__()
        self.intraatomic_context_net = nn.ModuleList([nn.Linear(2 * f, f), nn.Linear(f, 3 * f)])
        self.mu_channel_mix = nn.Linear(f, 2 * f, bias=False)
        self.epsilon = norm_epsilon

    def forward(self, q: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Update q (N, F) and μ (N, 3, F)."""
        mixed = self.mu_channel_mix(mu)
        v, u = mixed[:, :, : q.shape[1]], mixed[:, :, q.shape[1] :]
        norm = torch.sqrt(v.square().sum(dim=1) + self.epsilon)
        hidden = nn.functional.silu(self.intraatomic_context_net[0](torch.cat([q, norm], dim=1)))
        s, t, p = thirds(self.intraatomic_context_net[1](hidden))
        return q + s + p * (v * u).sum(dim=1), mu + t[:, None, :] * u


class PaiNN(nn.Module):
    """A PaiNN; forward takes what SchNet.forward takes."""

    def __init__(self, config: PaiNNConfig):
        super().__init__()
        f, n_blocks = config.n_features, config.n_interactions
        self.cutoff, self.n_features = float(config.cutoff), f
        self.embedding = nn.Embedding(len(config.elements), f)
        self.radial_basis = GaussianBasis(config.n_rbf, self.cutoff)
        self.filter_net = nn.Linear(config.n_rbf, n_blocks * 3 * f)
        self.interactions = nn.ModuleList([PaiNNMessages(f) for _ in range(n_blocks)])
        self.mixing = nn.ModuleList([PaiNNMixing(f, config.norm_epsilon) for _ in range(n_blocks)])
        self.readout = Readout(config)

    def forward(self, species: Tensor, first: Tensor, second: Tensor, distance: Tensor, unit: Tensor) -> Tensor:
        """Energies of atoms (N,) without scale and constants."""
        filters = self.filter_net(self.radial_basis(distance)) * cosine_cutoff(distance, self.cutoff)[:, None]
        width = 3 * self.n_features
        q = self.embedding(species)
        mu = q.new_zeros([len(species), 3, self.n_features])
        for t, (interaction, mixing) in enumerate(zip(self.interactions, self.mixing)):  # noqa: B905 TorchScript has no strict=
            q, mu = interaction(q, mu, filters[:, t * width : (t + 1) * width], unit, first, second)
            q, mu = mixing(q, mu)
        return self.readout(q)
