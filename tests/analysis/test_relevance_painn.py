"""Relevances of a PaiNN against autograd through a modified network (relevance_twins.py): vectors and norms are constants."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from mlcalc.architectures.painn.config import EPSILON, PaiNNConfig
from mlcalc.architectures.torch_blocks import cosine_cutoff
from mlcalc.torch_potential import network_of
from tests.analysis.relevance_twins import activated, alone, check_walks_and_sets
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


@pytest.mark.parametrize("gamma", GAMMAS, ids=str)
def test_walks_and_sets_are_those_of_autograd(atoms, gamma):
    check_walks_and_sets(
        MODEL, atoms, gamma, None, lambda gammas, walks: relevance_of_walks(MODEL, atoms, gammas, walks)
    )
