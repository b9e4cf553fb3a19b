"""Relevance of types of features in weave networks: rules by hand, conservation, exchange."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.molecules.feature_relevance import (
    RULES,
    TYPES,
    alpha_beta_rule,
    epsilon_rule,
    feature_relevance,
    permuted_errors,
)
from mlcalc.molecules.graphs.dataset import Batches
from mlcalc.molecules.graphs.weave import Weave, WeaveConfig
from tests.mlcalc.test_graphs import random_graphs


def propagated(rule, weight: np.ndarray, bias: np.ndarray, x: np.ndarray, rectified: bool = True) -> tuple:
    """Value of a layer, and relevances of its inputs and of its bias where that of each output is its value."""
    layer = nn.Linear(*weight.T.shape).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    given = torch.from_numpy(x).requires_grad_()
    y = rule(layer, given[None], rectified)[0]
    gradients = torch.autograd.grad(y.sum(), [given, layer.bias])
    return y.detach().numpy(), (given * gradients[0]).detach().numpy(), (layer.bias * gradients[1]).detach().numpy()


@pytest.mark.parametrize("rectified", [True, False])
def test_the_rules_are_those_of_their_formulas(rectified):
    """Against loops over neurons, for inputs and biases of both signs."""
    rng = np.random.default_rng(4)
    weight, bias, x = rng.standard_normal((5, 4)), rng.standard_normal(5), rng.standard_normal(4)
    z = weight @ x + bias
    y = np.maximum(z, 0.0) if rectified else z
    epsilon, alpha = 0.1, 2.0
    wanted = {"epsilon": np.zeros(5), "alpha-beta": np.zeros(5)}  # inputs, then the sum over biases
    width = epsilon * np.sqrt((z**2).mean())
    for j in range(5):
        parts = np.append(weight[j] * x, bias[j])
        wanted["epsilon"] += parts * y[j] / (z[j] + width * np.sign(z[j]))
        plus, minus = np.maximum(parts, 0.0), np.minimum(parts, 0.0)
        assert plus.sum() > 0 and minus.sum() < 0
        wanted["alpha-beta"] += (alpha * plus / plus.sum() - (alpha - 1.0) * minus / minus.sum()) * y[j]
    for rule, name in ((epsilon_rule(epsilon), "epsilon"), (alpha_beta_rule(alpha), "alpha-beta")):
        value, of_inputs, of_biases = propagated(rule, weight, bias, x, rectified)
        np.testing.assert_allclose(value, y, atol=1e-12)
        np.testing.assert_allclose([*of_inputs, of_biases.sum()], wanted[name], atol=1e-9)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_neuron_of_one_sign_gives_all_it_has(sign):
    """Where nothing has the other sign, α = 2 would give twice what there is."""
    weight, bias = sign * np.array([[1.0, 2.0]]), sign * np.array([0.5])
    value, of_inputs, of_biases = propagated(alpha_beta_rule(2.0), weight, bias, np.array([1.0, 1.0]), False)
    np.testing.assert_allclose(value, [sign * 3.5])
    np.testing.assert_allclose([*of_inputs, *of_biases], sign * np.array([1.0, 2.0, 0.5]), atol=1e-9)


@pytest.mark.parametrize("code", [0, 6])
def test_relevances_add_up_to_the_prediction(code):
    torch.manual_seed(1)
    graphs = random_graphs(8)
    network, batches = Weave(WeaveConfig(16, 2, code), 0.4, 1.5), Batches(graphs)
    with torch.no_grad():
        for parameter in network.parameters():  # biases that are felt
            parameter += 0.05 * torch.randn(parameter.shape)
    molecules = np.arange(8)
    with torch.no_grad():
        plain = network(batches.make(molecules)).numpy()
    for name, rule in RULES.items():
        found = feature_relevance(network, batches, molecules, rule())
        assert found.types.shape == (8, len(TYPES)) and found.code.shape == (8, 2 * code)
        np.testing.assert_allclose(found.predictions, plain, rtol=1e-5)
        share = np.abs(found.leak).max() / np.abs(found.predictions).max()
        assert share < (1e-12 if name == "alpha-beta" else 0.05)
    tight = feature_relevance(network, batches, molecules, epsilon_rule(1e-9))
    assert np.abs(tight.leak).max() < 1e-6 * np.abs(tight.predictions).max()
    assert np.abs(feature_relevance(network, batches, molecules, epsilon_rule(0.1)).leak).max() > 1e-3


def test_only_what_a_network_reads_is_relevant_and_missed():
    """A network that reads nothing but distances and the element."""
    torch.manual_seed(2)
    graphs = random_graphs(30)
    network, batches = Weave(WeaveConfig(16, 1)), Batches(graphs)
    module = network.modules_[0]
    with torch.no_grad():
        module.atom_atom.weight[:, 5:] = 0.0
        of_pairs = module.pair_atom.weight.view(16, 5, -1)
        of_pairs[:, :, :-1] = 0.0
    molecules = np.arange(30)
    with torch.no_grad():
        values = network(batches.make(molecules)).double().numpy()
    read = np.isin(TYPES, ["element", "distance"])
    found = feature_relevance(network, batches, molecules, alpha_beta_rule())
    assert (np.abs(found.types[:, read]).max(axis=0) > 0).all() and np.abs(found.types[:, ~read]).max() == 0.0
    errors = permuted_errors(network, batches, molecules, values, np.random.default_rng(0))
    assert errors.shape == (len(TYPES), 30)
    assert errors[read].mean(axis=1).min() > 1e-4 and errors[~read].max() < 1e-6
