"""Behler–Parrinello networks on weighted atom-centred symmetry functions (wACSF), in PyTorch.

===========================================  =====================================================================  ==========
symbol                                       meaning                                                                shape
===========================================  =====================================================================  ==========
r_ij, u_ij                                   distance of a pair, unit vector from i to j                            Å; (3,)
f(r) = ½(cos(πr/r_c) + 1)                    ends all functions at the cutoff                                       scalar
R_i = Σ_j Z_j exp(−a(r_ij − μ)²) f(r_ij)     radial functions: a Gaussian each, as wide as their spacing            (n_rbf,)
w_ij = Z_j exp(−r_ij²/2o²) f(r_ij)           an angular function's share of a neighbour, o its width in Å           (A,)
A∓_i = Σ_{j<k} w_ij w_ik (1 ∓ cos θ_jik)     angular functions: ζ = 1, so that the prefactor 2^(1−ζ) is 1           (A,)
x_i = ([R, A−, A+] − mean) / deviation       both of the element of atom i, and measured on the training data       (S,)
E = Σ_i [s·N(x_i) + shift(Z_i)]              N: the network of the element; priors (mlcalc/priors) are added to it  scalar, eV
===========================================  =====================================================================  ==========

Angular functions have no factor of r_jk (G5 of Behler, not G4), as is the default of SchNetPack 1. With ζ = 1 a sum over pairs of
neighbours needs no list of triples: cos θ_jik = u_ij·u_ik, and with S = Σ_j w_ij, V = Σ_j w_ij u_ij, Q = Σ_j w_ij²::

    A− = ½(S² − |V|²),   A+ = ½(S² + |V|²) − Q

Weights Z keep the number of functions small, whatever the number of elements. Networks are dense, with two hidden layers.

Sources: Gastegger, Schwiedrzik, Bittermann, Berzsenyi, Marquetand, J. Chem. Phys. 148, 241709 (2018), doi:10.1063/1.5019667;
Behler, J. Chem. Phys. 134, 074106 (2011), doi:10.1063/1.3553717; Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007),
doi:10.1103/PhysRevLett.98.146401.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mlcalc.architectures.torch_blocks import ACTIVATIONS, GaussianBasis, Network, cosine_cutoff, initialise
from mlcalc.architectures.wacsf.config import (
    ANGULAR_START_A,
    BEFORE_CUTOFF_A,
    RADIAL_START_A,
    WACSFConfig,
    layer_widths,
)

_LEAST_DEVIATION = 1e-2  # of the largest among functions of a kind: others would be huge as soon as they begin to vary
_NO_DEVIATION = 1e-3  # functions are of the size of Z or Z²; less is rounding, as of angular ones in diatomic molecules


class WACSF(Network):
    """The network. Its ``state_dict`` names are the weight names of a model file."""

    radial_basis: GaussianBasis
    angular_basis: GaussianBasis
    networks: Any
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: WACSFConfig):
        super().__init__(config)
        last, shape = config.cutoff - BEFORE_CUTOFF_A, (len(config.elements), config.n_functions)
        self.radial_basis = GaussianBasis(config.n_rbf, last, RADIAL_START_A)
        self.angular_basis = GaussianBasis(config.n_angular, last)
        self.angular_basis.centers.zero_()
        self.angular_basis.coefficients.copy_(0.5 / torch.linspace(ANGULAR_START_A, last, config.n_angular) ** 2)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.networks = nn.ModuleList(
            nn.ModuleList(nn.Linear(*widths) for widths in layer_widths(config)) for _ in config.elements
        )
        self.activation = ACTIVATIONS[config.activation]
        initialise(self)

    def symmetry_functions(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
        """[R, A−, A+] of atoms (n_atoms, n_functions), not standardised; arguments as in schnet.network.SchNet.forward."""
        n_rbf, n_angular = self.config.n_rbf, self.config.n_angular
        distance, numbers = torch.linalg.vector_norm(vectors, dim=1), self.atomic_numbers[species]
        ending = cosine_cutoff(distance, self.config.cutoff)[:, None]
        radial, share = self.radial_basis(distance) * ending, self.angular_basis(distance) * ending
        along = (share[:, None] * (vectors / distance[:, None])[:, :, None]).flatten(1)
        sums = vectors.new_zeros(len(species), n_rbf + 5 * n_angular)
        for receiver, sender, sign in ((first, second, 1.0), (second, first, -1.0)):
            z = numbers.index_select(0, sender)[:, None]
            sums = sums.index_add(
                0, receiver, torch.cat([z * radial, z * share, (z * share).square(), (sign * z) * along], dim=1)
            )
        radial, total, own, along = sums.split([n_rbf, n_angular, n_angular, 3 * n_angular], dim=1)
        opposite = 0.5 * (total.square() - along.unflatten(1, (3, n_angular)).square().sum(1))
        return torch.cat([radial, opposite, total.square() - opposite - own], dim=1)

    @torch.no_grad()
    def measure(self, graphs: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
        """Set means and standard deviations of the symmetry functions, of the atoms of each element; see Network.measure.

        Functions that do not vary keep a deviation of 1, and those of elements without atoms a mean of 0 besides.
        """
        count, total, squares = self.mean.new_zeros(len(self.mean), 1), self.mean * 0.0, self.mean * 0.0
        for species, first, second, vectors in graphs:
            found = self.symmetry_functions(species, first, second, vectors)
            count.index_add_(0, species, torch.ones_like(found[:, :1]))
            total.index_add_(0, species, found)
            squares.index_add_(0, species, found.square())
        mean = total / count.clamp(min=1.0)
        deviation = (squares / count.clamp(min=1.0) - mean.square()).clamp(min=0.0).sqrt()
        for kind in deviation.split([self.config.n_rbf, 2 * self.config.n_angular], dim=1):
            largest = kind.amax(1, keepdim=True)
            kind.copy_(torch.where(largest > _NO_DEVIATION, kind.maximum(_LEAST_DEVIATION * largest), 1.0))
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)

    def forward(
        self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor, structures=None
    ) -> dict[str, Tensor]:
        """Energies of atoms, see Network.forward; there are no readouts."""
        functions = self.symmetry_functions(species, first, second, vectors)
        x = (functions - self.mean[species]) / self.deviation[species]
        # All networks see all atoms, and one of them counts: shapes that depend on the elements would be compiled again and again.
        of_networks = torch.stack([self._energies(layers, x) for layers in self.networks], dim=1)
        mine = species[:, None] == torch.arange(len(self.networks), device=species.device)
        return {"energy": torch.where(mine, of_networks, 0.0).sum(1) * self.energy_scale.to(x.dtype)}

    def _energies(self, layers, x: Tensor) -> Tensor:
        for layer in layers[:-1]:
            x = self.activation(layer(x))
        return layers[-1](x).squeeze(-1)
