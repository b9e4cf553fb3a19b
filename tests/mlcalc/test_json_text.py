"""JSON for strangers' readers."""

import json

import numpy as np
import pytest

from mlcalc.common.errors import InputError
from mlcalc.common.json_text import from_json, to_json


def test_what_is_not_finite_becomes_null():
    value = {"a": [1.5, float("nan")], "b": (float("inf"), np.float64("-inf")), "c": {"d": None, "e": True, "f": "Å"}}
    expected = {"a": [1.5, None], "b": [None, None], "c": {"d": None, "e": True, "f": "Å"}}

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(to_json(value), parse_constant=refuse) == expected
    assert json.loads(to_json(value, indent=1)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper"), ("[" * 33 + "]" * 33, "nested deeper"), ('{"a": 1, "a": 2}', "has the key 'a' twice"),
        ("NaN", "the number NaN"), ("[-Infinity]", "-Infinity"), ("1e999", "1e999"), ("9" * 5000, "at most 64 bits"),
        (str(1 << 64), "64 bits"), (str(-(1 << 63) - 1), "64 bits"), ('"\\ud800"', "not Unicode"), (b'"\xff"', "not Unicode"),
        ("{", "not JSON"), ("", "not JSON"), ("1 2", "not JSON"), ("0." + "1" * 5000, "at most 64 bits"),
    ],
)  # fmt: skip
def test_json_of_others(text, message):
    with pytest.raises(InputError, match=message) as caught:
        from_json(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value", [[1, -(1 << 63), (1 << 64) - 1, 1.5, None, True, "Å \U0001f600", {"a": {}}], "x", 5e-324]
)
def test_what_is_written_is_read(value):
    assert from_json(to_json(value)) == value == from_json(json.dumps(value))
