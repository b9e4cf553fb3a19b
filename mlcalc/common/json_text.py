"""JSON that every reader accepts (numbers that are not finite become null), and foreign JSON read within bounds."""

import json
import math

from mlcalc.common.errors import STEERING, InputError

_DEEPEST = 32  # levels
_LONGEST_NUMBER = 800  # characters; the exact decimals of a float have 770 at most


def to_json(value, indent: int | None = None) -> str:
    """JSON text (RFC 8259) of nested dicts, lists, tuples, strings, numbers (NumPy's floats too), booleans and None.

    It contains no character that controls a terminal.
    """
    text = json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return STEERING.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def from_json(text: str | bytes):
    """The value of a foreign JSON text, if it is unambiguous and ``to_json`` could have written it.

    Raises:
        InputError: Not JSON; nested deeper than 32 levels; a repeated key; a number that is not finite, or of more than
            64 bits; text that is not Unicode.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(
            text, parse_int=_whole, parse_float=_decimal, parse_constant=_refuse, object_pairs_hook=_without_twins
        )
        _check_depth(value, _DEEPEST)
        # Lone surrogates have no UTF-8.
        (json.dumps(value, ensure_ascii=False) if "\\u" in text else text).encode()
    except RecursionError as error:
        raise InputError(f"nested deeper than {_DEEPEST} levels") from error
    except UnicodeError as error:
        raise InputError("holds text that is not Unicode") from error
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error}") from error
    return value


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or not -(1 << 63) <= int(text) < 1 << 64:
        _refuse(text)
    return int(text)


def _decimal(text: str) -> float:
    if len(text) > _LONGEST_NUMBER or not math.isfinite(float(text)):
        _refuse(text)
    return float(text)


def _refuse(text: str) -> None:
    raise InputError(
        f"holds the number {text[:20]}{'…' if len(text) > 20 else ''}: expected finite numbers of at most 64 bits"
    )


def _without_twins(pairs: list) -> dict:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InputError(f"has the key {next(key for key in keys if keys.count(key) > 1)[:40]!r} twice")
    return table


def _check_depth(value, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise InputError(f"nested deeper than {_DEEPEST} levels")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)
