"""Individual walks through a network: each is a path of nodes from the readout to the embedding with its relevance.

Their number grows as neighbours to the power of layers; sums over atoms, pairs and triples do not need them
(analysis/relevance/nbody.py). Energies in eV. Sources: analysis/relevance/gamma_rule.py.
"""

from typing import NamedTuple

import numpy as np

from analysis.relevance.trace import Rules, Trace
from mlcalc.common.errors import InputError

_WALKS_AT_ONCE = 100_000


class Walks(NamedTuple):
    """Walks from the readout to the embedding: atoms (n, T + 1), images (n, T + 1, 3), relevance (n,) eV."""

    atoms: np.ndarray
    images: np.ndarray
    relevance: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """(n,) number of distinct nodes."""
        order = np.zeros(len(self.atoms), dtype=int)
        for step in range(self.atoms.shape[1]):
            new = np.ones(len(order), dtype=bool)
            for earlier in range(step):
                same = (self.images[:, earlier] == self.images[:, step]).all(axis=1)
                new &= ~(same & (self.atoms[:, earlier] == self.atoms[:, step]))
            order += new
        return order

    def strongest(self, number: int) -> "Walks":
        """The walks with the largest absolute relevances, in descending order."""
        rows = np.argsort(-np.abs(self.relevance), kind="stable")[:number]
        return Walks(*(array[rows] for array in self))


def count_walks(trace: Trace) -> int:
    """The number of walks: each interaction block either stays or moves to a neighbour."""
    return int(_counts(trace).sum())


def _counts(trace: Trace) -> np.ndarray:
    """(N,) number of walks that begin at each atom, exact integers of any size."""
    ways = np.ones(len(trace.embedding), dtype=object)
    for _ in trace.blocks:
        more = ways.copy()
        np.add.at(more, trace.first, ways[trace.second])
        np.add.at(more, trace.second, ways[trace.first])
        ways = more
    return ways


def walk_relevances(rules: Rules, budget: int = 10_000_000) -> Walks:
    """All walks individually, ordered by their first atom.

    Args:
        budget: Largest allowed number of walks.

    Raises:
        InputError: There are more; the message gives their number, the memory they need, and alternatives.
    """
    counts, n_nodes = _counts(rules.trace), len(rules.trace.blocks) + 1
    total = int(counts.sum())
    if total > budget:
        raise InputError(
            f"{total} walks, {total * (8 + 8 * 4 * n_nodes) / 1e9:.3g} GB, with a budget of {budget}: sums over pairs and triples "
            "of atoms need no walks (pair_relevances, triple_relevances), or raise the budget"
        )
    moves, parts = _Moves(rules.trace), []
    groups = np.cumsum(counts.astype(np.int64)) // _WALKS_AT_ONCE
    for group in np.unique(groups):
        parts.append(_walks_from(rules, moves, np.flatnonzero(groups == group)))
    return Walks(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _walks_from(rules: Rules, moves: "_Moves", starts: np.ndarray) -> Walks:
    """All walks that begin at these atoms; common parts are computed once, and the last step of each costs F operations."""
    trace, steps = rules.trace, rules.steps
    atoms, images = starts[:, None], np.zeros((len(starts), 1, 3), dtype=int)
    m = rules.readout[starts]
    for layer in reversed(range(len(trace.blocks))):
        here = atoms[:, -1]
        stays, q = steps.leave(layer, here, m)
        parent, target, shift, edge = moves(here)
        moved = steps.along(layer, edge, q[parent])
        if layer > 0:
            m = np.concatenate([stays, steps.arrive(layer, target, moved)])
        else:
            staying = np.einsum("nf,nf->n", stays, trace.embedding[here])
            relevance = np.concatenate([staying, steps.finish(target, moved)])
        onward = images[parent, -1:] + shift[:, None]
        atoms = np.concatenate([_extended(atoms, here[:, None]), _extended(atoms[parent], target[:, None])])
        images = np.concatenate([_extended(images, images[:, -1:]), _extended(images[parent], onward)])
    return Walks(atoms, images, relevance)


def _extended(walks: np.ndarray, last: np.ndarray) -> np.ndarray:
    return np.concatenate([walks, last], axis=1)


class _Moves:
    """The possible moves of a walk from a node: the neighbours of all atoms, in compressed rows."""

    def __init__(self, trace: Trace):
        sources = np.concatenate([trace.first, trace.second])
        order = np.argsort(sources, kind="stable")
        self._target = np.concatenate([trace.second, trace.first])[order]
        self._shift = np.concatenate([trace.images, -trace.images])[order]
        forward = 2 * np.arange(len(trace.first))
        self._edge = np.concatenate([forward, forward + 1])[order]
        self._begin = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=len(trace.embedding)))])

    def __call__(self, atoms: np.ndarray) -> tuple[np.ndarray, ...]:
        """For walks at ``atoms`` (n,): index of the walk, target atom, shift and edge of every move."""
        counts = self._begin[atoms + 1] - self._begin[atoms]
        parent = np.repeat(np.arange(len(atoms)), counts)
        within = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = self._begin[atoms][parent] + within
        return parent, self._target[row], self._shift[row], self._edge[row]
