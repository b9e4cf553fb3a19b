"""Model files that were tampered with: refused in one line by every command, whatever entry it is, before sizes are believed."""

import json
import os
import time

import numpy as np
import pytest

from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.model import Model
from mlcalc.model_file import find_model, load_model, save_model, shipped_models
from mlcalc.model_summary import as_json, as_text
from tests.conftest import SCHNETPACK_DIALECT, random_model

NAN = float("nan")
GOOD_DOMAIN = {"elements": [1, 6], "min_distance_A": 0.9, "max_nearest_distance_A": 1.4, "max_distance_A": 4.0}


@pytest.fixture
def path(tmp_path):
    save_model(random_model(SCHNETPACK_DIALECT, domain=GOOD_DOMAIN), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def parts(path) -> tuple[dict, dict, bytes]:
    """Entries of the tensors, entry ``mlcalc``, numbers."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + size])
    return tensors, json.loads(tensors.pop("__metadata__")["mlcalc"]), content[8 + size :]


def put(path, tensors: dict, facts, numbers: bytes) -> None:
    """A model file of these parts; facts: an object, or its text."""
    text = facts if isinstance(facts, str) else json.dumps(facts)
    header = json.dumps(tensors | {"__metadata__": {"mlcalc": text}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + numbers)


def refused(path, capsys) -> str:
    """What ``mlcalc info`` says of a file that it refuses."""
    with pytest.raises(InputError):
        load_model(path)
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and len(error) < 1000 and "Traceback" not in error
    return error


CONFIG = {
    "element of none": ({"elements": [999]}, "distinct atomic numbers from 1 to 118"),
    "element beyond integers": ({"elements": [10**30]}, "64 bits"),
    "part of an element": ({"elements": [6.7, 1]}, "elements"),
    "elements as text": ({"elements": "16"}, "elements"),
    "elements in lists": ({"elements": [[6], [1]]}, "elements"),
    "elements as truth": ({"elements": [True, 6]}, "elements"),
    "word for truth": ({"filter_output_activation": "no"}, "filter_output_activation = 'no': expected true or false"),
    "number for truth": ({"filter_output_activation": 0}, "filter_output_activation = 0"),
    "truth for number": ({"n_rbf": True}, "n_rbf = True"),
    "part of a layer": ({"n_interactions": 2.0}, "n_interactions = 2.0"),
    "layers": ({"n_interactions": 10**9}, "n_interactions = 1000000000"),
    "Gaussians": ({"n_rbf": 4096}, "n_rbf = 4096: expected a whole number from 1 to 1024"),
    "more than fits": ({"n_features": 4096, "n_interactions": 64}, "weights: expected at most"),
    "cutoff of none": ({"cutoff": float("nan")}, "NaN"),
    "cutoff without end": ({"cutoff": float("inf")}, "Infinity"),
    "cutoff of the universe": ({"cutoff": 1e300}, "cutoff = 1e\\+300"),
    "cutoff of a nucleus": ({"cutoff": 1e-300}, "cutoff = 1e-300"),
    "cutoff as text": ({"cutoff": "5"}, "cutoff = '5'"),
    "400 digits": ({"cutoff": 10**400}, "64 bits"),
    "another key": ({"evil": 1}, "unknown key 'evil'"),
    "a key like one": ({"n_feature": 16}, "did you mean 'n_features'"),
    "a long key": ({"x" * 100000: 1}, "characters"),
}
PRIORS = {
    "none of ours": ({"evil": {}}, "prior 'evil': this mlcalc supports repulsion, angular"),
    "no table": ([], "priors = '\\[\\]': expected a table"),
    "a number": ({"repulsion": 1.2}, "expected a table"),
    "another key": ({"repulsion": {"cutof": 1.2}}, "did you mean 'cutoff'"),
    "no cutoff": ({"repulsion": {}}, "missing key 'cutoff'"),
    "truth for number": ({"repulsion": {"cutoff": True}}, "cutoff = True"),
    "without end": ({"repulsion": {"cutoff": 1e300}}, "cutoff = 1e\\+300"),
    "beyond pairs": ({"repulsion": {"cutoff": 50.0}}, "repulsion: cutoff = 50.0: expected at most the cutoff of 4"),
    "long words": ({"bonds": {"stiffness": ["x" * 10_000] * 20}}, "…: expected a list, each item a finite number"),
    "a long key": ({"bonds": {"x" * 100_000: 1.0}}, "known keys: stiffness"),
    "no angle": ({"angular": {"strength": 1.0, "cosine": 2.0, "decay": 1.0, "cutoff": 3.0}}, "cosine from -1 to 1"),
}
METADATA = {
    "domain": [
        None, [1], "C", {"elements": [999]}, {"elements": "6"}, {"elements": [6, 6]}, {"elements": 6}, {"lone_elements": [0]},
        {"min_distance_A": True}, {"min_distance_A": "1"}, {"min_distance_A": -1.0}, {"min_distance_A": 10**400},
        {"min_distance_A": NAN}, {"min_distance_A": None}, {"min_distance_A": 2.0, "max_nearest_distance_A": 1.0},
        {"charge": 0.5}, {"charge": "1"}, {"charge": 10**6}, {"multiplicity": 0}, {"multiplicity": True}, {"bead_masses_u": [1.0]},
        {"bead_masses_u": {"C": -1.0}}, {"bead_masses_u": {"Q": 1.0}}, {"bead_masses_u": {"C": "12"}},
        {"bead_masses_u": {"C": True}}, {"min_distance": 1.0},
    ],
    "test_errors": [
        "zz", ["a"], {"a": 1}, {"a": {"force_mae_eV_per_A": "1"}}, {"a": {"b": [1, {"c": None}]}}, {"a": {"frames": 1.5}},
        {"a": {"energy_mae_meV_per_atom": True}}, {"a": {"force_mae_eV_per_A": -1.0}}, {"a": {"name": 1}},
    ],
    "validation_errors": ["a", {"energy_mae_eV": []}, {"energy_mae_eV": "1"}],
    "provenance": [
        "abc", [], {"imported_from": 1}, {"imported_from": {}}, {"training_frames": "5"}, {"training_files_sha256": [1]},
        {"steps": True}, {"settings": "x"}, {"x": "\ud800"},
    ],
    "scalar": [
        None, "ZPVE", {}, {"name": "ZPVE"}, {"name": "ZPVE", "unit": 1}, {"name": "ZPVE", "unit": "parsec"},
        {"name": "ZPVE_eV", "unit": "K"}, {"name": "Z" * 100, "unit": "eV"}, {"name": "ZPVE", "unit": "eV"},
    ],
    "domian": [{}],
    "format": ["mlcalc-model-3", None, 2],
    "format_version": [True, 1, 2.0, "2", 3, 99, None],
    "architecture": ["transformer", None, ["schnet"], {}, "SchNet"],
    "outputs": [None, [], ["energy", "dipole"], "energy"],
    "units": [None, "eV", {"energy": "Hartree", "length": "Bohr"}],
    "config": [None, [], "x" * 100000],
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIG)
def test_architectures(path, capsys, name):
    change, message = CONFIG[name]
    tensors, facts, numbers = parts(path)
    facts["config"] |= change
    put(path, tensors, facts, numbers)
    refused(path, capsys)
    with pytest.raises(InputError, match=message):
        load_model(path)


@pytest.mark.parametrize("name", PRIORS)
def test_priors(path, capsys, name):
    priors, message = PRIORS[name]
    tensors, facts, numbers = parts(path)
    facts["priors"] = priors
    put(path, tensors, facts, numbers)
    refused(path, capsys)
    with pytest.raises(InputError, match=message):
        load_model(path)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in METADATA.items() for value in values])
def test_metadata(path, capsys, key, value):
    tensors, facts, numbers = parts(path)
    facts[key] = value
    put(path, tensors, facts, numbers)
    refused(path, capsys)
    if key in ("domain", "provenance", "test_errors"):
        with pytest.raises(InputError):  # nor is it written
            save_model(random_model(SCHNETPACK_DIALECT, **{key: value}), path)


TEXTS = {
    "deep": "[" * 200_000,
    "deep and closed": '{"format": "mlcalc-schnet", "x": ' + "[" * 60_000 + "]" * 60_000 + "}",
    "40 levels": '{"format": "mlcalc-schnet", "x": ' + "[" * 40 + "]" * 40 + "}",
    "digits": "9" * 100_000,
    "twice": '{"format": "mlcalc-schnet", "config": {}, "config": {"elements": [6]}}',
    "no object": "5",
    "half": "{",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_in_the_header(path, capsys, name):
    tensors, _, numbers = parts(path)
    put(path, tensors, TEXTS[name], numbers)
    refused(path, capsys)


@pytest.mark.parametrize("dtype", ["I32", "U32", "F16", "BF16", "BOOL", "XX", 5, None, ["F32"]])
def test_types_of_weights(path, capsys, dtype):
    """Whole numbers of the same width were taken for weights: energies of −10¹⁰ eV."""
    tensors, facts, numbers = parts(path)
    tensors["embedding.weight"]["dtype"] = dtype
    put(path, tensors, facts, numbers)
    assert "embedding.weight holds" in refused(path, capsys)


@pytest.mark.parametrize(
    "change",
    [{"shape": [2**40, 2**40]}, {"shape": [-2, -16]}, {"shape": "x"}, {"shape": [2, True]}, {"data_offsets": [0, 2**62]},
     {"data_offsets": [-8, 0]}, {"data_offsets": None}, {"data_offsets": [4, 4]}],
)  # fmt: skip
def test_places_of_weights(path, capsys, change):
    tensors, facts, numbers = parts(path)
    tensors["embedding.weight"] |= change
    put(path, tensors, facts, numbers)
    refused(path, capsys)
    tensors["embedding.weight"] = 5
    put(path, tensors, facts, numbers)
    refused(path, capsys)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_numbers_of_weights(path, capsys, value):
    tensors, facts, numbers = parts(path)
    start = tensors["readout.1.weight"]["data_offsets"][0]
    put(path, tensors, facts, numbers[:start] + np.float32(value).tobytes() + numbers[start + 4 :])
    assert "readout.1.weight holds NaN, infinite or huge numbers" in refused(path, capsys)


@pytest.mark.parametrize(
    ("length", "size"), [(2**63, 100), (2**30, 2**20), (2**29, 2**30), (0, 100), (101, 100), (100, 2**40)]
)
def test_sizes_are_checked_before_anything_is_read(tmp_path, capsys, length, size):
    path = tmp_path / "net.safetensors"
    with path.open("wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(size)  # of holes: nothing is on the disk
    start = time.monotonic()
    refused(path, capsys)
    assert time.monotonic() - start < 2.0


def test_what_is_no_file(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    names = ["pipe.safetensors", "folder.safetensors", "loop.safetensors", "x" * 300, "a/" * 3000]
    for name in [*(str(tmp_path / name) for name in names), "~nobody-of-this-name/x", ""]:
        assert "no such file" in refused(name, capsys)


def test_nothing_steers_the_terminal(path):
    model = load_model(path)
    hostile = Model(model.config, model.weights, {"provenance": {"imported_from": "\x1b[31mred\x1b]0;title\x07\u202e"}})
    save_model(hostile, path)
    text = as_text("net", path, load_model(path))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "\\x1b[31mred" in text


def test_models_in_memory_are_checked_as_well():
    for values in ({"elements": (6.7,)}, {"elements": (True,)}, {"elements": (119,)}, {"elements": (6,), "n_rbf": True},
                   {"elements": (6,), "filter_output_activation": "no"}):  # fmt: skip
        with pytest.raises(InputError, match="expected"):
            SchNetConfig(**values)
    assert SchNetConfig(elements=np.array([6, 1])).elements == (6, 1)


def test_shipped_models_load_and_describe_themselves():
    for name in shipped_models():
        model = load_model(name)
        assert as_text(name, find_model(name), model)
        assert json.loads(as_json(model))["domain"] == model.domain
