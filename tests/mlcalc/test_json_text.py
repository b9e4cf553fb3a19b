"""JSON for strangers' readers."""

import json

import numpy as np

from mlcalc.json_text import to_json


def test_what_is_not_finite_becomes_null():
    value = {"a": [1.5, float("nan")], "b": (float("inf"), np.float64("-inf")), "c": {"d": None, "e": True, "f": "Å"}}
    expected = {"a": [1.5, None], "b": [None, None], "c": {"d": None, "e": True, "f": "Å"}}

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(to_json(value), parse_constant=refuse) == expected
    assert json.loads(to_json(value, indent=1)) == expected
