"""JSON that every reader accepts: what is not a finite number becomes null."""

import json
import math


def to_json(value, indent: int | None = None) -> str:
    """JSON text (RFC 8259) of nested dicts, lists, tuples, strings, numbers (NumPy's floats too), booleans and None."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
