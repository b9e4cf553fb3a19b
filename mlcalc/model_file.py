"""Model files: safetensors weights with JSON metadata. No pickle is ever read or written.

The header of the safetensors file carries one entry, ``mlcalc``, whose value is a JSON object::

    {"format": "mlcalc-schnet", "format_version": 1,
     "units": {"energy": "eV", "length": "Ang"},
     "config": {...},            # SchNetConfig
     "domain": {...},            # elements, distances, charge of the training set: mlcalc/training/domain.py
     "test_errors": {...}, "provenance": {...}}

Weights carry the names of the torch module's ``state_dict`` (mlcalc/architectures/schnet/network.py), so the file, the torch
network and the compiled kernel read the same table. Everything in a file is in eV and Å.
"""

import os
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.settings import build_settings
from mlcalc.model_header import check_atomic_numbers, check_metadata, check_table
from mlcalc.priors.angular import AngularPrior

FORMAT = "mlcalc-schnet"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "Ang"}
FILE_IN_FOLDER = "model.safetensors"  # of a training, or of a run
MAX_FILE_BYTES = 1 << 30  # a SchNet is a few MB; anything near this is not one
_MOST_HEADER_BYTES = 1 << 22
_MOST_WEIGHTS, _LARGEST_WEIGHT = 1 << 26, 1e12
_SIZES = {"n_features": 4096, "n_interactions": 64, "n_rbf": 1024, "readout_hidden": 4096}
_LARGEST_CUTOFF_A, _SMALLEST_CUTOFF_A = 100.0, 0.1


@dataclass(frozen=True)
class SchNetConfig:
    """Architecture of a SchNet; covers both dialects of the literature.

    Attributes:
        elements: Atomic numbers, in the order of the rows of the embedding.
        n_features: Width F of the atom features.
        n_interactions: Number T of interaction blocks.
        n_rbf: Number of Gaussians of the radial basis.
        cutoff: Largest pair distance in Å; None connects all pairs (molecules only).
        cutoff_function: ``"cosine"`` multiplies the filters by ½(cos(πr/r_c)+1); ``"none"`` leaves them alone.
        filter_output_activation: Whether ssp also follows the second filter layer (original SchNet: yes).
        readout_hidden: Width of the hidden readout layer.
        readout_activation: ``"ssp"`` or ``"silu"``.
        repulsion_cutoff: Å below which a ZBL pair repulsion is added (mlcalc/priors/repulsion.py); None for no repulsion.
        angle_strength, angle_cosine, angle_decay, angle_cutoff: λ (eV), c, γ (Å) and a (Å) of the angular prior
            (mlcalc/priors/angular.py); all None for no such prior.
    """

    elements: tuple[int, ...]
    n_features: int = 64
    n_interactions: int = 3
    n_rbf: int = 32
    cutoff: float | None = 5.0
    cutoff_function: str = "cosine"
    filter_output_activation: bool = False
    readout_hidden: int = 32
    readout_activation: str = "ssp"
    repulsion_cutoff: float | None = None
    angle_strength: float | None = None
    angle_cosine: float | None = None
    angle_decay: float | None = None
    angle_cutoff: float | None = None

    @property
    def angular_prior(self) -> AngularPrior | None:
        """The numbers of mlcalc/priors/angular.py."""
        if self.angle_cutoff is None:
            return None
        return AngularPrior(self.angle_strength, self.angle_cosine, self.angle_decay, self.angle_cutoff)

    def __post_init__(self):
        object.__setattr__(self, "elements", check_atomic_numbers("elements", self.elements))
        if not self.elements:
            raise InputError("elements = []: expected at least one atomic number")
        for name, most in _SIZES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InputError(f"{name} = {value!r}: expected a whole number from 1 to {most}")
        if (count := _count_weights(self)) > _MOST_WEIGHTS:
            raise InputError(f"an architecture of {count} weights: expected at most {_MOST_WEIGHTS}")
        self._check_distances()
        self._check_angular_prior()
        if self.cutoff_function not in ("cosine", "none"):
            raise InputError(f"cutoff_function = {self.cutoff_function!r}: expected 'cosine' or 'none'")
        if self.cutoff_function == "cosine" and self.cutoff is None:
            raise InputError("cutoff_function = 'cosine' needs a cutoff in Å")
        if self.readout_activation not in ("ssp", "silu"):
            raise InputError(f"readout_activation = {self.readout_activation!r}: expected 'ssp' or 'silu'")
        if not isinstance(self.filter_output_activation, bool):
            raise InputError(f"filter_output_activation = {self.filter_output_activation!r}: expected true or false")

    def _check_distances(self) -> None:
        for name in ("cutoff", "repulsion_cutoff", "angle_decay", "angle_cutoff"):
            value, least = getattr(self, name), 0.0 if name == "angle_decay" else _SMALLEST_CUTOFF_A
            if value is not None and (isinstance(value, bool) or not least <= value <= _LARGEST_CUTOFF_A or not value):
                raise InputError(
                    f"{name} = {value!r}: expected a positive distance from {least:g} to {_LARGEST_CUTOFF_A:g} Å, or none"
                )
        for name in ("repulsion_cutoff", "angle_cutoff"):  # beyond the cutoff there are no pairs
            if (getattr(self, name) or 0.0) > (self.cutoff or np.inf):
                raise InputError(f"{name} = {getattr(self, name)!r}: expected at most the cutoff of {self.cutoff:g} Å")

    def _check_angular_prior(self) -> None:
        given = self.angle_strength, self.angle_cosine, self.angle_decay, self.angle_cutoff
        if None in given:
            if any(value is not None for value in given):
                raise InputError(
                    f"angle_strength, angle_cosine, angle_decay, angle_cutoff = {given}: expected all four, or none"
                )
            return
        if not 0 < self.angle_strength < np.inf or not -1 <= self.angle_cosine <= 1:
            raise InputError(
                f"angle_strength = {self.angle_strength!r} eV, angle_cosine = {self.angle_cosine!r}: expected a strength above 0 "
                "and a cosine from -1 to 1"
            )


@dataclass(frozen=True)
class Model:
    """A trained network: architecture, weights, and what is known about them.

    Attributes:
        config: The architecture.
        weights: Arrays named as in the torch module's ``state_dict``; eV and Å.
        metadata: JSON-able ``domain``, ``test_errors``, ``provenance`` of the file header.
    """

    config: SchNetConfig
    weights: dict[str, np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def domain(self) -> dict[str, Any]:
        """What is recorded of the training set, see mlcalc/training/domain.py."""
        return self.metadata.get("domain", {})


def expected_shapes(config: SchNetConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of an architecture: the contract of a model file."""
    n_features, n_elements = config.n_features, len(config.elements)
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (n_elements, n_features),
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
    }
    for t in range(config.n_interactions):
        block = f"interactions.{t}"
        shapes[f"{block}.filter_network.0.weight"] = (n_features, config.n_rbf)
        shapes[f"{block}.filter_network.1.weight"] = (n_features, n_features)
        shapes[f"{block}.in2f.weight"] = (n_features, n_features)
        for layer in (0, 1):
            shapes[f"{block}.filter_network.{layer}.bias"] = (n_features,)
            shapes[f"{block}.f2out.{layer}.weight"] = (n_features, n_features)
            shapes[f"{block}.f2out.{layer}.bias"] = (n_features,)
    shapes["readout.0.weight"] = (config.readout_hidden, n_features)
    shapes["readout.0.bias"] = (config.readout_hidden,)
    shapes["readout.1.weight"] = (1, config.readout_hidden)
    shapes["readout.1.bias"] = (1,)
    shapes["energy_scale"] = ()
    shapes["energy_shift"] = (n_elements,)
    return shapes


def _count_weights(config: SchNetConfig) -> int:
    """Numbers in the large arrays of expected_shapes, without making any."""
    n_features = config.n_features
    return n_features * (config.n_interactions * (config.n_rbf + 4 * n_features) + config.readout_hidden)


def check_weights(config: SchNetConfig, weights: dict[str, np.ndarray], source: str) -> None:
    """Raise InputError unless the weights are exactly those of the architecture, float32 or float64, and finite."""
    _check_names(config, weights, source)
    for name, shape in expected_shapes(config).items():
        array = weights[name]
        if array.dtype not in (np.float32, np.float64):
            raise InputError(f"{source}: {name} holds {array.dtype} numbers: expected float32 or float64")
        if array.shape != shape:
            raise InputError(f"{source}: {name} has shape {array.shape}, expected {shape}")
        if not (np.abs(array) < _LARGEST_WEIGHT).all():
            raise InputError(
                f"{source}: {name} holds NaN, infinite or huge numbers: expected less than {_LARGEST_WEIGHT:g}"
            )


def _check_names(config: SchNetConfig, weights, source: str) -> None:
    shapes = expected_shapes(config)
    if missing := sorted(shapes.keys() - weights.keys()):
        raise InputError(f"{source}: weights missing for this architecture: {', '.join(missing[:3])} …")
    if extra := sorted(weights.keys() - shapes.keys()):
        raise InputError(f"{source}: weights that this architecture does not have: {', '.join(extra[:3])} …")


def save_model(model: Model, path: str | Path) -> None:
    """Write a model file (atomically). Raises InputError for what load_model would not take back."""
    from safetensors.numpy import save

    check_weights(model.config, model.weights, "model")
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "units": UNITS,
        "config": asdict(model.config),
        **model.metadata,
    }
    text = to_json(header)
    check_metadata(_metadata(from_json(text)), "model")
    weights = {name: np.asarray(array, order="C") for name, array in model.weights.items()}
    write_atomically(path, save(weights, metadata={"mlcalc": text}))


def load_model(name: str | Path) -> Model:
    """Read a model file by path, or a shipped model by its name (such as ``"c20"``).

    Raises:
        InputError: No such file or shipped model; not a model file; a newer format; truncated; an entry of another type or out
            of bounds; weights that are no finite float32 or float64.
    """
    path = find_model(name)
    header, config, weights = _read_safetensors(path)
    check_weights(config, weights, str(path))
    check_metadata(_metadata(header), str(path))
    return Model(config, weights, _metadata(header))


def _metadata(header: dict[str, Any]) -> dict[str, Any]:
    return {key: header[key] for key in header if key not in ("format", "format_version", "units", "config")}


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


def _read_safetensors(path: Path) -> tuple[dict[str, Any], SchNetConfig, dict[str, np.ndarray]]:
    """Header, architecture and weights: a declared size is checked before anything of that size is read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with path.open("rb") as stream:
            header, tensors = _read_header(stream)
            config = _config_from_header(header, path)
            _check_tensors(config, tensors, path)
            stream.seek(0)
            # Read, not mapped: a mapped file that is cut off meanwhile is a bus error.
            return header, config, load(stream.read(MAX_FILE_BYTES))
    except (_NotReadable, SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a readable model file ({error}); expected safetensors written by mlcalc "
            "(pickles and other checkpoints are never opened; see 'mlcalc import --help')"
        ) from error


class _NotReadable(Exception):
    """Not the safetensors that load_model expects, and why."""


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
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{stream.name}: a safetensors file, but not an mlcalc model (no '{FORMAT}' header)")
    return header, tensors


def _config_from_header(header: dict[str, Any], path: Path) -> SchNetConfig:
    version = header.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise InputError(f"{path}: model format version {version!r}, this mlcalc reads version {FORMAT_VERSION}")
    if header.get("units") != UNITS:
        raise InputError(f"{path}: units {str(header.get('units'))[:80]}, expected {UNITS}")
    config = header.get("config")
    check_table("config", config, str(path))
    return build_settings(SchNetConfig, config, f"{path}: unreadable architecture")


def _check_tensors(config: SchNetConfig, tensors: dict[str, Any], path: Path) -> None:
    """Names, types and shapes that a file declares, before its numbers are read."""
    _check_names(config, tensors, str(path))
    for name, shape in expected_shapes(config).items():
        entry = tensors[name] if isinstance(tensors[name], dict) else {}
        if entry.get("dtype") not in ("F32", "F64"):
            raise InputError(f"{path}: {name} holds {str(entry.get('dtype'))[:20]} numbers: expected F32 or F64")
        if entry.get("shape") != list(shape):
            raise InputError(f"{path}: {name} has shape {str(entry.get('shape'))[:80]}, expected {list(shape)}")
