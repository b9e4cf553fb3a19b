"""Relevance through an SO3net: only scalar features carry it between blocks; within a block all components do.

With x the scalars, l(s) the degree of a component s and A_s(r) = W_l(s)(r) Y_s(u) (mlcalc/architectures/so3net/network.py; a scalar
x_j sends A_s(r_ij)∘x_j to Δ_s, since C^s_{s 0} = 1), and everything that components with l > 0 send held constant, a block is::

    Δ_s = Σ_j A_s(r_ij)∘x_j + …     v = M₂ (Δ_0 + Σ_s c_s Δ_s∘(M₁Δ)_s),  c_s = C^0_{s s}     x ← x + M₃ (g∘v),  g = σ(B_0 v + b_0)

so that a walk at atom i behind a block has in front of it::

    m_i = m_i                                                            if it stays: the residual
    m_j = Σ_s A_s(r_ij)∘q_s                                              at a neighbour, with w = M₂ᵀ (g∘M₃ᵀ m_i)
    q_s = δ_{s 0} w + ½ c_s (w∘(M₁Δ)_s + M₁ᵀ (w∘Δ_s))

The product has two factors that carry relevance, and each takes half: what a step hands on adds up to what it was given, but for
biases and constants, as everywhere else. The gate is a factor that takes none. This is the rule "conserving". With "gradient" both
factors, and gate and value, take all of it, as in gradient × input, so that a term counts as often as it has factors.

What components with l > 0 carry from block to block is in no relevance, and no small part: ΣR/E of the authors' network of methane
is 1.45 by the first rule and 0.96 by the second, where errors of both kinds cancel.

Source: Bonneau et al., Nat. Commun. 16, 9898 (2025), and the code that comes with it, whose rule is "published": "gradient", and in
the readout another denominator (gamma_rule.py).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.relevance.layer_rules import LayerRules
from analysis.relevance.record import Record
from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees


class Block(NamedTuple):
    """Record of a block, float64; S components, L degrees.

    Attributes:
        filters: (n_pairs, L, F) W of the half pairs; harmonics: (n_pairs, S) Y of their unit vectors.
        gathered: (N, S, F) Δ; mixed: (N, S, F) M₁Δ.
        value: (N, F) v; gate: (N, F) g.
        inputs: (N, F) scalars in front of the block.
        mixings: M₁, M₂ and M₃, (F, F) each, in × out; gating: (F, F) B_0, in × out.
    """

    filters: np.ndarray
    harmonics: np.ndarray
    gathered: np.ndarray
    mixed: np.ndarray
    value: np.ndarray
    gate: np.ndarray
    inputs: np.ndarray
    mixings: tuple[np.ndarray, ...]
    gating: np.ndarray


def blocks(record: Record) -> tuple[Block, ...]:
    """The blocks of a forward pass."""
    found, width, lmax = [], record.config.n_features, record.config.lmax
    of_scalars = degrees(lmax) * len(degrees(lmax))  # couplings of (l(s), s2 = 0)
    for name in (f"interactions.{t}" for t in range(record.config.n_interactions)):
        harmonics = record.given(name, 2)[:, np.arange(len(of_scalars)), of_scalars]
        gate = 1.0 / (1.0 + np.exp(-record.output(f"{name}.gating")[:, :width]))
        found.append(
            Block(
                record.given(name, 1), harmonics, record.given(f"{name}.mixings.0"), record.output(f"{name}.mixings.0"),
                record.given(f"{name}.gating"), gate,
                record.given(name)[:, 0], tuple(record.weights(f"{name}.mixings.{k}") for k in range(3)),
                record.weights(f"{name}.gating")[:, :width],
            )
        )  # fmt: skip
    return tuple(found)


class SO3netSteps:
    """layer_rules.Steps with q of S·F features and moving relevance of F; no layer of a block is activated: γ is not used."""

    def __init__(self, blocks: tuple[Block, ...], gammas: Sequence[float], rule: str):
        self._blocks, self._gradient = blocks, rule != "conserving"
        lmax = blocks[0].filters.shape[1] - 1
        self._degrees = degrees(lmax)
        self._products = np.einsum("sst->st", clebsch_gordan(lmax))[:, 0] * (1.0 if self._gradient else 0.5)
        self._parity = np.where(self._degrees % 2, -1.0, 1.0)

    def leave(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As in Steps: m unchanged, and q of the gathered messages."""
        block = self._blocks[layer]
        behind, gate = m @ block.mixings[2].T, block.gate[atoms]
        of_value = behind * gate
        if self._gradient:
            of_value += (behind * block.value[atoms] * gate * (1.0 - gate)) @ block.gating.T
        w = (of_value @ block.mixings[1].T)[:, None]
        q = w * block.mixed[atoms] + (w * block.gathered[atoms]) @ block.mixings[0].T
        q *= self._products[:, None]
        q[:, :1] += w
        return m, q.reshape(len(m), -1)

    def along(self, layer: int, edges: np.ndarray, q: np.ndarray) -> np.ndarray:
        """As in Steps: Σ_s A_s∘q_s; the harmonics of odd degree change sign with the direction."""
        block, half = self._blocks[layer], edges // 2
        y = block.harmonics[half] * np.where((edges % 2)[:, None], self._parity, 1.0)
        q = q.reshape(len(q), len(self._degrees), block.value.shape[1])
        moved = np.zeros((len(q), q.shape[2]))
        for degree in range(block.filters.shape[1]):
            of_degree = slice(degree**2, (degree + 1) ** 2)
            moved += np.einsum("nsf,ns->nf", q[:, of_degree], y[:, of_degree]) * block.filters[half, degree]
        return moved

    def arrive(self, layer: int, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps: what arrives are features."""
        return moved

    def finish(self, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """As in Steps."""
        return np.einsum("nf,nf->n", moved, self._blocks[0].inputs[atoms])


RULES = LayerRules(blocks, SO3netSteps, ("conserving", "gradient", "published"))
