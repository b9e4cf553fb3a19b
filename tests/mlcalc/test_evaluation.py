"""mlcalc evaluate: errors that are known beforehand, by group, with error bars; and the mlcalc command itself."""

import json
import re

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.cli import main
from mlcalc.model_file import load_model, save_model
from mlcalc.structures.labels import DEFAULT_NAMES
from mlcalc.training.dataset import read_dataset
from mlcalc.training.evaluation import as_text, evaluate, predict
from tests.conftest import SCHNETPACK_DIALECT, random_model

NETWORK = random_model(SCHNETPACK_DIALECT, domain={"elements": [1, 6]})
ERROR = {100: 0.05, 300: 0.2}  # eV/Å, added to every force component with alternating sign


@pytest.fixture
def files(tmp_path):
    """A model, and structures whose labels are the model's own but for known errors and a constant of 3 eV."""
    save_model(NETWORK, tmp_path / "net.safetensors")
    rng, frames = np.random.default_rng(0), []
    for k in range(24):
        atoms = molecule("C2H2" if k % 3 else "CH4")
        if k == 23:
            atoms = bulk("C", "diamond", 3.57)
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        kernel = SchNetKernel(NETWORK, atoms.numbers, "float64")
        if atoms.pbc.any():
            kernel.cell, kernel.pbc = atoms.cell.array, atoms.pbc
        energies, forces = kernel(atoms.positions[None])
        temperature = 100 if k % 2 else 300
        error = ERROR[temperature] * (-1.0) ** np.arange(forces[0].size).reshape(-1, 3)
        atoms.calc = SinglePointCalculator(
            atoms, energy=float(energies[0]) + 3.0 * len(atoms), forces=forces[0] + error
        )
        atoms.info |= {"temperature_K": temperature, "trajectory": "t", "step": k // 4}
        frames.append(atoms)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    return tmp_path


def test_known_errors_are_found(files):
    found = evaluate(files / "net.safetensors", files / "data.xyz", ("temperature_K",), precision="float64")
    by_name = {group.name: group for group in found.groups}
    assert by_name.keys() == {"temperature_K 100", "temperature_K 300"}
    for temperature, error in ERROR.items():
        group = by_name[f"temperature_K {temperature}"]
        # extxyz keeps eight decimals of forces.
        assert group.force_mae_eV_per_A == pytest.approx(error, abs=1e-6)
        assert group.force_rmse_eV_per_A == pytest.approx(error, abs=1e-6)
        assert (group.frames, group.moments) == (12, 6)
    assert found.total.frames == 24
    assert found.energy_offset_eV_per_atom == pytest.approx(-3.0, abs=1e-6)
    assert found.total.energy_mae_meV_per_atom == pytest.approx(0.0, abs=1e-3)


def test_command_prints_a_table_and_draws(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    assert main(["evaluate", "net.safetensors", "data.xyz"]) == 0
    printed = capsys.readouterr().out
    assert "force MAE / meV/Å" in printed
    assert "temperature_K 300" in printed
    assert (files / "parity-net-data.png").stat().st_size > 10_000
    assert main(["evaluate", "net.safetensors", "data.xyz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["frames"] == 24


def test_data_without_energies(files, capsys, monkeypatch):
    """Forces alone, as of coarse-grained beads: no number is made of what is not there."""
    monkeypatch.chdir(files)
    frames = read(files / "data.xyz", ":")
    for atoms in frames:
        del atoms.calc.results["energy"]
    write(files / "forces.xyz", frames, format="extxyz")
    assert main(["evaluate", "net.safetensors", "forces.xyz"]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "energies: none in the data" in printed


def test_energies_of_conformers_relative_to_each_other(files):
    """Conformers in two files, one of them 40 meV wrong: one zero for both shows it, as would any other."""
    frames = [atoms for atoms in read(files / "data.xyz", ":") if len(atoms) == 4]
    for k, atoms in enumerate(frames):
        atoms.calc.results["energy"] -= 0.04 * (k >= 10)
        atoms.info["step"] = k
    write(files / "closed.xyz", frames[:10], format="extxyz")
    write(files / "open.xyz", frames[10:], format="extxyz")
    found = evaluate(files / "net.safetensors", [files / "closed.xyz", files / "open.xyz"], (), precision="float64")
    closed, opened = found.groups
    assert (closed.name, opened.name) == ("closed.xyz: all", "open.xyz: all")
    assert opened.energy_bias_meV - closed.energy_bias_meV == pytest.approx(40.0, abs=1e-3)
    n, m = 10, len(frames) - 10
    assert found.relative_energy_mae_meV == pytest.approx(40.0 * n * m / ((n + m) * (n + m - 1) / 2), abs=1e-3)
    assert "energy differences of structures of one composition" in as_text(found)


def test_energies_alone(files, capsys, monkeypatch):
    """A scan without forces beside structures that have them."""
    monkeypatch.chdir(files)
    frames = read(files / "data.xyz", ":")
    for atoms in frames[::2]:
        del atoms.calc.results["forces"]
    write(files / "scan.xyz", frames, format="extxyz")
    found = evaluate("net.safetensors", "scan.xyz", ("temperature_K",), precision="float64")
    by_name = {group.name: group for group in found.groups}
    assert by_name["temperature_K 100"].force_mae_eV_per_A == pytest.approx(0.05, abs=1e-6)
    assert np.isnan(by_name["temperature_K 300"].force_mae_eV_per_A)
    assert by_name["temperature_K 300"].energy_mae_meV_per_atom == pytest.approx(0.0, abs=1e-3)
    assert main(["evaluate", "net.safetensors", "scan.xyz"]) == 0
    assert "forces in 12 (forces)" in capsys.readouterr().out


def test_errors_can_be_noted_in_the_model(files, monkeypatch):
    monkeypatch.chdir(files)
    assert main(["evaluate", "net.safetensors", "data.xyz"]) == 0
    assert "test_errors" not in load_model("net.safetensors").metadata
    assert main(["evaluate", "net.safetensors", "data.xyz", "--record"]) == 0
    model = load_model("net.safetensors")
    assert model.metadata["test_errors"]["data.xyz"]["frames"] == 24
    assert model.domain == NETWORK.domain
    assert all(np.array_equal(model.weights[name], NETWORK.weights[name]) for name in NETWORK.weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("C ", "O "), "structure 1: element O: this model knows H, C"),
        (lambda text: text[: len(text) // 2], "not a readable structure"),
        (lambda text: text.replace(":forces:R:3", ":dft_forces:R:3"), "structure 1 has no forces; found dft_forces"),
        (
            lambda text: re.sub("energy=[^ ]*", "", text).replace(":forces:R:3", ":other:R:3"),
            "structure 1 has no forces",
        ),
        (lambda text: "", "bad.xyz: no"),
    ],
)
def test_bad_data(files, capsys, monkeypatch, change, message):
    monkeypatch.chdir(files)
    (files / "bad.xyz").write_text(change((files / "data.xyz").read_text()))
    assert main(["evaluate", "net.safetensors", "bad.xyz"]) == 2
    assert message in capsys.readouterr().err
    assert not list(files.glob("parity*"))


def test_info(files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    assert main(["info", "net.safetensors"]) == 0
    printed = capsys.readouterr().out
    assert "SchNet (16, 2), 12 Gaussians, cutoff 4 Å, elements H C, nuclear repulsion below 1.2 Å" in printed
    assert "none recorded; mlcalc evaluate --record" in printed
    assert main(["evaluate", "net.safetensors", "data.xyz", "--record"]) == 0
    capsys.readouterr()
    assert main(["info", "net.safetensors", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"]["n_features"] == 16
    assert found["test_errors"]["data.xyz"]["frames"] == 24
    assert main(["info", "net.safetensors"]) == 0
    mae = f"{1e3 * found['test_errors']['data.xyz']['force_mae_eV_per_A']:.1f}"
    assert f"errors on data.xyz  forces {mae} ± " in capsys.readouterr().out


@pytest.mark.parametrize("precision, atol", [("float64", 1e-6), ("float32", 5e-5)])
def test_many_different_molecules_are_evaluated_together(precision, atol, tmp_path):
    """Forty molecules in turn, of energies of thousands of eV, each beside a potential of its own; forces only where labels are."""
    names = ["CH4", "C2H2", "C2H6", "C6H6"]
    frames = [molecule(names[k % 4]) for k in range(40)]
    rng, expected = np.random.default_rng(3), []
    for atoms in frames:
        atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
        energies, forces = SchNetKernel(NETWORK, atoms.numbers, "float64")(atoms.positions[None])
        expected.append((energies[0], forces[0]))
        atoms.calc = SinglePointCalculator(atoms, energy=float(energies[0]), forces=forces[0])
    write(tmp_path / "data.xyz", frames, format="extxyz")
    dataset = read_dataset([tmp_path / "data.xyz"], [DEFAULT_NAMES])
    energies, forces = predict(NETWORK, dataset, precision)
    assert energies == pytest.approx(np.array([energy for energy, _ in expected]), abs=atol)
    np.testing.assert_allclose(forces, np.concatenate([forces for _, forces in expected]), atol=atol)
    dataset.labels["forces"][:] = np.nan
    again, none = predict(NETWORK, dataset, precision)
    assert np.array_equal(again, energies) and np.isnan(none).all()
