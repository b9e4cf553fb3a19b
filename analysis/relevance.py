"""n-body relevances of a SchNet: what single atoms, pairs and triples add to its energy.

A walk visits one node per layer, from the readout back to the embedding; its order is the number of different nodes on it, a
periodic image of an atom being another node than the atom. The relevance of a set of nodes is the sum over all walks that visit
each of them and no other. It needs no enumeration: carried along is, for every node of the set where a walk may stand and every
subset that it may have visited, one vector of features. The cost is linear in the number of layers, and nothing cancels.

Energies in eV. Sources: analysis/lrp.py.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis.lrp import Rules, Trace
from mlcalc.errors import InputError

_SETS_AT_ONCE = 4096


class Sets(NamedTuple):
    """Sets of n nodes: atoms (n_sets, n), images (n_sets, n, 3), half pairs between them (n_sets, n, n), −1 for none."""

    atoms: np.ndarray
    images: np.ndarray
    pairs: np.ndarray


class Walks(NamedTuple):
    """Walks from the readout to the embedding: atoms (n, T + 1), images (n, T + 1, 3), relevance (n,) eV."""

    atoms: np.ndarray
    images: np.ndarray
    relevance: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """(n,) number of different nodes."""
        order = np.zeros(len(self.atoms), dtype=int)
        for step in range(self.atoms.shape[1]):
            new = np.ones(len(order), dtype=bool)
            for earlier in range(step):
                same = (self.images[:, earlier] == self.images[:, step]).all(axis=1)
                new &= ~(same & (self.atoms[:, earlier] == self.atoms[:, step]))
            order += new
        return order


def total_relevance(trace: Trace, gamma: float | Sequence[float]) -> float:
    """ΣR over all walks and the pair repulsion, eV: one pass through the network, whatever the number of walks."""
    rules, everybody = Rules(trace, gamma), np.arange(len(trace.embedding))
    m = rules.readout
    for layer in reversed(range(len(trace.blocks))):
        block, q = trace.blocks[layer], rules.effective_gradient(layer, everybody, m)
        gathered = np.zeros_like(q)
        np.add.at(gathered, trace.second, block.filters * q[trace.first])
        np.add.at(gathered, trace.first, block.filters * q[trace.second])
        m = m + gathered @ block.in2f.T
    return float((m * trace.embedding).sum() + trace.repulsion.sum())


def single_relevances(trace: Trace, gamma: float | Sequence[float]) -> np.ndarray:
    """(N,) eV: walks that stay where they began."""
    return (Rules(trace, gamma).readout * trace.embedding).sum(axis=1)


def pair_relevances(trace: Trace, gamma: float | Sequence[float]) -> np.ndarray:
    """(n_pairs,) eV of the half pairs of the trace; the nuclear repulsion of a pair is part of it."""
    return set_relevances(trace, gamma, pair_sets(trace)) + trace.repulsion


def set_relevances(trace: Trace, gamma: float | Sequence[float], sets: Sets) -> np.ndarray:
    """(n_sets,) eV: all walks that visit every node of a set and no other."""
    rules = Rules(trace, gamma)
    parts = [
        _relevances_of(trace, rules, *(array[begin : begin + _SETS_AT_ONCE] for array in sets))
        for begin in range(0, len(sets.atoms), _SETS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _relevances_of(trace: Trace, rules: Rules, atoms: np.ndarray, images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    n = atoms.shape[1]
    # State (node u, visited nodes as bits) → m (n_sets, F).
    state = {(u, 1 << u): rules.readout[atoms[:, u]] for u in range(n)}
    for layer in reversed(range(len(trace.blocks))):
        block = trace.blocks[layer]
        q = {key: rules.effective_gradient(layer, atoms[:, key[0]], m) for key, m in state.items()}
        arriving: dict[tuple[int, int], np.ndarray] = {}
        for (u, visited), gradient in q.items():
            for v in range(n):
                if v == u:
                    continue
                pair = pairs[:, u, v]
                filters = np.where((pair >= 0)[:, None], block.filters[pair], 0.0)
                key = v, visited | 1 << v
                arriving[key] = arriving.get(key, 0.0) + filters * gradient
        for key, gathered in arriving.items():
            state[key] = state.get(key, 0.0) + gathered @ block.in2f.T
    everything = (1 << n) - 1
    whole = [
        (m * trace.embedding[atoms[:, u]]).sum(axis=1) for (u, visited), m in state.items() if visited == everything
    ]
    return np.sum(whole, axis=0) if whole else np.zeros(len(atoms))


def pair_sets(trace: Trace) -> Sets:
    """The half pairs of a trace as sets of two nodes."""
    count = len(trace.first)
    numbers = np.full((count, 2, 2), -1)
    numbers[:, 0, 1] = numbers[:, 1, 0] = np.arange(count)
    images = np.stack([np.zeros_like(trace.images), trace.images], axis=1)
    return Sets(np.stack([trace.first, trace.second], axis=1), images, numbers)


def triple_sets(trace: Trace) -> Sets:
    """All sets of three nodes of which at least two pairs are within the cutoff; no walk visits any other three."""
    neighbours: dict[int, list[tuple[int, tuple, int]]] = {}
    number: dict[tuple, int] = {}
    for k, (i, j, shift) in enumerate(
        zip(trace.first.tolist(), trace.second.tolist(), trace.images.tolist(), strict=True)
    ):
        back = tuple(-s for s in shift)
        neighbours.setdefault(i, []).append((j, tuple(shift), k))
        neighbours.setdefault(j, []).append((i, back, k))
        number[i, j, tuple(shift)] = number[j, i, back] = k
    found: dict[tuple, tuple] = {}
    for apex, around in neighbours.items():
        for (a, shift_a, pair_a), (b, shift_b, pair_b) in combinations(around, 2):
            across = tuple(y - x for x, y in zip(shift_a, shift_b, strict=True))
            nodes = [(apex, (0, 0, 0)), (a, shift_a), (b, shift_b)]
            if len(set(nodes)) < 3:
                continue
            key = _canonical(nodes)
            found.setdefault(key, (nodes, pair_a, pair_b, number.get((a, b, across), -1)))
    pairs = np.full((len(found), 3, 3), -1)
    atoms, images = np.zeros((len(found), 3), dtype=int), np.zeros((len(found), 3, 3), dtype=int)
    for row, (nodes, *edges) in enumerate(found.values()):
        atoms[row], images[row] = [node[0] for node in nodes], [node[1] for node in nodes]
        for (u, v), edge in zip(((0, 1), (0, 2), (1, 2)), edges, strict=True):
            pairs[row, u, v] = pairs[row, v, u] = edge
    return Sets(atoms, images, pairs)


def _canonical(nodes: list[tuple[int, tuple]]) -> tuple:
    """The same for sets that are each other's translation by whole cells."""
    ordered = sorted(nodes)
    origin = ordered[0][1]
    moved = sorted((atom, tuple(s - o for s, o in zip(shift, origin, strict=True))) for atom, shift in ordered)
    return tuple(moved)


def count_walks(trace: Trace) -> int:
    """The number of walks: of ways to stay or to go to a neighbour, once per interaction block."""
    ways = np.ones(len(trace.embedding), dtype=object)  # exact whole numbers of any size
    for _ in trace.blocks:
        more = ways.copy()
        np.add.at(more, trace.first, ways[trace.second])
        np.add.at(more, trace.second, ways[trace.first])
        ways = more
    return int(ways.sum())


def walk_relevances(trace: Trace, gamma: float | Sequence[float], budget: int = 10_000_000) -> Walks:
    """Every walk by itself; walks share what they have in common, so that the last step of each costs F operations.

    Args:
        budget: Number of walks that may be made.

    Raises:
        InputError: There are more; the message says how many, what they would take, and what to use instead.
    """
    count, n_blocks = count_walks(trace), len(trace.blocks)
    if count > budget:
        raise InputError(
            f"{count} walks, {count * (8 + 8 * 4 * (n_blocks + 1)) / 1e9:.3g} GB, with a budget of {budget}: sums over pairs and "
            "triples of atoms need no walks (pair_relevances, set_relevances), or raise the budget"
        )
    rules, step = Rules(trace, gamma), _Steps(trace)
    atoms = np.arange(len(trace.embedding))[:, None]
    images, m = np.zeros((len(atoms), 1, 3), dtype=int), rules.readout
    for layer in reversed(range(n_blocks)):
        block, here = trace.blocks[layer], atoms[:, -1]
        q = rules.effective_gradient(layer, here, m)
        parent, target, shift, pair = step(here)
        moved = block.filters[pair] * q[parent]
        if layer > 0:
            m = np.concatenate([m, moved @ block.in2f.T])
        else:  # the embedding is all that is left to be met
            ends = (m * trace.embedding[here]).sum(axis=1), (moved * block.messages[target]).sum(axis=1)
            relevance = np.concatenate(ends)
        onward = images[parent, -1:] + shift[:, None]
        images = np.concatenate(
            [np.concatenate([images, images[:, -1:]], axis=1), np.concatenate([images[parent], onward], axis=1)]
        )
        atoms = np.concatenate(
            [np.concatenate([atoms, here[:, None]], axis=1), np.concatenate([atoms[parent], target[:, None]], axis=1)]
        )
    return Walks(atoms, images, relevance)


class _Steps:
    """Where a walk can go from a node: the neighbours of all atoms, in compressed rows."""

    def __init__(self, trace: Trace):
        sources = np.concatenate([trace.first, trace.second])
        order = np.argsort(sources, kind="stable")
        self._target = np.concatenate([trace.second, trace.first])[order]
        self._shift = np.concatenate([trace.images, -trace.images])[order]
        self._pair = np.concatenate([np.arange(len(trace.first))] * 2)[order]
        self._begin = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=len(trace.embedding)))])

    def __call__(self, atoms: np.ndarray) -> tuple[np.ndarray, ...]:
        """For walks that stand at ``atoms`` (n,): number of the walk, target atom, shift and half pair of every move."""
        counts = self._begin[atoms + 1] - self._begin[atoms]
        parent = np.repeat(np.arange(len(atoms)), counts)
        within = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)
        row = self._begin[atoms][parent] + within
        return parent, self._target[row], self._shift[row], self._pair[row]
