"""Relevances of an SO3net: against autograd through a modified network (relevance_twins.py), in which components of degree above 0
carry none from block to block, and against the numbers of the authors' code for their network of methane.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from scipy.spatial.transform import Rotation

from analysis.relevance.explain import as_json, as_text, explain
from analysis.relevance.nbody import single_relevances, total_relevance
from analysis.relevance.trace import Rules, trace
from analysis.relevance.walks import walk_relevances
from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.common.errors import InputError
from mlcalc.importers.schnetpack import import_schnetpack
from tests.analysis.relevance_twins import check_walks_and_sets
from tests.conftest import random_model

MODEL = random_model(
    SO3netConfig(elements=(1, 6), n_features=8, n_interactions=2, lmax=2, n_rbf=6, cutoff=5.0, readout_hidden=6),
    priors={},
)
AUTHORS = Path(__file__).parents[3] / "shared" / "data" / "schnetpack_models"


@pytest.fixture(scope="module")
def atoms():
    atoms = molecule("C2H2")
    atoms.positions += np.random.default_rng(1).normal(0.0, 0.1, atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("rule", ["conserving", "gradient"])
@pytest.mark.parametrize("gamma", [0.0, [0.3, 0.0, 2.0]], ids=str)
def test_walks_and_sets_are_those_of_autograd(atoms, gamma, rule):
    check_walks_and_sets(MODEL, atoms, gamma, rule)


def test_the_product_counts_once_or_twice(atoms):
    """In one block the scalars of the embedding enter the energy by Δ and by its square: Euler's theorem for each part."""
    config = SO3netConfig(elements=(1, 6), n_features=8, n_interactions=1, n_rbf=6, cutoff=5.0, readout_hidden=6)
    model = random_model(config, priors={})
    weights = {name: np.array(weight) for name, weight in model.weights.items()}
    weights["interactions.0.gating.weight"][:] = 0.0
    for bias in (name for name in weights if name.startswith("readout") and name.endswith("bias")):
        weights[bias][:] = 0.0
    t = trace(replace(model, weights=weights), atoms)
    linear = dict(
        weights, **{"interactions.0.mixings.0.weight": np.zeros_like(weights["interactions.0.mixings.0.weight"])}
    )
    assert total_relevance(Rules(t, 0.0)) == pytest.approx(t.energy, rel=1e-9)
    without = trace(replace(model, weights=linear), atoms)
    assert total_relevance(Rules(without, 0.0, "gradient")) == pytest.approx(without.energy, rel=1e-9)
    assert abs(total_relevance(Rules(t, 0.0, "gradient")) / t.energy - 1.0) > 0.01


def test_relevances_turn_and_move_with_the_atoms(atoms):
    turned, order = atoms.copy(), [2, 0, 3, 1]
    turned.positions = turned.positions @ Rotation.from_rotvec([0.3, -1.0, 0.5]).as_matrix().T + 1.0
    expected = single_relevances(Rules(trace(MODEL, atoms), 0.1))
    np.testing.assert_allclose(single_relevances(Rules(trace(MODEL, turned[order]), 0.1)), expected[order], rtol=1e-9)


def test_the_rule_is_reported(atoms):
    """The default too, since results depend on it."""
    for rule, expected in ((None, "conserving"), ("gradient", "gradient")):
        found = [explain(MODEL, atoms, 0.1, rule=rule)]
        assert f"γ = 0.1, rule {expected}." in as_text(found, 0.1)
        assert json.loads(as_json(found, 0.1))["rule"] == expected


def test_rules_that_there_are_not(atoms):
    with pytest.raises(InputError, match="rule = 'other': expected"):
        Rules(trace(MODEL, atoms), 0.1, "other")


@pytest.mark.skipif(not AUTHORS.is_dir(), reason="needs the authors' network of methane, in ../shared/data")
@pytest.mark.parametrize(
    ("gamma", "rule", "total", "walks"),
    [
        (0.0, "published", -48.0202, {}),
        (0.1, "published", -18.86964, {(0, 0, 0, 0): -0.573215, (0, 0, 0, 1): -1.70073e-4, (0, 1, 1, 0): -5.27575e-6}),
        (0.1, "gradient", -19.30194, {(0, 0, 0, 0): -0.570232, (0, 0, 0, 1): -1.69685e-4, (0, 1, 1, 0): -5.20913e-6}),
    ],
)
def test_the_authors_numbers(gamma, rule, total, walks):
    """kcal/mol; they list a walk from the embedding on."""
    frame = np.load(AUTHORS / "methane_frame0.npz")
    atoms = Atoms(
        frame["atomic_numbers"], frame["positions"].astype(float), cell=frame["cell"][0].astype(float), pbc=True
    )
    model = import_schnetpack(AUTHORS / "so3net_methane_best_model", "kcal/mol", "Ang")
    unit = units.kcal / units.mol
    rules = Rules(trace(model, atoms), gamma, rule)
    assert rules.trace.energy / unit == pytest.approx(-20.195179, abs=1e-5)
    assert total_relevance(rules) / unit == pytest.approx(total, abs=6e-5)
    if walks:
        found = walk_relevances(rules)
        assert found.relevance.sum() / unit == pytest.approx(total, abs=6e-5)
        for walk, value in walks.items():
            (row,) = np.flatnonzero((found.atoms == walk[::-1]).all(axis=1))
            assert found.relevance[row] / unit == pytest.approx(value, rel=1e-5)
