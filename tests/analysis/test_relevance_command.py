"""``python -m analysis relevance``: the table, the JSON, the refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import write

import analysis.relevance.nbody
from analysis.__main__ import main
from analysis.relevance.nbody import pair_relevances, total_relevance, triple_relevances, triple_sets
from analysis.relevance.trace import Rules, trace
from analysis.relevance.walks import walk_relevances
from mlcalc.model_file import save_model
from tests.analysis.chains import frames, network
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
    assert "strongest triples" in printed
    assert "strongest walks" not in printed


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
    assert list(structure["relevance_by_order_eV"]) == ["1", "2", "3"]  # two blocks: walks of three nodes
    assert relevance("one.xyz", "--no-triples", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["structures"][0]["relevance_by_order_eV"]) == [
        "1",
        "2",
        "more than 2",
    ]


def test_of_a_chain_priors_stand_beside(folder, capsys):
    save_model(network(), "net.safetensors")
    write("chain.xyz", frames(1).structures(), format="extxyz")
    assert relevance("chain.xyz") == 0
    printed = capsys.readouterr().out
    assert "network without priors, whose energies (bonds, angles, dihedrals, bead_repulsion) stand beside" in printed
    assert relevance("chain.xyz", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    apart = trace(network(), frames(1).structures()[0]).apart
    assert found["explained"] == "network without priors"
    for name, energy in found["structures"][0]["prior_energies_eV"].items():
        assert energy == pytest.approx(apart[name], rel=1e-6)


def test_triples_and_walks(folder, capsys):
    """Every set of three in the JSON; the strongest walks in the order of their strength."""
    assert relevance("one.xyz", "--walks", "7", "--json") == 0
    (structure,) = json.loads(capsys.readouterr().out)["structures"]
    rules = Rules(trace(random_model(SCHNETPACK_DIALECT, seed=3), molecule("C2H2")), 0.1)
    sets = triple_sets(rules.trace)
    assert [entry["atoms"] for entry in structure["triples"]] == sets.atoms.tolist()
    found = [entry["relevance_eV"] for entry in structure["triples"]]
    assert found == pytest.approx(triple_relevances(rules, sets).tolist())
    strengths = np.sort(np.abs(walk_relevances(rules).relevance))[::-1][:7]
    assert [abs(walk["relevance_eV"]) for walk in structure["strongest_walks"]] == pytest.approx(strengths.tolist())
    assert relevance("one.xyz", "--walks", "2", "--no-triples") == 0
    table = capsys.readouterr().out.partition("strongest walks")[2]
    assert len(table.strip().splitlines()) == 4  # the rest of the header, a rule, two walks
    assert "strongest triples" not in table


def test_crystals_name_their_images(folder, capsys):
    write("crystal.xyz", bulk("C", "diamond", 3.567), format="extxyz")
    assert relevance("crystal.xyz", "--walks", "3") == 0
    assert "C0 C1[-1 0 0]" in capsys.readouterr().out


def test_too_many(folder, capsys, monkeypatch):
    """Budgets: the message gives the number of walks, the memory, and an alternative."""
    monkeypatch.setattr(analysis.relevance.nbody, "MOST_TRIPLES", 5)
    assert relevance("one.xyz") == 2
    assert "12 pairs of neighbours make triples" in capsys.readouterr().err
    assert relevance("one.xyz", "--no-triples") == 0
    monkeypatch.setattr(walk_relevances, "__defaults__", (20,))
    assert relevance("one.xyz", "--no-triples", "--walks", "3") == 2
    error = capsys.readouterr().err
    assert "64 walks" in error
    assert "need no walks" in error


def test_refusals(folder, capsys):
    write("alien.xyz", [molecule("C2H2"), molecule("H2O")], format="extxyz")
    refused = [
        (["alien.xyz"], "alien.xyz, structure 2: element O: this model knows H, C"),
        (["one.xyz", "--gamma", "0,1"], "expected a number of at least 0, or 3 of them"),
        (["one.xyz", "--gamma", "-1"], "gamma = -1.0"),
        (["one.xyz", "--gamma", "0", "--gamma", "1"], "--gamma: 2 times for a file of structures: expected once"),
        (["none.xyz"], "none.xyz: no such file"),
        (["one.xyz", "--walks", "-1"], "--walks -1: expected a number of at least 0"),
    ]
    for arguments, message in refused:
        assert relevance(*arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_gamma_that_is_no_number(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        relevance("one.xyz", "--gamma", "0.1,foo")
    assert "argument --gamma: 'foo': expected a number" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(folder):
    command = [sys.executable, "-m", "analysis", "relevance", "one.xyz", "--model", "net.safetensors", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
