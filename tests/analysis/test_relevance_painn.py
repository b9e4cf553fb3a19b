"""Relevances of a PaiNN against autograd through a modified network, as the method is defined: the forward pass is that of the
network, vectors and norms are constants, activated layers have the gradient of the γ rule, and a walk leaves one atom at each
place.
"""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from ase.build import molecule

from analysis.relevance.nbody import pair_relevances, single_relevances, total_relevance, triple_relevances, triple_sets
from analysis.relevance.trace import Rules, trace
from analysis.relevance.walks import walk_relevances
from mlcalc.architectures.painn.config import EPSILON, PaiNNConfig
from mlcalc.architectures.torch_blocks import cosine_cutoff
from mlcalc.torch_potential import network_of
from tests.conftest import random_model

MODEL = random_model(
    PaiNNConfig(elements=(1, 6), n_features=8, n_interactions=2, n_rbf=6, cutoff=5.0, readout_hidden=6), priors={}
)
GAMMAS = [0.0, 0.1, [0.3, 0.0, 2.0]]


@pytest.fixture(scope="module")
def atoms():
    atoms = molecule("C2H2")
    atoms.positions += np.random.default_rng(1).normal(0.0, 0.1, atoms.positions.shape)
    return atoms


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


def relevance_of_walks(model, atoms, gammas, walks) -> list[float]:
    """R of walks, each from the readout back to the embedding."""
    network, n = network_of(model, torch.float64), len(atoms)
    first, second = (torch.tensor(ends) for ends in np.triu_indices(n, 1))
    vectors = torch.tensor(atoms.positions)[second] - torch.tensor(atoms.positions)[first]
    distance = vectors.norm(dim=1)
    unit = vectors / distance[:, None]
    filters = network.filter_net(network.radial_basis(distance)) * cosine_cutoff(distance, model.config.cutoff)[:, None]
    filters = filters.detach().chunk(model.config.n_interactions, dim=1)
    species = torch.tensor([model.config.elements.index(z) for z in atoms.numbers])
    found = []
    for walk in walks:
        start = network.embedding(species).detach().requires_grad_()
        q, mu = alone(start, walk[-1]), torch.zeros(n, 3, model.config.n_features, dtype=torch.float64)
        for t, (interaction, mixing) in enumerate(zip(network.interactions, network.mixing, strict=True)):
            one, two = interaction.interatomic_context_net
            x, width = two(activated(one, q, gammas[t])), model.config.n_features
            sums, change = torch.zeros_like(q), torch.zeros_like(mu)
            for i, j, sign in ((first, second, 1.0), (second, first, -1.0)):
                a, b, c = (filters[t] * x[j]).chunk(3, dim=1)
                sums = sums.index_add(0, i, a)
                change = change.index_add(0, i, b[:, None] * sign * unit[..., None] + c[:, None] * mu[j])
            q, mu = q + sums, (mu + change).detach()
            v, u = mixing.mu_channel_mix(mu).detach().chunk(2, dim=2)
            norm = torch.sqrt(v.square().sum(1) + EPSILON)
            one, two = mixing.intraatomic_context_net
            s, gate, p = two(activated(one, torch.cat([q, norm], 1), gammas[t])).split(width, dim=1)
            q, mu = q + s + p * (v * u).sum(1), (mu + gate[:, None] * u).detach()
            q = alone(q, walk[-2 - t])
        one, two = network.readout
        atomic = two(activated(one, q, gammas[-1])).squeeze(-1) * network.energy_scale
        (gradient,) = torch.autograd.grad(atomic.sum(), start)
        found.append(float((gradient * start.detach()).sum()))
    return found


def alone(features, atom):
    """Features with a gradient at one atom."""
    mask = torch.zeros(len(features), 1, dtype=torch.float64)
    mask[atom] = 1.0
    return mask * features + (1.0 - mask) * features.detach()


@pytest.mark.parametrize("gamma", GAMMAS, ids=str)
def test_walks_and_sets_are_those_of_autograd(atoms, gamma):
    """All walks of four atoms through two blocks, and the sums over walks that visit the same atoms."""
    t = trace(MODEL, atoms)
    rules = Rules(t, gamma)
    all_walks = list(product(range(len(atoms)), repeat=3))
    expected = relevance_of_walks(MODEL, atoms, gamma if isinstance(gamma, list) else [gamma] * 3, all_walks)
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


def test_relevances_of_two_atoms_end_with_pairs():
    t = trace(MODEL, molecule("CH"))
    rules = Rules(t, 0.1)
    assert len(triple_sets(t).atoms) == 0
    assert total_relevance(rules) == pytest.approx(
        single_relevances(rules).sum() + pair_relevances(rules).sum(), rel=1e-9
    )
