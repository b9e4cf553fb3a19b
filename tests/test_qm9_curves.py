"""The script of inputs/qm9, with small molecules of which the energy is a closed form."""

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlcalc.architectures import name_of
from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError

SCRIPT = Path(__file__).parents[1] / "inputs" / "qm9" / "learning_curves.py"
SMALL = {"n_features": 8, "readout_hidden": 8, "steps": 4, "validation_every_steps": 4, "compile": False}


@pytest.fixture
def curves(monkeypatch):
    spec = spec_from_file_location("learning_curves", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TEST_MOLECULES", 10)
    monkeypatch.setattr(module, "STEPS", {10: 4, 20: 4})
    return module


def molecule(k: int) -> Atoms:
    angle = 1.5 + 0.02 * k
    atoms = Atoms("OH2", [(0, 0, 0), (0.97, 0, 0), (0.97 * np.cos(angle), 0.97 * np.sin(angle), 0)], info={"qm9": k})
    atoms.calc = SinglePointCalculator(atoms, energy=-2000.0 - np.cos(angle))
    return atoms


@pytest.fixture
def data(tmp_path, curves):
    write(tmp_path / "qm9.xyz", [molecule(k) for k in range(40)])
    curves.split(tmp_path)
    return tmp_path


def test_sets_are_nested_and_apart_from_the_test(data):
    chosen = {path.stem: [atoms.info["qm9"] for atoms in read(path, ":")] for path in data.glob("t*.xyz")}
    assert {name: len(set(numbers)) for name, numbers in chosen.items()} == {"test": 10, "train_10": 11, "train_20": 22}
    assert set(chosen["train_10"]) < set(chosen["train_20"])
    assert not set(chosen["test"]) & set(chosen["train_20"])


@pytest.mark.parametrize("network", ["wacsf", "dtnn-3", "schnet-1", "schnet-6", "painn-3"])
def test_a_network_is_trained_and_tested_once(network, data, curves, capsys):
    errors = data / "errors"
    curves.train_and_test(network, 10, data, errors, **SMALL)
    found = json.loads((errors / f"{network}_10.json").read_text())
    model = curves.load_model(data / "networks" / f"{network}_10" / "model.safetensors")
    tested = [curves.NETWORKS[network][2].get(key) for key in ("architecture", "n_interactions")]
    assert [name_of(model.config), getattr(model.config, "n_interactions", None)] == tested
    deviations = []
    for atoms in read(data / "test.xyz", ":"):
        reference = atoms.get_potential_energy()
        atoms.calc = NetworkCalculator(data / "networks" / f"{network}_10" / "model.safetensors")
        deviations.append(abs(atoms.get_potential_energy() - reference))
    assert found["mae_meV"] == pytest.approx(1e3 * np.mean(deviations), rel=0.01)
    assert found["mae_error_meV"] == pytest.approx(1e3 * np.std(deviations) / 3.0, rel=0.01)  # of ten molecules
    curves.train_and_test(network, 10, data, errors, **SMALL)
    assert "done" in capsys.readouterr().out


def test_an_interrupted_training_is_resumed(data, curves, capsys):
    keys = {"data": [str(data / "train_20.xyz")], **curves.NETWORKS["schnet-1"][2], **SMALL, "steps": 2}
    output = data / "networks" / "schnet-1_20"
    curves.train(curves.HERE / "train.toml", output, None, False, keys)
    curves.train_and_test("schnet-1", 20, data, data / "errors", **SMALL)
    steps = [json.loads(line)["step"] for line in (output / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]


def test_the_report_has_a_row_for_each_network(tmp_path, curves):
    with pytest.raises(InputError, match="no errors yet"):
        curves.report(tmp_path, tmp_path / "figure")
    for name, size, mae in (("painn-3", 10, 20.0), ("painn-3", 20, 9.0), ("wacsf", 10, 80.0)):
        row = {"network": name, "molecules": size, "mae_meV": mae, "mae_error_meV": 0.5, "test_molecules": 10}
        (tmp_path / f"{name}_{size}.json").write_text(json.dumps(row))
    text = curves.report(tmp_path, tmp_path / "figure")
    assert [line.split()[0] for line in text.splitlines()[2:4]] == ["wACSF", "PaiNN,"]
    assert "20.00 ± 0.50" in text and "9.00 ± 0.50" in text and "43.4 meV" in text
    assert (tmp_path / "figure.png").stat().st_size > 5000
    assert len(json.loads((tmp_path / "figure.json").read_text())) == 3
