"""The interface of an architecture, and the checks that all configurations share."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance
from mlcalc.model_header import check_atomic_numbers

_MOST = {
    "n_features": 4096, "n_interactions": 64, "n_rbf": 1024, "readout_hidden": 4096, "n_factors": 4096, "n_angular": 1024,
}  # fmt: skip
_MOST_WEIGHTS = 1 << 26


class Architecture(NamedTuple):
    """A row of ARCHITECTURES.

    Attributes:
        title: Its name in tables and messages.
        config: Frozen dataclass; its fields are the keys of ``config`` in a model file. All have ``elements`` (atomic numbers, in
            the order of the rows of the embedding) and ``cutoff`` (Å, or None to connect all pairs).
        weight_shapes: Configuration to name and shape of every weight: the contract of a model file. Among them are
            ``energy_scale`` () and ``energy_shift`` (n_elements,), eV.
        network: Configuration to the torch module that defines the network: ``forward(species, first, second, vectors)`` gives
            outputs by name, energies (n_atoms,) eV without their shift and without priors; see torch_blocks.Network. Loads torch.
        kernel: Its compiled twin, called with (model, numbers, dtype, threads, cell, pbc), a mlcalc.potential.Potential; loads
            Numba. None: torch evaluates the network.
        describe: Configuration to a short text on its size.
        features: What its readouts may read of each atom, fields of torch_blocks.Features.
    """

    title: str
    config: type
    weight_shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    network: Callable[[Any], Any]
    kernel: Callable[..., Any] | None
    describe: Callable[[Any], str]
    features: tuple[str, ...] = ("scalars",)


def check_network(config, sizes: tuple[str, ...]) -> None:
    """Normalise the elements of a configuration and check them, its sizes and its cutoff.

    Args:
        config: Frozen dataclass with elements, cutoff and ``sizes``, names of fields that are counts.

    Raises:
        InputError: An element, size or cutoff that is invalid or out of bounds.
    """
    object.__setattr__(config, "elements", check_atomic_numbers("elements", config.elements))
    if not config.elements:
        raise InputError("elements = []: expected at least one atomic number")
    for name in sizes:
        value, most = getattr(config, name), _MOST[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise InputError(f"{name} = {value!r}: expected a whole number from 1 to {most}")
    if config.cutoff is not None:
        check_distance("cutoff", config.cutoff)


def check_choices(config, choices: dict[str, tuple[str, ...]]) -> None:
    """Raise InputError unless each of these fields of a configuration has one of its allowed values."""
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise InputError(f"{name} = {getattr(config, name)!r}: expected {' or '.join(map(repr, allowed))}")


def check_size(shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise InputError for a network with too many weights."""
    if (count := sum(map(math.prod, shapes.values()))) > _MOST_WEIGHTS:
        raise InputError(f"an architecture of {count} weights: expected at most {_MOST_WEIGHTS}")
