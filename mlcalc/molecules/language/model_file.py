"""Files of language models: safetensors with a JSON header, as those of potentials; no pickle is ever read or written.

The header carries one entry, ``mlcalc-smiles``::

    {"format_version": 1, "task": "masked tokens" | "solubility", "config": {...}, "vocabulary": [...], "solvents": [...],
     "unit": "log10(mol/L)", "errors": {...}, "provenance": {...}}
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.safetensors_header import entries_of
from mlcalc.common.settings import build_settings
from mlcalc.molecules.language.network import TASKS, EncoderConfig
from mlcalc.molecules.language.tokens import Vocabulary, check_vocabulary
from mlcalc.molecules.language.writing import SOLVENTS

KEY, VERSION, UNIT = "mlcalc-smiles", 1, "log10(mol/L)"
FILE_IN_FOLDER = "model.safetensors"
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class LanguageModel:
    """A network of one of TASKS with its vocabulary, the solvents that it was trained on, and what is known of it."""

    network: Any  # an instance of one of TASKS
    vocabulary: Vocabulary
    solvents: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """A key of TASKS."""
        return next(name for name, kind in TASKS.items() if type(self.network) is kind)

    @property
    def config(self) -> EncoderConfig:
        """Size of the encoder."""
        return self.network.encoder.config


def save_language_model(model: LanguageModel, path: str | Path) -> None:
    """Write a model file, atomically."""
    header = {
        "format_version": VERSION, "task": model.task, "config": asdict(model.config), "vocabulary": model.vocabulary.tokens,
        "solvents": model.solvents, "unit": UNIT, **model.metadata,
    }  # fmt: skip
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.network.state_dict().items()}
    write_atomically(path, save(tensors, metadata={KEY: to_json(header)}))


def load_language_model(path: str | Path, task: str) -> LanguageModel:
    """Read a model file, or that of a folder which ``mlcalc molecules`` wrote.

    Args:
        task: The key of TASKS that is expected.

    Raises:
        InputError: No such file; no language model, or one of another task; damaged; weights that are not finite.
    """
    path = Path(path)
    path = path / FILE_IN_FOLDER if path.is_dir() else check_regular(path)
    try:
        if (size := check_regular(path).stat().st_size) > _MOST_BYTES:
            raise InputError(f"{path}: {size} bytes: expected a language model of at most {_MOST_BYTES}")
        content = path.read_bytes()  # not mapped: a mapped file truncated meanwhile causes a bus error
        header = _header(content, path)
        config = build_settings(EncoderConfig, _table(header, "config", path), f"{path}: config")
        if header.get("task") != task:
            raise InputError(f"{path}: a network of {str(header.get('task'))[:40]!r}, expected one of {task!r}")
        vocabulary = check_vocabulary(_texts(header, "vocabulary", path), str(path))
        if len(vocabulary.tokens) != config.tokens:
            raise InputError(
                f"{path}: {len(vocabulary.tokens)} tokens in the vocabulary, {config.tokens} in the configuration"
            )
        with torch.device("meta"):
            shapes = {name: tensor.shape for name, tensor in TASKS[task](config).state_dict().items()}
        tensors = load(content)
        _check(tensors, shapes, path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a readable language model ({error})") from error
    network = TASKS[task](config)
    network.load_state_dict(tensors)
    solvents = tuple(_texts(header, "solvents", path))
    if unknown := set(solvents) - set(SOLVENTS):
        raise InputError(f"{path}: solvents {', '.join(sorted(unknown))[:80]}: expected some of {', '.join(SOLVENTS)}")
    known = ("format_version", "task", "config", "vocabulary", "solvents", "unit")
    return LanguageModel(network, vocabulary, solvents, {k: v for k, v in header.items() if k not in known})


def _header(content: bytes, path: Path) -> dict[str, Any]:
    try:
        header = from_json(entries_of(content)[KEY])
    except (InputError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: no language model of mlcalc: expected a safetensors file with the entry {KEY!r}"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable language model: {error}") from error
    version = header.get("format_version") if isinstance(header, dict) else None
    if type(version) is not int or version != VERSION or header.get("unit") != UNIT:
        raise InputError(f"{path}: version {str(version)[:20]}: this mlcalc reads version {VERSION}, in {UNIT}")
    return header


def _table(header: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    if not isinstance(header.get(key), dict):
        raise InputError(f"{path}: {key}: expected a table")
    return header[key]


def _texts(header: dict[str, Any], key: str, path: Path) -> list[str]:
    texts = header.get(key)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}: {key}: expected a list of texts")
    return texts


def _check(tensors: dict[str, torch.Tensor], shapes: dict[str, torch.Size], path: Path) -> None:
    if tensors.keys() != shapes.keys():
        raise InputError(
            f"{path}: weights {', '.join(sorted(tensors.keys() ^ shapes.keys())[:3])} …: missing, or too many"
        )
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name] or tensor.dtype != torch.float32:
            raise InputError(
                f"{path}: {name}: {tensor.dtype} {tuple(tensor.shape)}, expected torch.float32 {tuple(shapes[name])}"
            )
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} holds NaN or infinite numbers: expected finite ones")


def parameters_of(network: nn.Module) -> int:
    """Number of weights."""
    return sum(parameter.numel() for parameter in network.parameters())
