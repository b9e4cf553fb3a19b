"""Model files: safetensors weights with JSON metadata. No pickle is ever read or written.

The header of the safetensors file carries one entry, ``mlcalc``, whose value is a JSON object::

    {"format": "mlcalc-schnet", "format_version": 1,
     "units": {"energy": "eV", "length": "Ang"},
     "config": {...},            # SchNetConfig
     "domain": {...},            # elements, distances, charge of the training set: mlcalc/training_domain.py
     "test_errors": {...}, "provenance": {...}}

Weights carry the names of the torch module's ``state_dict`` (mlcalc/schnet.py), so the file, the torch network
and the compiled kernel read the same table. Everything in a file is in eV and Å.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from mlcalc.angular import AngularPrior
from mlcalc.errors import InputError
from mlcalc.files import write_atomically
from mlcalc.json_text import to_json

FORMAT = "mlcalc-schnet"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "Ang"}
FILE_IN_FOLDER = "model.safetensors"  # of a training, or of a run
MAX_FILE_BYTES = 1 << 30  # a SchNet is a few MB; anything near this is not one


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
        repulsion_cutoff: Å below which a ZBL pair repulsion is added (mlcalc/repulsion.py); None for no repulsion.
        angle_strength, angle_cosine, angle_decay, angle_cutoff: λ (eV), c, γ (Å) and a (Å) of the angular prior
            (mlcalc/angular.py); all None for no such prior.
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
        """The numbers of mlcalc/angular.py."""
        if self.angle_cutoff is None:
            return None
        return AngularPrior(self.angle_strength, self.angle_cosine, self.angle_decay, self.angle_cutoff)

    def __post_init__(self):
        object.__setattr__(self, "elements", tuple(int(z) for z in self.elements))
        if not self.elements or min(self.elements) < 1 or len(set(self.elements)) < len(self.elements):
            raise InputError(f"elements = {list(self.elements)}: expected distinct atomic numbers of at least 1")
        for name in ("n_features", "n_interactions", "n_rbf", "readout_hidden"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= 4096:
                raise InputError(f"{name} = {value!r}: expected a whole number from 1 to 4096")
        for name in ("cutoff", "repulsion_cutoff", "angle_decay", "angle_cutoff"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"{name} = {value!r}: expected a positive distance in Å, or none")
        self._check_angular_prior()
        if self.cutoff_function not in ("cosine", "none"):
            raise InputError(f"cutoff_function = {self.cutoff_function!r}: expected 'cosine' or 'none'")
        if self.cutoff_function == "cosine" and self.cutoff is None:
            raise InputError("cutoff_function = 'cosine' needs a cutoff in Å")
        if self.readout_activation not in ("ssp", "silu"):
            raise InputError(f"readout_activation = {self.readout_activation!r}: expected 'ssp' or 'silu'")

    def _check_angular_prior(self) -> None:
        given = self.angle_strength, self.angle_cosine, self.angle_decay, self.angle_cutoff
        if None in given:
            if any(value is not None for value in given):
                raise InputError(
                    f"angle_strength, angle_cosine, angle_decay, angle_cutoff = {given}: expected all four, or none"
                )
            return
        if self.angle_cutoff > (self.cutoff or np.inf):
            raise InputError(f"angle_cutoff = {self.angle_cutoff!r}: expected at most the cutoff of {self.cutoff:g} Å")
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
        """What is recorded of the training set, see mlcalc/training_domain.py."""
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


def check_weights(config: SchNetConfig, weights: dict[str, np.ndarray], source: str) -> None:
    """Raise InputError unless the weights are exactly those of the architecture, and finite."""
    shapes = expected_shapes(config)
    if missing := sorted(shapes.keys() - weights.keys()):
        raise InputError(f"{source}: weights missing for this architecture: {', '.join(missing[:3])} …")
    if extra := sorted(weights.keys() - shapes.keys()):
        raise InputError(f"{source}: weights that this architecture does not have: {', '.join(extra[:3])} …")
    for name, shape in shapes.items():
        if weights[name].shape != shape:
            raise InputError(f"{source}: {name} has shape {weights[name].shape}, expected {shape}")
        if not np.isfinite(weights[name]).all():
            raise InputError(f"{source}: {name} holds NaN or infinite numbers")


def save_model(model: Model, path: str | Path) -> None:
    """Write a model file (atomically). Raises InputError when weights and architecture do not fit."""
    from safetensors.numpy import save

    check_weights(model.config, model.weights, "model")
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "units": UNITS,
        "config": asdict(model.config),
        **model.metadata,
    }
    weights = {name: np.asarray(array, order="C") for name, array in model.weights.items()}
    write_atomically(path, save(weights, metadata={"mlcalc": to_json(header)}))


def load_model(name: str | Path) -> Model:
    """Read a model file by path, or a shipped model by its name (such as ``"c20"``).

    Raises:
        InputError: No such file or shipped model; not a model file; a newer format; truncated; NaN weights.
    """
    path = find_model(name)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(f"{path}: {size} bytes are too many for a model file (at most {MAX_FILE_BYTES})")
    header, weights = _read_safetensors(path)
    config = _config_from_header(header, path)
    check_weights(config, weights, str(path))
    _check_domain(header.get("domain", {}), path)
    metadata = {key: header[key] for key in header if key not in ("format", "format_version", "units", "config")}
    return Model(config, weights, metadata)


def shipped_models() -> dict[str, Path]:
    """Name → file of the models that come with the package."""
    folder = Path(str(resources.files("mlcalc"))) / "models"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"), key=lambda path: path.stem)}


def find_model(name: str | Path) -> Path:
    """The file behind a shipped name, a path or a folder that 'mlcalc train' wrote; InputError when there is none."""
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name).expanduser()
    if path.is_dir() and (path / FILE_IN_FOLDER).is_file():
        return path / FILE_IN_FOLDER
    if not path.is_file():
        raise InputError(
            f"model {str(name)!r}: no such file, and the shipped models are: {', '.join(shipped) or 'none'}"
        )
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            text = (stream.metadata() or {}).get("mlcalc")
            # A foreign file is refused before any of its tensors is read.
            header = json.loads(text) if text else None
            weights = {name: stream.get_tensor(name) for name in stream.keys()} if header else {}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, OSError, TypeError) as error:
        raise InputError(
            f"{path}: not a readable model file ({error}); expected safetensors written by mlcalc "
            "(pickles and other checkpoints are never opened; see 'mlcalc import --help')"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(f"{path}: a safetensors file, but not an mlcalc model (no '{FORMAT}' header)")
    return header, weights


def _check_domain(domain: Any, path: Path) -> None:
    distances = _distances(domain) if isinstance(domain, dict) else [None]
    if not all(isinstance(value, int | float) and 0 < value < np.inf for value in distances):
        raise InputError(f"{path}: unreadable domain {str(domain)[:80]}: expected distances in Å by name")
    whole = [domain[key] for key in ("charge", "multiplicity") if key in domain]
    whole += [z for name in ("elements", "lone_elements", "free_elements") for z in domain.get(name, ())]
    masses = domain.get("bead_masses_u", {})
    if not all(type(value) is int for value in whole) or not all(
        type(mass) is float and mass > 0 for mass in masses.values()
    ):
        raise InputError(
            f"{path}: unreadable domain {str(domain)[:80]}: expected atomic numbers, charge, multiplicity and masses"
        )


def _distances(domain: dict[str, Any]) -> list:
    """All distances of a domain; those by pair of elements are a table of their own."""
    by_pair = domain.get("min_distances_A", {})
    alone = [domain[key] for key in domain if key.endswith("_A") and key != "min_distances_A"]
    return [*alone, *(by_pair.values() if isinstance(by_pair, dict) else [None])]


def _config_from_header(header: dict[str, Any], path: Path) -> SchNetConfig:
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: model format version {version!r}, this mlcalc reads version {FORMAT_VERSION}")
    if header.get("units") != UNITS:
        raise InputError(f"{path}: units {header.get('units')!r}, expected {UNITS}")
    known = {f.name for f in fields(SchNetConfig)}
    config = header.get("config")
    if not isinstance(config, dict) or not config.keys() <= known:
        raise InputError(f"{path}: unreadable architecture {config!r}, expected the keys {', '.join(sorted(known))}")
    try:
        return SchNetConfig(**config)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: unreadable architecture: {error}") from error
