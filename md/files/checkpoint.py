"""Checkpoints: the state of a run to the bit, in files that are complete or refused.

A file is a safetensors block (the arrays of the state, float64; everything else as JSON in its metadata), followed by the SHA-256
of that block. ``checkpoint`` is the newest, ``checkpoint.previous`` the one before it.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from md.files.received import read_regular
from mlcalc.common.errors import InputError
from mlcalc.common.files import sync_folder, write_atomically
from mlcalc.common.json_text import to_json

NEWEST, PREVIOUS, NEXT = "checkpoint", "checkpoint.previous", "checkpoint.next"
_FORMAT, _VERSION = "mlcalc checkpoint", 2
_DIGEST = 32
_LARGEST = 1 << 32  # bytes
_LAST_STEP = 1 << 62
PRODUCTION, EQUILIBRATION, TRAJECTORIES = "production", "equilibration", "trajectories"


class Checkpoint(NamedTuple):
    """The progress and state of a run.

    Attributes:
        phase: The phase that ``step`` counts: "equilibration", "production" or "trajectories".
        step: Completed steps, or batches of trajectories.
        state: Arrays by name, as in simulation.Point or ring_polymer.RingPolymer; molecules have no ``cell``.
        generators: State of every random generator, ``rng.bit_generator.state``.
        extent: Entries or bytes of every file that grows, as in run_folder.RunFolder.
        physics: Settings that a resumed run must share, and hashes of its files: runs/identity.py.
    """

    phase: str
    step: int
    state: dict[str, np.ndarray]
    generators: list
    extent: dict[str, int]
    physics: dict


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the newest checkpoint of a run folder, and keep the one before it."""
    facts: dict = {"format": _FORMAT, "version": _VERSION} | checkpoint._asdict()
    arrays = {name: np.asarray(array, order="C") for name, array in facts.pop("state").items()}
    block = save(arrays, {"facts": to_json(facts)})
    write_atomically(folder / NEXT, block + hashlib.sha256(block).digest())
    if os.path.exists(folder / NEWEST):
        os.replace(folder / NEWEST, folder / PREVIOUS)
    os.replace(folder / NEXT, folder / NEWEST)
    sync_folder(folder)


def read_checkpoint(folder: Path) -> tuple[Checkpoint, str | None]:
    """The newest undamaged checkpoint, and a warning if a newer one is damaged.

    Raises:
        InputError: No undamaged checkpoint.
    """
    problems: list[str] = []
    for name in (NEWEST, PREVIOUS):
        try:
            found = _read(folder / name)
            return found, ("; ".join(problems) + f": resuming from {name}" if problems else None)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError, SafetensorError) as error:
            reason = " ".join(str(error).replace(f"{folder / name} ", "").split())
            problems.append(f"{folder / name} is damaged ({reason[:400] or type(error).__name__})")
    raise InputError("; ".join(problems) or f"{folder}: no checkpoint to resume from")


def _read(path: Path) -> Checkpoint:
    data = read_regular(path, _LARGEST)
    block, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(block).digest() != digest:
        raise ValueError("its checksum does not match")
    header = json.loads(block[8 : 8 + int.from_bytes(block[:8], "little")])
    facts = json.loads(header["__metadata__"]["facts"])
    form, version = facts.pop("format"), facts.pop("version")
    if (form, version) != (_FORMAT, _VERSION):
        raise ValueError(f"{form!r}, version {version!r}: this program reads version {_VERSION}")
    return _checked(Checkpoint(state=load(block), **facts))


def _checked(found: Checkpoint) -> Checkpoint:
    """The checkpoint, after a check of the type and range of every field; ValueError for an impossible value."""
    several = isinstance(found.generators, list) and len(found.generators) > 0
    counts = found.extent.values() if isinstance(found.extent, dict) else [None]
    phases = EQUILIBRATION, PRODUCTION, TRAJECTORIES
    _expect(found.phase in phases, "phase", found.phase, f"one of {', '.join(phases)}")
    _expect(_is_count(found.step), "step", found.step, "a whole number from 0 on")
    _expect(isinstance(found.physics, dict), "physics", found.physics, "settings by name")
    _expect(all(map(_is_count, counts)), "extent", found.extent, "whole numbers from 0 on by name")
    _expect(
        several and all(map(_is_generator, found.generators)), "generators", found.generators, "states of generators"
    )
    for name, array in found.state.items():
        # Steps are whole numbers; all other arrays have the type that the laws of motion use.
        kind = np.dtype(np.int64 if name == "step" else np.float64)
        _expect(array.dtype == kind, f"type of {name}", array.dtype, str(kind))
        if not np.isfinite(array).all():
            raise ValueError(f"{name} not finite")
    return found


def _expect(fine: bool, name: str, value: object, expected: str) -> None:
    if not fine:
        raise ValueError(f"{name} = {repr(value)[:60]}: expected {expected}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LAST_STEP


def _is_generator(state) -> bool:
    """Whether NumPy's generator accepts this state and reproduces it."""
    probe = np.random.default_rng(0).bit_generator
    try:
        probe.state = state
        return probe.state == state
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError):
        return False
