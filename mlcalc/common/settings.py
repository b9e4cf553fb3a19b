"""TOML files to frozen dataclasses and back, strictly: an unknown key, a wrong type or a non-finite number is the user's error."""

import difflib
import math
import tomllib
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular

_LARGEST = 1_000_000  # bytes of a settings file
_MOST_SHOWN = 300  # characters of a value in a message
_SMALLEST_A, _LARGEST_A = 0.1, 100.0  # of a cutoff
_MOST_DOTS = 10_000_000  # sum over lines of the squared number of dots


def read_toml(path: str | Path) -> dict[str, Any]:
    """The table in a TOML file, with or without a byte order mark; InputError when it is missing or malformed."""
    path = check_regular(path)
    if (size := path.stat().st_size) > _LARGEST:
        raise InputError(f"{path}: {size} bytes: expected a TOML file of at most {_LARGEST}")
    try:
        return _parse(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except (ValueError, RecursionError) as error:  # tomllib's own error and that of UTF-8 are ValueErrors
        raise InputError(f"{path}: not valid TOML: {error}") from error


def parse_assignment(text: str) -> tuple[str, Any]:
    """``key=value`` of the command line, the value read as TOML (a bare word counts as text)."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text!r}: expected key=value")
    try:
        table = _parse(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    except (ValueError, RecursionError) as error:
        raise InputError(f"--set {text[:40]!r}…: not valid TOML: {error}") from error
    if len(table) > 1:
        raise InputError(f"--set {text!r}: expected one key=value")
    return key.strip(), table["value"]


def _parse(text: str) -> dict[str, Any]:
    """tomllib's table; it takes the square of the depth of a dotted key."""
    if sum(line.count(".") ** 2 for line in text.splitlines()) > _MOST_DOTS:
        raise ValueError("more dots than a settings file needs")
    return tomllib.loads(text)


def as_toml(settings) -> str:
    """A settings dataclass as a flat TOML table that build_settings reads back; None is left out."""
    values = {key: value for key, value in asdict(settings).items() if value is not None}
    return "".join(f"{key} = {toml_value(value)}\n" for key, value in values.items())


def toml_value(value: Any) -> str:
    """Text, a number, a truth value, a tuple or a dict of these as TOML; InputError for what TOML, or tomllib, cannot hold."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):  # of a dataclass, whose None is left out
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items() if item is not None) + "}"
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(f"{value!a}: expected text of Unicode characters, without lone surrogates")
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, int):
        return _printed(value)
    if not isinstance(value, float) or not math.isfinite(value):
        raise InputError(f"{value!r}: expected text, a finite number, true or false")
    return repr(float(value))


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return f"\\u{ord(character):04X}" if ord(character) < 0x20 or ord(character) == 0x7F else character


def _printed(value: Any) -> str:
    """The value as text; Python does not print integers beyond 4300 digits."""
    try:
        return repr(value)
    except ValueError as error:
        raise InputError("a number of more than 4300 digits: expected a smaller one") from error


def _shown(value: Any) -> str:
    """The value that arrived, or its beginning, for a message."""
    text = _printed(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def build_settings(cls: type, values: dict[str, Any], source: str | Path):
    """An instance of the dataclass ``cls`` from a flat table; its ``__post_init__`` checks ranges.

    Raises:
        InputError: An unknown key (the message names the nearest known one), a missing required key, a value of
            another type, or NaN/infinity.
    """
    types = get_type_hints(cls)
    for key, value in values.items():
        if key not in types:
            near = difflib.get_close_matches(key, types, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(types)}"
            raise InputError(f"{source}: unknown key {_shown(key)}; {hint}")
        shown = f"{source}: {key} = {_shown(value)}"
        if not _fits(value, types[key]):
            raise InputError(f"{shown}: expected {_describe(types[key])}")
        if any(isinstance(item, int) and not -(1 << 63) <= item < 1 << 63 for item in _items(value)):
            raise InputError(f"{shown}: expected whole numbers of at most 64 bits")
        if any(isinstance(item, str) and "\0" in item for item in _items(value)):
            raise InputError(f"{shown}: expected no NUL character")
    required = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(required - values.keys()):
        raise InputError(f"{source}: missing key {missing[0]!r}")
    try:
        return cls(**{key: _convert(value, types[key], key) for key, value in values.items()})
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _items(value: Any) -> list | tuple:
    return value if isinstance(value, list | tuple) else [value]


def describe_keys(cls: type) -> str:
    """The keys of a settings dataclass that have a default, one per line with its default, for ``--help``."""
    known = (f for f in fields(cls) if f.default is not MISSING)
    return "\n".join(f"  {f.name} = {'not set' if f.default is None else toml_value(f.default)}" for f in known)


def check_range(name: str, value: float, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Raise InputError unless low ≤ value ≤ high (or low < value, with ``open_low``)."""
    if not low <= value <= high or (open_low and value == low):  # NaN is in no range
        bound = f"more than {low}" if open_low else f"at least {low}"
        raise InputError(f"{name} = {value!r}: expected {bound}" + (f" and at most {high}" if high < math.inf else ""))


def check_choice(name: str, value: str, allowed) -> None:
    """Raise InputError unless the value is one of the allowed ones."""
    if value not in allowed:
        raise InputError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_fits(value, option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if is_dataclass(kind):
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the largest float
        return False


def _convert(value: Any, kind: Any, key: str) -> Any:
    """The value of a key as a type that it fits; a table as the dataclass of that type, named by the key in messages."""
    if isinstance(kind, UnionType):
        kind = next(option for option in get_args(kind) if _fits(value, option))
    if get_origin(kind) is tuple:
        return tuple(_convert(item, get_args(kind)[0], key) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        return build_settings(kind, value, key)
    return float(value) if kind is float else value


def _describe(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_describe(option) for option in get_args(kind) if option is not NoneType)
    if get_origin(kind) is tuple:
        return f"a list, each item {_describe(get_args(kind)[0])}"
    if is_dataclass(kind):
        return "a table"
    words = {
        int: "a whole number",
        float: "a finite number",
        str: "text in quotes",
        bool: "true or false",
        dict: "a table",
    }
    return words.get(kind, str(kind))


def check_distance(name: str, value: float, least: float = _SMALLEST_A) -> None:
    """Raise InputError unless a distance in Å is a number within bounds."""
    if isinstance(value, bool) or not least <= value <= _LARGEST_A or not value:
        raise InputError(
            f"{name} = {value!r}: expected a positive distance from {least:g} to {_LARGEST_A:g} Å, or none"
        )
