"""The shipped models of coarse-grained liquids: what their cards and inputs say of them is so, in ASE and in i-PI."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read
from ase.md.verlet import VelocityVerlet

from md.cli import main as rpmd
from md.runs.config import read_settings
from mlcalc import SchNetCalculator, load_model
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.model_file import shipped_models
from mlcalc.torch_potential import TorchPotential
from mlcalc.training.evaluation import evaluate
from mlcalc.training.settings import TrainingSettings

ROOT = Path(__file__).parents[1]
INPUTS = ROOT / "inputs"
LIQUIDS = ("methane", "water")
MPA = 1e-3 * units.GPa


@pytest.fixture(params=LIQUIDS)
def liquid(request):
    """Name, and the structure that its run begins with, calculator attached."""
    atoms = read(INPUTS / request.param / "start.xyz")
    atoms.calc = SchNetCalculator(f"{request.param}-cg", dtype="float64")
    return request.param, atoms


def test_the_kernel_is_the_network(liquid):
    name, atoms = liquid
    model = load_model(f"{name}-cg")
    network = TorchPotential(model, atoms.numbers, "float64", cell=atoms.cell.array, pbc=atoms.pbc)
    found = network.evaluate(atoms.positions[None])
    np.testing.assert_allclose(atoms.get_forces(), found["forces"][0], atol=1e-6)
    assert atoms.get_potential_energy() == pytest.approx(found["energies"][0], abs=1e-5)


@pytest.mark.parametrize("name", [name for name in shipped_models() if name.startswith(LIQUIDS)])
def test_recorded_errors_are_those_of_the_committed_frames(name):
    recorded = load_model(name).metadata["test_errors"]["test.xyz"]
    found = evaluate(name, INPUTS / name.split("-")[0] / "test.xyz").total
    assert found.frames == recorded["frames"] == 100
    assert found.force_mae_eV_per_A == pytest.approx(recorded["force_mae_eV_per_A"], rel=1e-3)


@pytest.mark.parametrize("name", LIQUIDS)
def test_models_were_made_by_the_committed_recipe(name):
    settings = build_settings(TrainingSettings, read_toml(INPUTS / name / "train.toml"), "train.toml")
    model = load_model(f"{name}-cg")
    recorded = model.metadata["provenance"]["settings"]
    assert {key: recorded[key] for key in ("steps", "batch_size", "learning_rate", "seed", "energy_weight")} == {
        key: getattr(settings, key) for key in ("steps", "batch_size", "learning_rate", "seed", "energy_weight")
    }
    assert (model.config, model.priors) == (settings.network_config(model.config.elements), settings.priors())
    assert read_settings(INPUTS / name / "md.toml", {}).model == f"{name}-cg"


def test_ase_keeps_the_energy(liquid):
    """Of 0.5 ps at constant energy with ASE's integrator."""
    _, atoms = liquid
    thermal = units.kB * 200.0
    scatter = np.sqrt(thermal * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(2).normal(0.0, scatter, (len(atoms), 3)))
    energies = []
    dynamics = VelocityVerlet(atoms, 2.5 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=5)
    dynamics.run(200)
    assert np.ptp(energies) < 0.01 * 1.5 * len(atoms) * thermal


@pytest.mark.slow
def test_i_pi_moves_methane(tmp_path, monkeypatch):
    """The example's beads weigh what they must, keep the energy, and press as ASE's calculator says."""
    pytest.importorskip("ipi")
    for name in ("ipi.xml", "start.xyz"):
        text = (INPUTS / "methane" / name).read_text(encoding="utf-8")
        text = text.replace("<total_steps>2000", "<total_steps>100").replace("stride='10'", "stride='1'")
        text = text.replace("<address>methane", f"<address>{tmp_path.name}")
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert rpmd(["ipi-launch", "ipi.xml", "--template", "start.xyz", "--model", "methane-cg", "--threads", "1"]) == 0
    found = np.loadtxt("ipi.out")
    assert found[-1, 0] == 100
    assert np.ptp(found[:, 2]) < 0.01  # eV of the conserved energy
    atoms = read("start.xyz")
    assert atoms.get_masses() == pytest.approx(16.043)
    assert found[0, 3] == pytest.approx(190.0, rel=0.2)
    atoms.calc = SchNetCalculator("methane-cg")
    assert found[0, 4] == pytest.approx(atoms.get_potential_energy(), abs=2e-3)
    kinetic = len(atoms) * units.kB * found[0, 3] / atoms.get_volume()
    pressure = kinetic - np.trace(atoms.get_stress(voigt=False)) / 3
    assert found[0, 5] == pytest.approx(pressure / MPA, rel=1e-3)
