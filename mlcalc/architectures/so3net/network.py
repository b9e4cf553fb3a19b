"""SO3net in PyTorch, as SchNetPack 2 computes it.

======================================  ===================================================  ==============
symbol                                  meaning                                              shape
======================================  ===================================================  ==============
s = (l, m)                              component, numbered l² + l + m                       S = (lmax+1)²
x_i                                     features of atom i: x⁰ = A[Z] where s = 0, else 0    (S, F)
u_ij                                    unit vector from i to j, r_ij the distance           (3,)
W_l(r)                                  a dense layer on Gaussians of r, times the cutoff    (F,)
Y_s(u), C^s_{s1 s2}                     harmonics and their coefficients, see harmonics.py   scalars
Δ_s = Σ_j Σ C^s Y_s1(u_ij) W_l1∘x_j,s2  messages, summed over s1 = (l1, m1) and s2           (S, F)
Δ_s += Σ C^s Δ_s1∘(M₁Δ)_s2              product, channel by channel; M has no bias           (S, F)
Δ ← M₂Δ,  Δ_s ← σ(B Δ_0 + b)_l∘Δ_s      a gate for each degree, from the scalars             (S, F)
x_i += M₃Δ                              end of a block                                       (S, F)
E = Σ_i [s·readout(x_i,0) + shift(Z)]   energy; priors (mlcalc/priors) are added to it       scalar, eV
======================================  ===================================================  ==============

Source: Schütt, Hessmann, Gebauer, Lederer, Gastegger, J. Chem. Phys. 158, 144801 (2023), doi:10.1063/5.0138367.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees, harmonics
from mlcalc.architectures.torch_blocks import ACTIVATIONS, Features, GaussianBasis, Network, cosine_cutoff, initialise


class Product(nn.Module):
    """Clebsch–Gordan products. S components, L = lmax + 1 degrees."""

    of_degree: Tensor
    parity: Tensor
    coefficients: Tensor
    by_degree: Tensor

    def __init__(self, lmax: int):
        super().__init__()
        of_degree = torch.from_numpy(degrees(lmax))
        coefficients = torch.from_numpy(clebsch_gordan(lmax).transpose(2, 0, 1).copy())
        by_degree = coefficients[:, None] * (of_degree == torch.arange(lmax + 1)[:, None])[None, :, :, None]
        self.lmax = lmax
        self.register_buffer("of_degree", of_degree, persistent=False)
        self.register_buffer("parity", (-1.0) ** torch.arange(lmax + 1, dtype=torch.float64), persistent=False)
        self.register_buffer("coefficients", coefficients.flatten(1), persistent=False)
        self.register_buffer("by_degree", by_degree.permute(2, 0, 1, 3).flatten(1), persistent=False)

    def couplings(self, unit: Tensor) -> Tensor:
        """Σ_m1 C^s_{s1 s2} Y_s1 of unit vectors (n_pairs, 3): (n_pairs, S, L·S) for s and (l1, s2)."""
        x, y, z = unit.unbind(1)
        of_pairs = torch.stack(harmonics(x, y, z, self.lmax), dim=1)
        return (of_pairs @ self.by_degree).unflatten(1, (of_pairs.shape[1], -1))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Σ C^s one_s1∘other_s2 of features (N, S, F)."""
        return self.coefficients @ (one[:, :, None] * other[:, None]).flatten(1, 2)


class Interaction(nn.Module):
    """A block: messages between atoms, the product of their sum with itself, a gate."""

    def __init__(self, config: SO3netConfig):
        super().__init__()
        f, of_degrees = config.n_features, (config.lmax + 1) * config.n_features
        self.filter_net = nn.Linear(config.n_rbf, of_degrees)
        self.mixings = nn.ModuleList([nn.Linear(f, f, bias=False) for _ in range(3)])
        self.gating = nn.Linear(f, of_degrees)

    def forward(self, x: Tensor, filters: Tensor, couplings: Tensor, product: Product, pairs: tuple[Tensor, Tensor]):
        """Update x by filters (n_pairs, L, F) and Product.couplings of half pairs.

        x is (N, S, F), or (N, 1, F) for scalars alone: in the first block others are 0, and not worth the largest products.
        """
        n_components, sent = couplings.shape[1], x.shape[1]
        of_sent = couplings.unflatten(2, (-1, n_components))[..., :sent].flatten(2)
        delta = x.new_zeros(len(x), n_components, x.shape[2])
        for (receiver, sender), of_direction in ((pairs, filters), (pairs[::-1], filters * product.parity[:, None])):
            terms = of_direction[:, :, None] * x.index_select(0, sender)[:, None]
            delta = delta.index_add(0, receiver, of_sent @ terms.flatten(1, 2))
        delta = self.mixings[1](delta + product(delta, self.mixings[0](delta)))
        gates = torch.sigmoid(self.gating(delta[:, 0])).unflatten(1, (product.lmax + 1, -1))
        change = self.mixings[2](delta * gates.index_select(1, product.of_degree))
        return nn.functional.pad(x, (0, 0, 0, n_components - sent)) + change


class SO3net(Network):
    """The network. Its ``state_dict`` names are the weight names of a model file."""

    radial_basis: GaussianBasis
    product: Product
    interactions: Any

    def __init__(self, config: SO3netConfig):
        super().__init__(config)
        n_features, hidden = config.n_features, config.readout_hidden
        self.embedding = nn.Embedding(len(config.elements), n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, config.cutoff)
        self.product = Product(config.lmax)
        self.interactions = nn.ModuleList([Interaction(config) for _ in range(config.n_interactions)])
        self.readout = nn.ModuleList([nn.Linear(n_features, hidden), nn.Linear(hidden, 1)])
        self.readout_activation = ACTIVATIONS[config.readout_activation]
        initialise(self)

    def features(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Features:
        """Features of atoms after the last block, see Network."""
        distance = torch.linalg.vector_norm(vectors, dim=1)
        couplings = self.product.couplings(vectors / distance[:, None])
        radial, ending = self.radial_basis(distance), cosine_cutoff(distance, self.config.cutoff)[:, None]
        x = self.embedding(species)[:, None]
        for block in self.interactions:
            filters = (block.filter_net(radial) * ending).unflatten(1, (self.config.lmax + 1, -1))
            x = block(x, filters, couplings, self.product, (first, second))
        return Features(x[:, 0], x[:, [3, 1, 2]])
