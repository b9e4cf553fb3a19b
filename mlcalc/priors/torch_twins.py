"""The priors in torch, which training differentiates: the twins of the compiled ones."""

import torch
from torch import Tensor

from mlcalc.priors.angles import AnglePrior
from mlcalc.priors.angular import AngularPrior
from mlcalc.priors.bead_repulsion import BeadRepulsion
from mlcalc.priors.bonds import BondPrior
from mlcalc.priors.dihedrals import DihedralPrior
from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, ZBL_EXPONENTS, Repulsion, screening_length, zbl_prefactor


def pair_repulsion(prior: Repulsion, z_i: Tensor, z_j: Tensor, distance: Tensor) -> Tensor:
    """Switched repulsion of pairs of atomic numbers z (n_pairs,) at distances (n_pairs,) Å, eV: the twin of repulsion.zbl_pair."""
    ratio = distance / screening_length(z_i, z_j)
    screening = sum(c * torch.exp(-e * ratio) for c, e in zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True))
    return zbl_prefactor(z_i, z_j) / distance * screening * _switch(distance, prior.cutoff)


def _switch(distance: Tensor, cutoff: float) -> Tensor:
    """1 up to half of the cutoff, 0 from it on, twice continuously differentiable."""
    reduced = torch.clamp(2.0 * distance / cutoff - 1.0, 0.0, 1.0)
    return 1.0 - reduced**3 * (10.0 - 15.0 * reduced + 6.0 * reduced**2)


def repulsion_energies(prior: Repulsion, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies; half of each pair goes to each atom."""
    z = numbers.to(vectors.dtype)
    energy = pair_repulsion(prior, z[first], z[second], torch.linalg.vector_norm(vectors, dim=1))
    return _shared(numbers, energy, first, second)


def angular_energies(prior: AngularPrior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies, by apex: the twin of angular.make_angular_kernel."""
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


def bond_energies(prior: BondPrior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies; for the shares of atoms in terms of chains see chains.py."""
    (bonds,), rows, start = _chain_terms(prior, numbers, first, second, vectors)
    energy = 0.5 * rows[:, 0] * (torch.linalg.vector_norm(bonds, dim=1) - rows[:, 1]) ** 2
    return _shared(numbers, energy, start, start + 1)


def angle_energies(prior: AnglePrior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies."""
    (one, two), rows, start = _chain_terms(prior, numbers, first, second, vectors)
    lengths = torch.linalg.vector_norm(one, dim=1) * torch.linalg.vector_norm(two, dim=1)
    cosine = -(one * two).sum(1) / lengths
    energy = sum(rows[:, n] * cosine**n for n in range(rows.shape[1]))
    return _shared(numbers, energy, start + 1, start + 1)


def dihedral_energies(prior: DihedralPrior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
    """As Prior.energies."""
    (a, b, d), rows, start = _chain_terms(prior, numbers, first, second, vectors)
    m, n = torch.linalg.cross(a, b), torch.linalg.cross(b, d)
    phi = torch.atan2(torch.linalg.vector_norm(b, dim=1) * (a * n).sum(1), (m * n).sum(1))
    order = torch.arange(1, rows.shape[1] // 2 + 1, dtype=phi.dtype, device=phi.device)
    waves = torch.cat(
        [torch.ones_like(phi)[:, None], torch.cos(phi[:, None] * order), torch.sin(phi[:, None] * order)], dim=1
    )
    # An undefined angle is NaN, as compiled; atan2 makes 0 of it.
    defined = (m.square().sum(1) > 0) & (n.square().sum(1) > 0)
    energy = torch.where(defined, (rows * waves).sum(1), torch.nan)
    return _shared(numbers, energy, start + 1, start + 2)


def bead_repulsion_energies(
    prior: BeadRepulsion, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor
) -> Tensor:
    """As Prior.energies; half of each pair goes to each atom."""
    types = torch.tensor(prior.types, device=numbers.device)
    known = numbers[:, None] == types
    table = torch.tensor(prior.distances, dtype=vectors.dtype, device=vectors.device)
    # A bead of no type makes NaN.
    rows = torch.where(known.any(1), 1.0, torch.nan).to(vectors.dtype)[:, None] * known
    distance = torch.linalg.vector_norm(vectors, dim=1)
    reach = (rows[first] @ table * rows[second]).sum(1)
    energy = prior.strength * (reach / distance) ** 6 * _switch(distance, prior.cutoff)
    one_chain = first // prior.n_beads == second // prior.n_beads
    energy = torch.where(one_chain & ((first - second).abs() <= prior.excluded), 0.0, energy)
    return _shared(numbers, energy, first, second)


def _chain_terms(prior, numbers: Tensor, first: Tensor, second: Tensor, vectors: Tensor):
    """Bonds of the terms of a prior of chains, as many (n_terms, 3) Å as a term has; parameters; first beads."""
    n_atoms, device = len(numbers), vectors.device
    rows = torch.tensor(prior.parameters(), dtype=vectors.dtype, device=device)
    near = (vectors.square().sum(1) < prior.cutoff**2).to(vectors.dtype)
    up, down = near * (second == first + 1), near * (first == second + 1)
    bonds = torch.zeros(n_atoms, 3, dtype=vectors.dtype, device=device)
    bonds = bonds.index_add(0, first, up[:, None] * vectors).index_add(0, second, -down[:, None] * vectors)
    found = torch.zeros(n_atoms, dtype=vectors.dtype, device=device).index_add(0, first, up).index_add(0, second, down)
    chains = torch.arange(n_atoms // prior.n_beads, device=device)
    start = (prior.n_beads * chains[:, None] + torch.arange(len(rows), device=device)).reshape(-1)
    bonds = torch.where((found == 1)[:, None], bonds, torch.nan)
    span = prior.n_beads - len(rows)
    return [bonds[start + k] for k in range(span)], rows.repeat(len(chains), 1), start


def _shared(numbers: Tensor, energy: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Energies of atoms (n_atoms,): half of each term to each of two atoms."""
    zeros = torch.zeros(len(numbers), dtype=energy.dtype, device=energy.device)
    return zeros.index_add(0, one, 0.5 * energy).index_add(0, two, 0.5 * energy)
