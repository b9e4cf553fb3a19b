"""Strict settings: any table gives an instance or an InputError that quotes what arrived."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcalc.errors import InputError, run_command
from mlcalc.settings import build_settings, check_choice, check_range


@dataclass(frozen=True)
class Example:
    """One field of every kind."""

    n_steps: int
    width_A: float = 1.0
    name: str = "x"
    on: bool = True
    files: tuple[str, ...] = ()
    cutoff_A: float | None = None
    beads: int | tuple[int, ...] = 1


def test_values_become_their_types():
    made = build_settings(Example, {"n_steps": 3, "width_A": 2, "files": ["a"], "beads": [8, 1]}, "t")
    assert made == Example(3, 2.0, files=("a",), beads=(8, 1))
    assert type(made.width_A) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "t: missing key 'n_steps'"),
        ({"n_steps": 1, "width": 1.0}, "t: unknown key 'width'; did you mean 'width_A'?"),
        ({"n_steps": 1.0}, "t: n_steps = 1.0: expected a whole number"),
        ({"n_steps": True}, "expected a whole number"),
        ({"n_steps": 1, "width_A": float("inf")}, "expected a finite number"),
        ({"n_steps": 1, "files": "a"}, "expected a list, each item text in quotes"),
        ({"n_steps": 1, "files": [1]}, "expected a list, each item text in quotes"),
        ({"n_steps": 1, "beads": [1.5]}, "expected a whole number or a list"),
        ({"n_steps": 1, "on": 1}, "expected true or false"),
    ],
)
def test_mistakes(values, message):
    with pytest.raises(InputError) as caught:
        build_settings(Example, values, "t")
    assert message in str(caught.value)


JSON_LIKE = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(st.dictionaries(st.sampled_from([*Example.__dataclass_fields__, "typo"]), JSON_LIKE))
def test_any_table_is_used_or_refused(values):
    try:
        made = build_settings(Example, values, "t")
    except InputError:
        return
    assert type(made.n_steps) is int
    assert type(made.width_A) is float


def test_ranges_and_choices():
    check_range("x", 1.0, 0.0, 1.0)
    for call in (
        lambda: check_range("x", 1.1, 0.0, 1.0),
        lambda: check_range("x", 0.0, 0.0, open_low=True),
        lambda: check_choice("x", "c", ("a", "b")),
    ):
        with pytest.raises(InputError, match="expected"):
            call()


def test_exit_codes(capsys):
    def refuse():
        raise InputError("no good")

    def interrupt():
        raise KeyboardInterrupt

    assert run_command("p", lambda: None) == 0
    assert run_command("p", lambda: 3) == 3
    assert run_command("p", refuse) == 2
    assert capsys.readouterr().err == "p: error: no good\n"
    assert run_command("p", interrupt) == 130
    with pytest.raises(ZeroDivisionError):
        run_command("p", lambda: 1 // 0)
