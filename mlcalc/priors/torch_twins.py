"""The priors in torch, which training differentiates: the twins of the compiled ones."""

import torch
from torch import Tensor

from mlcalc.priors.angular import AngularPrior
from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, ZBL_EXPONENTS, Repulsion, screening_length, zbl_prefactor


def pair_repulsion(prior: Repulsion, z_i: Tensor, z_j: Tensor, distance: Tensor) -> Tensor:
    """Switched repulsion of pairs of atomic numbers z (n_pairs,) at distances (n_pairs,) Å, eV: the twin of repulsion.zbl_pair."""
    reduced = torch.clamp(2.0 * distance / prior.cutoff - 1.0, 0.0, 1.0)
    switch = 1.0 - reduced**3 * (10.0 - 15.0 * reduced + 6.0 * reduced**2)
    ratio = distance / screening_length(z_i, z_j)
    screening = sum(c * torch.exp(-e * ratio) for c, e in zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True))
    return zbl_prefactor(z_i, z_j) / distance * screening * switch


def repulsion_energies(prior: Repulsion, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies; half of each pair goes to each atom."""
    z = numbers.to(vectors.dtype)
    half = 0.5 * pair_repulsion(prior, z[first], z[second], torch.linalg.vector_norm(vectors, dim=1))
    return torch.zeros_like(z).index_add(0, first, half).index_add(0, second, half)


def angular_energies(prior: AngularPrior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies, by apex: the twin of angular.add_angular."""
    strength, cosine, decay, cutoff = prior.strength, prior.cosine, prior.decay, prior.cutoff
    distance = torch.linalg.vector_norm(vectors, dim=1)
    # The weight underflows to zero here; the clamp keeps its gradient finite.
    weight = torch.exp(decay / (distance.clamp(max=cutoff - 1e-3 * decay) - cutoff))
    centre, weight = torch.cat([first, second]), torch.cat([weight, weight])
    unit = torch.cat([vectors, -vectors]) / torch.cat([distance, distance])[:, None]

    def moment(of_pairs: Tensor) -> Tensor:
        return torch.zeros(len(numbers), *of_pairs.shape[1:], dtype=unit.dtype, device=unit.device).index_add(
            0, centre, of_pairs
        )

    second_moment = moment(weight[:, None, None] * unit[:, :, None] * unit[:, None, :]).square().sum((1, 2))
    first_moment = moment(weight[:, None] * unit).square().sum(1)
    own = (1.0 - cosine) ** 2 * moment(weight.square())
    return 0.5 * strength * (second_moment - 2.0 * cosine * first_moment + (cosine * moment(weight)) ** 2 - own)
