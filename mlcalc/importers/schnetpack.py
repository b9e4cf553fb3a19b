"""SchNetPack 2 checkpoints (``best_model``: a complete module, saved by torch.save) to model files, without SchNetPack.

Torch is not needed either: mlcalc/importers/torch_file.py reads the file and executes nothing of it.

Source: Schütt et al., J. Chem. Phys. 158, 144801 (2023), doi:10.1063/5.0138367.
"""

from pathlib import Path

import numpy as np

from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.common.errors import InputError
from mlcalc.importers.elements import atomic_numbers_of
from mlcalc.importers.torch_file import Hollow, read_torch_file
from mlcalc.model import Model
from mlcalc.model_file import check_weights
from mlcalc.structures.unit_names import ENERGY_UNITS, LENGTH_UNITS

_MOST_NUMBERS = 1 << 26
_ACTIVATIONS = {"shifted_softplus": "ssp", "silu": "silu"}  # of the readout


def import_schnetpack(
    path: str | Path, energy_unit: str, length_unit: str, elements: tuple[str, ...] | None = None
) -> Model:
    """The SchNet of a SchNetPack 2 checkpoint, with its offsets of the energy.

    Args:
        energy_unit, length_unit: Units of the model, which the file does not record: keys of ENERGY_UNITS and LENGTH_UNITS.
        elements: Symbols of the elements that it was trained on, which the file does not record; None for those of its
            single-atom energies, or, if it has none, all that its embedding has rows for.

    Raises:
        InputError: No such file, a damaged one, a network of another architecture, an unknown unit or element.
    """
    for name, unit, known in (
        ("energy unit", energy_unit, ENERGY_UNITS), ("length unit", length_unit, LENGTH_UNITS)
    ):  # fmt: skip
        if unit not in known:
            raise InputError(f"{name} {unit!r}: expected one of {', '.join(known)}")
    try:
        module = _read(Path(path))
        config, weights = _translate(module, elements, ENERGY_UNITS[energy_unit], LENGTH_UNITS[length_unit])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: not a SchNet of SchNetPack 2 ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    check_weights(config, weights, str(path))
    provenance = {
        "imported_from": f"SchNetPack {_text(getattr(module, 'spk_version', '2'))} checkpoint", "checkpoint": Path(path).name,
        "energy_unit": energy_unit, "length_unit": length_unit,
    }  # fmt: skip
    return Model(config, weights, {"domain": {"elements": list(config.elements)}, "provenance": provenance})


def _read(path: Path) -> Hollow:
    module = read_torch_file(path)
    if not isinstance(module, Hollow):
        raise InputError(
            f"holds a {type(module).__name__}, not a network: expected best_model, which SchNetPack writes beside checkpoints"
        )
    return module


def _expect(found: str, *allowed: str, what: str) -> None:
    if _text(found) not in allowed:
        raise InputError(f"{what} {found}: only {' and '.join(allowed)} can be imported")


def _translate(
    module: Hollow, elements: tuple[str, ...] | None, energy: float, length: float
) -> tuple[SchNetConfig, dict[str, np.ndarray]]:
    _expect(module.kind, "NeuralNetworkPotential", what="a model of the class")
    schnet, readout = module.representation, _readout(module)
    _check_representation(schnet)
    first, second = readout.outnet.children
    offsets = _offsets(module, _text(readout.output_key))
    table = _array(schnet.embedding.weight)
    numbers = _elements(elements, table, offsets)
    blocks, basis = schnet.interactions.children, schnet.radial_basis
    config = SchNetConfig(
        elements=numbers, n_features=table.shape[1], n_interactions=len(blocks), n_rbf=len(_array(basis.offsets)),
        cutoff=_number(schnet.cutoff_fn.cutoff) * length, readout_hidden=len(_array(first.bias)),
        readout_activation=_ACTIVATIONS[_activation(first)],
    )  # fmt: skip
    weights = {
        "embedding.weight": table[list(numbers)],
        "radial_basis.centers": _array(basis.offsets) * np.float32(length),
        "radial_basis.coefficients": 0.5 / np.square(_array(basis.widths) * np.float32(length)),
        "energy_scale": np.array(energy),
        "energy_shift": offsets[list(numbers)] * energy,
        **_dense(first, "readout.0"), **_dense(second, "readout.1"),
    }  # fmt: skip
    for t, block in enumerate(blocks):
        weights[f"interactions.{t}.in2f.weight"] = _array(block.in2f.weight)
        for name in ("filter_network", "f2out"):
            for layer, dense in enumerate(getattr(block, name).children):
                weights |= _dense(dense, f"interactions.{t}.{name}.{layer}")
    return config, weights


def _readout(module: Hollow) -> Hollow:
    """The one module that computes the energy."""
    for other in module.input_modules.children:
        _expect(other.kind, "PairwiseDistances", what="an input module of the class")
    for other in module.output_modules.children:
        _expect(other.kind, "Atomwise", "Forces", what="an output module of the class")
    made = [other for other in module.output_modules.children if other.kind == "Atomwise"]
    if len(made) != 1:
        raise InputError(f"{len(made)} modules Atomwise: expected one, that of the energy")
    _expect(made[0].aggregation_mode, "sum", what="an energy aggregated by")
    layers = made[0].outnet.children
    outputs = _number(made[0].n_out)
    if len(layers) != 2 or outputs != 1:
        raise InputError(f"a readout of {len(layers)} layers and {outputs} outputs: expected two and one")
    _expect(_activation(layers[0]), *_ACTIVATIONS, what="a readout with the activation")
    return made[0]


def _check_representation(schnet: Hollow) -> None:
    _expect(schnet.kind, "SchNet", what="a representation of the class")
    _expect(schnet.radial_basis.kind, "GaussianRBF", what="a radial basis of the class")
    _expect(schnet.cutoff_fn.kind, "CosineCutoff", what="a cutoff function of the class")
    if getattr(schnet, "electronic_embeddings", None) and schnet.electronic_embeddings.children:
        raise InputError("electronic embeddings (charge, spin): expected none")
    filters, features = _number(schnet.n_filters), _number(schnet.n_atom_basis)
    if filters != features:
        raise InputError(f"{filters} filters for {features} features: expected as many of both")
    for block in schnet.interactions.children:
        for layers in (block.filter_network, block.f2out):
            _expect(_activation(layers.children[0]), "shifted_softplus", what="interactions with the activation")


def _activation(dense: Hollow) -> str:
    """Name of a function or of a module."""
    activation = dense.activation
    return activation.__name__ if isinstance(activation, type) else activation.kind


def _offsets(module: Hollow, energy_key: str) -> np.ndarray:
    """(n_elements,) what SchNetPack adds to the energy for each atom, in the model's unit; row = atomic number."""
    total = np.zeros(len(_array(module.representation.embedding.weight)))
    for step in module.postprocessors.children:
        _expect(step.kind, "AddOffsets", "CastTo64", "CastTo32", what="a postprocessor of the class")
        if step.kind != "AddOffsets" or _text(step._property) != energy_key:
            continue
        if not _truth(step.is_extensive):
            raise InputError("an offset of the energy that does not grow with the molecule: expected one per atom")
        if _truth(step.add_mean):
            total += _number(step.mean)
        if _truth(step.add_atomrefs):
            references = _array(step.atomref).ravel()
            total[: len(references)] += references[: len(total)]
    return total


def _elements(symbols: tuple[str, ...] | None, table: np.ndarray, offsets: np.ndarray) -> tuple[int, ...]:
    if symbols is not None:
        return atomic_numbers_of(symbols, len(table))
    usual = offsets[0]  # no element: nothing but the mean
    known = np.flatnonzero(offsets != usual)
    return tuple(int(z) for z in (known if len(known) else range(1, len(table))))


def _dense(dense: Hollow, name: str) -> dict[str, np.ndarray]:
    return {f"{name}.weight": _array(dense.weight), f"{name}.bias": _array(dense.bias)}


# Where a word, a number or an array belongs, a file may hold anything, even objects that take exponential time to print.


def _text(value) -> str:
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise InputError(f"a {type(value).__name__[:60]} where a word belongs: not a SchNet of SchNetPack 2")
    return value


def _number(value) -> float:
    """A number, or the only one of an array."""
    number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if type(number) not in (int, float) or not np.isfinite(number):
        raise InputError(f"a {type(value).__name__[:60]} where a finite number belongs: not a SchNet of SchNetPack 2")
    return number


def _truth(value) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"a {type(value).__name__[:60]} where true or false belongs: not a SchNet of SchNetPack 2")
    return value


def _array(tensor) -> np.ndarray:
    if not isinstance(tensor, np.ndarray) or tensor.dtype.newbyteorder("=") not in (np.float32, np.float64):
        kind = getattr(tensor, "dtype", type(tensor).__name__[:60])
        raise InputError(f"a tensor of {kind}: expected numbers in float32 or float64")
    if tensor.size > _MOST_NUMBERS or (tensor.size > 1 and 0 in tensor.strides):
        raise InputError(f"a tensor of shape {tensor.shape}: more numbers than the file holds")
    return np.array(tensor, tensor.dtype.newbyteorder("="), order="C")
