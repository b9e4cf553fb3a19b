"""The interface between relevance and an architecture: the records of its layers, and how a walk crosses a layer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from analysis.relevance.record import Record


class Steps(Protocol):
    """Propagation of relevance through the layers of a network, from the readout to the embedding, for n walks or sets.

    m (n, F) is R/x of the features at the present node of a walk, see analysis/relevance/gamma_rule.py. All rules are linear in m,
    so that contributions to one node over several paths may be summed before they arrive. A walk at an atom behind a layer
    either stays at this atom in front of the layer, or leaves along an edge and arrives at a neighbour j.
    """

    def leave(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """m behind a layer at ``atoms`` (n,) → m (n, F) in front of it for walks that stay, and q (n, W) for walks that leave.

        Both at once, since they may share the atom's update after it has gathered its messages. q belongs to the gathered messages.
        """

    def along(self, layer: int, edges: np.ndarray, q: np.ndarray) -> np.ndarray:
        """q (n, W) of the atoms that edges (n,) lead from → moving relevance (n, V) of the features that the neighbours send.

        An edge 2k leads from the first to the second atom of half pair k, 2k + 1 back; the vector of the one is minus the other's.
        """

    def arrive(self, layer: int, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Moving relevance (n, V) at ``atoms`` (n,) → m (n, F) of their features in front of the layer."""

    def finish(self, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Relevances (n,) eV of moving relevance (n, V) at ``atoms`` in the first layer: arrive times the embedding, summed.

        A separate function, since it needs no matrix product if the messages are known, and most steps of all walks are the last.
        """


class LayerRules(NamedTuple):
    """A row of RULES (analysis/relevance/rules.py).

    Attributes:
        blocks: Records of the layers in a forward pass, in order; their type belongs to the architecture.
        steps: Makes Steps from these records, one γ per layer, and the name of a rule.
        names: Names of its rules, the default first.
    """

    blocks: Callable[[Record], tuple[Any, ...]]
    steps: Callable[[tuple[Any, ...], Sequence[float], str], Steps]
    names: tuple[str, ...] = ("conserving",)
