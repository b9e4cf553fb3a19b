"""``status.json`` of a run folder: the last reported status of a run. Every field is checked before use."""

import json
from pathlib import Path

from md.files.layout import STATUS
from md.files.received import read_regular
from mlcalc.common.errors import InputError, one_line

LARGEST = 1 << 20  # bytes
_STATES = ("begun", "running", "finished", "interrupted", "failed", "converted")
_LARGEST_NUMBER = 1 << 62
_NUMBER = (int, float, type(None))
_FIELDS: dict[str, tuple] = {
    "state": (str,), "kind": (str,), "error": (str, type(None)), "model": (str,), "model_sha256": (str, type(None)),
    "source": (str,), "versions": (dict,), "step": (int,), "steps": (int,), "beads": (int,), "seed": (int,), "code": (int,),
    "frames": (int,), "trajectories": (int,), "steps_too_close": (int,), "ns_per_day": _NUMBER, "seconds_left": _NUMBER,
    "smallest_distance_A": _NUMBER, "minimum_eV": _NUMBER, "below_minimum_eV": _NUMBER, "steps_too_low": (int,),
    "bonds_changed": (dict,),
}  # fmt: skip


def load_status(folder: Path) -> dict:
    """The object in a status, unchecked; InputError if it is not a regular file with an object, OSError if it is missing."""
    try:
        found = json.loads(read_regular(folder / STATUS, LARGEST).decode("utf-8"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder / STATUS}: not readable ({str(error)[:200]})") from error
    if not isinstance(found, dict):
        raise InputError(f"{folder / STATUS}: {type(found).__name__} where an object was expected")
    return found


def read_status(folder: Path) -> dict:
    """The checked fields of a status, texts without control characters; ``state`` and ``step`` are always present.

    Raises:
        InputError: It is missing or not readable, or a field is of another type or out of range.
    """
    path = folder / STATUS
    try:
        found = load_status(folder)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from error
    for name in ("state", "step"):
        if name not in found:
            raise InputError(f"{path}: {name} is missing")
    for name in found.keys() & _FIELDS.keys():
        if not _fits(name, found[name]):
            raise InputError(f"{path}: {name} = {one_line(found[name])[:60]}: not what a run writes there")
    return {name: _clean(value) for name, value in found.items()}


def _fits(name: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, _FIELDS[name]):
        return False
    if name == "state":
        return value in _STATES
    if name == "bonds_changed":
        return _fits_bonds(value)
    if isinstance(value, dict):
        return all(isinstance(text, str) for text in value.values())
    return not isinstance(value, int | float) or abs(value) <= _LARGEST_NUMBER


def _fits_bonds(value) -> bool:
    """Whether it is a bond report of md/guards/bonds.py."""
    records, first, changes = (value.get(name) for name in ("records", "first_step", "changes"))
    counts = [count for count in (records, first) if count is not None]
    texts = isinstance(changes, list) and all(isinstance(text, str) for text in changes)
    return (
        texts and records is not None and all(type(count) is int and 0 <= count <= _LARGEST_NUMBER for count in counts)
    )


def _clean(value):
    if isinstance(value, dict):
        return {one_line(name): _clean(text) for name, text in value.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return one_line(value) if isinstance(value, str) else value
