"""A benchmark's problem: one model and one structure as plain arrays that any environment can read."""

import io
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
from ase import Atoms
from ase.io import read

from mlcalc import load_model
from mlcalc.architectures import ARCHITECTURES, name_of
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.model import Model

RANDOM_CUTOFF_A, RANDOM_GAUSSIANS = 6.0, 32  # as those of the shipped networks of C20
HEAVY_U = 1e6  # no atom moves noticeably during a measurement
# Layers whose weights must be zero for a block to change nothing.
_IDLE = {
    "schnet": ("f2out.1",),
    "painn": ("interatomic_context_net.1", "intraatomic_context_net.1"),
    "so3net": ("mixings.2",),
    "dtnn": ("factors2out",),
}


def benchmark_case(name: str, path: str | Path) -> tuple[Model, Atoms]:
    """A model as benchmark_model gives it, and a structure; a random network holds no molecule together, so its atoms are heavy."""
    structure = read(path)
    model = benchmark_model(name, tuple(sorted({int(z) for z in structure.numbers})))
    if ":" in name:
        structure.set_masses(np.full(len(structure), HEAVY_U))
    return model, structure


def benchmark_model(name: str, elements: tuple[int, ...] = (6,)) -> Model:
    """A model by name or path, by architecture and size, or with more interactions than it has.

    Args:
        name: ``NAME``; ``ARCHITECTURE:FEATURES,INTERACTIONS``, such as ``painn:64,3``, for random weights; ``NAME+n`` for n more
            interactions, which do not change the energy: the cost of a deeper network that still holds the molecule together.
        elements: Those of a random network.

    Raises:
        InputError: No such model or architecture; not a number.
    """
    if ":" in name:
        return _random_model(name, elements)
    name, _, more = name.partition("+")
    model = load_model(name)
    if not more:
        return model
    if not more.isdigit():
        raise InputError(f"model {name}+{more}: expected a whole number of interactions after the +")
    return _deeper(model, int(more))


def _random_model(name: str, elements: tuple[int, ...]) -> Model:
    import torch

    from mlcalc.torch_potential import model_of, new_network

    architecture, _, sizes = name.partition(":")
    if architecture not in ARCHITECTURES or not re.fullmatch(r"\d+,\d+", sizes):
        raise InputError(f"model {name!r}: expected {' or '.join(ARCHITECTURES)}, then a size as in :64,3")
    n_features, n_interactions = map(int, sizes.split(","))
    config = ARCHITECTURES[architecture].config
    depth = {"n_interactions": n_interactions} if "n_interactions" in get_type_hints(config) else {}
    if not depth and n_interactions:
        raise InputError(
            f"model {name!r}: this architecture has no interactions: expected {architecture}:{n_features},0"
        )
    torch.manual_seed(0)
    made = config(
        elements, n_features=n_features, n_rbf=RANDOM_GAUSSIANS, cutoff=RANDOM_CUTOFF_A,
        readout_hidden=max(n_features // 2, 1), **depth,
    )  # fmt: skip
    return model_of(new_network(made))


def _deeper(model: Model, more: int) -> Model:
    if getattr(model.config, "shared_weights", False):
        raise InputError(
            f"+{more} interactions of shared weights, which would change the energy: expected a model alone"
        )
    if name_of(model.config) not in _IDLE:
        raise InputError(f"+{more} interactions of a network without any: expected a model alone")
    old, weights, idle = model.config.n_interactions, dict(model.weights), _IDLE[name_of(model.config)]
    for key, array in model.weights.items():
        if parts := re.fullmatch(r"(interactions|mixing)\.0\.(.*)\.(\w+)", key):
            copy = np.zeros_like(array) if parts[2] in idle else array
            weights |= {f"{parts[1]}.{t}.{parts[2]}.{parts[3]}": copy for t in range(old, old + more)}
        elif key.startswith("filter_net."):  # rows of all blocks, one block after the other
            weights[key] = np.concatenate([array, *[array[: len(array) // old]] * more])
    return Model(replace(model.config, n_interactions=old + more), weights, priors=model.priors)


def write_problem(model: Model, structure: Atoms, path: Path, with_priors: bool = False) -> Path:
    """NPZ for peers/common.Problem; priors, which most peers lack, are left out unless requested."""
    stream = io.BytesIO()
    weights = {f"weights/{name}": array for name, array in model.weights.items()}
    priors = {name: asdict(prior) for name, prior in model.priors.items()} if with_priors else {}
    np.savez(
        stream, **weights, positions=structure.positions, masses=structure.get_masses(), numbers=structure.numbers,
        cell=structure.cell.array, architecture=name_of(model.config), config=json.dumps(asdict(model.config)),
        priors=json.dumps(priors),
    )  # fmt: skip
    write_atomically(path, stream.getvalue())
    return path
