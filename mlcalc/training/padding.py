"""Batches of a few fixed shapes, so that a compiled loss serves frames of any number of atoms and pairs.

A padded batch has one frame more: atoms without labels, whose share in the loss is zero. Its pairs join its last atom with itself
beyond the cutoff, where filters vanish, so that values and derivatives stay finite and reach no other atom.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mlcalc.outputs import OUTPUTS
from mlcalc.training.dataset import Batch

N_SHAPES = 4  # each is compiled once; batches of a liquid all have the largest one


class Largest(NamedTuple):
    """Atoms and pairs that no batch exceeds."""

    atoms: int
    pairs: int

    def shape_of(self, batch: Batch) -> tuple[int, int]:
        """Atoms, one more than needed, and pairs of the smallest of N_SHAPES shapes that holds a batch."""
        filled = len(batch.species) / self.atoms, len(batch.first) / max(self.pairs, 1)
        quarters = max(1, *(-int(-N_SHAPES * part // 1) for part in filled))
        atoms, pairs = (-(-largest * quarters // N_SHAPES) for largest in self)
        return atoms + 1, max(pairs, 1)


def padded(batch: Batch, shape: tuple[int, int], cutoff: float) -> Batch:
    """The batch with the number of atoms, at least one more than it has, and of pairs of a shape; cutoff: Å."""
    n_atoms, n_pairs = shape
    atoms, pairs = n_atoms - len(batch.species), n_pairs - len(batch.first)
    n_frames = len(batch.levels)

    def more(values: Tensor, per_atom: bool, fill: float) -> Tensor:
        rows = atoms if per_atom else 1
        return torch.cat([values, values.new_full((rows, *values.shape[1:]), fill)])

    shares = batch.shares or {name: of.new_full((len(of),), 1 / len(of)) for name, of in batch.labels.items()}
    return Batch(
        species=pad(batch.species, (0, atoms)),
        first=pad(batch.first, (0, pairs), value=n_atoms - 1),
        second=pad(batch.second, (0, pairs), value=n_atoms - 1),
        vectors=pad(batch.vectors, (0, 0, 0, pairs), value=cutoff),
        frame=pad(batch.frame, (0, atoms), value=n_frames),
        labels={name: more(labels, OUTPUTS[name].per_atom, torch.nan) for name, labels in batch.labels.items()},
        levels=pad(batch.levels, (0, 1)),
        positions=pad(batch.positions, (0, 0, 0, atoms)),
        shares={name: more(of, OUTPUTS[name].per_atom, 0.0) for name, of in shares.items()},
    )
