"""SchNetPack 2 checkpoints (``best_model``: a whole module, saved by torch.save) to model files, without SchNetPack.

Neither is torch needed: mlcalc/importers/torch_file.py reads the file, of which nothing is ever executed.

Source: Schütt et al., J. Chem. Phys. 158, 144801 (2023), doi:10.1063/5.0138367.
"""

from pathlib import Path
from typing import Any

import numpy as np

from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.importers.elements import atomic_numbers_of
from mlcalc.importers.schnetpack_representations import REPRESENTATIONS
from mlcalc.importers.schnetpack_values import activation, array, expect, number, shaped, text, truth, two_layers
from mlcalc.importers.torch_file import Hollow, read_torch_file
from mlcalc.model import Model
from mlcalc.model_file import check_weights
from mlcalc.structures.unit_names import ENERGY_UNITS, LENGTH_UNITS

_ACTIVATIONS = {"shifted_softplus": "ssp", "silu": "silu"}  # of the readout


def import_schnetpack(
    path: str | Path, energy_unit: str, length_unit: str, elements: tuple[str, ...] | None = None
) -> Model:
    """The SchNet, PaiNN or SO3net of a SchNetPack 2 checkpoint, with its offsets of the energy.

    Args:
        energy_unit, length_unit: Units of the model, which the file does not record: keys of ENERGY_UNITS and LENGTH_UNITS.
        elements: Symbols of the elements that it was trained on, which the file does not record; None for those of its
            single-atom energies, or, without these, all rows of its embedding.

    Raises:
        InputError: No such file, a damaged one, a network with a part that has no counterpart, an unknown unit or element.
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
            f"{path}: not a network of SchNetPack 2 ({type(error).__name__}: {str(error)[:200]})"
        ) from error
    check_weights(config, weights, str(path))
    provenance = {
        "imported_from": f"SchNetPack {text(getattr(module, 'spk_version', '2'))} checkpoint", "checkpoint": Path(path).name,
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


def _translate(
    module: Hollow, elements: tuple[str, ...] | None, energy: float, length: float
) -> tuple[Any, dict[str, np.ndarray]]:
    """Configuration and weights; energy, length: the model's units in eV and Å."""
    expect(module.kind, "NeuralNetworkPotential", what="a model of the class")
    representation, readout = module.representation, _readout(module)
    _check_representation(representation)
    layers = two_layers(readout.outnet, "readout", *_ACTIVATIONS)
    offsets = _offsets(module, text(readout.output_key))
    table, basis = array(representation.embedding.weight), representation.radial_basis
    numbers = _elements(elements, table, offsets)
    row, first = REPRESENTATIONS[representation.kind], readout.outnet.children[0]
    config = row.config(
        elements=numbers, n_features=table.shape[1], n_interactions=len(getattr(representation, row.blocks).children),
        n_rbf=len(array(basis.offsets)), cutoff=number(representation.cutoff_fn.cutoff) * length,
        readout_hidden=len(array(layers["readout.0.bias"])), readout_activation=_ACTIVATIONS[activation(first)],
        **row.options(representation),
    )  # fmt: skip
    tensors = {
        "embedding.weight": table[list(numbers)],
        "radial_basis.centers": array(basis.offsets).astype(np.float64) * length,
        "radial_basis.coefficients": 0.5 / np.square(array(basis.widths).astype(np.float64) * length),
        "energy_scale": np.array(energy),
        "energy_shift": offsets[list(numbers)] * energy,
        **layers,
        **row.tensors(representation, config),
    }
    shapes = architecture_of(config).weight_shapes(config)
    return config, {name: shaped(name, tensor, shapes.get(name)) for name, tensor in tensors.items()}


def _readout(module: Hollow) -> Hollow:
    """The one module that makes the energy."""
    for other in module.input_modules.children:
        expect(other.kind, "PairwiseDistances", what="an input module of the class")
    for other in module.output_modules.children:
        expect(other.kind, "Atomwise", "Forces", what="an output module of the class")
    made = [other for other in module.output_modules.children if other.kind == "Atomwise"]
    if len(made) != 1:
        raise InputError(f"{len(made)} modules Atomwise: expected one, that of the energy")
    expect(made[0].aggregation_mode, "sum", what="an energy aggregated by")
    if (outputs := number(made[0].n_out)) != 1:
        raise InputError(f"a readout of {outputs} outputs: expected one")
    return made[0]


def _check_representation(representation: Hollow) -> None:
    """Raise InputError for what none of REPRESENTATIONS has a place for."""
    expect(representation.kind, *REPRESENTATIONS, what="a representation of the class")
    expect(representation.radial_basis.kind, "GaussianRBF", what="a radial basis of the class")
    expect(representation.cutoff_fn.kind, "CosineCutoff", what="a cutoff function of the class")
    expect(representation.embedding.kind, "Embedding", what="an embedding of the class")
    if getattr(representation.embedding, "max_norm", None) is not None:
        raise InputError("an embedding with max_norm, which scales its rows: expected none")
    state = getattr(representation, "electronic_embeddings", None)  # files before 2.1 have none
    if state is not None and state.children:
        raise InputError("electronic embeddings (charge, spin): there is no place for them")


def _offsets(module: Hollow, energy_key: str) -> np.ndarray:
    """(n_elements,) what SchNetPack adds to the energy for each atom, in the model's unit; row = atomic number."""
    total = np.zeros(len(array(module.representation.embedding.weight)))
    switch = getattr(module, "do_postprocessing", True)
    if switch is None or not truth(switch):  # None: the default of 2.0.0, which SchNetPack takes for False
        return total
    for step in module.postprocessors.children:
        expect(step.kind, "AddOffsets", "CastTo64", "CastTo32", what="a postprocessor of the class")
        if step.kind != "AddOffsets" or text(step._property) != energy_key:
            continue
        if not truth(step.is_extensive):
            raise InputError("an offset of the energy that does not grow with the molecule: expected one per atom")
        if truth(step.add_mean):
            total += number(step.mean)
        if truth(step.add_atomrefs):
            references = array(step.atomref).ravel()
            total[: len(references)] += references[: len(total)]
    return total


def _elements(symbols: tuple[str, ...] | None, table: np.ndarray, offsets: np.ndarray) -> tuple[int, ...]:
    if symbols is not None:
        return atomic_numbers_of(symbols, len(table))
    usual = offsets[0]  # no element: nothing but the mean
    known = np.flatnonzero(offsets != usual)
    return tuple(int(z) for z in (known if len(known) else range(1, len(table))))
