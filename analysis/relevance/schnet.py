"""Relevance through a SchNet: only atom features carry it, filters are constants of the geometry.

With y = x W_in, c_i = Σ_j W(r_ij) ∘ y_j and x ← x + W₂ ssp(W₁ c + b₁) + b₂ (mlcalc/architectures/schnet/network.py) a walk at
atom i behind a block has in front of it::

    m_i = m_i                        if it stays: SchNet does not convolve an atom with itself
    m_j = W_in (W(r_ij) ∘ q_i)       at a neighbour, q_i = γ rule of W₁ (W₂ m_i)

and in the first block R = Σ_f (W(r_ij) ∘ q_i ∘ y_j)_f without a product with W_in, since y = x W_in is known.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.relevance.gamma_rule import Dense, GammaRule
from analysis.relevance.layer_rules import LayerRules
from analysis.relevance.record import Record


class Block(NamedTuple):
    """Record of an interaction block, float64.

    Attributes:
        filters: (n_pairs, F) W(r) of the half pairs.
        messages: (N, F) y = x W_in.
        in2f: (F, F) W_in, in × out.
        dense: The activated layer of the update network; output: (F, F) W₂ behind it.
    """

    filters: np.ndarray
    messages: np.ndarray
    in2f: np.ndarray
    dense: Dense
    output: np.ndarray


def blocks(record: Record) -> tuple[Block, ...]:
    """The interaction blocks of a forward pass."""
    found = []
    for name in (f"interactions.{t}" for t in range(record.config.n_interactions)):
        in2f = f"{name}.in2f"
        filters = record.given(name, 1)
        found.append(Block(filters, record.output(in2f), record.weights(in2f), *record.two_layers(f"{name}.f2out")))
    return tuple(found)


class SchNetSteps:
    """layer_rules.Steps with F features throughout; γ applies to the activated layer of each update network."""

    def __init__(self, blocks: tuple[Block, ...], gammas: Sequence[float], rule: str = "conserving"):
        self._blocks = blocks
        self._updates = [GammaRule(block.dense, gamma) for block, gamma in zip(blocks, gammas, strict=True)]

    def leave(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As in Steps: m unchanged, and q of the convolved features."""
        return m, self._updates[layer](atoms, m @ self._blocks[layer].output.T)

    def along(self, layer: int, edges: np.ndarray, q: np.ndarray) -> np.ndarray:
        """As in Steps: W(r) ∘ q, the same in both directions."""
        moved = self._blocks[layer].filters[edges // 2]
        moved *= q
        return moved

    def arrive(self, layer: int, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps, the same at every atom."""
        return moved @ self._blocks[layer].in2f.T

    def finish(self, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps, from the messages."""
        return np.einsum("nf,nf->n", moved, self._blocks[0].messages[atoms])


RULES = LayerRules(blocks, SchNetSteps)
