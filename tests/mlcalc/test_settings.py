"""Strict settings: any table gives an instance or an InputError that quotes what arrived."""

import tomllib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcalc.common.errors import InputError, run_command
from mlcalc.common.settings import (
    as_toml,
    build_settings,
    check_choice,
    check_range,
    parse_assignment,
    read_toml,
    toml_value,
)


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


WRITABLE = st.one_of(
    st.booleans(), st.integers(), st.integers(10**30, 10**40), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30), st.text(st.characters(min_codepoint=0, max_codepoint=0x9F), max_size=10),
)  # fmt: skip


@given(WRITABLE | st.lists(WRITABLE, max_size=4).map(tuple))
def test_what_is_written_is_what_is_read(value):
    """By Python's own parser, with the type; text of any Unicode characters: line ends, quotes, backslashes, control characters."""
    found = tomllib.loads(f"x = {toml_value(value)}\n")["x"]
    expected = list(value) if isinstance(value, tuple) else value
    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    "character", [*map(chr, range(0x20)), "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", '"', "\\", "🙂"]
)
def test_a_file_with_any_character_is_read_again(tmp_path, character):
    @dataclass(frozen=True)
    class Text:
        name: str

    path = tmp_path / "a.toml"
    path.write_bytes(as_toml(Text(f"a{character}b")).encode())
    assert read_toml(path) == {"name": f"a{character}b"}
    if character == "\0":
        with pytest.raises(InputError, match="name = 'a.x00b': expected no NUL"):
            build_settings(Text, read_toml(path), path)
    else:
        assert build_settings(Text, read_toml(path), path) == Text(f"a{character}b")


@pytest.mark.parametrize("value", ["\ud800", "a\udcffb", float("nan"), float("inf"), (1.0, float("-inf")), None])
def test_what_toml_cannot_hold_is_not_written(value):
    with pytest.raises(InputError, match="expected"):
        toml_value(value)


def test_more_digits_than_python_prints():
    with pytest.raises(InputError, match="more than 4300 digits"):
        toml_value(10**5000)


@pytest.mark.parametrize(
    "content",
    [
        b"x = " + b"[" * 50_000 + b"]" * 50_000, b"x = " + b"{a=" * 20_000 + b"1" + b"}" * 20_000, b"a." * 30_000 + b"b = 1",
        b"x = " + b"9" * 10_000, "n_steps = 1".encode("utf-16"), b"x = '\xff'", b"x = 'a\0b'", b"#" * 1_000_001, b"x = 1\nx = 2",
    ],
    ids=range(9),
)  # fmt: skip
def test_hostile_toml_is_one_sentence(tmp_path, content, capsys):
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    assert run_command("rpmd", lambda: read_toml(path)) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_files_of_windows_editors(tmp_path, end):
    (tmp_path / "a.toml").write_bytes(f"\ufeffn_steps = 3{end}name = 'ä'{end}".encode())
    assert read_toml(tmp_path / "a.toml") == {"n_steps": 3, "name": "ä"}


@pytest.mark.parametrize(
    "value",
    ["9" * 10_000, f"0x{'f' * 5_000}", "[" * 5_000, f"[0x{'f' * 5_000}]", "[" + "9" * 400 + "]", "a\0b"],
    ids=["decimal", "hexadecimal", "nested", "list", "large", "NUL"],
)
def test_assignments_beyond_all_bounds(value):
    """Whole numbers without end, in decimal or not, as a whole number, a float or a text; lists without end."""
    for key in ("width_A", "name", "on"):
        with pytest.raises(InputError):
            build_settings(Example, {"n_steps": 1} | dict([parse_assignment(f"{key}={value}")]), "t")


def test_one_assignment_is_one(tmp_path):
    with pytest.raises(InputError, match="expected one key=value"):
        parse_assignment("n_steps=1\nname='y'")


def test_no_float_is_as_large_as_that():
    with pytest.raises(InputError, match="width_A = 1000.*expected a finite number"):
        build_settings(Example, {"n_steps": 1, "width_A": 10**400}, "t")


def test_nan_is_in_no_range():
    with pytest.raises(InputError, match="--shell = nan: expected at least 0"):
        check_range("--shell", float("nan"), 0)
