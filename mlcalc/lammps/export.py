"""A model as the LAMMPS plugin reads it: words of a header, then all arrays as little-endian float32.

The header names every entry, in this order (lengths in Å, energies in eV)::

    mlcalc-lammps 1                                 format and version
    architecture NAME
    sizes F T H KNOTS SILU                          features, layers, hidden features of the readout, knots; 1 for silu, 0 for ssp
    lengths CUTOFF SPACING                          of the network; of the knots of its filter table
    elements N SYMBOL Z ENERGY …                    constant energy of an atom
    limits R …                                      (N, N) smallest distances at which the model may be evaluated
    repulsion CUTOFF COULOMB LENGTH C… D…           mlcalc/priors/repulsion.py; cutoff 0 for none
    angular STRENGTH COSINE DECAY CUTOFF            mlcalc/priors/angular.py; cutoff 0 for none
    arrays N NAME COUNT …
    checksum CRC32                                  of the arrays
    end

Arrays are those of the compiled kernels (architectures/*/kernel_state.py), tabulated filters included, with features and hidden
features padded with zeros to multiples of 16. The C++ side is plugin/model_file.cpp.
"""

import sys
import zlib
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from mlcalc import exportable
from mlcalc.architectures import architecture_of, name_of
from mlcalc.architectures.kernels.filter_table import FilterTable
from mlcalc.architectures.kernels.padding import padded
from mlcalc.architectures.kernels.state import make_atoms, make_constants, make_readout
from mlcalc.architectures.painn import filters as painn_filters
from mlcalc.architectures.painn import kernel_state as painn_state
from mlcalc.architectures.schnet import filters as schnet_filters
from mlcalc.architectures.schnet import kernel_state as schnet_state
from mlcalc.architectures.so3net import filters as so3net_filters
from mlcalc.architectures.so3net import kernel_state as so3net_state
from mlcalc.common.errors import InputError
from mlcalc.exportable import check_exportable, known_elements
from mlcalc.geometry.domain import pair_limits
from mlcalc.model import Model
from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, ZBL_EXPONENTS, screening_length, zbl_prefactor

FORMAT, FORMAT_VERSION = "mlcalc-lammps", 1
PLUGIN = "mlcalcplugin.so"  # LAMMPS loads what ends so from LAMMPS_PLUGIN_PATH by itself
PRIORS = ("repulsion", "angular")
_PRECISION = "float32"


class _Parts(NamedTuple):
    """What the plugin takes of an architecture.

    Attributes:
        filter_table, make_network: As the compiled kernel makes them.
        widened: Sizes of the configuration that are padded here; the others are by make_network.
        of_elements: Arrays with a row for each element.
    """

    filter_table: Callable[[Model, str], FilterTable]
    make_network: Callable[[Model, np.ndarray, Any], Any]
    widened: tuple[str, ...]
    of_elements: tuple[str, ...]


_ARCHITECTURES = {
    "schnet": _Parts(
        schnet_filters.filter_table, schnet_state.make_network, ("n_features", "readout_hidden"), ("embedding", "messages"),
    ),
    "painn": _Parts(
        painn_filters.filter_table, painn_state.make_network, ("readout_hidden",), ("embedding", "first"),
    ),
    "so3net": _Parts(
        so3net_filters.filter_table, so3net_state.make_network, ("readout_hidden",), ("embedding",),
    ),
}  # fmt: skip


def as_lammps(model: Model) -> bytes:
    """The file of a model.

    Raises:
        InputError: The plugin does not know its architecture or a prior, it has no cutoff, or is a correction to an engine.
    """
    parts = _parts(model)
    model = _widen(model, parts.widened)
    table = parts.filter_table(model, _PRECISION)
    network = parts.make_network(model, table.coefficients, np.dtype(_PRECISION))._asdict()
    n_features = network["embedding"].shape[1]
    kept = [model.config.elements.index(z) for z in known_elements(model)]
    arrays = {name: array[kept] if name in parts.of_elements else array for name, array in network.items()}
    readout = make_readout(model, n_features, np.dtype(_PRECISION))
    arrays |= {f"readout.{name}": array for name, array in readout._asdict().items()}
    body = b"".join(np.asarray(array, dtype="<f4").tobytes() for array in arrays.values())
    lines = [
        (FORMAT, FORMAT_VERSION),
        ("architecture", name_of(model.config)),
        *_scalars(model, n_features, table),
        *_priors(model),
        ("arrays", len(arrays), *(word for name, array in arrays.items() for word in (name, array.size))),
        ("checksum", zlib.crc32(body)),
        ("end",),
    ]
    return "".join(" ".join(map(_word, line)) + "\n" for line in lines).encode() + body


def left_out(model: Model) -> list[str]:
    """What the file does not hold of a model, a line each."""
    lines = exportable.left_out(model, "LAMMPS")
    if model.readouts:
        lines.append(f"left out: readouts of {', '.join(model.readouts)}; LAMMPS gets energies and forces")
    return lines


def input_lines(model: Model, path: Path) -> list[str]:
    """Commands of LAMMPS that use the file of a model, with a type for each element; masses are those of the training."""
    numbers = known_elements(model)
    masses = model.domain.get("bead_masses_u", {})
    symbols = [chemical_symbols[z] for z in numbers]
    by_type = zip(
        symbols, (masses.get(symbol, atomic_masses[z]) for symbol, z in zip(symbols, numbers, strict=True)), strict=True
    )
    return [
        "units metal",
        f"plugin load {PLUGIN}",
        "pair_style mlcalc",
        f"pair_coeff * * {path} {' '.join(symbols)}",
        *(f"mass {k} {mass:.9g}  # {symbol}" for k, (symbol, mass) in enumerate(by_type, 1)),
    ]


def _word(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float | np.floating) else str(value)


def _parts(model: Model) -> _Parts:
    check_exportable(model, "the LAMMPS plugin", _ARCHITECTURES, PRIORS)
    if sys.byteorder != "little":
        raise InputError("the LAMMPS plugin reads little-endian numbers: this processor has others")
    return _ARCHITECTURES[name_of(model.config)]


def _widen(model: Model, sizes: tuple[str, ...]) -> Model:
    """The same network with more features, whose weights are zero: multiples of what a vector of the processor holds."""
    config = replace(model.config, **{name: padded(getattr(model.config, name), _PRECISION) for name in sizes})
    weights = {}
    for name, shape in architecture_of(config).weight_shapes(config).items():
        weights[name] = np.zeros(shape)
        weights[name][tuple(map(slice, model.weights[name].shape))] = model.weights[name]
    return replace(model, config=config, weights=weights, readouts=())


def _scalars(model: Model, n_features: int, table: FilterTable) -> list[tuple]:
    config, constants, elements = model.config, make_constants(model, table.spacing), known_elements(model)
    shift = make_atoms(model, np.array(config.elements)).shift
    by_element = [(chemical_symbols[z], z, shift[config.elements.index(z)]) for z in elements]
    n_knots = table.coefficients.shape[1]
    return [
        ("sizes", n_features, config.n_interactions, config.readout_hidden, n_knots, int(constants.silu)),
        ("lengths", float(config.cutoff), table.spacing),
        ("elements", len(elements), *(word for element in by_element for word in element)),
        ("limits", *pair_limits(model.domain, elements).flat),
    ]


def _priors(model: Model) -> list[tuple]:
    repulsion = model.priors["repulsion"].cutoff if "repulsion" in model.priors else 0.0
    constants = zbl_prefactor(1, 1), 2.0 * screening_length(1, 1)
    angular = astuple(model.priors["angular"]) if "angular" in model.priors else (0.0,) * 4
    return [
        ("repulsion", float(repulsion), *constants, *ZBL_COEFFICIENTS, *ZBL_EXPONENTS),
        ("angular", *map(float, angular)),
    ]
