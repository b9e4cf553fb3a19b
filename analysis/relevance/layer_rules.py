"""What relevance has to know of an architecture: what its layers did in a forward pass, and how a walk crosses one of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from analysis.relevance.record import Record


class Steps(Protocol):
    """How relevance crosses the layers of a network, from the readout to the embedding, for n walks or sets at once.

    m (n, F) is R/x of the features that a walk stands on, see analysis/relevance/gamma_rule.py. All rules are linear in it, so that
    what arrives at one node over several ways may be added up before it arrives. A walk that stands on an atom behind a layer
    either stays at the atom in front of it, or leaves for a neighbour j along an edge and arrives there.
    """

    def leave(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """m behind a layer at ``atoms`` (n,) → m (n, F) in front of it of walks that stay, and q (n, W) of those that go.

        Both at once, since they may share what the atom does after it has gathered its messages. q is of the gathered messages.
        """

    def along(self, layer: int, edges: np.ndarray, q: np.ndarray) -> np.ndarray:
        """q (n, W) of the atoms that edges (n,) lead from → what moves (n, V), of the features that the neighbours send.

        An edge 2k leads from the first to the second atom of half pair k, 2k + 1 back; the vector of the one is minus the other's.
        """

    def arrive(self, layer: int, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """What has moved (n, V) to ``atoms`` (n,) → m (n, F) of their features in front of the layer."""

    def finish(self, atoms: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Relevances (n,) eV of what has moved (n, V) to ``atoms`` in the first layer: that of arrive times the embedding, summed.

        By itself since it costs no matrix product where what atoms send is known, and most steps of all walks are their last.
        """


class LayerRules(NamedTuple):
    """A row of RULES (analysis/relevance/rules.py).

    Attributes:
        blocks: What the layers did in a forward pass, in its order: records of the architecture's own kind, one for each.
        steps: From these and a γ for each.
    """

    blocks: Callable[[Record], tuple[Any, ...]]
    steps: Callable[[tuple[Any, ...], Sequence[float]], Steps]
