"""Relevance through a PaiNN: scalar features carry it; vectors, like filters, are constants of the structure.

With x_a the first third of D₂ silu(D₁ q), A(r) that of W(r), and d = ⟨V, U⟩ (mlcalc/architectures/painn/network.py) a block is::

    q_i ← q_i + Σ_j A(r_ij)∘x_a,j          q ← q + s + p∘d,   (s, t, p) = D₄ silu(D₃ [q, n])

so that a walk at atom i behind a block has, in front of its mixing, the m of the residual and of s + p∘d, through the γ rule of
D₃, where the norm n is an input whose share is absorbed; and then::

    m_i = m_i                               if it stays: the residual
    m_j = γ rule of D₁ (D₂ (A(r_ij)∘m_i))   at a neighbour

What vectors do to the energy, beyond the factor d and the norm, is in no relevance: their sum differs from the energy by more than
biases. Source: Bonneau et al., Nat. Commun. 16, 9898 (2025), and the code that comes with it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.relevance.gamma_rule import Dense, GammaRule
from analysis.relevance.layer_rules import LayerRules
from analysis.relevance.record import Record


class Block(NamedTuple):
    """Record of an interaction and a mixing, float64.

    Attributes:
        filters: (n_pairs, F) A(r) of the half pairs.
        context: The activated layer D₁, whose inputs are the features in front of the block.
        messages: (hidden, F) the part of D₂ behind it that gives x_a.
        mixing: The activated layer D₃ of 2F inputs; scalars, products: (hidden, F) the parts of D₄ that give s and p.
        overlap: (N, F) d.
    """

    filters: np.ndarray
    context: Dense
    messages: np.ndarray
    mixing: Dense
    scalars: np.ndarray
    products: np.ndarray
    overlap: np.ndarray


def blocks(record: Record) -> tuple[Block, ...]:
    """The blocks of a forward pass."""
    found, width = [], record.config.n_features
    for t in range(record.config.n_interactions):
        context, sent = record.two_layers(f"interactions.{t}.interatomic_context_net")
        mixing, updates = record.two_layers(f"mixing.{t}.intraatomic_context_net")
        v, u = np.split(record.output(f"mixing.{t}.mu_channel_mix"), 2, axis=2)
        parts = sent[:, :width], mixing, updates[:, :width], updates[:, 2 * width :], (v * u).sum(axis=1)
        found.append(Block(record.given(f"interactions.{t}", 2)[:, :width], context, *parts))
    return tuple(found)


class PaiNNSteps:
    """layer_rules.Steps with F features throughout; γ applies to the activated layers D₁ and D₃ of each block."""

    def __init__(self, blocks: tuple[Block, ...], gammas: Sequence[float], rule: str = "conserving"):
        self._blocks = blocks
        self._contexts = [GammaRule(block.context, gamma) for block, gamma in zip(blocks, gammas, strict=True)]
        self._sent = self._contexts[0].of_all_inputs() @ blocks[0].messages
        self._mixings = [GammaRule(block.mixing, gamma) for block, gamma in zip(blocks, gammas, strict=True)]

    def leave(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As in Steps: both are m in front of the mixing."""
        block = self._blocks[layer]
        of_hidden = m @ block.scalars.T + (m * block.overlap[atoms]) @ block.products.T
        before = m + self._mixings[layer](atoms, of_hidden)[:, : m.shape[1]]
        return before, before

    def along(self, layer: int, edges: np.ndarray, q: np.ndarray) -> np.ndarray:
        """As in Steps: A(r)∘q, the same in both directions."""
        return self._blocks[layer].filters[edges // 2] * q

    def arrive(self, layer: int, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps."""
        return self._contexts[layer](atoms, moved @ self._blocks[layer].messages.T)

    def finish(self, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps: ``arrive`` times the embedding, summed over it beforehand."""
        return np.einsum("nf,nf->n", moved, self._sent[atoms])


RULES = LayerRules(blocks, PaiNNSteps)
