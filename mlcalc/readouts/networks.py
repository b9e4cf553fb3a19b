"""Readouts in PyTorch.

=========================================  ===================================================================  ======
symbol                                     meaning                                                              shape
=========================================  ===================================================================  ======
x_i, μ_i                                   scalar and vector features of atom i, after the last block           (F,), (3, F)
q_i = c_i − (Σ_j c_j − Q)/N                charges: what the network says, less what would exceed the total Q   scalar, e
(V, U) = M μ_i                             mixing of channels, no bias                                          (3, H) each
(c, w)_i = D₂ silu(D₁ [x, ⟨V, U⟩])         a scalar, and a weight for each channel                              (1,), (H,)
d_i = Σ_h w_h U_h                          dipole of an atom                                                    (3,), eÅ
p = Σ_i q_i (r_i − r̄) [+ d_i]              dipole of the structure; r̄ is the mean position                      (3,), eÅ
α = Σ_i c_i 1 + Σ_h w_h (U Vᵀ + V Uᵀ)_h    polarizability                                                       (3, 3), Å³
s = Σ_i a c_i + b_Z(i)                     a scalar, with a scale a and a shift b of each element, not learnt   its own unit
=========================================  ===================================================================  ======

The dipole from charges, with atomic dipoles, is that of PaiNN (Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150); its
polarizability contains ν(μ_i) r_iᵀ, with which molecules far apart would change each other's. Here the products of vector features
take that part, so that polarizabilities are additive. The charges' sum: Unke, Meuwly, J. Chem. Theory Comput. 15, 3678 (2019),
doi:10.1021/acs.jctc.9b00181.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlcalc.architectures.torch_blocks import Features


class Structures(NamedTuple):
    """Positions of the atoms of one or several structures.

    Attributes:
        positions: (N, 3) Å; frame: (N,) structure of each atom, from 0; number: of structures; charge: total charge of each, e.
        species: (N,) row of each atom's element in the configuration.
    """

    positions: Tensor
    frame: Tensor
    number: int
    charge: float
    species: Tensor

    def sums(self, of_atoms: Tensor) -> Tensor:
        """Sums over the atoms of each structure: (N, …) → (number, …)."""
        return of_atoms.new_zeros(self.number, *of_atoms.shape[1:]).index_add(0, self.frame, of_atoms)

    def centred(self) -> Tensor:
        """Positions relative to the mean of each structure, (N, 3) Å: the origin of the dipole of an ion, and free of rounding."""
        means = self.sums(self.positions) / self._counts()[:, None]
        return self.positions - means.index_select(0, self.frame)

    def balanced(self, charges: Tensor) -> Tensor:
        """Charges (N,) shifted by the same for all atoms of a structure, so that they add up to its charge."""
        excess = (self.sums(charges) - self.charge) / self._counts()
        return charges - excess.index_select(0, self.frame)

    def _counts(self) -> Tensor:
        return self.sums(torch.ones_like(self.positions[:, 0])).clamp(min=1.0)


class _OfScalars(nn.Module):
    """Layers of readouts that need scalar features alone."""

    def __init__(self, n_features: int, hidden: int, n_elements: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(n_features, hidden), nn.Linear(hidden, 1)])

    def said(self, features: Features) -> Tensor:
        """A number for each atom, (N,)."""
        return self.layers[1](nn.functional.silu(self.layers[0](features.scalars))).squeeze(-1)


class Charges(_OfScalars):
    """Charges of atoms from their scalar features, and the dipole that they make."""

    def forward(self, features: Features, structures: Structures) -> dict[str, Tensor]:
        """See Readout.network."""
        charges = structures.balanced(self.said(features))
        return {"charges": charges} | _dipoles(structures.sums(charges[:, None] * structures.centred()))


class ScalarSum(_OfScalars):
    """A scalar of the structure, a sum over atoms.

    Like those of energies its scale and shifts stay float64 whatever the precision of the rest, and so do its outputs: a
    scalar may be large, and what a network has to tell apart small.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, n_features: int, hidden: int, n_elements: int):
        super().__init__(n_features, hidden, n_elements)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(n_elements, dtype=torch.float64))

    def forward(self, features: Features, structures: Structures) -> dict[str, Tensor]:
        """See Readout.network."""
        of_atoms = self.said(features).double() * self.scale + self.shift.index_select(0, structures.species)
        return {"scalar": structures.sums(of_atoms)}


class _OfVectors(nn.Module):
    """Layers of readouts that need vector features."""

    def __init__(self, n_features: int, hidden: int, n_elements: int):
        super().__init__()
        self.mix = nn.Linear(n_features, 2 * hidden, bias=False)
        self.layers = nn.ModuleList([nn.Linear(n_features + hidden, hidden), nn.Linear(hidden, 1 + hidden)])

    def parts(self, features: Features) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of atoms: a scalar (N,), weights (N, H) of channels, vectors V and U (N, 3, H)."""
        v, u = self.mix(features.vectors).chunk(2, dim=2)
        hidden = self.layers[0](torch.cat([features.scalars, (v * u).sum(1)], dim=1))
        scalar, weights = self.layers[1](nn.functional.silu(hidden)).split([1, v.shape[2]], dim=1)
        return scalar.squeeze(-1), weights, v, u


class Dipole(_OfVectors):
    """Charges and dipoles of atoms."""

    def forward(self, features: Features, structures: Structures) -> dict[str, Tensor]:
        """See Readout.network."""
        said, weights, _, u = self.parts(features)
        charges = structures.balanced(said)
        of_atoms = charges[:, None] * structures.centred() + (weights[:, None] * u).sum(2)
        return {"charges": charges} | _dipoles(structures.sums(of_atoms))


class Polarizability(_OfVectors):
    """A symmetric tensor."""

    def forward(self, features: Features, structures: Structures) -> dict[str, Tensor]:
        """See Readout.network."""
        isotropic, weights, v, u = self.parts(features)
        product = (weights[:, None] * u) @ v.transpose(1, 2)
        unit = torch.eye(3, dtype=product.dtype, device=product.device)
        return {"polarizability": structures.sums(isotropic[:, None, None] * unit + product + product.transpose(1, 2))}


def _dipoles(dipole: Tensor) -> dict[str, Tensor]:
    # The root of a sum of squares has no gradient at zero, where symmetric molecules are.
    return {"dipole": dipole, "dipole_moment": dipole.square().sum(1).add(1e-12).sqrt()}
