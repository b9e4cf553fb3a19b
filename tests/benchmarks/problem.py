"""A benchmark's problem: one model and one structure as plain arrays that any environment can read."""

import io
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from mlcalc import load_model
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.model import Model


def benchmark_model(name: str) -> Model:
    """A model by name or path; ``NAME+n`` has n more interactions, which do not change the energy.

    It has the cost of a network deeper than the shipped ones, and still holds the molecule together.
    """
    name, _, more = name.partition("+")
    model = load_model(name)
    if not more:
        return model
    if not more.isdigit():
        raise InputError(f"model {name}+{more}: expected a whole number of interactions after the +")
    old, weights = model.config.n_interactions, dict(model.weights)
    for t in range(old, old + int(more)):
        for key in [key for key in weights if key.startswith("interactions.0.")]:
            idle = key.startswith("interactions.0.f2out.1.")
            weights[key.replace(".0.", f".{t}.", 1)] = np.zeros_like(weights[key]) if idle else weights[key]
    return Model(replace(model.config, n_interactions=old + int(more)), weights)


_NO_PRIORS = dict.fromkeys(("repulsion_cutoff", "angle_strength", "angle_cosine", "angle_decay", "angle_cutoff"))


def write_problem(model: Model, structure: Atoms, path: Path, with_repulsion: bool = False) -> Path:
    """NPZ for peers/common.Problem; priors, which most peers lack, are left out unless requested."""
    stream = io.BytesIO()
    weights = {f"weights/{name}": array for name, array in model.weights.items()}
    config = asdict(model.config) | ({} if with_repulsion else _NO_PRIORS)
    np.savez(
        stream, **weights, positions=structure.positions, masses=structure.get_masses(), numbers=structure.numbers,
        cell=structure.cell.array, config=json.dumps(config),
    )  # fmt: skip
    write_atomically(path, stream.getvalue())
    return path
