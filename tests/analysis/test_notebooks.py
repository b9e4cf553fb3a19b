"""Notebooks run from top to bottom on short data, each cell without an error, in the kernel of a reader."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jupytext
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from nbclient import NotebookClient

from analysis.relevance.explain import explain
from analysis.relevance.view import LOWERS, RAISES, pair_cylinders
from md.cli import main as rpmd
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model

ROOT = Path(__file__).parents[2]


def executed(name: str, monkeypatch, **environment: str) -> list:
    """Outputs of the code cells of a notebook, run from the root of the repository."""
    for key, value in ({"NUMBA_NUM_THREADS": "1"} | environment).items():
        monkeypatch.setenv(key, value)
    notebook = jupytext.read(ROOT / "analysis" / "notebooks" / f"{name}.py")
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def printed(outputs: list) -> str:
    """The printed output of all cells."""
    return "".join(output.get("text", "") for cell in outputs for output in cell)


def pictures(outputs: list) -> int:
    """Cells that show one."""
    return [any("image/png" in output.get("data", {}) for output in cell) for cell in outputs].count(True)


@pytest.fixture(scope="module")
def c20_runs(tmp_path_factory) -> Path:
    """Short runs of C20 with P = 8 and P = 1."""
    folder = tmp_path_factory.mktemp("c20")
    short = ["--steps", "600", "--output", str(folder), "--no-figure", "--threads", "1"]
    assert rpmd(["run", str(ROOT / "inputs" / "c20" / "rpmd.toml"), *short]) == 0
    return folder


@pytest.mark.slow
def test_c20_relevance(c20_runs, monkeypatch):
    outputs = executed("c20_relevance", monkeypatch, MLCALC_RUNS=str(c20_runs), MLCALC_FRAMES="4")
    kinds = {kind for cell in outputs for output in cell for kind in output.get("data", {})}
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= kinds
    assert "bonds between" in printed(outputs)
    assert "strongest pairs" in printed(outputs)


@pytest.mark.slow
def test_c20_classical_quantum(c20_runs, tmp_path):
    """By the command that the heads of the notebooks give."""
    folder = ROOT / "analysis" / "notebooks"  # where jupytext runs what it writes there
    command = ["-m", "jupytext", "--to", "ipynb", "--execute", "--run-path", str(folder)]
    command += [str(folder / "c20_classical_quantum.py"), "-o", str(tmp_path / "c20.ipynb")]
    environment = os.environ | {"MLCALC_RUNS": str(c20_runs), "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    notebook = jupytext.read(tmp_path / "c20.ipynb")
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert pictures(outputs) == 2
    # √2 ħ/√(12 m k_B T) by hand: 1.41421 × 1.05457e-34 / √(12 × 1.99447e-26 × 4.14195e-21) m
    assert "two free carbon nuclei at 300 K: beyond their centroids 0.0474 Å" in printed(outputs)
    assert "With P = 8 the bonds are" in printed(outputs)


def test_quick_start(tmp_path, monkeypatch):
    outputs = executed("quick_start", monkeypatch, MLCALC_RUNS=str(tmp_path), MLCALC_STEPS="600")
    assert pictures(outputs) == 2
    assert "With P = 8 the bonds are" in printed(outputs)
    assert "Universe with 160 atoms" in printed(outputs)


@pytest.mark.slow
def test_convergence(tmp_path, monkeypatch):
    outputs = executed("convergence", monkeypatch, MLCALC_RUNS=str(tmp_path), MLCALC_STEPS="600", MLCALC_BEADS="1,4")
    assert pictures(outputs) == 2
    assert {"P1", "P4"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_ipi_output(tmp_path, monkeypatch):
    outputs = executed("ipi_output", monkeypatch, MLCALC_RUNS=str(tmp_path), MLCALC_STEPS="600")
    assert pictures(outputs) == 1
    assert "31 frames, one every 0.01 ps" in printed(outputs)


@pytest.mark.slow
def test_liquids(tmp_path, monkeypatch):
    models = ("methane-cg", "methane-painn", "methane-so3net", "water-cg", "water-painn", "water-so3net")
    for name, network in (model.split("-") for model in models):
        short = ["--steps", "250", "--set", "equilibration_steps=0", "--set", "trajectory_every_steps=10"]
        short += ["--model", f"{name}-{network}", "--output", str(tmp_path / f"{name}-{network}")]
        assert rpmd(["run", str(ROOT / "inputs" / name / "md.toml"), *short, "--no-figure", "--threads", "1"]) == 0
    outputs = executed("liquids", monkeypatch, MLCALC_RUNS=str(tmp_path), MLCALC_FRAMES="4", MLCALC_GAMMAS="0.1")
    assert pictures(outputs) == 6
    assert printed(outputs).count("γ = 0.1; 4 frames of") == 2
    assert "4 frames of each run" in printed(outputs)


@pytest.mark.slow
def test_atoms(tmp_path, monkeypatch):
    """On six molecules, shaken, with charges that add up to zero, and a table of errors; a network of many elements."""
    frames, rng = [], np.random.default_rng(1)
    for name in 10 * ["CH3CH2OH", "CH4", "H2O", "CH3OH", "C2H6", "H2CO"]:
        atoms = molecule(name)
        atoms.rattle(0.05, rng=rng)
        charges = np.array([{1: 0.1, 6: -0.1, 8: -0.4}[z] for z in atoms.numbers.tolist()])
        atoms.info["engine"] = "made up"
        atoms.calc = SinglePointCalculator(atoms, energy=0.1 * rng.normal(), charges=charges - charges.mean())
        frames.append(atoms)
    write(tmp_path / "qm9.xyz", frames, format="extxyz")
    (tmp_path / "errors").mkdir()
    for size in (1000, 5000):
        row = {"network": "schnet-3", "molecules": size, "mae_meV": 1e5 / size, "mae_error_meV": 1.0}
        (tmp_path / "errors" / f"schnet-3_{size}.json").write_text(json.dumps(row))
    config = replace(SCHNETPACK_DIALECT, elements=(1, 3, 6, 7, 8, 9, 11, 14, 15, 16, 17, 19))
    model = random_model(config)
    model.weights["energy_shift"] = np.zeros(12)
    save_model(model, tmp_path / "elements.safetensors")
    outputs = executed(
        "atoms", monkeypatch, MLCALC_RUNS=str(tmp_path), MLCALC_STEPS="20", MLCALC_ERRORS=str(tmp_path / "errors"),
        MLCALC_ELEMENTS=str(tmp_path / "elements.safetensors"),
    )  # fmt: skip
    assert pictures(outputs) == 5
    said = printed(outputs)
    assert "Those of the file (made up)" in said
    assert said.count("C–H of ") == 7 and "O–H of 1.06 Å: minimum at 1.0" in said
    assert "arrangements" in said


def test_graph_networks(monkeypatch):
    """On the networks of the repository."""
    pytest.importorskip("rdkit", reason="needs RDKit: pip install 'mlcalc[molecules]'")
    outputs = executed("graph_networks", monkeypatch)
    assert pictures(outputs) == 2
    found = {
        line.split()[0]: [float(word) for word in line.split()[1:]]
        for line in printed(outputs).splitlines()
        if line[:7] in ("benzene", "toluene", "phenol ")
    }
    assert len(found) == 3
    for zpve, of_qm9, alpha, alpha_of_qm9 in found.values():
        assert zpve == pytest.approx(of_qm9, abs=0.03) and alpha == pytest.approx(alpha_of_qm9, abs=2.0)


@pytest.mark.parametrize("atoms", [molecule("C2H6"), bulk("C", "diamond", 3.567)], ids=["molecule", "crystal"])
def test_cylinders_join_the_pairs(atoms):
    """From atom to atom, images included; wider where relevance is larger, blue where it lowers the energy."""
    item = explain(random_model(SCHNETPACK_DIALECT, seed=3), atoms, 0.1)
    strongest = np.abs(item.pairs).max()
    found = pair_cylinders(item, strongest)
    drawn = np.abs(item.pairs) >= 0.05 * strongest
    assert len(found["radii"]) == drawn.sum() > 0
    np.testing.assert_allclose(np.linalg.norm(found["vectors"], axis=1), item.trace.distances[drawn], rtol=1e-12)
    area = np.square(found["radii"])
    np.testing.assert_allclose(area / area.max(), np.abs(item.pairs[drawn]) / strongest, rtol=1e-12)
    assert found["colors"] == [LOWERS if value < 0 else RAISES for value in item.pairs[drawn]]
