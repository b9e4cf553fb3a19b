"""Pieces that networks share, in torch."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

LOG_2 = math.log(2.0)


def shifted_softplus(x: Tensor) -> Tensor:
    """ssp(x) = ln(½eˣ + ½): smooth, and zero at zero."""
    # Above 20 torch would return x itself, 2e-9 off; above 40 that is exact, and below 40 exp(x) fits float32.
    return nn.functional.softplus(x, threshold=40.0) - LOG_2


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ssp": shifted_softplus,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


class Features(NamedTuple):
    """What a network knows of each atom after its last block: scalars (N, F), and vectors (N, 3, F) of those that have them."""

    scalars: Tensor
    vectors: Tensor | None = None


class Network(nn.Module):
    """What the networks of all architectures have besides their layers.

    An architecture brings ``features``, a ``readout`` of two dense layers and its ``readout_activation``; one whose atoms share no
    features brings a ``forward`` of its own.

    Attributes:
        config: The configuration.
        features: Those of atoms after the last block; called with the arguments of forward but for the last one.
        readouts: Those beside the energy, by their names in mlcalc.readouts.READOUTS.
        energy_scale: () and ``energy_shift`` (n_elements,), eV: weights that are not trained. They stay float64 whatever the
            precision of the rest (mlcalc/torch_potential.py): total energies of thousands of eV must not pass through float32.
        atomic_numbers: (n_elements,) of the rows of the embedding.
    """

    config: Any
    features: Callable[[Tensor, Tensor, Tensor, Tensor], Features]
    readout: Any
    readout_activation: Callable[[Tensor], Tensor]
    energy_scale: Tensor
    energy_shift: Tensor
    atomic_numbers: Tensor

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.readouts = nn.ModuleDict()
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("energy_shift", torch.zeros(len(config.elements), dtype=torch.float64))
        self.register_buffer("atomic_numbers", torch.tensor(config.elements, dtype=torch.float64), persistent=False)

    def forward(
        self, species: Tensor, first: Tensor, second: Tensor, vectors: Tensor, structures=None
    ) -> dict[str, Tensor]:
        """Outputs by name.

        Args:
            species: (n_atoms,) row of each atom's element in ``config.elements``.
            first, second: (n_pairs,) atom indices of the half pairs; each unordered pair (and periodic image) once.
            vectors: (n_pairs, 3) Å, from the first atom to the second.
            structures: Positions, a mlcalc.readouts.networks.Structures, if the outputs of ``readouts`` are wanted too.

        Returns:
            ``energy`` (n_atoms,) eV; add ``energy_shift[species]`` in float64 for total energies. Outputs of readouts.
        """
        features = self.features(species, first, second, vectors)
        hidden = self.readout_activation(self.readout[0](features.scalars))
        outputs = {"energy": self.readout[1](hidden).squeeze(-1) * self.energy_scale.to(hidden.dtype)}
        if structures is not None:
            for readout in self.readouts.values():
                outputs |= readout(features, structures)
        return outputs

    def measure(self, graphs: Iterable[tuple[Tensor, Tensor, Tensor, Tensor]]) -> None:
        """Set the weights that are measured on the training data before the first step, not learnt; most networks have none.

        Args:
            graphs: Arguments of ``forward`` for the training data, a batch each.
        """


class GaussianBasis(nn.Module):
    """exp(−a_k (r − μ_k)²), with centres μ (Å) and coefficients a (Å⁻²) read from the model, never recomputed."""

    centers: Tensor
    coefficients: Tensor

    def __init__(self, n_rbf: int, last: float, first: float = 0.0):
        super().__init__()
        centers = torch.linspace(first, last, n_rbf)
        spacing = (last - first) / max(n_rbf - 1, 1)
        self.register_buffer("centers", centers)
        self.register_buffer("coefficients", torch.full((n_rbf,), 0.5 / spacing**2))

    def forward(self, distance: Tensor) -> Tensor:
        """(n_pairs,) Å → (n_pairs, n_rbf)."""
        exponent = self.coefficients * (distance[:, None] - self.centers) ** 2
        # exp(−80) = 2e−35 is negligible, but still a normal float32: denormals would slow the later products fourfold.
        return torch.exp(-exponent.clamp(max=80.0))


def cosine_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """½(cos(πr/r_c) + 1) inside the cutoff and 0 beyond."""
    value = 0.5 * (torch.cos(distance * (math.pi / cutoff)) + 1.0)
    return value * (distance < cutoff)


def initialise(network: nn.Module) -> None:
    """Random weights by Glorot and Bengio for every dense layer, biases of zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
