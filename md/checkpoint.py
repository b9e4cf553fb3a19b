"""Checkpoints: the state of a run to the bit, in files that are whole or refused.

A file is a safetensors block (beads, and positions, momenta and extra momenta in normal modes, float64; everything else as JSON in
its metadata), followed by the SHA-256 of that block. The newest lies in ``checkpoint``, the one before in ``checkpoint.previous``.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load, save

from md.simulation import Point
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.model_file import write_atomically

NEWEST, PREVIOUS = "checkpoint", "checkpoint.previous"
_FORMAT, _VERSION = "mlcalc checkpoint", 1
_ARRAYS = ("beads", "positions", "momenta", "auxiliary")
_DIGEST = 32
_LARGEST = 1 << 32  # bytes


class Checkpoint(NamedTuple):
    """Where a run stands.

    Attributes:
        phase: "equilibration" or "production"; the step of ``point`` counts within it.
        point: State of the ring polymer.
        generator: State of the random generator, ``rng.bit_generator.state``.
        frames: Frames in the trajectory; properties_bytes: length of the table of properties.
        physics: Settings that a continued run must share, and the hash of its model.
    """

    phase: str
    point: Point
    generator: dict
    frames: int
    properties_bytes: int
    physics: dict


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the newest checkpoint of a run folder; that which was the newest becomes the one before."""
    point = checkpoint.point
    facts = {
        "format": _FORMAT, "version": _VERSION, "phase": checkpoint.phase, "step": point.step, "heat": point.heat.hex(),
        "generator": checkpoint.generator, "frames": checkpoint.frames,
        "properties_bytes": checkpoint.properties_bytes, "physics": checkpoint.physics,
    }  # fmt: skip
    arrays = {name: np.ascontiguousarray(getattr(point, name)) for name in _ARRAYS}
    block = save(arrays, {"facts": to_json(facts)})
    if (folder / NEWEST).exists():
        os.replace(folder / NEWEST, folder / PREVIOUS)
    write_atomically(folder / NEWEST, block + hashlib.sha256(block).digest())


def read_checkpoint(folder: Path) -> tuple[Checkpoint, str | None]:
    """The newest checkpoint that is whole, and a warning when that is not the newest one.

    Raises:
        InputError: There is none.
    """
    problems = []
    for name in (NEWEST, PREVIOUS):
        try:
            found = _read(folder / name)
            return found, ("; ".join(problems) + f": going on from {name}" if problems else None)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError) as error:
            problems.append(f"{folder / name} is not whole ({error})")
    raise InputError("; ".join(problems) or f"{folder}: no checkpoint to go on from")


def _read(path: Path) -> Checkpoint:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path.stat().st_size} bytes: expected at most {_LARGEST}")
    data = path.read_bytes()
    block, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(block).digest() != digest:
        raise ValueError("its checksum does not fit")
    arrays = load(block)
    header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
    facts = json.loads(header["__metadata__"]["facts"])
    if facts["format"] != _FORMAT or facts["version"] != _VERSION:
        raise ValueError(
            f"format {facts['format']!r}, version {facts['version']!r}: this program reads version {_VERSION}"
        )
    point = Point(facts["step"], *(arrays[name] for name in _ARRAYS), float.fromhex(facts["heat"]))
    return Checkpoint(
        facts["phase"], point, facts["generator"], facts["frames"], facts["properties_bytes"], facts["physics"]
    )
