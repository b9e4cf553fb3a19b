"""n-body relevances against walks one by one, against rules written out term by term, and against published numbers."""

from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io import read
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from analysis.relevance.nbody import (
    pair_relevances,
    single_relevances,
    total_relevance,
    triple_relevances,
    triple_sets,
)  # fmt: skip
from analysis.relevance.rules import RULES
from analysis.relevance.trace import Rules, trace
from analysis.relevance.walks import count_walks, walk_relevances
from mlcalc import InputError, SchNetCalculator, load_model
from mlcalc.architectures import architecture_of
from mlcalc.architectures.dtnn.config import DTNNConfig
from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.architectures.wacsf.config import WACSFConfig
from mlcalc.importers.schnet_tf import import_schnet_tf
from mlcalc.model_file import save_model
from mlcalc.priors import AngularPrior, Repulsion
from mlcalc.torch_potential import network_of
from tests.analysis.relevance_twins import schnet_walk
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model

SHARED = Path(__file__).parents[3] / "shared" / "data" / "schnet_tf_c20"
ANGLES = {"repulsion": Repulsion(1.2), "angular": AngularPrior(strength=7.0, cosine=-1 / 3, decay=0.5, cutoff=3.0)}
OF_ROWS = {
    "schnet": random_model(SCHNETPACK_DIALECT, seed=3),
    "painn": random_model(PaiNNConfig(elements=(1, 6), n_features=8, n_interactions=2, n_rbf=6, cutoff=4.0), seed=3),
    "so3net": random_model(SO3netConfig(elements=(1, 6), n_features=8, n_interactions=2, n_rbf=6, cutoff=4.0), seed=3),
}
GAMMAS = [0.0, 0.1, [0.3, 0.0, 2.0]]


@pytest.fixture
def shaken():
    """C3H4 with unequal distances, and a network of two blocks for it."""
    atoms = molecule("C3H4_C3v")
    atoms.positions += np.random.default_rng(1).normal(0.0, 0.05, atoms.positions.shape)
    return random_model(SCHNETPACK_DIALECT, seed=3), atoms


def crystal() -> Atoms:
    """A periodic structure so small that walks meet images of their own atom."""
    atoms = bulk("CH", "rocksalt", 3.6)
    atoms.positions += np.random.default_rng(2).normal(0.0, 0.1, atoms.positions.shape)
    return atoms


def gamma_rule(inputs, weights, bias, gamma):
    """Shares (in, out) of each output's relevance, written out as the papers have them."""
    shares = np.empty(weights.shape)
    for j in range(weights.shape[1]):
        terms = inputs * weights[:, j]
        z = terms.sum() + bias[j]
        keep = (lambda c: max(c, 0.0)) if z > 0 else (lambda c: min(c, 0.0))
        strengthened = np.array([c + gamma * keep(c) for c in terms])
        shares[:, j] = strengthened / (strengthened.sum() + bias[j] + gamma * keep(bias[j]))
    return shares


def written_out(t, walk, gammas) -> float:
    """R of one walk of a molecule, by relevances (not effective gradients) that are handed down term by term."""
    pair = {(a, b): k for k, ends in enumerate(zip(t.first, t.second, strict=True)) for a, b in (ends, ends[::-1])}
    # Features before every block, and behind the last: W_in is invertible, so that messages tell them.
    x = [block.messages @ np.linalg.inv(block.in2f) for block in t.blocks] + [t.readout.inputs]
    i = walk[0]
    features = gamma_rule(x[-1][i], t.readout.weights, t.readout.bias, gammas[-1]) @ (t.readout.after[i] * t.weights)
    for layer, step in zip(reversed(range(len(t.blocks))), walk[1:], strict=True):
        block, ratio = t.blocks[layer], features / x[layer + 1][i]
        if step == i:
            features = ratio * x[layer][i]
        elif (i, step) in pair:
            dense = block.dense
            hidden = dense.after[i] * (block.output @ ratio)
            convolved = gamma_rule(dense.inputs[i], dense.weights, dense.bias, gammas[layer]) @ hidden
            messages = convolved * block.messages[step] * block.filters[pair[i, step]] / dense.inputs[i]
            features = x[layer][step] * (block.in2f @ (messages / block.messages[step]))
        else:
            return 0.0
        i = step
    return features.sum()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_walks_by_rules_written_out(shaken, gamma):
    model, atoms = shaken
    t = trace(model, atoms)
    walks = walk_relevances(Rules(t, gamma))
    gammas = [gamma] * 3 if np.isscalar(gamma) else gamma
    found = {tuple(walk): value for walk, value in zip(walks.atoms.tolist(), walks.relevance, strict=True)}
    assert len(found) == count_walks(t) == len(walks.relevance)
    rng = np.random.default_rng(0)
    everything = list(product(range(len(atoms)), repeat=3))
    for walk in [everything[n] for n in rng.choice(len(everything), 60, replace=False)]:
        assert written_out(t, walk, gammas) == pytest.approx(found.get(walk, 0.0), rel=1e-6, abs=1e-12)


def test_walks_by_automatic_differentiation(shaken):
    """One pass through PyTorch for each walk, the rules as factors of 1."""
    t, network = trace(*shaken), network_of(shaken[0], torch.float64)
    walks = walk_relevances(Rules(t, 0.1))
    for k in np.random.default_rng(7).choice(len(walks.relevance), 20, replace=False):
        expected = schnet_walk(network, t, [0.1] * 3, None, walks.atoms[k])
        assert expected == pytest.approx(walks.relevance[k], rel=1e-10)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("case", ["molecule", "crystal"])
def test_sums_over_walks(shaken, gamma, case):
    """All walks together are one pass; walks that visit just a pair or a triple are its relevance; images are other nodes."""
    model, atoms = shaken if case == "molecule" else (random_model(SCHNETPACK_DIALECT, seed=3), crystal())
    t = trace(model, atoms)
    rules = Rules(t, gamma)
    walks = walk_relevances(rules)
    assert walks.relevance.sum() + t.repulsion.sum() == pytest.approx(total_relevance(rules), rel=1e-11)
    sums: dict[tuple, float] = defaultdict(float)
    for nodes, shifts, value in zip(walks.atoms.tolist(), walks.images.tolist(), walks.relevance, strict=True):
        visited = {(atom, tuple(shift)) for atom, shift in zip(nodes, shifts, strict=True)}
        sums[canonical(visited)] += value
    singles = [sums[canonical({(atom, (0, 0, 0))})] for atom in range(len(atoms))]
    np.testing.assert_allclose(single_relevances(rules), singles, rtol=1e-10)
    pairs = np.stack([t.first, t.second], axis=1), np.stack([np.zeros_like(t.images), t.images], axis=1)
    triples = triple_sets(t)
    for (nodes_of_sets, images), values in (
        (pairs, pair_relevances(rules) - t.repulsion),
        ((triples.atoms, triples.images), triple_relevances(rules, triples)),
    ):
        keys = [
            canonical({(atom, tuple(shift)) for atom, shift in zip(nodes, shifts, strict=True)})
            for nodes, shifts in zip(nodes_of_sets.tolist(), images.tolist(), strict=True)
        ]
        assert len(set(keys)) == len(keys)
        expected = [sums[key] for key in keys]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-13 * np.abs(values).max())
        assert set(keys) >= {key for key in sums if len(key) == nodes_of_sets.shape[1]}
    for order in (1, 2, 3):
        by_order = sum(value for key, value in sums.items() if len(key) == order)
        assert walks.relevance[walks.order == order].sum() == pytest.approx(by_order, rel=1e-9)


def canonical(nodes) -> tuple:
    """A set of (atom, image) up to translation by cells."""
    choices = []
    for _, origin in nodes:
        choices.append(
            tuple(sorted((a, tuple(s - o for s, o in zip(shift, origin, strict=True))) for a, shift in nodes))
        )
    return min(choices)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("config", [SCHNETPACK_DIALECT, replace(ORIGINAL_DIALECT, n_interactions=2)])
def test_without_biases_nothing_is_lost(config, gamma):
    model = random_model(config, seed=5)
    weights = {
        name: np.zeros_like(array) if name.endswith("bias") and "filter" not in name else array
        for name, array in model.weights.items()
    }
    t = trace(replace(model, weights=weights), molecule("C2H6"))
    assert total_relevance(Rules(t, gamma)) == pytest.approx(t.energy, rel=1e-12)


def test_rotation_and_permutation(shaken):
    model, atoms = shaken
    turned = atoms.copy()
    turned.positions = atoms.positions @ Rotation.random(random_state=1).as_matrix() + 3.0
    order = np.random.default_rng(4).permutation(len(atoms))
    a, b, c = trace(model, atoms), trace(model, turned), trace(model, atoms[order])
    np.testing.assert_allclose(pair_relevances(Rules(a, 0.1)), pair_relevances(Rules(b, 0.1)), rtol=1e-8)
    table = dict(zip(map(frozenset, zip(a.first, a.second, strict=True)), pair_relevances(Rules(a, 0.1)), strict=True))
    for i, j, value in zip(order[c.first], order[c.second], pair_relevances(Rules(c, 0.1)), strict=True):
        assert table[frozenset((i, j))] == pytest.approx(value, rel=1e-8)


def test_supercell_has_twice_the_relevance():
    """Images that become atoms of their own change nothing but the number of sets."""
    model, atoms = random_model(SCHNETPACK_DIALECT, seed=3), crystal()
    small, large = trace(model, atoms), trace(model, atoms * (2, 1, 1))
    assert total_relevance(Rules(large, 0.1)) == pytest.approx(2 * total_relevance(Rules(small, 0.1)), rel=1e-10)
    pairs = [pair_relevances(Rules(t, 0.1)) for t in (small, large)]
    triples = [triple_relevances(Rules(t, 0.1), triple_sets(t)) for t in (small, large)]
    for one, two in (pairs, triples):
        np.testing.assert_allclose(np.sort(np.repeat(one, 2)), np.sort(two), rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("name", sorted(RULES))
def test_two_atoms_have_no_third(name):
    t = trace(OF_ROWS[name], Atoms("CH", [[0, 0, 0], [0, 0, 1.1]]))
    rules = Rules(t, 0.1)
    total = single_relevances(rules).sum() + pair_relevances(rules).sum()
    assert total == pytest.approx(total_relevance(rules), rel=1e-12)
    assert len(triple_sets(t).atoms) == 0
    assert triple_relevances(rules, triple_sets(t)).shape == (0,)
    assert walk_relevances(rules).order.max() == 2
    assert count_walks(t) - 2 == 2 ** (2 + 1) - 2  # walks of a pair: 2^(T+1) − 2


def test_the_authors_network(tmp_path):
    """Numbers of the C20 energy model at its minimum, kcal/mol."""
    if not SHARED.is_dir():
        pytest.skip("the authors' C20 networks are not here (shared/data/schnet_tf_c20)")
    model = import_schnet_tf(SHARED / "energy_model")
    save_model(model, tmp_path / "energy.safetensors")
    atoms = read(SHARED / "C20.xyz")
    atoms.calc = SchNetCalculator(str(tmp_path / "energy.safetensors"), dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    t, unit = trace(model, atoms), units.kcal / units.mol
    assert t.energy / unit == pytest.approx(-29.5307, abs=1e-3)
    for gamma, total, pairs in ((0.0, -21.2, 42.2), (0.1, -22.3, 14.1), (1.0, -23.6, 1.4)):
        assert total_relevance(Rules(t, gamma)) / unit == pytest.approx(total, abs=0.051)
        assert pair_relevances(Rules(t, gamma)).sum() / unit == pytest.approx(pairs, abs=0.06)


@pytest.mark.parametrize("gamma", [-0.1, np.nan, [0.1], [0.1, 0.1, np.inf]])
def test_gamma_that_is_none(shaken, gamma):
    with pytest.raises(InputError, match="expected a number of at least 0, or 3 of them"):
        Rules(trace(*shaken), gamma)


def test_too_many_walks(shaken):
    t = trace(*shaken)
    with pytest.raises(InputError, match=rf"{count_walks(t)} walks, .* GB, with a budget of 10: .*need no walks"):
        walk_relevances(Rules(t, 0.1), budget=10)


def test_structures_that_the_model_does_not_serve():
    with pytest.raises(InputError, match="element O: this model knows H, C"):
        trace(random_model(SCHNETPACK_DIALECT), molecule("CO"))
    with pytest.raises(InputError, match="molecules only"):
        trace(random_model(ORIGINAL_DIALECT), crystal())


def test_what_there_are_no_rules_for():
    for config in (DTNNConfig(elements=(6, 8)), WACSFConfig(elements=(6, 8))):
        title = architecture_of(config).title
        with pytest.raises(
            InputError, match=f"^no relevance rules for a {title}: expected a model of SchNet or PaiNN or SO3net$"
        ):
            trace(random_model(config), molecule("CO"))


@pytest.mark.parametrize("name", sorted(RULES))
def test_chain_priors_stand_beside_the_network(name):
    """A model with them is explained as its network alone, whose energy is what is left of the model's; each prior has its own."""
    from mlcalc.potential import build_potential
    from tests.mlcalc.test_chain_priors import chain, priors_of, without_network

    config = replace(OF_ROWS[name].config, elements=(3, 1, 20), cutoff=12.0)
    priors, atoms = priors_of() | {"repulsion": Repulsion(5.0)}, Atoms([3, 1, 20] * 3, chain())
    network = random_model(config, seed=3, priors={})
    network.weights["energy_shift"] = np.zeros(3)
    t, alone = trace(replace(network, priors=priors), atoms), trace(network, atoms)
    assert set(t.apart) == set(priors) and not alone.apart and not t.repulsion.any()
    whole = build_potential(replace(network, priors=priors), atoms.numbers, "float64", "torch")(atoms.positions[None])
    assert t.energy == alone.energy == pytest.approx(whole[0][0] - sum(t.apart.values()), rel=1e-9)
    for kind, prior in priors.items():
        potential = build_potential(without_network({kind: prior}), atoms.numbers, "float64", "torch")
        assert t.apart[kind] == pytest.approx(potential(atoms.positions[None])[0][0], rel=1e-9)
    rules, of_network = Rules(t, 0.1), Rules(alone, 0.1)
    assert total_relevance(rules) == total_relevance(of_network)
    np.testing.assert_array_equal(pair_relevances(rules), pair_relevances(of_network))
    triples = triple_sets(t)
    np.testing.assert_array_equal(triple_relevances(rules, triples), triple_relevances(of_network, triples))


def test_of_a_chain_the_networks_energy_is_conserved():
    """Without biases ΣR is the energy of the network, whatever its priors add."""
    from tests.mlcalc.test_chain_priors import chain, priors_of, with_network

    model = with_network(priors_of())
    for name, array in model.weights.items():
        if name.endswith("bias") and "filter" not in name:
            model.weights[name] = np.zeros_like(array)
    t = trace(model, Atoms([3, 1, 20] * 3, chain()))
    assert total_relevance(Rules(t, 0.1)) == pytest.approx(t.energy, rel=1e-12)
    assert abs(sum(t.apart.values())) > 0.1


def test_chains_that_are_none():
    from tests.mlcalc.test_chain_priors import chain, priors_of, with_network

    model, torn = with_network(priors_of()), chain()
    torn[4:] += 30.0
    with pytest.raises(
        InputError, match="the energy of the prior bonds is no number: expected a chain that is not torn"
    ):
        trace(model, Atoms([3, 1, 20] * 3, torn))
    with pytest.raises(InputError, match="bonds: 6 beads: the prior is that of a chain of 9"):
        trace(model, Atoms([3, 1, 20] * 2, chain(6)))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("name", sorted(RULES))
def test_a_row_of_rules(name, gamma):
    """Steps are linear in m, and finish is arrive times the embedding."""
    t = trace(OF_ROWS[name], crystal() * (2, 1, 1))
    rules, rng = Rules(t, gamma), np.random.default_rng(0)
    source, target = np.stack([t.first, t.second], axis=1).ravel(), np.stack([t.second, t.first], axis=1).ravel()
    steps, m = rules.steps, rng.normal(size=(3, *t.embedding.shape))
    m[2] = m[0] + m[1]
    for layer in range(len(t.blocks)):
        stays, q = zip(*(steps.leave(layer, rules.atoms, one) for one in m), strict=True)
        moved = [steps.along(layer, np.arange(len(source)), one[source]) for one in q]
        arrived = [steps.arrive(layer, target, one) for one in moved]
        for one, other, both in (stays, q, moved, arrived):
            np.testing.assert_allclose(one + other, both, rtol=1e-10, atol=1e-12)
        if layer == 0:
            expected = (arrived[0] * t.embedding[target]).sum(axis=1)
            np.testing.assert_allclose(steps.finish(target, moved[0]), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.slow
def test_c20_by_walks_and_by_sets():
    """The shipped network: 3.2 million walks are the same three sums as 20 atoms, 190 pairs and 1140 triples."""
    atoms = read(Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz")
    t = trace(load_model("c20"), atoms)
    assert count_walks(t) == 20**5
    rules = Rules(t, 0.1)
    walks = walk_relevances(rules)
    assert walks.relevance.sum() == pytest.approx(total_relevance(rules) - t.repulsion.sum(), rel=1e-9)
    triples = triple_relevances(rules, triple_sets(t))
    sets = single_relevances(rules), pair_relevances(rules) - t.repulsion, triples
    order = walks.order
    for n, values in enumerate(sets, start=1):
        assert walks.relevance[order == n].sum() == pytest.approx(values.sum(), rel=1e-8)


@pytest.mark.parametrize("case", ["molecule", "crystal"])
def test_angular_prior_belongs_to_triples(shaken, case):
    """It adds to sets of three what it adds to the energy, in each the angles at the corners, and to nothing else."""
    model, atoms = shaken if case == "molecule" else (random_model(SCHNETPACK_DIALECT, seed=3), crystal())
    t, plain = trace(replace(model, priors=ANGLES), atoms), trace(model, atoms)
    assert t.energy - plain.energy == pytest.approx(t.angular) and t.angular > 0.1
    rules, without, triples = Rules(t, 0.1), Rules(plain, 0.1), triple_sets(t)
    added = triple_relevances(rules, triples) - triple_relevances(without, triples)
    assert added.sum() == pytest.approx(t.angular, rel=1e-9)
    assert total_relevance(rules) - total_relevance(without) == pytest.approx(t.angular, rel=1e-9)
    np.testing.assert_array_equal(pair_relevances(rules), pair_relevances(without))
    strongest = added.argmax()
    corners = atoms.positions[triples.atoms[strongest]] + triples.images[strongest] @ atoms.cell.array
    by_hand = 0.0
    for apex, one, two in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        sides = [corners[other] - corners[apex] for other in (one, two)]
        lengths = [np.linalg.norm(side) for side in sides]
        if max(lengths) < 3.0:
            weight = np.exp(sum(0.5 / (r - 3.0) for r in lengths))
            by_hand += 7.0 * weight * (sides[0] @ sides[1] / np.prod(lengths) + 1 / 3) ** 2
    assert added[strongest] == pytest.approx(by_hand, rel=1e-8)
