"""Denoising autoencoder of features, one of atoms and one of pairs, with tied weights.

    h = ReLU(W (x + s ξ) + b),   x̂ = Wᵀ h + c,   loss: mean of (x̂ − x)² over features, each in units of its spread

with standard normal ξ. Its encoders go in front of a weave network.

Source: Vincent et al., J. Mach. Learn. Res. 11, 3371 (2010).
"""

import torch
from torch import Tensor, nn

from mlcalc.molecules.graphs.dataset import GraphBatch

_BATCH, _RATE = 1024, 3e-3
_LEAST_SPREAD = 1e-3  # of a feature that no molecule has


class Denoiser(nn.Module):
    """An autoencoder of n features and a code of k numbers.

    Args:
        spread: (n,) of each feature; noise: s, in these units.
    """

    def __init__(self, n_features: int, code: int, spread: Tensor, noise: float):
        super().__init__()
        self.encoder = nn.Linear(n_features, code)
        self.offset = nn.Parameter(torch.zeros(n_features))
        self.spread: Tensor
        self.register_buffer("spread", spread)
        self.noise = noise

    def decoded(self, code: Tensor) -> Tensor:
        """(m, n) features of codes (m, k)."""
        return code @ self.encoder.weight + self.offset

    def loss(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared deviation of what is decoded from noisy features (m, n), in units of the spread."""
        noisy = x + self.noise * self.spread * torch.randn(x.shape, generator=generator)
        return (((self.decoded(torch.relu(self.encoder(noisy))) - x) / self.spread) ** 2).mean()


def train_denoiser(rows: Tensor, code: int, noise: float, seed: int, steps: int) -> Denoiser:
    """An autoencoder of features (m, n), trained on random rows."""
    generator = torch.Generator().manual_seed(seed)
    denoiser = Denoiser(rows.shape[1], code, rows.std(dim=0).clamp(min=_LEAST_SPREAD), noise)
    with torch.no_grad():  # seeded here, not by the global generator
        nn.init.kaiming_uniform_(denoiser.encoder.weight, a=5**0.5, generator=generator)
        denoiser.encoder.bias.zero_()
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=_RATE)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (_BATCH,), generator=generator)
        optimizer.zero_grad()
        denoiser.loss(rows[chosen], generator).backward()
        optimizer.step()
    return denoiser


def trained_encoders(molecules: GraphBatch, code: int, noise: float, seed: int, steps: int) -> nn.ModuleDict:
    """Encoders of atoms and pairs for weave.Weave, trained on these molecules."""
    parts = {"atoms": molecules.atoms, "pairs": molecules.pairs}
    return nn.ModuleDict(
        {
            name: train_denoiser(part, code, noise, seed + k, steps).encoder
            for k, (name, part) in enumerate(parts.items())
        }
    )
