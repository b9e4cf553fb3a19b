"""Weave network: features of atoms and of pairs are woven into each other, and atoms add up to one number of the molecule.

With a = ReLU(W· + b), a module makes from atoms A_i and pairs P_ij = P_ji

    A_i′  = a( a(A_i), Σ_j a(V, V/d, V/d², V/d³, V/d⁶) )        V = P_ij, d = r_ij in Å
    P_ij′ = a( a(P_ij), a(A_i, A_j) + a(A_j, A_i) )

and the readout y = Σ_i (μ + σ W a(A_i)), where μ and σ are mean and spread of the target per atom. Distances also enter as powers
that weigh a pair: these are constants of the molecule to which no relevance goes.

Source: Kearnes et al., J. Comput. Aided Mol. Des. 30, 595 (2016), doi:10.1007/s10822-016-9938-8; there without the powers of d and
with a histogram of atoms in place of the sum, which suits numbers that grow with the molecule.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mlcalc.molecules.graphs.dataset import GraphBatch
from mlcalc.molecules.graphs.features import N_ATOM, N_PAIR

POWERS = (0, 1, 2, 3, 6)


class WeaveConfig(NamedTuple):
    """Sizes of a network.

    Attributes:
        width: Of all layers; n_modules: number of weave modules.
        code: Numbers that encode the features of an atom, and of a pair; 0 for none.
    """

    width: int = 64
    n_modules: int = 2
    code: int = 0


def plain(layer: nn.Linear, x: Tensor, rectified: bool = True) -> Tensor:
    """A layer; relevance.py has others of the same values, whose gradients are relevances."""
    return torch.relu(layer(x)) if rectified else layer(x)


Apply = Callable[..., Tensor]


class Module(nn.Module):
    """One weave of n_atom and n_pair features to width of each; the last one makes no pairs."""

    def __init__(self, n_atom: int, n_pair: int, width: int, last: bool):
        super().__init__()
        self.atom_atom, self.pair_atom = nn.Linear(n_atom, width), nn.Linear(len(POWERS) * n_pair, width)
        self.atom = nn.Linear(2 * width, width)
        self.last = last
        if not last:
            self.pair_pair, self.atom_pair = nn.Linear(n_pair, width), nn.Linear(2 * n_atom, width)
            self.pair = nn.Linear(2 * width, width)

    def forward(self, atoms: Tensor, pairs: Tensor, batch: GraphBatch, weights: Tensor, apply: Apply) -> tuple:
        """Atoms (A, F) and pairs (M, F), None of the last module."""
        powers = (pairs[:, None, :] * weights[:, :, None]).flatten(1)
        sent = apply(self.pair_atom, powers)
        received = sent.new_zeros(len(atoms), sent.shape[1])
        received = received.index_add(0, batch.first, sent).index_add(0, batch.second, sent)
        found = apply(self.atom, torch.cat([apply(self.atom_atom, atoms), received], dim=1))
        if self.last:
            return found, None
        one, other = atoms[batch.first], atoms[batch.second]
        forth, back = (apply(self.atom_pair, torch.cat(ends, dim=1)) for ends in ((one, other), (other, one)))
        return found, apply(self.pair, torch.cat([apply(self.pair_pair, pairs), forth + back], dim=1))


class Weave(nn.Module):
    """The network.

    Args:
        mean, spread: Of the target per atom.
    """

    def __init__(self, config: WeaveConfig, mean: float = 0.0, spread: float = 1.0):
        super().__init__()
        self.config = config
        first = (config.code, config.code) if config.code else (N_ATOM, N_PAIR)
        # Where there is a code, layers from features to it, which autoencoder.py trains first.
        self.encoders = nn.ModuleDict(
            {"atoms": nn.Linear(N_ATOM, config.code), "pairs": nn.Linear(N_PAIR, config.code)} if config.code else {}
        )
        sizes = [first] + [(config.width, config.width)] * (config.n_modules - 1)
        self.modules_ = nn.ModuleList(
            Module(*size, config.width, last=k == config.n_modules - 1) for k, size in enumerate(sizes)
        )
        self.hidden, self.output = nn.Linear(config.width, config.width), nn.Linear(config.width, 1)
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("spread", torch.tensor(spread))

    def encoded(self, batch: GraphBatch, apply: Apply = plain) -> tuple[Tensor, Tensor]:
        """What the modules see of atoms and pairs: their features, or codes of these."""
        if not self.config.code:
            return batch.atoms, batch.pairs
        return apply(self.encoders["atoms"], batch.atoms), apply(self.encoders["pairs"], batch.pairs)

    def forward(self, batch: GraphBatch, apply: Apply = plain) -> Tensor:
        """(B,) predictions."""
        atoms, pairs = self.encoded(batch, apply)
        weights = batch.pairs[:, -1:].detach() ** -torch.tensor(POWERS)
        for module in self.modules_:
            atoms, pairs = module(atoms, pairs, batch, weights, apply)
        shares = self.mean + self.spread * apply(self.output, apply(self.hidden, atoms), rectified=False)[:, 0]
        return shares.new_zeros(batch.size).index_add(0, batch.of, shares)
