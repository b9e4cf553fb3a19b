"""The input of a run: what is accepted, how overrides work, and the message for each mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from md.runs.config import RunSettings, describe_keys, read_settings
from mlcalc.common.errors import InputError
from mlcalc.common.settings import as_toml, parse_assignment


@pytest.fixture
def toml(tmp_path):
    def write(text: str = 'structure = "a.xyz"\n'):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def test_structure_is_relative_to_the_input(toml, tmp_path):
    assert read_settings(toml(), {}).structure == str(tmp_path / "a.xyz")
    assert read_settings(toml(), {"structure": "b.xyz"}).structure == "b.xyz"


def test_models_beside_the_input_are_found_from_anywhere(toml, tmp_path):
    """Other names stay as they are: shipped models, and files seen from the current folder."""
    (tmp_path / "net.safetensors").write_bytes(b"")
    text = 'structure = "a.xyz"\nmodel = "net.safetensors"\ncommittee = ["c20", "net.safetensors", "no/such.safetensors"]\n'
    found, beside = read_settings(toml(text), {}), str(tmp_path / "net.safetensors")
    assert (found.model, found.committee) == (beside, ("c20", beside, "no/such.safetensors"))
    assert read_settings(toml(text), {"model": "net.safetensors"}).model == "net.safetensors"


def test_used_input_reads_back(toml, tmp_path):
    settings = read_settings(toml('structure = "a b\\\\c.xyz"\nbeads = [8, 1]\ntimestep_fs = 1\n'), {"seed": 3})
    again = tmp_path / "again.toml"
    again.write_text(as_toml(settings))
    assert read_settings(again, {}) == settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timestep = 0.5", "unknown key 'timestep'; did you mean 'timestep_fs'?"),
        ("zzz = 1", "unknown key 'zzz'; known keys: structure, model"),
        ("beads = 0", "beads = 0: expected at least 1"),
        ("beads = [8, 8]", "expected different numbers"),
        ("beads = []", "expected different numbers, at least one"),
        ("beads = 1.5", "expected a whole number or a list"),
        ("temperature_K = -300", "temperature_K = -300.0: expected more than 0"),
        ("temperature_K = nan", "expected a finite number"),
        ('temperature_K = "300"', "expected a finite number"),
        ("steps = -1", "steps = -1: expected at least 0"),
        ("steps = true", "expected a whole number"),
        ("timestep_fs = 50", "at most 20.0"),
        ('integrator = "ABOBA"', "expected one of OBABO, BAOAB, BCOCB"),
        ('thermostat = "nose"', "expected one of PILE-L, PILE-G, T-RPMD, centroid, GLE, adQTB, none"),
        ('precision = "float16"', "expected one of float32, float64"),
        ("trajectory_every_steps = 0", "expected at least 1"),
        ("steps = ", "not valid TOML"),
    ],
)
def test_mistakes_are_explained(toml, line, message):
    with pytest.raises(InputError) as caught:
        read_settings(toml(f'structure = "a.xyz"\n{line}\n'), {})
    assert message in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_missing_key_and_file(toml, tmp_path):
    with pytest.raises(InputError, match="missing key 'structure'"):
        read_settings(toml("seed = 1\n"), {})
    with pytest.raises(InputError, match="no such file"):
        read_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("timestep_fs=0.25", ("timestep_fs", 0.25)),
        ("beads=[8, 1]", ("beads", [8, 1])),
        ("integrator=BAOAB", ("integrator", "BAOAB")),
        ('model="x=y"', ("model", "x=y")),
        (" remove_com = false", ("remove_com", False)),
    ],
)
def test_assignments(text, pair):
    assert parse_assignment(text) == pair


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_assignment_needs_a_key_and_a_value(text):
    with pytest.raises(InputError, match="expected key=value"):
        parse_assignment(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    """Parsers raise only InputError for hostile input."""
    try:
        key, _ = parse_assignment(text)
    except InputError:
        return
    assert key


def test_help_lists_every_key():
    for key in RunSettings.__dataclass_fields__.keys() - {"structure"}:
        assert f"  {key} = " in describe_keys()
