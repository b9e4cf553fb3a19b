"""Chains of beads with small random networks: nine residues, aspartate, alanine, tyrosine in turn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from analysis.chain.frames import Chain
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.model import Model
from mlcalc.model_file import save_model
from tests.conftest import random_model
from tests.mlcalc.test_chain_priors import chain, priors_of

SEQUENCE = "DAYDAYDAY"
TYPES = (3, 1, 20)  # D, A, Y
_SIZE = {"elements": TYPES, "n_features": 8, "n_interactions": 2, "n_rbf": 8, "cutoff": 12.0}
CONFIGS = {"schnet": SchNetConfig(**_SIZE), "painn": PaiNNConfig(**_SIZE)}


def network(name: str = "schnet", seed: int = 3, priors: dict | None = None, **domain) -> Model:
    """A random network without constants of types; priors None for those of a chain."""
    model = random_model(CONFIGS[name], seed, priors=priors_of() if priors is None else priors)
    weights = model.weights | {"energy_shift": np.zeros(len(TYPES))}
    return replace(model, weights=weights, metadata={"domain": {"elements": list(TYPES), **domain}})


def frames(n: int = 3, seed: int = 0) -> Chain:
    """A chain that shakes."""
    noise = np.random.default_rng(seed).normal(0.0, 0.1, (n, len(SEQUENCE), 3))
    return Chain("frames", SEQUENCE, bead_types(SEQUENCE, False, False), chain(seed=seed + 1) + noise)


def write_chain(folder: Path, name: str = "frames.xyz", **options) -> None:
    """These frames as a file that says its sequence."""
    found = frames(**options)
    structures = [Atoms(found.numbers, frame, info={"sequence": SEQUENCE}) for frame in found.positions]
    write(folder / name, structures, format="extxyz")


def write_models(folder: Path) -> None:
    """schnet.safetensors and painn.safetensors."""
    for name in CONFIGS:
        save_model(network(name), folder / f"{name}.safetensors")
