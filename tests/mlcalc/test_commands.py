"""The sub-commands of mlcalc as a user types them; what they do is tested beside their modules."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.optimize import BFGS

from mlcalc.architectures import architecture_of
from mlcalc.cli import main
from mlcalc.model_file import load_model, save_model, shipped_models
from mlcalc.model_summary import as_text
from tests.conftest import SCHNETPACK_DIALECT, random_model


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def test_label_says_what_it_did(folder, capsys):
    write("dimers.xyz", [Atoms("Cu2", [[0, 0, 0], [0, 0, d]]) for d in (2.2, 2.4)], format="extxyz")
    command = ["label", "dimers.xyz", "--engine", "ase:emt", "-o", "labels.xyz"]
    assert main(command) == 0
    assert "2 of 2 structures labelled (0 by earlier runs): labels.xyz" in capsys.readouterr().out
    assert main(command) == 0
    assert "(2 by earlier runs)" in capsys.readouterr().out
    assert read("labels.xyz", 1).get_forces()[0, 2] != 0


def test_label_keeps_failures_apart(folder, capsys):
    write("mixed.xyz", [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), Atoms("U")], format="extxyz")
    assert main(["label", "mixed.xyz", "--engine", "ase:emt", "-o", "labels.xyz"]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 structures labelled" in printed
    assert "1 failed, written to labels.failed.xyz; structure 2: " in printed
    assert len(read("labels.xyz", ":")) == 1


@pytest.mark.parametrize("method", ["md", "compressed"])
def test_sample_with_a_network(folder, capsys, method):
    write("molecule.xyz", molecule("C2H2"), format="extxyz")
    network = random_model(SCHNETPACK_DIALECT)
    save_model(network, "net.safetensors")
    command = ["sample", method, "molecule.xyz", "--engine", "schnet:net.safetensors", "-n", "6", "--trajectories", "2"]
    assert main([*command, "--temperature", "50", "--timestep-fs", "0.1", "--stride", "5", "-o", "made.xyz"]) == 0
    assert "6 structures written to made.xyz" in capsys.readouterr().out
    frames = read("made.xyz", ":")
    assert len({frame.info["trajectory"] for frame in frames}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "none.xyz", "--engine", "ase:emt", "-o", "x.xyz"], "none.xyz: no such file"),
        (["label", "a.xyz", "--engine", "dft", "-o", "x.xyz"], "dft"),
        (["label", "a.xyz", "--engine", "ase:emt", "-j", "0", "-o", "x.xyz"], "jobs = 0: expected at least 1"),
        (["sample", "md", "a.xyz", "--engine", "ase:emt", "-n", "0", "-o", "x.xyz"], "expected"),
        (["sample", "md", "a.xyz", "--engine", "ase:emt", "-o", "none/x.xyz"], "does not exist"),
        (["info", "c21"], "no such file"),
        (["evaluate", "c21", "a.xyz"], "no such file"),
    ],
)
def test_refusals(folder, capsys, arguments, message):
    write("a.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), format="extxyz")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["a.xyz"]


def test_shipped_models_are_listed(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out.splitlines()
    for name, line in zip(shipped_models(), printed, strict=True):
        assert line.startswith(f"{name}: {architecture_of(load_model(name).config).title} (")


@pytest.mark.parametrize("last", [True, False])
def test_info_names_the_precision_of_the_weights(folder, last):
    """Constant energies are float64 in every model, wherever they stand among the weights."""
    model = random_model(SCHNETPACK_DIALECT, dtype=np.float32)
    model.weights["energy_shift"] = model.weights["energy_shift"].astype(np.float64)
    weights = dict(sorted(model.weights.items(), key=lambda item: (item[0] == "energy_shift") == last))
    save_model(model, "m.safetensors")
    assert "in float32" in as_text("m", Path("m.safetensors"), replace(model, weights=weights))


def test_every_help_has_an_example():
    for command in ("label", "sample", "train", "evaluate", "import", "info"):
        shown = subprocess.run(
            [sys.executable, "-c", "import sys; from mlcalc.cli import main; main(sys.argv[1:])", command, "--help"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert f"mlcalc {command}" in shown.split("example")[1]


def test_modes_of_c20_against_the_harmonic_formulas(capsys):
    structure = str(Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz")
    assert main(["modes", structure, "--beads", "1", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["wavenumbers_per_cm"]) == 54
    energies = np.array(report["wavenumbers_per_cm"]) * units.invcm
    assert report["zero_point_energy_eV"] == pytest.approx(energies.sum() / 2)
    classical, eight, limit = report["beads"]
    kT = units.kB * 300.0
    assert classical["energy_eV"] == pytest.approx(54 * kT)
    assert classical["heat_capacity_kB"] == pytest.approx(54)
    assert limit["energy_eV"] == pytest.approx((energies / 2 / np.tanh(energies / 2 / kT)).sum())
    assert classical["energy_error"] < eight["energy_error"] < 0 == limit["energy_error"]
    assert main(["modes", structure, "--beads", "8"]) == 0
    assert "βħω of the stiffest mode: 6." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--beads", "0"], "--beads = 0"),
        (["--temperature", "-1"], "--temperature = -1"),
        (["--model", "x"], "model 'x'"),
    ],
)
def test_modes_refuses(arguments, message, capsys):
    structure = str(Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz")
    assert main(["modes", structure, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_relax_finds_what_ase_finds(tmp_path, capsys):
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    out = tmp_path / "minimum.xyz"
    command = ["relax", str(tmp_path / "start.xyz"), "--engine", "ase:emt", "--max-force", "0.001", "-o", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "FixAtoms in 1 of 1 structures: minima disregard constraints" in printed.err
    found = read(out)
    assert found.info["engine"] == "ase:emt"
    atoms.set_constraint()
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    assert found.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    assert np.linalg.norm(found.get_forces(), axis=1).max() < 1e-3
    assert f"{found.get_potential_energy():.4f}" in printed.out
    assert main([*command[:-1], str(tmp_path / "none" / "m.xyz")]) == 2
    assert main(["relax", str(tmp_path / "start.xyz"), "--engine", "ase:emt", "--max-force", "0", "-o", str(out)]) == 2


def test_modes_of_any_engine(tmp_path, capsys):
    """The diatomic of EMT: one mode, ω² = k/μ with k from finite differences of ASE's own calculator."""
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    write(tmp_path / "co.xyz", atoms)
    assert main(["modes", str(tmp_path / "co.xyz"), "--engine", "ase:emt", "--json"]) == 0
    (wavenumber,) = json.loads(capsys.readouterr().out)["wavenumbers_per_cm"]
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-6)
    length, step = atoms.get_distance(0, 1), 1e-3
    energies = []
    for change in (-step, 0.0, step):
        atoms.set_distance(0, 1, length + change)
        energies.append(atoms.get_potential_energy())
    stiffness = (energies[0] - 2 * energies[1] + energies[2]) / step**2
    mass = 1 / (1 / atoms.get_masses()).sum()
    hbar = units._hbar * units.J * units.second
    assert wavenumber == pytest.approx(hbar * np.sqrt(stiffness / mass) / units.invcm, rel=1e-3)
    assert main(["modes", str(tmp_path / "co.xyz"), "--engine", "ase:warp"]) == 2


def test_help_of_train_lists_the_keys(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    assert '  energy_zeros = "one"' in printed
    assert '  repulsion_cutoff_A = "auto"' in printed
