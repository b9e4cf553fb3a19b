"""Relevances of the atoms of a SMILES string for a predicted solubility, by four methods.

In shapes, n is the number of atoms, L that of tokens.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from analysis.molecules.language.question import Question
from mlcalc.common.errors import InputError
from mlcalc.molecules.language.network import Trace

_PERMUTATIONS = 10


class Relevance(NamedTuple):
    """Relevances of atoms (n,), log10(mol/L) but for the roll-out, by the index of the atom in the molecule.

    ``others``: of the tokens that are no atoms, solvent and <REG> included; ``rest``: what the method gives to no token, see
    METHODS. NaN where the method does not divide the prediction.
    """

    atoms: np.ndarray
    others: float
    rest: float

    def total(self) -> float:
        """The sum of all parts; of a method that conserves, it is the prediction."""
        return float(self.atoms.sum() + self.others + self.rest)


def rollout(question: Question, seed: int = 0) -> Relevance:
    """Attention × gradient, rolled out over the layers: without sign, of what <REG> has attended to.

    R = 1; in each layer R ← R + mean over heads[max(A ∘ ∂y/∂A, 0)] R; the row of <REG> without its diagonal.
    Chefer, Gur, Wolf, ICCV 2021, doi:10.1109/ICCV48922.2021.00045.
    """
    batch, trace = question.batch(), Trace()
    y = question.network.read(question.network.encoder.embed(batch), batch.real, trace)
    gradients = torch.autograd.grad(y[0], trace.attention)
    found = torch.eye(batch.tokens.shape[1], dtype=y.dtype)
    for attention, gradient in zip(trace.attention, gradients, strict=True):
        found = found + (attention[0] * gradient[0]).clamp(min=0).mean(0).detach() @ found
    row = found[0].double().numpy()
    return Relevance(row[question.places], float("nan"), float("nan"))


def lrp(question: Question, seed: int = 0) -> Relevance:
    """LRP for Transformers: gradient × input of the network whose attention and normalisation count as constants.

    Ali et al., ICML 2022, arXiv:2202.07304; the gate Φ(x) of the activation x Φ(x) counts as a constant too. The network is then
    linear in embeddings and biases together: relevances of all tokens and the share of the biases and of the mean of the training,
    ``rest``, b · ∂y/∂b, add up to the prediction exactly.
    """
    return _gradient_times_input(question, linear=True)


def gradient_times_input(question: Question, seed: int = 0) -> Relevance:
    """Gradient × embedding of each token: first order, so the sum is not the prediction."""
    return _gradient_times_input(question, linear=False)


def _gradient_times_input(question: Question, linear: bool) -> Relevance:
    batch, network = question.batch(), question.network
    embedded = network.encoder.embed(batch).detach().requires_grad_()
    biases = [parameter for name, parameter in network.named_parameters() if name.endswith("bias")] if linear else []
    y = network.read(embedded, batch.real, Trace(linear))
    gradient, *of_biases = torch.autograd.grad(y[0], [embedded, *biases])
    of_tokens = (gradient * embedded)[0].sum(-1).detach().double().numpy()
    atoms = of_tokens[question.places]
    rest = float(network.mean) + sum(float((g * b.detach()).sum()) for g, b in zip(of_biases, biases, strict=True))
    return Relevance(atoms, float(of_tokens.sum() - atoms.sum()), rest if linear else float("nan"))


def shapley(question: Question, seed: int = 0) -> Relevance:
    """Shapley values of the atoms, present or hidden behind <MASK>, from permutations (shap's PermutationExplainer).

    The other tokens are always there; ``rest`` is the prediction with all atoms hidden. Lundberg, Lee, NeurIPS 2017.
    """
    try:
        import shap
    except ImportError as error:
        raise InputError("method shapley: shap is not installed: pip install 'mlcalc[molecules]'") from error
    n = len(question.places)
    if n == 1:
        both = question.masked(np.array([[False], [True]]))
        return Relevance(both[1:] - both[:1], 0.0, float(both[0]))
    explainer = shap.PermutationExplainer(question.masked, np.zeros((1, n)), seed=seed)
    found = explainer(np.ones((1, n)), max_evals=_PERMUTATIONS * (2 * n + 1), silent=True)
    return Relevance(np.asarray(found.values[0], dtype=float), 0.0, float(np.ravel(found.base_values)[0]))


class Method(NamedTuple):
    """How to explain, whether its relevances have a sign, its name in tables, and what ``rest`` is if it divides the prediction."""

    explain: Callable[..., Relevance]
    signed: bool
    title: str
    rest: str = ""


METHODS = {
    "rollout": Method(rollout, False, "attention × gradient"),
    "lrp": Method(lrp, True, "LRP", "biases and mean"),
    "gradient": Method(gradient_times_input, True, "gradient × input"),
    "shapley": Method(shapley, True, "Shapley", "all atoms hidden"),
}
