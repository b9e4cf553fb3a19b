"""SchNet in PyTorch, as the papers read: the definition that every other form is tested against.

=====================================  ====================================================  ==========
symbol                                 meaning                                               shape
=====================================  ====================================================  ==========
x_i                                    features of atom i, x_i⁰ = A[Z_i]                     (F,)
r_ij                                   distance of a pair                                    scalar, Å
W(r)                                   continuous filter, a dense network on Gaussians of r  (F,)
c_i = Σ_j (W_in x_j)∘W(r_ij)           continuous-filter convolution                         (F,)
x ← x + W₂ ssp(W₁ c + b₁) + b₂         one of T interaction blocks                           (F,)
E = Σ_i [s·readout(x_i) + shift(Z_i)]  energy, to which come the priors that the model has   scalar, eV
=====================================  ====================================================  ==========

ssp(x) = ln(½eˣ + ½). Both dialects of the literature are configurations of this one network (model_file.SchNetConfig):
SchNetPack 2 (cosine cutoff on a linear filter output) and the original TensorFlow SchNet (ssp on the filter output, all pairs).

Sources: Schütt et al., NeurIPS 2017 (arXiv:1706.08566); J. Chem. Phys. 148, 241722 (2018), doi:10.1063/1.5019779.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlcalc.common.forks import renew_after_fork
from mlcalc.geometry.domain import ClosestPair
from mlcalc.model_file import Model, SchNetConfig
from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, ZBL_EXPONENTS, screening_length, zbl_prefactor

LOG_2 = math.log(2.0)


def shifted_softplus(x: Tensor) -> Tensor:
    """ssp(x) = ln(½eˣ + ½): smooth, and zero at zero."""
    return nn.functional.softplus(x) - LOG_2


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"ssp": shifted_softplus, "silu": nn.functional.silu}


class GaussianBasis(nn.Module):
    """exp(−a_k (r − μ_k)²), with centres μ (Å) and coefficients a (Å⁻²) that are read from the model, never recomputed."""

    centers: Tensor
    coefficients: Tensor

    def __init__(self, n_rbf: int, cutoff: float):
        super().__init__()
        centers = torch.linspace(0.0, cutoff, n_rbf)
        spacing = cutoff / max(n_rbf - 1, 1)
        self.register_buffer("centers", centers)
        self.register_buffer("coefficients", torch.full((n_rbf,), 0.5 / spacing**2))

    def forward(self, distance: Tensor) -> Tensor:
        """(n_pairs,) Å → (n_pairs, n_rbf)."""
        exponent = self.coefficients * (distance[:, None] - self.centers) ** 2
        # exp(−80) = 2e−35 is nothing, but still a normal float32: denormals would slow the products after it fourfold.
        return torch.exp(-exponent.clamp(max=80.0))


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
        """Update features (n_atoms, F). A half pair serves both directions, since W depends on the distance alone."""
        messages = self.in2f(features)
        convolved = torch.zeros_like(messages)
        convolved = convolved.index_add(0, first, messages.index_select(0, second) * filters)
        convolved = convolved.index_add(0, second, messages.index_select(0, first) * filters)
        return features + self.f2out[1](shifted_softplus(self.f2out[0](convolved)))


class SchNet(nn.Module):
    """The network. Its ``state_dict`` names are the weight names of a model file.

    ``energy_scale`` and ``energy_shift`` stay float64 whatever the precision of the rest: total energies of thousands of
    eV must not pass through float32.
    """

    radial_basis: GaussianBasis
    interactions: Any  # torch has no list of Interaction for a type
    readout: Any
    energy_scale: Tensor
    energy_shift: Tensor
    atomic_numbers: Tensor

    def __init__(self, config: SchNetConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(len(config.elements), config.n_features)
        self.radial_basis = GaussianBasis(config.n_rbf, config.cutoff or 20.0)
        self.interactions = nn.ModuleList([Interaction(config) for _ in range(config.n_interactions)])
        self.readout = nn.ModuleList(
            [nn.Linear(config.n_features, config.readout_hidden), nn.Linear(config.readout_hidden, 1)]
        )
        self.readout_activation = ACTIVATIONS[config.readout_activation]
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("energy_shift", torch.zeros(len(config.elements), dtype=torch.float64))
        numbers = torch.tensor(config.elements, dtype=torch.float64)
        self.register_buffer("atomic_numbers", numbers, persistent=False)
        for linear in self.modules():
            if isinstance(linear, nn.Linear):
                nn.init.xavier_uniform_(linear.weight)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    @classmethod
    def from_model(cls, model: Model, dtype: torch.dtype = torch.float32) -> "SchNet":
        """Build the network of a model file in the given precision."""
        network = cls(model.config).to(dtype)
        for name in ("energy_scale", "energy_shift"):
            setattr(network, name, getattr(network, name).to(torch.float64))
        network.load_state_dict({name: torch.as_tensor(np.asarray(w)) for name, w in model.weights.items()})
        return network

    def to_model(self, metadata: dict | None = None) -> Model:
        """The network's weights as a Model."""
        weights = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}
        return Model(self.config, weights, metadata or {})

    def forward(self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor) -> Tensor:
        """Atom-wise energies without the constant shift.

        Args:
            species: (n_atoms,) row of each atom's element in ``config.elements``.
            first, second: (n_pairs,) atom indices of the half pairs; each unordered pair (and periodic image) once.
            vectors: (n_pairs, 3) Å, from the first atom to the second.

        Returns:
            (n_atoms,) eV; add ``energy_shift[species]`` in float64 for total energies.
        """
        distance = torch.linalg.vector_norm(vectors, dim=1)
        basis = self.radial_basis(distance)
        cutoff_value = self.cutoff_value(distance)
        features = self.embedding(species)
        for interaction in self.interactions:
            features = interaction(features, interaction.filters(basis, cutoff_value), first, second)
        hidden = self.readout_activation(self.readout[0](features))
        energies = self.readout[1](hidden).squeeze(-1) * self.energy_scale.to(hidden.dtype)
        if self.config.repulsion_cutoff is not None:
            half = 0.5 * self.pair_repulsion(species[first], species[second], distance)
            energies = energies.index_add(0, first, half).index_add(0, second, half)
        if self.config.angular_prior is not None:
            energies = energies + self.angular_energies(first, second, vectors, len(species))
        return energies

    def cutoff_value(self, distance: Tensor) -> Tensor | None:
        """½(cos(πr/r_c) + 1) inside the cutoff and 0 beyond; None when the dialect has no cutoff function."""
        if self.config.cutoff_function == "none":
            return None
        cutoff = self.config.cutoff
        value = 0.5 * (torch.cos(distance * (math.pi / cutoff)) + 1.0)
        return value * (distance < cutoff)

    def pair_repulsion(self, species_i: Tensor, species_j: Tensor, distance: Tensor) -> Tensor:
        """Switched ZBL repulsion of each pair in eV: the torch twin of repulsion.zbl_pair."""
        numbers = self.atomic_numbers.to(distance.dtype)
        z_i, z_j = numbers[species_i], numbers[species_j]
        cutoff = self.config.repulsion_cutoff
        reduced = torch.clamp(2.0 * distance / cutoff - 1.0, 0.0, 1.0)
        switch = 1.0 - reduced**3 * (10.0 - 15.0 * reduced + 6.0 * reduced**2)
        ratio = distance / screening_length(z_i, z_j)
        screening = sum(c * torch.exp(-e * ratio) for c, e in zip(ZBL_COEFFICIENTS, ZBL_EXPONENTS, strict=True))
        return zbl_prefactor(z_i, z_j) / distance * screening * switch

    def angular_energies(self, first: Tensor, second: Tensor, vectors: Tensor, n_atoms: int) -> Tensor:
        """Angular prior by apex, (n_atoms,) eV: the torch twin of angular.add_angular."""
        strength, cosine, decay, cutoff = self.config.angular_prior
        distance = torch.linalg.vector_norm(vectors, dim=1)
        # So near to the cutoff the weight is zero to the last bit, and its derivative still a number.
        weight = torch.exp(decay / (distance.clamp(max=cutoff - 1e-3 * decay) - cutoff))
        centre, weight = torch.cat([first, second]), torch.cat([weight, weight])
        unit = torch.cat([vectors, -vectors]) / torch.cat([distance, distance])[:, None]

        def moment(of_pairs: Tensor) -> Tensor:
            return torch.zeros(n_atoms, *of_pairs.shape[1:], dtype=unit.dtype, device=unit.device).index_add(
                0, centre, of_pairs
            )

        second_moment = moment(weight[:, None, None] * unit[:, :, None] * unit[:, None, :]).square().sum((1, 2))
        first_moment = moment(weight[:, None] * unit).square().sum(1)
        own = (1.0 - cosine) ** 2 * moment(weight.square())
        return 0.5 * strength * (second_moment - 2.0 * cosine * first_moment + (cosine * moment(weight)) ** 2 - own)


class _TorchThreads:
    def renew_after_fork(self) -> None:
        """In a forked child: its parent's threads are not there, and OpenMP would wait for them for ever."""
        torch.set_num_threads(1)


_TORCH_THREADS = _TorchThreads()


class TorchPotential:
    """A SchNet evaluated by PyTorch for one composition: the readable twin of kernel.SchNetKernel.

    Args:
        model: The model; numbers: (N,) atomic numbers; dtype: ``"float32"`` or ``"float64"``.
        cell: (3, 3) rows are lattice vectors in Å; pbc: three booleans. Both None for a molecule.
    """

    def __init__(self, model: Model, numbers: np.ndarray, dtype: str = "float32", cell=None, pbc=None):
        self.network = SchNet.from_model(model, getattr(torch, dtype)).requires_grad_(False)
        renew_after_fork(_TORCH_THREADS)
        self.cell, self.pbc = cell, pbc
        order = {z: row for row, z in enumerate(model.config.elements)}
        self.species = torch.tensor([order[int(z)] for z in numbers])
        self.shift = self.network.energy_shift[self.species].numpy()
        self.dtype = getattr(torch, dtype)
        self._distances: list[
            tuple[np.ndarray, ...]
        ] = []  # of the last call: first and second atom, Å, for every replica

    def evaluate(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """Energies and derivatives of a batch of configurations.

        Args:
            positions: (P, N, 3) Å.

        Returns:
            ``energies`` (P,) eV, ``forces`` (P, N, 3) eV/Å, ``atomic_energies`` (P, N) eV and ``virials`` (P, 3, 3) eV,
            the virial being Σ_pairs r ⊗ ∂E/∂r, so that stress = virial / volume.
        """
        evaluated: list[dict[str, Any]] = [self._evaluate_one(frame) for frame in positions]
        self._distances = [result.pop("distances") for result in evaluated]
        return {key: np.stack([result[key] for result in evaluated]) for key in evaluated[0]}

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, N, 3) Å → energies (P,) eV, forces (P, N, 3) eV/Å."""
        result = self.evaluate(positions)
        return result["energies"], result["forces"]

    def smallest_distance(self) -> float:
        """Å, of the last evaluation: the smallest distance of two atoms of one replica."""
        return min(distance.min(initial=np.inf) for _, _, distance in self._distances)

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """As kernel.SchNetKernel.closest_pair."""
        found, lowest, species = ClosestPair(self.smallest_distance()), np.inf, self.species.numpy()
        for replica, (first, second, distance) in enumerate(self._distances):
            allowed = limits[species[first], species[second]]
            ratios = distance / allowed
            if ratios.min(initial=np.inf) < lowest:
                pair = int(ratios.argmin())
                lowest = ratios[pair]
                which = float(distance[pair]), float(allowed[pair]), replica, int(first[pair]), int(second[pair])
                found = ClosestPair(found.smallest, *which)
        return found

    def _evaluate_one(self, positions: np.ndarray) -> dict[str, Any]:
        from mlcalc.geometry.pairs import half_pairs

        pairs = half_pairs(positions, self.network.config.cutoff, self.cell, self.pbc)
        first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
        vectors = torch.from_numpy(positions[pairs.second] - positions[pairs.first] + pairs.shift)
        vectors = vectors.to(self.dtype).requires_grad_(True)
        atomic = self.network(self.species, first, second, vectors)
        (gradient,) = torch.autograd.grad(atomic.sum(), vectors)
        gradient, vectors = gradient.double(), vectors.detach().double()
        forces = torch.zeros(len(positions), 3, dtype=torch.float64)
        forces.index_add_(0, first, gradient).index_add_(0, second, -gradient)
        atomic_energies = atomic.detach().double().numpy() + self.shift
        return {
            "energies": atomic_energies.sum(),
            "forces": forces.numpy(),
            "atomic_energies": atomic_energies,
            "virials": torch.einsum("pa,pb->ab", vectors, gradient).numpy(),
            "distances": (pairs.first, pairs.second, vectors.norm(dim=1).numpy()),
        }
