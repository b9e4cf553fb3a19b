"""Checkpoints: the state of a run to the bit, in files that are whole or refused.

A file is a safetensors block (the arrays of the state, float64; everything else as JSON in its metadata), followed by the SHA-256
of that block. The newest lies in ``checkpoint``, the one before in ``checkpoint.previous``.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mlcalc.errors import InputError
from mlcalc.files import sync_folder, write_atomically
from mlcalc.json_text import to_json

NEWEST, PREVIOUS, NEXT = "checkpoint", "checkpoint.previous", "checkpoint.next"
_FORMAT, _VERSION = "mlcalc checkpoint", 2
_DIGEST = 32
_LARGEST = 1 << 32  # bytes


class Checkpoint(NamedTuple):
    """Where a run stands.

    Attributes:
        phase: What ``step`` counts in: "equilibration", "production" or "trajectories".
        step: Steps, or batches of trajectories, that are done.
        state: Arrays by name, as simulation.Point or ring_polymer.RingPolymer have them.
        generators: State of every random generator, ``rng.bit_generator.state``.
        extent: Entries or bytes of every file that grows, as run_folder.RunFolder has it.
        physics: Settings that a continued run must share, and hashes of its files.
    """

    phase: str
    step: int
    state: dict[str, np.ndarray]
    generators: list
    extent: dict[str, int]
    physics: dict


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the newest checkpoint of a run folder; that which was the newest becomes the one before."""
    facts: dict = {"format": _FORMAT, "version": _VERSION} | checkpoint._asdict()
    arrays = {name: np.asarray(array, order="C") for name, array in facts.pop("state").items()}
    block = save(arrays, {"facts": to_json(facts)})
    write_atomically(folder / NEXT, block + hashlib.sha256(block).digest())
    if (folder / NEWEST).exists():
        os.replace(folder / NEWEST, folder / PREVIOUS)
    os.replace(folder / NEXT, folder / NEWEST)
    sync_folder(folder)


def read_checkpoint(folder: Path) -> tuple[Checkpoint, str | None]:
    """The newest checkpoint that is whole, and a warning when that is not the newest one.

    Raises:
        InputError: There is none.
    """
    problems: list[str] = []
    for name in (NEWEST, PREVIOUS):
        try:
            found = _read(folder / name)
            return found, ("; ".join(problems) + f": going on from {name}" if problems else None)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            problems.append(f"{folder / name} is not whole ({error})")
    raise InputError("; ".join(problems) or f"{folder}: no checkpoint to go on from")


def _read(path: Path) -> Checkpoint:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.stat().st_size} bytes: expected at most {_LARGEST}")
    data = path.read_bytes()
    block, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(block).digest() != digest:
        raise ValueError("its checksum does not fit")
    header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
    facts = json.loads(header["__metadata__"]["facts"])
    form, version = facts.pop("format"), facts.pop("version")
    if (form, version) != (_FORMAT, _VERSION):
        raise ValueError(f"{form!r}, version {version!r}: this program reads version {_VERSION}")
    return Checkpoint(state=load(block), **facts)
