"""What relevances are compared with: autograd through a modified network, as the method is defined. The forward pass is that of the
network, activated layers have the gradient of the γ rule, and a walk leaves one atom at each place.

Functions of an architecture take the network in float64, the trace, the γ of all layers, a rule and a walk from the readout back to
the embedding, and return its relevance in eV.
"""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn.functional import silu

from analysis.relevance.nbody import pair_relevances, single_relevances, total_relevance, triple_relevances, triple_sets
from analysis.relevance.trace import Rules, Trace, trace
from analysis.relevance.walks import walk_relevances
from mlcalc.architectures.torch_blocks import cosine_cutoff, shifted_softplus
from mlcalc.torch_potential import network_of


def activated(layer, function, inputs, gamma):
    """f(z) of a dense layer, with the shares of the γ rule as its gradient times its inputs: γ enters through a factor of 1."""
    z, weights = layer(inputs), layer.weight.T
    more = (
        inputs.clamp(min=0) @ weights.clamp(min=0)
        + inputs.clamp(max=0) @ weights.clamp(max=0)
        + layer.bias.clamp(min=0)
    )
    less = (
        inputs.clamp(min=0) @ weights.clamp(max=0)
        + inputs.clamp(max=0) @ weights.clamp(min=0)
        + layer.bias.clamp(max=0)
    )
    strengthened = z + gamma * torch.where(z > 0, more, less)
    return strengthened * (function(z) / strengthened).detach()


def alone(features, atom):
    """Features (N, …) with a gradient at one atom."""
    mask = torch.zeros(len(features), *[1] * (features.ndim - 1), dtype=torch.float64)
    mask[atom] = 1.0
    return mask * features + (1.0 - mask) * features.detach()


def schnet_walk(network, t: Trace, gammas, rule, walk) -> float:
    """Relevance of a walk through a SchNet."""
    pairs, distance, _ = _geometry(t)
    radial, ending = network.radial_basis(distance), network.cutoff_value(distance)
    start = torch.tensor(t.embedding, requires_grad=True)
    x = alone(start, walk[-1])
    for k, block in enumerate(network.interactions):
        filters, messages = block.filters(radial, ending), block.in2f(x)
        convolved = torch.zeros_like(messages)
        for i, j in (pairs, pairs[::-1]):
            convolved = convolved.index_add(0, i, filters * messages[j])
        one, two = block.f2out
        x = alone(x + two(activated(one, shifted_softplus, convolved, gammas[k])), walk[-2 - k])
    return _of_readout(network, x, gammas[-1], start)


def painn_walk(network, t: Trace, gammas, rule, walk) -> float:
    """Relevance of a walk through a PaiNN, where vectors and norms are constants."""
    pairs, distance, unit = _geometry(t)
    filters = (
        network.filter_net(network.radial_basis(distance)) * cosine_cutoff(distance, network.config.cutoff)[:, None]
    )
    filters = filters.chunk(network.config.n_interactions, dim=1)
    start = torch.tensor(t.embedding, requires_grad=True)
    q = alone(start, walk[-1])
    mu = torch.zeros(len(q), 3, q.shape[1], dtype=torch.float64)
    for k, (interaction, mixing) in enumerate(zip(network.interactions, network.mixing, strict=True)):
        one, two = interaction.interatomic_context_net
        x = two(activated(one, silu, q, gammas[k]))
        sums, change = torch.zeros_like(q), torch.zeros_like(mu)
        for (i, j), sign in ((pairs, 1.0), (pairs[::-1], -1.0)):
            a, b, c = (filters[k] * x[j]).chunk(3, dim=1)
            sums = sums.index_add(0, i, a)
            change = change.index_add(0, i, b[:, None] * sign * unit[..., None] + c[:, None] * mu[j])
        q, mu = q + sums, (mu + change).detach()
        v, u = mixing.mu_channel_mix(mu).chunk(2, dim=2)
        norm = torch.sqrt(v.square().sum(1) + network.config.norm_epsilon)
        one, two = mixing.intraatomic_context_net
        s, gate, p = two(activated(one, silu, torch.cat([q, norm], 1), gammas[k])).chunk(3, dim=1)
        q, mu = alone(q + s + p * (v * u).sum(1), walk[-2 - k]), (mu + gate[:, None] * u).detach()
    return _of_readout(network, q, gammas[-1], start)


def so3net_walk(network, t: Trace, gammas, rule, walk) -> float:
    """Relevance of a walk through an SO3net, where components of degree above 0 carry none from block to block."""
    pairs, distance, unit = _geometry(t)
    radial, ending = network.radial_basis(distance), cosine_cutoff(distance, network.config.cutoff)[:, None]
    product, degrees = network.product, network.config.lmax + 1
    y = product.couplings(unit)
    start = torch.tensor(t.embedding, requires_grad=True)
    x = torch.nn.functional.pad(alone(start, walk[-1])[:, None], (0, 0, 0, degrees**2 - 1))
    for k, block in enumerate(network.interactions):
        filters = (block.filter_net(radial) * ending).unflatten(1, (degrees, -1))
        delta = torch.zeros_like(x)
        for (i, j), of_direction in ((pairs, filters), (pairs[::-1], filters * product.parity[:, None])):
            terms = of_direction[:, :, None] * x[j][:, None]
            delta = delta.index_add(0, i, y @ terms.flatten(1, 2))
        mixed = block.mixings[0](delta)
        if rule == "conserving":
            squared = 0.5 * (product(delta, mixed.detach()) + product(delta.detach(), mixed))
        else:
            squared = product(delta, mixed)
        value = block.mixings[1](delta + squared)
        gates = torch.sigmoid(block.gating(value[:, 0])).unflatten(1, (degrees, -1))[:, product.of_degree]
        x = x + block.mixings[2](value * (gates.detach() if rule == "conserving" else gates))
        x = torch.cat([alone(x[:, :1], walk[-2 - k]), x[:, 1:].detach()], dim=1)
    return _of_readout(network, x[:, 0], gammas[-1], start)


TWINS = {"schnet": schnet_walk, "painn": painn_walk, "so3net": so3net_walk}


def _geometry(t: Trace):
    """Both ends of the half pairs, their distances and unit vectors."""
    vectors = torch.tensor(t.vectors)
    distance = vectors.norm(dim=1)
    return (torch.tensor(t.first), torch.tensor(t.second)), distance, vectors / distance[:, None]


def _of_readout(network, features, gamma, start) -> float:
    """Gradient times input of the energy of features (N, F), at the embedding."""
    one, two = network.readout
    atomic = two(activated(one, network.readout_activation, features, gamma)).squeeze(-1) * network.energy_scale
    (gradient,) = torch.autograd.grad(atomic.sum(), start)
    return float((gradient * start.detach()).sum())


def check_walks_and_sets(model, atoms, gamma, rule) -> None:
    """All walks of four atoms through two blocks, and the sums over walks that visit the same atoms."""
    t = trace(model, atoms)
    rules, network = Rules(t, gamma, rule), network_of(model, torch.float64)
    all_walks, gammas = list(product(range(len(atoms)), repeat=3)), gamma if isinstance(gamma, list) else [gamma] * 3
    expected = [TWINS[t.architecture](network, t, gammas, rule, walk) for walk in all_walks]
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
