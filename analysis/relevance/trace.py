"""The forward pass of a network on a structure, and the rules that propagate relevance back through it.

Architectures with rules: analysis/relevance/rules.py. The γ rule and its sources: analysis/relevance/gamma_rule.py.

Relevance explains a network. Priors are sums over known pairs and triples and need no explanation: the nuclear repulsion counts
with its pairs, the angular prior with its triples. Priors of a chain hold bonds that are the same in every structure; of a model
that has some, the network is explained alone, and the energies of all its priors are reported beside it (Trace.apart).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms

from analysis.relevance.gamma_rule import Dense, GammaRule
from analysis.relevance.layer_rules import Steps
from analysis.relevance.record import Record
from analysis.relevance.rules import RULES, check_rules
from mlcalc.architectures import name_of
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.domain import check_elements
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.priors import PRIORS, check_atoms
from mlcalc.priors.angular import AngularPrior
from mlcalc.priors.torch_twins import angular_energies, pair_repulsion
from mlcalc.structures.electronic_state import check_state, electronic_state

_EXPLAINED = ("repulsion", "angular")


class Trace(NamedTuple):
    """A forward pass, with everything that relevance needs.

    Attributes:
        architecture: Its name in RULES.
        first, second: (n_pairs,) atoms of the half pairs; vectors: (n_pairs, 3) Å from one to the other.
        images: (n_pairs, 3) whole numbers S: the second atom lies S cells away.
        embedding: (N, F) features at which walks end.
        blocks: Records of the layers, in the order of the forward pass; their type belongs to the architecture.
        readout: The activated readout layer; weights: (H,) from it to the energy, eV.
        repulsion: (n_pairs,) eV of the nuclear repulsion, already a 2-body energy.
        prior: The angular prior, already a 3-body energy, or None; angular: its sum, eV.
        apart: Energies of the priors that are not explained, eV, by name: of none, or of all that the model has.
        energy: eV, without the constants of the elements and without the priors apart.
    """

    architecture: str
    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    images: np.ndarray
    embedding: np.ndarray
    blocks: tuple[Any, ...]
    readout: Dense
    weights: np.ndarray
    repulsion: np.ndarray
    prior: AngularPrior | None
    angular: float
    apart: dict[str, float]
    energy: float

    @property
    def distances(self) -> np.ndarray:
        """(n_pairs,) Å."""
        return np.linalg.norm(self.vectors, axis=1)


class _Pairs(NamedTuple):
    """As in Trace."""

    first: np.ndarray
    second: np.ndarray
    vectors: np.ndarray
    images: np.ndarray


def trace(model: Model, atoms: Atoms) -> Trace:
    """Run a model on a structure in float64.

    All distances are allowed, including those outside the training data.

    Raises:
        InputError: An architecture without rules; elements, a charge, a multiplicity, a cell or a number of beads that the model
            does not support; a chain that is torn.
    """
    _check(model, atoms)
    pairs = _pairs(atoms, model.config.cutoff)
    order = {z: row for row, z in enumerate(model.config.elements)}
    species = np.array([order[z] for z in atoms.numbers.tolist()])
    record = Record(model, species, pairs.first, pairs.second, pairs.vectors)
    explained = explained_priors(model)
    repulsion, angular = _repulsion(explained, atoms.numbers, pairs), _angular(explained, atoms.numbers, pairs)
    name, energy = name_of(model.config), record.energy + float(repulsion.sum()) + angular
    return Trace(
        name, *pairs, record.embedding, RULES[name].blocks(record), *record.readout(), repulsion, explained.get("angular"), angular,
        _apart(model, atoms.numbers, pairs), energy,
    )  # fmt: skip


def explained_priors(model: Model) -> dict[str, Any]:
    """The priors that count with pairs and triples: all of a model that has no others, or none."""
    return model.priors if set(model.priors) <= set(_EXPLAINED) else {}


def _check(model: Model, atoms: Atoms) -> None:
    check_rules(model.config)
    check_elements(atoms.numbers, model.config.elements, model.domain)
    check_state(atoms.numbers, electronic_state(atoms), model.domain)
    check_cell(atoms.cell.array, atoms.pbc, model.config.cutoff)
    check_atoms(model.priors, atoms.numbers)


def _pairs(atoms: Atoms, cutoff: float | None) -> _Pairs:
    """Half pairs within the cutoff."""
    cell, pbc = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)
    pairs = half_pairs(atoms.positions, cutoff, cell, pbc)
    vectors = atoms.positions[pairs.second] - atoms.positions[pairs.first] + pairs.shift
    near = np.linalg.norm(vectors, axis=1) < (cutoff or np.inf)
    shift = pairs.shift[near]
    # The pseudo-inverse also handles a slab without a third vector.
    images = np.zeros(shift.shape) if cell is None else np.rint(shift @ np.linalg.pinv(cell))
    return _Pairs(pairs.first[near], pairs.second[near], vectors[near], images.astype(np.int64))


def _repulsion(priors: dict[str, Any], numbers: np.ndarray, pairs: _Pairs) -> np.ndarray:
    if "repulsion" not in priors:
        return np.zeros(len(pairs.first))
    one, two = (torch.from_numpy(numbers[ends]).double() for ends in (pairs.first, pairs.second))
    distance = torch.from_numpy(np.linalg.norm(pairs.vectors, axis=1))
    return pair_repulsion(priors["repulsion"], one, two, distance).numpy()


def _angular(priors: dict[str, Any], numbers: np.ndarray, pairs: _Pairs) -> float:
    if "angular" not in priors:
        return 0.0
    return float(angular_energies(priors["angular"], *_tensors(numbers, pairs)).sum())


def _apart(model: Model, numbers: np.ndarray, pairs: _Pairs) -> dict[str, float]:
    if explained_priors(model):
        return {}
    found = {}
    for name, prior in model.priors.items():
        found[name] = float(PRIORS[name].energies(prior, *_tensors(numbers, pairs)).sum())
        if not np.isfinite(found[name]):
            raise InputError(
                f"the energy of the prior {name} is no number: expected a chain that is not torn, of known beads"
            )
    return found


def _tensors(numbers: np.ndarray, pairs: _Pairs) -> tuple[torch.Tensor, ...]:
    """Arguments of Prior.energies."""
    return tuple(map(torch.from_numpy, (numbers, pairs.first, pairs.second, pairs.vectors)))


class Rules:
    """The propagation rules of a Trace for given γ.

    Args:
        trace: The forward pass.
        gamma: γ of all activated layers, or one for each interaction block and one for the readout.
        rule: A name of LayerRules.names; None for the architecture's default.

    Attributes:
        rule: The name of the rule; None for an architecture that has only one.
        steps: Propagation through a layer.
        readout: (N, F) m of the features behind the last layer: where walks begin.

    Raises:
        InputError: γ negative or not finite, a number of γ other than that of the layers, or a rule that the architecture lacks.
    """

    trace: Trace
    rule: str | None
    steps: Steps
    readout: np.ndarray

    def __init__(self, trace: Trace, gamma: float | Sequence[float], rule: str | None = None):
        n_layers = len(trace.blocks) + 1
        gammas = list(gamma) if isinstance(gamma, Sequence) else [gamma] * n_layers
        if len(gammas) != n_layers or not all(np.isfinite(g) and g >= 0 for g in gammas):
            raise InputError(
                f"gamma = {gamma}: expected a number of at least 0, or {n_layers} of them (interaction blocks, then the readout)"
            )
        row = RULES[trace.architecture]
        rule = row.names[0] if rule is None else rule
        check_choice("rule", rule, row.names)
        self.trace, self.rule = trace, rule if len(row.names) > 1 else None
        self.steps = row.steps(trace.blocks, gammas[:-1], rule)
        of_outputs = np.broadcast_to(trace.weights, (len(self.atoms), len(trace.weights)))
        self.readout = GammaRule(trace.readout, gammas[-1], rule == "published")(self.atoms, of_outputs)

    @property
    def atoms(self) -> np.ndarray:
        """(N,) indices of all atoms."""
        return np.arange(len(self.trace.embedding))

    @cached_property
    def at_single_atoms(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """For walks that have not left their atom: m (N, F) of the embedding, and by layer q (N, W) of walks that leave there."""
        m, leaving = self.readout, [np.zeros(0)] * len(self.trace.blocks)
        for layer in reversed(range(len(self.trace.blocks))):
            m, leaving[layer] = self.steps.leave(layer, self.atoms, m)
        return m, leaving
