"""``python -m analysis relevance``: the table, the JSON, the refusals."""

import json
import subprocess
import sys

import pytest
from ase.build import molecule
from ase.io import write

from analysis.__main__ import main
from analysis.lrp import Rules, trace
from analysis.relevance import pair_relevances, total_relevance
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(random_model(SCHNETPACK_DIALECT, seed=3), "net.safetensors")
    write("two.xyz", [molecule("C2H2"), molecule("CH4")], format="extxyz")
    write("one.xyz", molecule("C2H2"), format="extxyz")
    return tmp_path


def relevance(*arguments: str) -> int:
    return main(["relevance", *arguments, "--model", "net.safetensors"])


def test_table(folder, capsys):
    assert relevance("two.xyz") == 0
    printed = capsys.readouterr().out
    assert "2 CH4" in printed
    assert "γ = 0.1." in printed
    assert "strongest pairs" not in printed
    assert relevance("one.xyz", "--gamma", "0,0,1") == 0
    printed = capsys.readouterr().out
    assert "γ = 0, 0, 1." in printed
    assert "C0 C1" in printed


def test_json_has_the_numbers_of_the_functions(folder, capsys):
    assert relevance("one.xyz", "--gamma", "0.3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    (structure,), t = found["structures"], trace(random_model(SCHNETPACK_DIALECT, seed=3), molecule("C2H2"))
    rules = Rules(t, 0.3)
    assert found["gamma"] == 0.3
    assert structure["energy_eV"] == pytest.approx(t.energy)
    assert structure["total_relevance_eV"] == pytest.approx(total_relevance(rules))
    assert structure["ratio"] == pytest.approx(total_relevance(rules) / t.energy)
    assert [pair["relevance_eV"] for pair in structure["pairs"]] == pytest.approx(pair_relevances(rules).tolist())
    assert sum(structure["relevance_by_order_eV"].values()) == pytest.approx(structure["total_relevance_eV"])
    assert list(structure["relevance_by_order_eV"]) == ["1", "2", "3", "more than 3"]
    assert abs(structure["relevance_by_order_eV"]["more than 3"]) < 1e-9  # two blocks: walks of three nodes
    assert relevance("one.xyz", "--no-triples", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["structures"][0]["relevance_by_order_eV"]) == [
        "1",
        "2",
        "more than 2",
    ]


def test_refusals(folder, capsys):
    write("alien.xyz", [molecule("C2H2"), molecule("H2O")], format="extxyz")
    refused = [
        (["alien.xyz"], "alien.xyz, structure 2: atomic number(s) [8]: this model knows 1, 6"),
        (["one.xyz", "--gamma", "0,1"], "expected a number of at least 0, or 3 of them"),
        (["one.xyz", "--gamma", "-1"], "gamma = -1.0"),
        (["none.xyz"], "none.xyz: no such file"),
    ]
    for arguments, message in refused:
        assert relevance(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_reader_that_has_seen_enough(folder):
    command = [sys.executable, "-m", "analysis", "relevance", "one.xyz", "--model", "net.safetensors", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
