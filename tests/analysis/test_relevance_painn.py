"""Relevances of a PaiNN against autograd through a modified network (relevance_twins.py): vectors and norms are constants."""

import numpy as np
import pytest
from ase.build import molecule

from mlcalc.architectures.painn.config import PaiNNConfig
from tests.analysis.relevance_twins import check_walks_and_sets
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


@pytest.mark.parametrize("gamma", GAMMAS, ids=str)
def test_walks_and_sets_are_those_of_autograd(atoms, gamma):
    check_walks_and_sets(MODEL, atoms, gamma, None)
