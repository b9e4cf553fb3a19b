"""n-body relevances of a network: contributions of single atoms, pairs and triples to its energy.

A walk visits one node per layer, from the readout back to the embedding; its order is the number of distinct nodes on it; a
periodic image of an atom is a different node. The relevance of a set of nodes is the sum over all walks that visit each of them and
no other. It needs no enumeration: the recursion keeps one feature vector for every set and every node of it that such a walk may
occupy. A step to a node comes from within the set or from the set without this node, so that triples build on pairs and pairs on
atoms; the cost is linear in the number of layers, and no large terms cancel.

Energies in eV. Sources: analysis/relevance/gamma_rule.py.
"""

from itertools import permutations
from typing import NamedTuple

import numpy as np

from analysis.liquid.wedges import wedge_count, wedges
from analysis.relevance.layer_rules import Steps
from analysis.relevance.trace import Rules, Trace
from mlcalc.common.errors import InputError
from mlcalc.priors.angular import triple_energies

MOST_TRIPLES = 5_000_000
_SETS_AT_ONCE = 4096


class Triples(NamedTuple):
    """Sets of three nodes.

    Attributes:
        atoms: (n_sets, 3); images: (n_sets, 3, 3) cells of the nodes, relative to the first.
        edges: (n_sets, 3, 3) number of the edge u → v: 2k from first to second atom of half pair k, 2k + 1 back, −1 for none.
    """

    atoms: np.ndarray
    images: np.ndarray
    edges: np.ndarray


class _Sets(NamedTuple):
    """Sets of k nodes built on those of k − 1; their states are numbered by rows, k for each set.

    Attributes:
        atoms: (n_sets, k); edges: (n_sets, k, k) as in Triples.
        below: (n_sets, k, k) by w, u ≠ w: row of the state "at u, all but w visited" of the sets of k − 1, −1 for none.
    """

    atoms: np.ndarray
    edges: np.ndarray
    below: np.ndarray


def total_relevance(rules: Rules) -> float:
    """ΣR over all walks and the explained priors, eV: one pass through the network for any number of walks."""
    trace, steps, m = rules.trace, rules.steps, rules.readout
    forward, relevances = 2 * np.arange(len(trace.first)), np.zeros(len(m))
    for layer in reversed(range(len(trace.blocks))):
        stays, q = steps.leave(layer, rules.atoms, m)
        there = steps.along(layer, forward, q[trace.first])
        gathered = np.zeros((len(q), there.shape[1]))
        np.add.at(gathered, trace.second, there)
        np.add.at(gathered, trace.first, steps.along(layer, forward + 1, q[trace.second]))
        if layer > 0:
            m = stays + steps.arrive(layer, rules.atoms, gathered)
        else:
            relevances = (stays * trace.embedding).sum(axis=1) + steps.finish(rules.atoms, gathered)
    return float(relevances.sum() + trace.repulsion.sum() + trace.angular)


def single_relevances(rules: Rules) -> np.ndarray:
    """(N,) eV: walks that never leave their atom."""
    m, _ = rules.at_single_atoms
    return (m * rules.trace.embedding).sum(axis=1)


def pair_relevances(rules: Rules) -> np.ndarray:
    """(n_pairs,) eV of the half pairs of the trace; the nuclear repulsion of a pair is part of it."""
    relevances, _ = _relevances(rules, _pairs(rules.trace), rules.at_single_atoms[1])
    return relevances + rules.trace.repulsion


def triple_relevances(rules: Rules, triples: Triples) -> np.ndarray:
    """(n_sets,) eV of sets of three nodes; the angular prior at each of their corners is part of them."""
    _, at_pairs = _relevances(rules, _pairs(rules.trace), rules.at_single_atoms[1])
    parts = []
    for begin in range(0, len(triples.atoms), _SETS_AT_ONCE):
        atoms, _, edges = (array[begin : begin + _SETS_AT_ONCE] for array in triples)
        below = np.full_like(edges, -1)
        for u, v, w in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            # The state at u of the pair uv has the number of the edge u → v.
            below[:, w, u], below[:, w, v] = edges[:, u, v], edges[:, v, u]
        parts.append(_relevances(rules, _Sets(atoms, edges, below), at_pairs)[0])
    relevances = np.concatenate(parts) if parts else np.zeros(0)
    return relevances if rules.trace.prior is None else relevances + angular_energies(rules.trace, triples)


def angular_energies(trace: Trace, triples: Triples) -> np.ndarray:
    """(n_sets,) eV that the angular prior gives to sets of three nodes."""
    energies = np.zeros(len(triples.atoms))
    for apex, one, two in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        edges = triples.edges[:, apex, [one, two]]
        whole = np.flatnonzero((edges >= 0).all(axis=1))
        # Odd edges lead from the second atom of a half pair back to the first.
        sides = trace.vectors[edges[whole] // 2] * np.where(edges[whole] % 2, -1.0, 1.0)[:, :, None]
        energies[whole] += triple_energies(sides[:, 0], sides[:, 1], trace.prior)
    return energies


def _relevances(rules: Rules, sets: _Sets, leaving: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Relevances (n_sets,), and by layer q (k·n_sets, W) of walks that leave such sets, needed for sets of k + 1.

    Args:
        leaving: The same for the sets of k − 1.
    """
    steps, embedding, n_layers = rules.steps, rules.trace.embedding, len(rules.trace.blocks)
    (n_sets, k), standing = sets.atoms.shape, sets.atoms.ravel()
    m, relevances = np.zeros((n_sets * k, embedding.shape[1])), np.zeros(n_sets)
    found = [np.broadcast_to(0.0, (len(m), q.shape[1])) for q in leaving]
    for layer in reversed(range(n_layers)):
        steps_made = n_layers - 1 - layer
        if steps_made < k - 2:
            continue  # no walk has visited k − 1 nodes yet
        stays = m
        if steps_made > k - 2:
            stays, found[layer] = steps.leave(layer, standing, m)
        arriving = _arriving(steps, layer, sets, found[layer], leaving[layer])
        if layer > 0:
            m = stays + steps.arrive(layer, standing, arriving)
        else:
            ends = (stays * embedding[standing]).sum(axis=1) + steps.finish(standing, arriving)
            relevances = ends.reshape(n_sets, k).sum(axis=1)
    return relevances, found


def _arriving(steps: Steps, layer: int, sets: _Sets, within: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Relevance that moves to every node of every set (k·n_sets, V) in a layer, from all other nodes.

    Args:
        within, below: q of walks that have visited the entire set, (k·n_sets, W), and of those that lack only their target node.
    """
    n_sets, k = sets.atoms.shape
    none = sets.edges[:0, 0, 0]
    arriving = np.zeros((n_sets, k, steps.along(layer, none, below[none]).shape[1]))
    for w, u in permutations(range(k), 2):
        sets_joined = np.flatnonzero(sets.edges[:, u, w] >= 0)
        q = within[sets_joined * k + u]
        entering = sets.below[sets_joined, w, u]
        q = q + np.where(entering[:, None] >= 0, below[entering], 0.0)
        arriving[sets_joined, w] += steps.along(layer, sets.edges[sets_joined, u, w], q)
    return arriving.reshape(n_sets * k, -1)


def _pairs(trace: Trace) -> _Sets:
    """The half pairs as sets of two nodes, the ends of one edge."""
    atoms = np.stack([trace.first, trace.second], axis=1)
    edges, below = np.full((2, len(atoms), 2, 2), -1)
    edges[:, 0, 1] = 2 * np.arange(len(atoms))
    edges[:, 1, 0] = edges[:, 0, 1] + 1
    below[:, 1, 0], below[:, 0, 1] = trace.first, trace.second
    return _Sets(atoms, edges, below)


def triple_sets(trace: Trace) -> Triples:
    """All sets of three nodes with at least two pairs within the cutoff; no walk visits other triples.

    Raises:
        InputError: There are more than MOST_TRIPLES.
    """
    target = np.stack([trace.second, trace.first], axis=1).ravel()  # of edges, by number
    shift = np.stack([trace.images, -trace.images], axis=1).reshape(-1, 3)
    source = target.reshape(-1, 2)[:, ::-1].ravel()
    count = wedge_count(source)
    if count > MOST_TRIPLES:
        raise InputError(
            f"{count} pairs of neighbours make triples, {count * 300 / 1e9:.2g} GB: expected at most {MOST_TRIPLES}; leave "
            "triples out (--no-triples), or use fewer atoms"
        )
    one, two = wedges(source)
    third = _edge_numbers(source, target, shift, (target[one], target[two], shift[two] - shift[one]))
    # A triangle appears at each of its corners: keep it where its pair of edges comes first.
    corners = np.sort([[one, two], [one ^ 1, third], [two ^ 1, third ^ 1]], axis=1)
    ranks = corners[:, 0] * len(source) + corners[:, 1]
    keep = (third < 0) | (ranks.argmin(axis=0) == 0)
    one, two, third = one[keep], two[keep], third[keep]
    atoms = np.stack([source[one], target[one], target[two]], axis=1)
    images = np.stack([np.zeros_like(shift[one]), shift[one], shift[two]], axis=1)
    edges = np.full((len(one), 3, 3), -1)
    for (u, v), edge in (((0, 1), one), ((0, 2), two), ((1, 2), third)):
        edges[:, u, v], edges[:, v, u] = edge, np.where(edge >= 0, edge ^ 1, -1)
    return Triples(atoms, images, edges)


def _edge_numbers(source: np.ndarray, target: np.ndarray, shift: np.ndarray, wanted: tuple) -> np.ndarray:
    """Numbers of the edges (source, target, shift) that are ``wanted``, −1 for those that do not exist."""
    reach = 2 * int(np.abs(shift).max(initial=0)) + 1  # range of differences of two shifts, plus one
    n_atoms = int(source.max(initial=0)) + 1

    def keys(source, target, shift):
        cells = np.ravel_multi_index(tuple((shift + reach).T), (2 * reach + 1,) * 3)
        return (source * n_atoms + target) * (2 * reach + 1) ** 3 + cells

    known, asked = keys(source, target, shift), keys(*wanted)
    order = np.argsort(known)
    row = order[np.minimum(np.searchsorted(known[order], asked), len(order) - 1)] if len(order) else asked
    return np.where(known[row] == asked, row, -1) if len(order) else np.full(len(asked), -1)
