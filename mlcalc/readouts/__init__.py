"""Readouts beside the energy: what a network's finished features say of a structure. A row for each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mlcalc.architectures import ARCHITECTURES, architecture_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model
from mlcalc.outputs import OUTPUTS


class Readout(NamedTuple):
    """A row of READOUTS.

    Attributes:
        outputs: Its outputs, names in mlcalc.outputs.OUTPUTS.
        needs: The features that it reads, a field of torch_blocks.Features.
        weight_shapes: Numbers of features F, of hidden ones H and of elements to name and shape of every weight.
        network: The same to a torch module, called with features and structures (networks.py): outputs by name. Loads torch.
    """

    outputs: tuple[str, ...]
    needs: str
    weight_shapes: Callable[[int, int, int], dict[str, tuple[int, ...]]]
    network: Callable[[int, int, int], Any]


def _of_scalars(n_features: int, hidden: int, _: int) -> dict[str, tuple[int, ...]]:
    return {
        "layers.0.weight": (hidden, n_features), "layers.0.bias": (hidden,),
        "layers.1.weight": (1, hidden), "layers.1.bias": (1,),
    }  # fmt: skip


def _with_shifts(n_features: int, hidden: int, n_elements: int) -> dict[str, tuple[int, ...]]:
    return _of_scalars(n_features, hidden, n_elements) | {"scale": (), "shift": (n_elements,)}


def _of_vectors(n_features: int, hidden: int, _: int) -> dict[str, tuple[int, ...]]:
    return {
        "mix.weight": (2 * hidden, n_features),
        "layers.0.weight": (hidden, n_features + hidden), "layers.0.bias": (hidden,),
        "layers.1.weight": (1 + hidden, hidden), "layers.1.bias": (1 + hidden,),
    }  # fmt: skip


def _charges(*sizes: int):
    from mlcalc.readouts.networks import Charges

    return Charges(*sizes)


def _dipole(*sizes: int):
    from mlcalc.readouts.networks import Dipole

    return Dipole(*sizes)


def _polarizability(*sizes: int):
    from mlcalc.readouts.networks import Polarizability

    return Polarizability(*sizes)


def _scalar(*sizes: int):
    from mlcalc.readouts.networks import ScalarSum

    return ScalarSum(*sizes)


_OF_THE_ORIGIN = ("dipole", "dipole_moment")  # for ions
_DIPOLES = ("charges", *_OF_THE_ORIGIN)
READOUTS = {
    "charges": Readout(_DIPOLES, "scalars", _of_scalars, _charges),
    "dipole": Readout(_DIPOLES, "vectors", _of_vectors, _dipole),
    "polarizability": Readout(("polarizability",), "vectors", _of_vectors, _polarizability),
    "scalar": Readout(("scalar",), "scalars", _with_shifts, _scalar),
}


def check_readouts(config, readouts: Sequence[str]) -> None:
    """Raise InputError unless a network of this configuration can have these readouts, names in READOUTS."""
    title = architecture_of(config).title
    given: list[str] = []
    for name in readouts:
        if name not in READOUTS:
            raise InputError(f"readout {str(name)[:40]!r}: expected one of {', '.join(READOUTS)}")
        needs = READOUTS[name].needs
        if needs not in architecture_of(config).features:
            able = ", ".join(row.title for row in ARCHITECTURES.values() if needs in row.features)
            raise InputError(f"readout {name!r} reads features ({needs}) that a {title} does not have: expected {able}")
        if twice := set(given) & set(READOUTS[name].outputs):
            raise InputError(
                f"readouts {', '.join(readouts)}: more than one of {', '.join(sorted(twice))}: leave one out"
            )
        given += READOUTS[name].outputs


def outputs_of(readouts: Sequence[str], periodic: bool = False, charged: bool = False) -> tuple[str, ...]:
    """Names of the outputs of readouts; without those that have no meaning in periodic structures, or in ions.

    The dipole of an ion depends on the origin.
    """
    found = [name for readout in readouts for name in READOUTS[readout].outputs]
    return tuple(
        name
        for name in found
        if not (periodic and not OUTPUTS[name].periodic) and not (charged and name in _OF_THE_ORIGIN)
    )


def available(model: Model, periodic: bool) -> tuple[str, ...]:
    """Names of the outputs that the readouts of a model have for a structure."""
    return outputs_of(model.readouts, periodic, charged=bool(model.domain.get("charge")))


def sizes(config) -> tuple[int, int, int]:
    """Numbers of features F, of hidden ones H and of elements, on which the readouts of a network depend."""
    return config.n_features, config.readout_hidden, len(config.elements)


def all_weight_shapes(config, readouts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a model: those of its architecture, and of its readouts."""
    shapes = architecture_of(config).weight_shapes(config)
    for name in readouts:
        of_readout = READOUTS[name].weight_shapes(*sizes(config))
        shapes = shapes | {f"readouts.{name}.{weight}": shape for weight, shape in of_readout.items()}
    return shapes
