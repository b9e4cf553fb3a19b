"""Model files: safetensors weights with JSON metadata. No pickle is ever read or written.

The header of the safetensors file carries one entry, ``mlcalc``, whose value is a JSON object::

    {"format": "mlcalc-model", "format_version": 2,
     "units": {"energy": "eV", "length": "Ang"},
     "architecture": "schnet", "config": {...},  # a row of mlcalc/architectures, and its configuration
     "priors": {"repulsion": {...}},             # rows of mlcalc/priors; keys without a value are left out
     "outputs": ["energy"],                      # and rows of mlcalc/readouts that the network has
     "scalar": {"name": "ZPVE", "unit": "eV"},   # of a network with the readout "scalar"
     "domain": {...},                            # elements, distances, charge of the training set: mlcalc/training/domain.py
     "test_errors": {...}, "provenance": {...}}

Version 1 (format ``mlcalc-schnet``) held only a SchNet, its priors among the keys of its configuration; it is still read.
Weights carry the names of the torch module's ``state_dict``, so the file, the torch network and the compiled kernel read the
same table. Everything in a file is in eV and Å.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlcalc.architectures import ARCHITECTURES, name_of
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.settings import build_settings
from mlcalc.model import Model
from mlcalc.model_header import check_metadata, check_table
from mlcalc.priors import as_tables, build_priors
from mlcalc.readouts import READOUTS, all_weight_shapes, check_readouts

FORMAT, FORMAT_VERSION = "mlcalc-model", 2
_FORMAT_1 = "mlcalc-schnet"
UNITS = {"energy": "eV", "length": "Ang"}
FILE_IN_FOLDER = "model.safetensors"  # of a training, or of a run
MAX_FILE_BYTES = 1 << 30  # a model is a few MB; anything near this is not one
_MOST_HEADER_BYTES = 1 << 22
_LARGEST_WEIGHT = 1e12
_ENERGY, _SCALAR = "energy", "scalar"  # the output that all networks have, and the readout that needs a name
_ARCHITECTURE = ("format", "format_version", "units", "architecture", "config", "priors", "outputs")
# Keys of a configuration of version 1 that are priors now.
_PRIORS_1 = {
    "repulsion": {"repulsion_cutoff": "cutoff"},
    "angular": {
        "angle_strength": "strength", "angle_cosine": "cosine", "angle_decay": "decay", "angle_cutoff": "cutoff"
    },
}  # fmt: skip


def check_weights(config, weights: dict[str, np.ndarray], source: str, readouts: Sequence[str] = ()) -> None:
    """Raise InputError unless the weights are exactly those of architecture and readouts, float32 or float64, and finite."""
    shapes = all_weight_shapes(config, readouts)
    _check_names(shapes, weights, source)
    for name, shape in shapes.items():
        array = weights[name]
        if array.dtype not in (np.float32, np.float64):
            raise InputError(f"{source}: {name} holds {array.dtype} numbers: expected float32 or float64")
        if array.shape != shape:
            raise InputError(f"{source}: {name} has shape {array.shape}, expected {shape}")
        if not (np.abs(array) < _LARGEST_WEIGHT).all():
            raise InputError(
                f"{source}: {name} holds NaN, infinite or huge numbers: expected less than {_LARGEST_WEIGHT:g}"
            )


def _check_names(shapes: Mapping[str, Any], weights: Mapping[str, Any], source: str) -> None:
    if missing := sorted(shapes.keys() - weights.keys()):
        raise InputError(f"{source}: weights missing for this architecture: {', '.join(missing[:3])} …")
    if extra := sorted(weights.keys() - shapes.keys()):
        raise InputError(f"{source}: weights that this architecture does not have: {', '.join(extra[:3])} …")


def save_model(model: Model, path: str | Path) -> None:
    """Write a model file (atomically). Raises InputError for what load_model would refuse."""
    from safetensors.numpy import save

    check_readouts(model.config, model.readouts)
    check_weights(model.config, model.weights, "model", model.readouts)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "units": UNITS,
        "architecture": name_of(model.config),
        "config": asdict(model.config),
        "priors": as_tables(model.priors),
        "outputs": [_ENERGY, *model.readouts],
        **model.metadata,
    }
    text = to_json(header)
    _check_entries(_metadata(from_json(text)), model.readouts, "model")
    weights = {name: np.asarray(array, order="C") for name, array in model.weights.items()}
    write_atomically(path, save(weights, metadata={"mlcalc": text}))


def load_model(name: str | Path) -> Model:
    """Read a model file by path, or a shipped model by its name (such as ``"c20"``).

    Raises:
        InputError: No such file or shipped model; not a model file; a newer format; truncated; an entry of another type or out
            of bounds; weights that are not finite float32 or float64.
    """
    return read_model(name)[0]


def read_model(name: str | Path) -> tuple[Model, bytes]:
    """As load_model, with the content of the file, which is opened once."""
    path = find_model(name)
    header, config, weights, content = _read_safetensors(path)
    readouts = _readouts(header)
    check_weights(config, weights, str(path), readouts)
    _check_entries(_metadata(header), readouts, str(path))
    try:
        return Model(config, weights, _metadata(header), _priors(header, path), readouts), content
    except InputError as error:
        raise InputError(f"{path}: unreadable architecture: {error}") from error


def _check_entries(metadata: dict[str, Any], readouts: Sequence[str], source: str) -> None:
    """Raise InputError for entries that check_metadata refuses, and unless the scalar of a readout, and no other, has its name."""
    check_metadata(metadata, source)
    if (_SCALAR in metadata) != (_SCALAR in readouts):
        what = "no entry that names it" if _SCALAR in readouts else "an entry that names one, but no readout of it"
        raise InputError(f"{source}: {_SCALAR}: {what}: expected both or neither")


def _metadata(header: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in header.items() if key not in _ARCHITECTURE}


def shipped_models() -> dict[str, Path]:
    """Name → file of the models that come with the package."""
    folder = Path(str(resources.files("mlcalc"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stem)}


def find_model(name: str | Path) -> Path:
    """The file behind a shipped name, a path or a folder that 'mlcalc train' wrote; InputError when there is none."""
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path) and os.path.isfile(path / FILE_IN_FOLDER):
        return path / FILE_IN_FOLDER
    if not os.path.isfile(path):
        raise InputError(
            f"model {str(name)[:200]!r}: no such file, and the shipped models are: {', '.join(shipped) or 'none'}"
        )
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Any], Any, dict[str, np.ndarray], bytes]:
    """Header, architecture, weights, and all bytes: a declared size is checked before anything of that size is read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with path.open("rb") as stream:
            header, tensors = _read_header(stream)
            config = _config_from_header(header, path)
            _check_tensors(all_weight_shapes(config, _readouts(header)), tensors, path)
            stream.seek(0)
            # Read, not mapped: a mapped file that is truncated meanwhile causes a bus error.
            content = stream.read(MAX_FILE_BYTES)
            return header, config, load(content), content
    except (_NotReadable, SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable model file ({error}); expected safetensors written by mlcalc "
            "(pickles and other checkpoints are never opened; see 'mlcalc import --help')"
        ) from error


class _NotReadable(Exception):
    """The file is not the safetensors that load_model expects; the text says why."""


def _read_header(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]]:
    """The entry ``mlcalc`` of the header, and those of the tensors."""
    size = os.fstat(stream.fileno()).st_size
    if size > MAX_FILE_BYTES:
        raise _NotReadable(f"{size} bytes, at most {MAX_FILE_BYTES}")
    length = int.from_bytes(stream.read(8), "little")
    if not 0 < length <= min(size - 8, _MOST_HEADER_BYTES):
        raise _NotReadable(f"a header of {length} bytes in a file of {size}, at most {_MOST_HEADER_BYTES}")
    try:
        tensors = from_json(stream.read(length))
        others = tensors.pop("__metadata__", {})
        header = from_json(others["mlcalc"]) if "mlcalc" in others else {}
    except (InputError, AttributeError, TypeError) as error:
        raise _NotReadable(str(error)) from error
    if not isinstance(header, dict) or header.get("format") not in (FORMAT, _FORMAT_1):
        raise InputError(f"{stream.name}: a safetensors file, but not an mlcalc model (no '{FORMAT}' header)")
    return _up_to_date(header, stream.name), tensors


def _up_to_date(header: dict[str, Any], path: str) -> dict[str, Any]:
    """A header converted to version 2."""
    version, expected = header.get("format_version"), 1 if header["format"] == _FORMAT_1 else FORMAT_VERSION
    if type(version) is not int or version != expected:
        raise InputError(
            f"{path}: {header['format']} of version {str(version)[:40]!r}, this mlcalc reads version {expected} of it"
        )
    if version > 1:
        return header
    check_table("config", header.get("config"), path)
    config, priors = dict(header["config"]), {}
    for name, keys in _PRIORS_1.items():
        given = {new: config.pop(old) for old, new in keys.items() if config.get(old) is not None}
        if given:
            priors[name] = given
        for old in keys:
            config.pop(old, None)
    return header | {"architecture": "schnet", "config": config, "priors": priors, "outputs": [_ENERGY]}


def _config_from_header(header: dict[str, Any], path: Path) -> Any:
    """The configuration of one of ARCHITECTURES, which has the readouts that the header names."""
    if header.get("units") != UNITS:
        raise InputError(f"{path}: units {str(header.get('units'))[:80]}, expected {UNITS}")
    architecture, outputs = header.get("architecture"), header.get("outputs")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise InputError(
            f"{path}: architecture {str(architecture)[:40]!r}: this mlcalc supports {', '.join(ARCHITECTURES)}"
        )
    known = isinstance(outputs, list) and all(isinstance(name, str) and name in READOUTS for name in outputs[1:])
    if not known or outputs[:1] != [_ENERGY]:
        raise InputError(
            f"{path}: outputs {str(outputs)[:80]}: this mlcalc reads networks of {_ENERGY}, with {', '.join(READOUTS)} or without"
        )
    check_table("config", header.get("config"), str(path))
    config = build_settings(ARCHITECTURES[architecture].config, header["config"], f"{path}: unreadable architecture")
    check_readouts(config, _readouts(header))
    return config


def _readouts(header: dict[str, Any]) -> tuple[str, ...]:
    return tuple(header["outputs"][1:])


def _priors(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """Priors by name, as in Model."""
    check_table("priors", header.get("priors"), str(path), _MOST_HEADER_BYTES)
    return build_priors(header["priors"], str(path))


def _check_tensors(shapes: Mapping[str, tuple[int, ...]], tensors: dict[str, Any], path: Path) -> None:
    """Check names, types and shapes that a file declares, before its numbers are read."""
    _check_names(shapes, tensors, str(path))
    for name, shape in shapes.items():
        entry = tensors[name] if isinstance(tensors[name], dict) else {}
        if entry.get("dtype") not in ("F32", "F64"):
            raise InputError(f"{path}: {name} holds {str(entry.get('dtype'))[:20]} numbers: expected F32 or F64")
        if entry.get("shape") != list(shape):
            raise InputError(f"{path}: {name} has shape {str(entry.get('shape'))[:80]}, expected {list(shape)}")
