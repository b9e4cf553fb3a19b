"""Layer-wise relevance propagation through a weave network: how much each type of feature contributes to a prediction.

Each layer z = W x + b, y = ReLU(z) is replaced by one of the same value whose gradient is a relevance rule, so that feature times
gradient is the relevance of the feature, and bias times gradient that of the bias:

    ε:   R_i = Σ_j x_i W_ji / (z_j + ε s sign z_j) R_j              s = root mean square of z
    αβ:  R_i = Σ_j [α (x_i W_ji)⁺ / z_j⁺ − β (x_i W_ji)⁻ / z_j⁻] R_j      α − β = 1, z_j± the sums of these parts and of b_j±

A sum passes relevance on in proportion. All relevances add up to the prediction, of which the mean of the target per atom has its
share, that of no feature; ε takes the share ε s / (|z| + ε s) of a neuron, where z is small.

Sources: Bach et al., PLoS ONE 10, e0130140 (2015), doi:10.1371/journal.pone.0130140; Montavon et al., Digit. Signal Process. 73, 1
(2018), doi:10.1016/j.dsp.2017.10.011.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mlcalc.molecules.graphs.dataset import Batches, GraphBatch
from mlcalc.molecules.graphs.features import ATOM_TYPES, PAIR_TYPES
from mlcalc.molecules.graphs.weave import Weave

TYPES = (*ATOM_TYPES, *PAIR_TYPES)
Rule = Callable[..., Tensor]
_TINY = 1e-12


def epsilon_rule(epsilon: float = 1e-3) -> Rule:
    """The ε rule as a layer."""

    def apply(layer: nn.Linear, x: Tensor, rectified: bool = True) -> Tensor:
        z = layer(x)
        y = torch.relu(z) if rectified else z
        widened = z + epsilon * z.detach().square().mean().sqrt() * torch.where(z >= 0, 1.0, -1.0) + _TINY
        return z * (y / widened).detach() + (y - z * y / widened).detach()

    return apply


def alpha_beta_rule(alpha: float = 2.0) -> Rule:
    """The αβ rule as a layer, β = α − 1."""

    def apply(layer: nn.Linear, x: Tensor, rectified: bool = True) -> Tensor:
        plus, minus = layer.weight.clamp(min=0.0), layer.weight.clamp(max=0.0)
        high, low = x.clamp(min=0.0), x.clamp(max=0.0)
        positive = high @ plus.T + low @ minus.T + layer.bias.clamp(min=0.0)
        negative = high @ minus.T + low @ plus.T + layer.bias.clamp(max=0.0)
        z = positive + negative
        y = (torch.relu(z) if rectified else z).detach()
        # A neuron without parts of one sign gives all to the other.
        one_sided = ((positive <= _TINY) | (negative >= -_TINY)).detach()
        share = torch.where(one_sided, 1.0, alpha)
        other = torch.where(one_sided & (negative < -_TINY), -1.0, share - 1.0)
        share = torch.where(one_sided & (positive <= _TINY), 0.0, share)
        up = positive * (share * y / positive.clamp(min=_TINY)).detach()
        down = negative * (-other * y / negative.clamp(max=-_TINY)).detach()
        return up + down

    return apply


RULES = {"epsilon": epsilon_rule, "alpha-beta": alpha_beta_rule}


class FeatureRelevance(NamedTuple):
    """Relevances of n molecules, in the unit of the target.

    Attributes:
        types: (n, T) of each type of TYPES.
        biases: (n,) of all biases, and the mean per atom.
        code: (n, 2 k) of the units of the code, atoms first; (n, 0) without one.
        predictions: (n,)
    """

    types: np.ndarray
    biases: np.ndarray
    code: np.ndarray
    predictions: np.ndarray

    @property
    def leak(self) -> np.ndarray:
        """(n,) what of the predictions no relevance accounts for."""
        return self.predictions - self.types.sum(axis=1) - self.biases


def feature_relevance(network: Weave, batches: Batches, molecules: np.ndarray, rule: Rule) -> FeatureRelevance:
    """Relevances of the features of molecules, by index of the data set; one molecule at a time, since biases are shared."""
    exact = Weave(network.config).double()
    exact.load_state_dict(network.state_dict())
    rows = [_of_molecule(exact, batches.make(np.array([k])), rule) for k in molecules]
    return FeatureRelevance(*(np.array(column) for column in zip(*rows, strict=True)))


def _of_molecule(network: Weave, batch: GraphBatch, rule: Rule) -> tuple:
    given = [x.double().requires_grad_() for x in (batch.atoms, batch.pairs)]
    batch = batch._replace(atoms=given[0], pairs=given[1])
    codes: list[Tensor] = []

    def recorded(layer: nn.Linear, x: Tensor, rectified: bool = True) -> Tensor:
        y = rule(layer, x, rectified)
        if any(layer is encoder for encoder in network.encoders.values()):
            codes.append(y)
        return y

    biases = [layer.bias for layer in network.modules() if isinstance(layer, nn.Linear)]
    predicted = network(batch, recorded).sum()
    wanted = [*given, *codes, *biases]
    gradients = torch.autograd.grad(predicted, wanted, allow_unused=True)
    parts = [
        (value.detach() * gradient.detach()).numpy() if gradient is not None else np.zeros(tuple(value.shape))
        for value, gradient in zip(wanted, gradients, strict=True)
    ]
    atoms, pairs = (part.sum(axis=0) for part in parts[:2])
    types = [*_by_type(atoms, ATOM_TYPES), *_by_type(pairs, PAIR_TYPES)]
    of_code = parts[2 : 2 + len(codes)]
    constant = float(network.mean) * len(batch.atoms)
    of_biases = sum(float(part.sum()) for part in parts[2 + len(codes) :]) + constant
    code = np.concatenate([part.sum(axis=0) for part in of_code]) if of_code else np.zeros(0)
    return np.array(types), of_biases, code, predicted.item()


def _by_type(relevances: np.ndarray, types: dict[str, int]) -> list[float]:
    """Sums of the columns of each type."""
    ends = np.cumsum([0, *types.values()])
    return [float(relevances[start:end].sum()) for start, end in zip(ends[:-1], ends[1:], strict=True)]


def permuted_errors(
    network: Weave, batches: Batches, molecules: np.ndarray, values: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(T, n) |prediction − value| with the features of one type exchanged among all atoms, or pairs, of these molecules.

    What a prediction loses without a type of feature: a measure of its importance that takes no rule.

    Args:
        values: (n,) targets of the molecules.
    """
    batch = batches.make(molecules)
    found = []
    for part, types in (("atoms", ATOM_TYPES), ("pairs", PAIR_TYPES)):
        start = 0
        for size in types.values():
            features = getattr(batch, part).clone()
            order = torch.from_numpy(rng.permutation(len(features)))
            features[:, start : start + size] = features[order, start : start + size]
            start += size
            with torch.no_grad():
                predicted = network(batch._replace(**{part: features})).double().numpy()
            found.append(np.abs(predicted - values))
    return np.array(found)
