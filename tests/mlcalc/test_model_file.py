"""Model files: every kind of foreign or damaged file refused without running anything."""

import json
import pickle

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.model_file import load_model, save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model


class Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self):
        return (open, ("pickle-was-executed", "w"))


def test_foreign_files_are_refused_and_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.safetensors"
    save_model(random_model(SCHNETPACK_DIALECT), good)
    content = good.read_bytes()
    cases = {
        "pickle": (pickle.dumps(Bomb()), "pickles"),
        "empty": (b"", "not a readable model file"),
        "text": (b"not a model", "not a readable model file"),
        "truncated": (content[: len(content) // 2], "not a readable model file"),
        "foreign": (save({"x": np.zeros(3)}), "not an mlcalc model"),
        "bad header": (save({"x": np.zeros(3)}, {"mlcalc": "{"}), "not a readable model file"),
        "listed header": (save({"x": np.zeros(3)}, {"mlcalc": "[1]"}), "not an mlcalc model"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            load_model(path)
    assert not (tmp_path / "pickle-was-executed").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "mlcalc-model of version '99', this mlcalc reads version 2 of it"),
        ({"units": {"energy": "kcal/mol", "length": "Ang"}}, "units .*kcal"),
        ({"config": {"elements": [6], "n_atoms": 3}}, "unreadable architecture"),
        ({"config": {"elements": [6], "n_features": 10**9}}, "n_features = 1000000000: expected a whole number"),
        ({"config": {"elements": [6], "cutoff": -1.0}}, "expected a positive distance"),
        ({"config": {"n_features": 8}}, "unreadable architecture"),
    ],
)
def test_headers_are_checked(tmp_path, change, message):
    path = tmp_path / "net.safetensors"
    header = {"format": "mlcalc-model", "format_version": 2, "units": {"energy": "eV", "length": "Ang"}}
    header |= {"architecture": "schnet", "config": {}, "priors": {}, "outputs": ["energy"]}
    save_file({"x": np.zeros(2)}, path, {"mlcalc": json.dumps(header | change)})
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_weights_are_checked(tmp_path):
    path = tmp_path / "net.safetensors"
    for name, value, message in (
        ("embedding.weight", np.full((2, 16), np.nan, np.float32), "NaN"),
        ("embedding.weight", np.zeros((3, 16), np.float32), "has shape"),
        ("surplus", np.zeros(1), "does not have"),
    ):
        model = random_model(SCHNETPACK_DIALECT)
        model.weights[name] = value
        with pytest.raises(InputError, match=message):
            save_model(model, path)
    model = random_model(SCHNETPACK_DIALECT)
    del model.weights["energy_scale"]
    with pytest.raises(InputError, match="missing"):
        save_model(model, path)
    assert not path.exists()


def test_unknown_names_list_what_there_is():
    with pytest.raises(InputError, match="no such file, and the shipped models are"):
        load_model("c21")


@pytest.mark.parametrize(
    "values",
    [{"elements": ()}, {"elements": (6, 6)}, {"elements": (0,)}, {"elements": (6,), "cutoff": None},
     {"elements": (6,), "cutoff_function": "tanh"}, {"elements": (6,), "readout_activation": "relu"},
     {"elements": (6,), "n_rbf": 0}],
)  # fmt: skip
def test_impossible_architectures(values):
    with pytest.raises(InputError, match="expected|needs"):
        SchNetConfig(**values)


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "file", b"x")
