"""Layer-wise relevance propagation through a SchNet: what every further step of an explanation is built from.

Relevance is carried by atom features alone; filters are constants of the geometry. All rules are written for m = R/x, the relevance
of a feature divided by the feature ("effective gradient"), which never divides by a feature that happens to be zero:

=====================================  ==========================================================================
piece                                  rule
=====================================  ==========================================================================
linear layer, residual sum, pooling    gradient × input: m passes through as a gradient would
activated dense layer y = f(z)         generalised γ rule: c_k = a_k w_k, share_k = c̃_k / (Σ c̃ + b̃) of R(y), where
z = Σ_k a_k w_k + b                    c̃ = c + γ max(c, 0) for y > 0 and c + γ min(c, 0) for y < 0, b̃ likewise
=====================================  ==========================================================================

The forward values are exact. Biases take their share, so that the sum of all relevances is not the energy: both are always told.

A step of a walk from atom i in layer t to atom j in layer t − 1 is then m_j = m_i for j = i (SchNet does not convolve an atom with
itself) and m_j = W_in (W(r_ij) ∘ q_i) for a neighbour, where q_i = effective_gradient(t, i, m_i) belongs to the update network.

Source: Schnake et al., IEEE TPAMI 44, 7581 (2022), doi:10.1109/TPAMI.2021.3115452; γ for signed inputs: Bonneau et al.,
Nat. Commun. 16, 9898 (2025).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from mlcalc.common.errors import InputError
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.domain import check_elements
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.priors.angular import AngularPrior
from mlcalc.priors.torch_twins import angular_energies, pair_repulsion
from mlcalc.structures.electronic_state import check_state, electronic_state
from mlcalc.torch_potential import network_of


class Dense(NamedTuple):
    """An activated dense layer at work: weights (in, out), bias (out,), inputs (N, in), z before and f(z) after it (N, out)."""

    weights: np.ndarray
    bias: np.ndarray
    inputs: np.ndarray
    before: np.ndarray
    after: np.ndarray


class Block(NamedTuple):
    """One interaction block at work, float64.

    Attributes:
        filters: (n_pairs, F) W(r) of the half pairs.
        messages: (N, F) y = x·W_in.
        in2f: (F, F) W_in, in × out.
        dense: The activated layer of the update network; output: (F, F) W₂ behind it.
    """

    filters: np.ndarray
    messages: np.ndarray
    in2f: np.ndarray
    dense: Dense
    output: np.ndarray


class Trace(NamedTuple):
    """A forward pass, with all that relevance needs.

    Attributes:
        first, second: (n_pairs,) atoms of the half pairs; vectors: (n_pairs, 3) Å from one to the other.
        images: (n_pairs, 3) whole numbers S: the second atom lies S cells away.
        embedding: (N, F) features that a walk ends in.
        blocks: Interaction blocks in the order of the forward pass.
        readout: The activated readout layer; weights: (H,) of the energy behind it, eV.
        repulsion: (n_pairs,) eV of the nuclear repulsion, a 2-body energy by itself.
        prior: The angular prior, a 3-body energy by itself, or None; angular: its sum, eV.
        energy: eV, without the constants of the elements.
    """

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    images: np.ndarray
    embedding: np.ndarray
    blocks: tuple[Block, ...]
    readout: Dense
    weights: np.ndarray
    repulsion: np.ndarray
    prior: AngularPrior | None
    angular: float
    energy: float

    @property
    def distances(self) -> np.ndarray:
        """(n_pairs,) Å."""
        return np.linalg.norm(self.vectors, axis=1)


def trace(model: Model, atoms) -> Trace:
    """Run a model on ase.Atoms in float64; raises InputError for elements that it does not know, or a cell it cannot serve."""
    order = {z: row for row, z in enumerate(model.config.elements)}
    check_elements(atoms.numbers, model.config.elements, model.domain)
    check_state(atoms.numbers, electronic_state(atoms), model.domain)
    periodic = bool(atoms.pbc.any())
    check_cell(atoms.cell.array, atoms.pbc, model.config.cutoff)
    cell, pbc = (atoms.cell.array, atoms.pbc) if periodic else (None, None)
    pairs = half_pairs(atoms.positions, model.config.cutoff, cell, pbc)
    vectors = atoms.positions[pairs.second] - atoms.positions[pairs.first] + pairs.shift
    near = np.linalg.norm(vectors, axis=1) < (model.config.cutoff or np.inf)
    first, second, vectors = pairs.first[near], pairs.second[near], vectors[near]
    # The pseudo-inverse serves a slab without a third vector too.
    images = np.rint(pairs.shift[near] @ np.linalg.pinv(cell)) if periodic else np.zeros((len(first), 3))
    network: Any = network_of(model, torch.float64).requires_grad_(False)
    species = torch.tensor([order[z] for z in atoms.numbers.tolist()])
    r = torch.from_numpy(np.linalg.norm(vectors, axis=1))
    basis, cut = network.radial_basis(r), network.cutoff_value(r)
    embedding = x = network.embedding(species).numpy()
    blocks = []
    for interaction in network.interactions:
        filters = interaction.filters(basis, cut).numpy()
        in2f = interaction.in2f.weight.numpy().T
        messages = x @ in2f
        convolved = np.zeros_like(messages)
        np.add.at(convolved, first, messages[second] * filters)
        np.add.at(convolved, second, messages[first] * filters)
        dense = _dense(interaction.f2out[0], convolved, "ssp")
        output = interaction.f2out[1].weight.numpy().T
        blocks.append(Block(filters, messages, in2f, dense, output))
        x = x + dense.after @ output + interaction.f2out[1].bias.numpy()
    readout = _dense(network.readout[0], x, model.config.readout_activation)
    scale = float(network.energy_scale)
    weights = network.readout[1].weight.numpy()[0] * scale
    repulsion, numbers = np.zeros(len(first)), torch.from_numpy(atoms.numbers)
    if "repulsion" in model.priors:
        repulsion = pair_repulsion(
            model.priors["repulsion"], numbers[first].double(), numbers[second].double(), r
        ).numpy()
    angular, prior = 0.0, model.priors.get("angular")
    if prior is not None:
        ends = torch.from_numpy(first), torch.from_numpy(second)
        angular = float(angular_energies(prior, numbers, *ends, torch.from_numpy(vectors)).sum())
    of_network = float((readout.after @ weights + scale * float(network.readout[1].bias)).sum())
    return Trace(
        first, second, vectors, images.astype(np.int64), embedding, tuple(blocks), readout, weights, repulsion, prior, angular,
        of_network + float(repulsion.sum()) + angular,
    )  # fmt: skip


def _dense(layer: torch.nn.Linear, inputs: np.ndarray, activation: str) -> Dense:
    weights, bias = layer.weight.numpy().T, layer.bias.numpy()
    before = inputs @ weights + bias
    after = np.logaddexp(before, 0.0) - np.log(2.0) if activation == "ssp" else before / (1.0 + np.exp(-before))
    return Dense(weights, bias, inputs, before, after)


class Rules:
    """The propagation rules of a Trace for given γ.

    Args:
        trace: The forward pass.
        gamma: γ of all activated layers, or one for each interaction block and one for the readout.

    Raises:
        InputError: γ negative or not finite, or not as many as there are layers.
    """

    def __init__(self, trace: Trace, gamma: float | Sequence[float]):
        n_layers = len(trace.blocks) + 1
        gammas = list(gamma) if isinstance(gamma, Sequence) else [gamma] * n_layers
        if len(gammas) != n_layers or not all(np.isfinite(g) and g >= 0 for g in gammas):
            raise InputError(
                f"gamma = {gamma}: expected a number of at least 0, or {n_layers} of them (interaction blocks, then the readout)"
            )
        self.trace = trace
        self._updates = [_Rule(block.dense, g) for block, g in zip(trace.blocks, gammas, strict=False)]
        everybody = np.arange(len(trace.embedding))
        whole = np.broadcast_to(trace.weights, (len(everybody), len(trace.weights)))
        self.readout = _Rule(trace.readout, gammas[-1])(everybody, whole)

    def effective_gradient(self, layer: int, atoms: np.ndarray, m: np.ndarray) -> np.ndarray:
        """q (n, F), of the convolved features of ``atoms`` (n,) in a block, from m (n, F) of the features behind the block."""
        return self._updates[layer](atoms, m @ self.trace.blocks[layer].output.T)


class _Rule:
    """The γ rule of one activated layer: m of its outputs (n, out) → m of its inputs (n, in), for atoms (n,).

    For an input a_k > 0 and an output z_j > 0 a term a_k w_kj is strengthened by γ where w_kj > 0, for z_j < 0 where w_kj < 0; for
    a_k < 0 it is the other way round. With u± the outputs of either sign and W± the weights of either sign, all four cases are
    matrix products that the atoms share.
    """

    def __init__(self, dense: Dense, gamma: float):
        self._gamma, self._dense = gamma, dense
        self._up, self._down = np.maximum(dense.weights, 0.0), np.minimum(dense.weights, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = dense.after / self._strengthened()
        self._slope = np.where(dense.before == 0.0, 0.5, slope)  # ssp′(0) = silu′(0) = ½

    def _strengthened(self) -> np.ndarray:
        """Σ c̃ + b̃, (N, out): of the sign of z, and never nearer to zero."""
        d, positive, negative = self._dense, np.maximum(self._dense.inputs, 0.0), np.minimum(self._dense.inputs, 0.0)
        more = positive @ self._up + negative @ self._down + np.maximum(d.bias, 0.0)
        less = positive @ self._down + negative @ self._up + np.minimum(d.bias, 0.0)
        return d.before + self._gamma * np.where(d.before > 0.0, more, less)

    def __call__(self, atoms: np.ndarray, m: np.ndarray) -> np.ndarray:
        u = m * self._slope[atoms]
        if self._gamma == 0.0:
            return u @ self._dense.weights.T
        outputs_positive = self._dense.before[atoms] > 0.0
        positive, negative = np.where(outputs_positive, u, 0.0), np.where(outputs_positive, 0.0, u)
        same = positive @ self._up.T + negative @ self._down.T
        other = positive @ self._down.T + negative @ self._up.T
        return same + other + self._gamma * np.where(self._dense.inputs[atoms] > 0.0, same, other)
