"""The benchmark of explanations, where its answers are known: energies that are sums over pairs."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from analysis.relevance.trace import trace
from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.priors import AngularPrior, Repulsion
from tests.benchmarks import explanation
from tests.benchmarks.body_order import PAIR_CUTOFF_A, SHORTEST_A, design, energies_of_pairs
from tests.conftest import random_model

CONFIG = PaiNNConfig(elements=(6,), n_features=8, n_interactions=2, n_rbf=6, cutoff=5.0)
PRIORS = {"repulsion": Repulsion(4.5), "angular": AngularPrior(strength=2.0, cosine=-0.3, decay=1.0, cutoff=4.0)}


def liquid(seed: int) -> Atoms:
    """64 beads near the sites of a lattice, in a periodic box."""
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    return Atoms("C64", 3.4 * sites + np.random.default_rng(seed).normal(0.0, 0.25, (64, 3)), cell=3 * [13.6], pbc=True)


def test_the_energy_of_the_whole_graph_is_that_of_the_frame():
    model, atoms = random_model(CONFIG, priors=PRIORS), liquid(1)
    t = trace(model, atoms)
    assert explanation.Graph(model, atoms, t).energy(np.arange(len(t.first))) == pytest.approx(t.energy, rel=1e-12)


def test_relevances_of_pairs_are_what_their_removal_changes():
    """In a network that is silent all energy is the nuclear repulsion: the correlation is 1, and the order exact."""
    model = random_model(CONFIG, priors={"repulsion": PRIORS["repulsion"]})
    weights = {
        name: np.zeros_like(value) if name.startswith("readout") else value for name, value in model.weights.items()
    }
    frames = [liquid(1), liquid(2)]
    found = explanation.deletion("repulsion", replace(model, weights=weights), frames, 0.1, 50)
    np.testing.assert_allclose(found.alone[:, 0], 1.0, rtol=1e-9)  # not by ranks: many are 0 but for rounding
    for k, atoms in enumerate(frames):
        energies = -np.sort(-trace(model, atoms).repulsion)
        counts = np.rint(explanation.FRACTIONS * len(energies)).astype(int)
        removed = -np.array([energies[:count].sum() for count in counts]) / len(atoms)
        np.testing.assert_allclose(found.curves["most repulsive"][k], removed, atol=1e-12)
        assert (found.curves["random"][k][1:] > removed[1:]).all() and (found.curves["random"][k][1:] < 0.0).all()


def test_a_potential_of_pairs_is_found_again():
    """Forces of known coefficients; where pairs are, the potential that fits them is the one that made them."""
    rng, frames = np.random.default_rng(0), [liquid(seed) for seed in range(3)]
    coefficients = rng.normal(size=30)
    for atoms in frames:
        forces = (design(atoms, energies_of_pairs) @ coefficients).reshape(-1, 3)
        atoms.calc = SinglePointCalculator(atoms, forces=forces)
    distances, potential = explanation.pairs_alone(frames)
    known = explanation.functions_of_pairs(torch.from_numpy(distances)).numpy() @ coefficients
    assert distances[0] > SHORTEST_A and distances[-1] < PAIR_CUTOFF_A
    seen = distances > 3.0
    np.testing.assert_allclose(potential[seen], known[seen], atol=2e-3 * np.abs(known).max())


@pytest.mark.parametrize(("sign", "agreement"), [(1.0, 1.0), (-1.0, 0.0)])
def test_shapes_are_compared_by_correlation_and_slopes(sign, agreement):
    distances = np.arange(3.0, 5.0, explanation.BIN_A) + 0.5 * explanation.BIN_A
    potential = np.cos(2.0 * distances)
    found = explanation.Deletion(
        "any", 0.0, {}, np.zeros((2, 2)), np.repeat(distances, 60), np.repeat(0.5 * sign * potential + 1.0, 60)
    )
    correlation, slopes, size = explanation.shapes(found, distances, potential)
    assert (correlation, slopes, size) == pytest.approx((sign, agreement, 0.5 * sign))


def test_the_command_writes_table_and_figure(tmp_path, monkeypatch, capsys):
    frames, output = "inputs/methane/test.xyz", tmp_path / "out.png"
    arguments = ["x", frames, frames, "--model", "methane-cg", "--gamma", "0.1", "--frames", "3", "--fit-frames", "4"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--singles", "5", "-o", str(output)])
    assert explanation.main() == 0
    text = capsys.readouterr().out
    assert text == output.with_suffix(".txt").read_text()
    assert text.count("methane-cg, γ = 0.1") == 2 and output.stat().st_size > 10_000
