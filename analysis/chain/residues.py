"""Relevance of residues: 1-, 2- and 3-body relevances of a network along frames of a chain.

The network is explained without the priors of the chain, whose energies are reported beside (analysis/relevance/trace.py).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analysis.chain.frames import Chain
from analysis.relevance.explain import Explanation, explain
from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model


class Triples(NamedTuple):
    """Relevances of triples of residues along frames; those that are nowhere within the cutoff are left out.

    Attributes:
        n: Residues of the chain; n_frames: frames.
        frames: (m,) frame of each entry; keys: (m,) number of its triple, see ``residues``; values: (m,) eV.
    """

    n: int
    n_frames: int
    frames: np.ndarray
    keys: np.ndarray
    values: np.ndarray

    def means(self) -> dict[int, float]:
        """Mean over all frames by key, eV; 0 in a frame where the triple is not within the cutoff."""
        keys, row = np.unique(self.keys, return_inverse=True)
        sums = np.bincount(row, self.values, len(keys)) / self.n_frames
        return dict(zip(keys.tolist(), sums.tolist(), strict=True))

    def series(self, key: int) -> np.ndarray:
        """(n_frames,) eV of a triple."""
        mine = self.keys == key
        return np.bincount(self.frames[mine], self.values[mine], self.n_frames)

    def residues(self, key: int) -> tuple[int, ...]:
        """The three residues of a key, from 0, ascending."""
        return tuple(int(place) for place in np.unravel_index(key, (self.n,) * 3))


class ResidueRelevance(NamedTuple):
    """Of one network, along n_frames frames of N residues; energies in eV.

    Attributes:
        model: Its name; network: its architecture; rule: as in Rules.
        singles: (n_frames, N) of residues; pairs: (n_frames, N, N) 2-body, symmetric, 0 on the diagonal; triples: 3-body.
        orders: ΣR (n_frames,) by number of residues on a walk; energy, total: (n_frames,) of the network, and ΣR.
        apart: Energies (n_frames,) of the priors that are not explained, by name.
    """

    model: str
    network: str
    rule: str | None
    singles: np.ndarray
    pairs: np.ndarray
    triples: Triples
    orders: dict[str, np.ndarray]
    energy: np.ndarray
    total: np.ndarray
    apart: dict[str, np.ndarray]

    def of_pairs(self, mask: np.ndarray) -> np.ndarray:
        """(n_frames,) eV, sum over the pairs of a mask (N, N) of i < j."""
        return self.pairs[:, mask].sum(axis=1)


def explain_chain(
    model: Model, name: str, chain: Chain, gamma: float, rule: str | None = None, show: Callable[[], object] = lambda: None
) -> ResidueRelevance:  # fmt: skip
    """Explain every frame.

    Args:
        gamma, rule: As in analysis.relevance.trace.Rules; show: Called after each frame.

    Raises:
        InputError: As in analysis.relevance.trace.trace.
    """
    found, (n_frames, n) = [], chain.positions.shape[:2]
    for number, atoms in enumerate(chain.structures(), start=1):
        try:
            found.append(explain(model, atoms, gamma, rule=rule))
        except InputError as error:
            raise InputError(f"{chain.source}, frame {number} with the model {name}: {error}") from error
        show()
    atoms_of = [np.sort(item.sets.atoms, axis=1) for item in found]
    triples = Triples(
        n, n_frames, np.repeat(np.arange(n_frames), [len(atoms) for atoms in atoms_of]),
        np.ravel_multi_index(tuple(np.concatenate(atoms_of).T), (n,) * 3), np.concatenate([item.triples for item in found]),
    )  # fmt: skip
    return ResidueRelevance(
        name, architecture_of(model.config).title, found[0].rule,
        np.array([item.singles for item in found]), np.array([pair_map(item, n) for item in found]), triples,
        {order: np.array([item.by_order[order] for item in found]) for order in found[0].by_order},
        np.array([item.trace.energy for item in found]), np.array([item.total for item in found]),
        {prior: np.array([item.trace.apart[prior] for item in found]) for prior in found[0].trace.apart},
    )  # fmt: skip


def pair_map(item: Explanation, n: int) -> np.ndarray:
    """(n, n) eV, symmetric: the 2-body relevance of every pair, 0 beyond the cutoff and on the diagonal."""
    found = np.zeros((n, n))
    found[item.trace.first, item.trace.second] = item.pairs
    return found + found.T


def agreement(one: np.ndarray, two: np.ndarray, mask: np.ndarray) -> float:
    """Pearson correlation of two maps (N, N) over the pairs of a mask; NaN where one does not vary."""
    a, b = (values[mask] - values[mask].mean() for values in (one, two))
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size > 0 else np.nan
