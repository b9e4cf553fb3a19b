"""The networks that test_architectures.py puts to the test: one row each, and the few doors through which it reaches them.

A new architecture passes the contract by a row in ROWS. Files of models, which later versions must still read, are recorded by
``python -m tests.mlcalc.architectures``: for every row one of the present format, unless there is one already.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from mlcalc.architectures.dtnn import DTNNConfig
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.architectures.so3net import SO3netConfig
from mlcalc.architectures.wacsf import WACSFConfig
from mlcalc.model import Model
from mlcalc.model_file import FORMAT_VERSION, save_model
from mlcalc.potential import build_potential
from mlcalc.priors import AngularPrior, Repulsion
from tests.conftest import random_model

FILES = Path(__file__).parent / "files"
CUTOFF, REPULSION_END, ANGLE_END = 3.0, 1.5, 2.6  # Å
ELEMENTS = (6, 1)  # not in ascending order: what belongs to an element is found by its place
ATOM_ENERGIES = {1: -13.6, 6: -1e4}  # eV, as of heavy atoms; totals of this size must not pass through float32


class Row(NamedTuple):
    """An architecture, with or without priors.

    Attributes:
        make_model: (elements, cutoff in Å, seed) → Model with random float64 weights and the constants ATOM_ENERGIES.
        backends: Those that serve it; the torch network is the definition.
        ends: Å, distances at which a term of the energy ends; none where all pairs of a molecule interact, which then serves no
            periodic system.
        training: Keys of a training TOML that give this architecture; None where it is imported, never trained.
        relevance: (model, atoms) → sum of all relevances at γ = 0 and the energy without constants, eV; None without rules.
        is_bias: Whether a weight of this name is an additive bias that takes its share of relevance.
    """

    name: str
    make_model: Callable[[tuple[int, ...], float, int], Model]
    backends: tuple[str, ...] = ("torch", "numba")
    ends: tuple[float, ...] = (CUTOFF,)
    training: dict[str, Any] | None = None
    relevance: Callable[[Model, Atoms], tuple[float, float]] | None = None
    is_bias: Callable[[str], bool] = lambda name: name.endswith("bias")

    @property
    def periodic(self) -> bool:
        return bool(self.ends)


def _maker(
    config, priors: dict | None = None, doubled: tuple[str, ...] = (), **options
) -> Callable[[tuple[int, ...], float, int], Model]:
    """``doubled``: parts of names of weights that need twice the usual size, for forces of some eV/Å."""

    def make(elements: tuple[int, ...], cutoff: float, seed: int) -> Model:
        sizes = {"cutoff": cutoff, "n_features": 8, "n_interactions": 2, "n_rbf": 8, "readout_hidden": 4} | options
        sizes = {name: value for name, value in sizes.items() if name in get_type_hints(config)}
        model = random_model(config(elements=elements, **sizes), seed, np.float64, priors or {})
        for name in [name for name in model.weights if any(part in name for part in doubled)]:
            model.weights[name] = 2.0 * model.weights[name]
        model.weights["energy_shift"] = np.array([ATOM_ENERGIES[z] for z in elements])
        return model

    return make


def _relevance(model: Model, atoms: Atoms) -> tuple[float, float]:
    from analysis.relevance.nbody import total_relevance
    from analysis.relevance.trace import Rules, trace

    found = trace(model, atoms)
    return total_relevance(Rules(found, 0.0)), found.energy


def _takes_relevance(name: str) -> bool:
    return name.endswith("bias") and "filter" not in name  # filters are constants of the geometry


_ORIGINAL = {"cutoff": None, "cutoff_function": "none", "filter_output_activation": True, "n_rbf": 20}
_REPULSION, _ANGLE = Repulsion(REPULSION_END), AngularPrior(strength=4.0, cosine=-0.4, decay=0.8, cutoff=ANGLE_END)
_TRAINING = {"n_features": 8, "n_interactions": 2, "n_rbf": 8, "cutoff_A": CUTOFF, "repulsion_cutoff_A": "none"}
_ANGLE_KEYS = {"angle_strength_eV": 4.0, "angle_cosine": -0.4, "angle_decay_A": 0.8, "angle_cutoff_A": ANGLE_END}
_BLOCKS = {"n_factors": 10, "shared_weights": False, "activation": "ssp"}
_WACSF = {name: value for name, value in _TRAINING.items() if name != "n_interactions"} | {"architecture": "wacsf"}
_RULES = {"relevance": _relevance, "is_bias": _takes_relevance}
_DTNN_DOUBLED = ("distance_layer.weight", "readout.1.weight")  # tanh of many neighbours levels off
_SO3NET_DOUBLED = ("filter_net.weight", "mixings")  # its scalars see directions through products of degree two alone

ROWS = (
    Row("schnet", _maker(SchNetConfig, readout_activation="silu"), training=_TRAINING, **_RULES),
    Row("schnet-original", _maker(SchNetConfig, **_ORIGINAL), ends=(), **_RULES),
    Row(
        "schnet-repulsion", _maker(SchNetConfig, {"repulsion": _REPULSION}), ends=(CUTOFF, REPULSION_END),
        training=_TRAINING | {"repulsion_cutoff_A": REPULSION_END}, **_RULES,
    ),
    Row(
        "schnet-angular", _maker(SchNetConfig, {"angular": _ANGLE}), ends=(CUTOFF, ANGLE_END),
        training=_TRAINING | _ANGLE_KEYS, **_RULES,
    ),
    Row("painn", _maker(PaiNNConfig), training=_TRAINING | {"architecture": "painn"}),
    Row(
        "painn-smooth", _maker(PaiNNConfig, norm_epsilon=1e-4),
        training=_TRAINING | {"architecture": "painn", "norm_epsilon": 1e-4},
    ),
    Row(
        "painn-priors", _maker(PaiNNConfig, {"repulsion": _REPULSION, "angular": _ANGLE}),
        ends=(CUTOFF, REPULSION_END, ANGLE_END),
        training=_TRAINING | _ANGLE_KEYS | {"architecture": "painn", "repulsion_cutoff_A": REPULSION_END},
    ),
    Row(
        "so3net", _maker(SO3netConfig, doubled=_SO3NET_DOUBLED),
        training=_TRAINING | {"architecture": "so3net", "lmax": 2},
    ),
    Row(
        "so3net-priors", _maker(SO3netConfig, {"repulsion": _REPULSION, "angular": _ANGLE}, _SO3NET_DOUBLED, lmax=3),
        backends=("torch",),  # compiling lmax = 3 is slow: test_so3net_kernel.py does
        ends=(CUTOFF, REPULSION_END, ANGLE_END),
    ),
    Row(
        "dtnn", _maker(DTNNConfig, doubled=_DTNN_DOUBLED, n_factors=10), backends=("torch",),
        training=_TRAINING | {"architecture": "dtnn", "n_factors": 10},
    ),
    Row(
        "dtnn-blocks", _maker(DTNNConfig, {"repulsion": _REPULSION, "angular": _ANGLE}, **_BLOCKS), backends=("torch",),
        ends=(CUTOFF, REPULSION_END, ANGLE_END),
        training=_TRAINING | _ANGLE_KEYS | _BLOCKS | {"architecture": "dtnn", "repulsion_cutoff_A": REPULSION_END},
    ),
    Row("dtnn-original", _maker(DTNNConfig, n_factors=10, cutoff=None, n_rbf=20), backends=("torch",), ends=()),
    Row("wacsf", _maker(WACSFConfig), backends=("torch",), training=_WACSF),
    Row(
        "wacsf-priors", _maker(WACSFConfig, {"repulsion": _REPULSION, "angular": _ANGLE}, n_angular=3, activation="tanh"),
        backends=("torch",), ends=(CUTOFF, REPULSION_END, ANGLE_END),
        training=_WACSF | _ANGLE_KEYS | {"n_angular": 3, "activation": "tanh", "repulsion_cutoff_A": REPULSION_END},
    ),
)  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}


# The doors


def make_potential(model: Model, numbers, dtype: str = "float64", backend: str = "torch", cell=None, pbc=None):
    """The potential of a model for one composition: ``evaluate`` and a call at positions (P, N, 3) Å."""
    return build_potential(model, numbers, dtype, backend, 1, cell, pbc)


def atomic_energies(network, priors: dict, batch, vectors=None):
    """Atomic energies (n_atoms,) eV of a batch of training by a torch network and its priors, without constants."""
    from mlcalc.priors import prior_energies

    vectors = batch.vectors if vectors is None else vectors
    of_network = network(batch.species, batch.first, batch.second, vectors)["energy"]
    return of_network + prior_energies(
        priors, network.atomic_numbers[batch.species], batch.first, batch.second, vectors
    )


# What is computed: outputs by rank, systems


class Output(NamedTuple):
    """Rank of the tensor, and whether the second axis is that of atoms; what is not per atom is a sum over atoms."""

    rank: int
    per_atom: bool


OUTPUTS = {
    "energies": Output(0, False),
    "atomic_energies": Output(0, True),
    "forces": Output(1, True),
    "virials": Output(2, False),
}


def _scattered(cell, pbc, n_atoms: int, seed: int) -> Atoms:
    """Atoms at random in a cell, none nearer than 1.15 Å to another."""
    rng, atoms = np.random.default_rng(seed), Atoms(cell=cell, pbc=pbc)
    while len(atoms) < n_atoms:
        trial = atoms + Atoms(["C", "H"][len(atoms) % 2], [rng.uniform(size=3) @ np.array(cell)], cell=cell, pbc=pbc)
        near = trial.get_all_distances(mic=True)[-1, :-1]
        if not len(near) or near.min() > 1.15:
            atoms = trial
    return atoms


def _shaken(atoms: Atoms, seed: int) -> Atoms:
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.06, atoms.positions.shape)
    return atoms


SYSTEMS = {
    "molecule": _shaken(molecule("C3H4_C3v"), 1),
    # One image of each pair within the cutoff; no right angle.
    "crystal": _scattered([[6.4, 0.0, 0.0], [0.7, 6.5, 0.0], [-0.4, 0.6, 6.6]], True, 10, 2),
    # As high as its cell: an image in the direction that is not periodic would be near.
    "slab": _scattered([[6.2, 0.0, 0.0], [0.5, 6.3, 0.0], [0.0, 0.0, 4.0]], (True, True, False), 7, 3),
    # Atoms meet several images of each other and of themselves.
    "small cell": _shaken(bulk("CH", "rocksalt", 3.4), 4),
}


class Case(NamedTuple):
    """One of rows × dtype × backend × systems."""

    name: str
    dtype: str
    backend: str
    system: str

    @property
    def row(self) -> Row:
        return BY_NAME[self.name]

    @property
    def atoms(self) -> Atoms:
        return SYSTEMS[self.system].copy()

    def __str__(self) -> str:
        return "-".join(self).replace(" ", "-")


def cases(dtypes=("float32", "float64"), backends=("torch", "numba"), periodic: bool | None = None) -> list[Case]:
    """All cases that exist, of periodic systems or others alone where asked."""
    return [
        Case(row.name, dtype, backend, system)
        for row in ROWS
        for dtype in dtypes
        for backend in row.backends
        for system, atoms in SYSTEMS.items()
        if backend in backends and (row.periodic or not atoms.pbc.any()) and periodic in (None, bool(atoms.pbc.any()))
    ]


@lru_cache
def model_of(name: str) -> Model:
    """The model of a row, shared by all tests: do not change it."""
    return BY_NAME[name].make_model(ELEMENTS, CUTOFF, 1)


def potential_of(case: Case, atoms: Atoms | None = None, **changes):
    """The potential of a case for its system or another; ``changes``: dtype or backend instead of its own."""
    atoms, case = case.atoms if atoms is None else atoms, case._replace(**changes)
    box = {"cell": atoms.cell.array.copy(), "pbc": atoms.pbc.copy()} if atoms.pbc.any() else {}
    return make_potential(model_of(case.name), atoms.numbers.copy(), case.dtype, case.backend, **box)


def outputs_of(case: Case, atoms: Atoms | None = None, positions=None, **changes) -> dict[str, np.ndarray]:
    """All outputs, without the constants ATOM_ENERGIES, at the atoms' own positions or at (P, N, 3) Å."""
    atoms = case.atoms if atoms is None else atoms
    found = potential_of(case, atoms, **changes).evaluate(atoms.positions[None] if positions is None else positions)
    assert set(found) == set(OUTPUTS)
    constants = np.array([ATOM_ENERGIES[z] for z in atoms.numbers.tolist()])
    return found | {
        "energies": found["energies"] - constants.sum(),
        "atomic_energies": found["atomic_energies"] - constants,
    }


@cache
def reference(case: Case) -> dict[str, np.ndarray]:
    """Outputs of a case at its own positions."""
    return outputs_of(case)


def record(row: Row) -> None:
    """Write a model of the present format, in float32 as files have it, and its energies at a few geometries by torch, float64."""
    path = FILES / f"{row.name}-{FORMAT_VERSION}.safetensors"
    if path.exists():
        return
    model = row.make_model(ELEMENTS, CUTOFF, 7)
    weights = {name: w if name.startswith("energy_") else w.astype(np.float32) for name, w in model.weights.items()}
    known = {"domain": {"elements": sorted(ELEMENTS)}, "provenance": {"text": "random weights"}}
    model = replace(model, weights=weights, metadata=known)
    save_model(model, path)
    atoms = SYSTEMS["molecule"]
    positions = atoms.positions + np.random.default_rng(8).normal(0.0, 0.05, (3, *atoms.positions.shape))
    positions = positions.round(3)
    energies, _ = make_potential(model, atoms.numbers)(positions)
    content = {"numbers": atoms.numbers.tolist(), "positions_A": positions.tolist(), "energies_eV": energies.tolist()}
    path.with_suffix(".json").write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for row in ROWS:
        record(row)
