"""What relevances are compared with: autograd through a modified network, as the method is defined. The forward pass is that of the
network, activated layers have the gradient of the γ rule, and a walk leaves one atom at each place.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch

from analysis.relevance.nbody import pair_relevances, single_relevances, total_relevance, triple_relevances, triple_sets
from analysis.relevance.trace import Rules, trace
from analysis.relevance.walks import walk_relevances


def activated(layer, inputs, gamma):
    """silu of a dense layer, with the shares of the γ rule as its gradient times its inputs."""
    z = layer(inputs).detach()
    sign = torch.where(z > 0, 1.0, -1.0).double()
    terms = inputs[:, None, :] * layer.weight
    strong = (sign[..., None] * terms.detach() > 0).double()
    share = (terms * (1.0 + gamma * strong)).sum(-1)
    bias = layer.bias.detach() * (1.0 + gamma * (sign * layer.bias.detach() > 0).double())
    whole = (share + bias).detach()
    return torch.nn.functional.silu(z) * (share + bias) / whole


def alone(features, atom):
    """Features (N, …) with a gradient at one atom."""
    mask = torch.zeros(len(features), *[1] * (features.ndim - 1), dtype=torch.float64)
    mask[atom] = 1.0
    return mask * features + (1.0 - mask) * features.detach()


def check_walks_and_sets(model, atoms, gamma, rule, relevance_of_walks: Callable) -> None:
    """All walks of four atoms through two blocks, and the sums over walks that visit the same atoms.

    Args:
        relevance_of_walks: Function of the γ of all layers and a list of walks, each from the readout back to the embedding.
    """
    t = trace(model, atoms)
    rules = Rules(t, gamma, rule)
    all_walks = list(product(range(len(atoms)), repeat=3))
    expected = relevance_of_walks(gamma if isinstance(gamma, list) else [gamma] * 3, all_walks)
    walks = walk_relevances(rules)
    found = dict(zip(map(tuple, walks.atoms.tolist()), walks.relevance.tolist(), strict=True))
    np.testing.assert_allclose([found[walk] for walk in all_walks], expected, rtol=1e-8, atol=1e-10)
    assert total_relevance(rules) == pytest.approx(sum(expected), rel=1e-9)
    sets = defaultdict(float)
    for walk, value in zip(all_walks, expected, strict=True):
        sets[frozenset(walk)] += value
    triples = triple_sets(t)
    np.testing.assert_allclose(single_relevances(rules), [sets[frozenset([i])] for i in range(4)], rtol=1e-8)
    pairs = [sets[frozenset(ends)] for ends in zip(t.first.tolist(), t.second.tolist(), strict=True)]
    np.testing.assert_allclose(pair_relevances(rules), pairs, rtol=1e-8, atol=1e-10)
    triple = [sets[frozenset(corners)] for corners in triples.atoms.tolist()]
    np.testing.assert_allclose(triple_relevances(rules, triples), triple, rtol=1e-8, atol=1e-10)
