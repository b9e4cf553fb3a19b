"""A benchmark's problem: one model and one structure as plain arrays that any environment can read."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase import Atoms

from mlcalc.model_file import Model, write_atomically


def write_problem(model: Model, structure: Atoms, path: Path) -> Path:
    """NPZ for peers/common.Problem; the nuclear repulsion, which the peers lack, is left out."""
    stream = io.BytesIO()
    weights = {f"weights/{name}": array for name, array in model.weights.items()}
    config = asdict(model.config) | {"repulsion_cutoff": None}
    np.savez(
        stream, **weights, positions=structure.positions, masses=structure.get_masses(), numbers=structure.numbers,
        config=json.dumps(config),
    )  # fmt: skip
    write_atomically(path, stream.getvalue())
    return path
