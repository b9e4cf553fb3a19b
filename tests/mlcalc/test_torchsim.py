"""Exported models in TorchSim against our calculator: batches of systems, and how they move; skipped without TorchSim."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from mlcalc import NetworkCalculator
from mlcalc.metatomic.export import as_metatomic
from mlcalc.model_file import load_model
from tests.mlcalc.architectures import SYSTEMS, model_of

ROOT = Path(__file__).parents[2]
_REASON = "TorchSim is not installed: pip install torch-sim-atomistic metatomic-torchsim (Python 3.12 or newer)"
ts = pytest.importorskip("torch_sim", reason=_REASON)
MetatomicModel = pytest.importorskip("metatomic_torchsim", reason=_REASON).MetatomicModel

pytestmark = pytest.mark.filterwarnings("ignore:found nvalchemi-toolkit-ops")
# Relative to the largest force: float32 sums in another order; float64 sums with constants of 1e4 eV.
TOLERANCE = {"float32": 5e-6, "float64": 1e-11}
PERIODIC, FREE = ("crystal", "small cell", "crystal"), ("molecule", "molecule")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(name, precision) → the model in TorchSim."""
    folder = tmp_path_factory.mktemp("models")

    def load(name: str, precision: str = "float64", **options):
        path = folder / f"{name}-{precision}.pt"
        path.write_bytes(as_metatomic(model_of(name), name, precision))
        return MetatomicModel(path, device="cpu", check_consistency=True, **options)

    return load


def batch_of(names, rng) -> list[Atoms]:
    """Systems of different sizes, each moved at random."""
    systems = [SYSTEMS[name].copy() for name in names]
    for atoms in systems:
        atoms.positions += rng.normal(0.0, 0.03, atoms.positions.shape)
    return systems


@pytest.mark.parametrize("names", [PERIODIC, FREE], ids=["periodic", "molecules"])
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", ["schnet-repulsion", "painn"])
def test_a_batch_equals_our_calculator(exported, name, precision, names):
    """The small cell is thinner than the cutoff."""
    periodic = names is PERIODIC
    model, rng = exported(name, precision, compute_stress=periodic), np.random.default_rng(4)
    calculator = NetworkCalculator(model_of(name), precision, "torch")
    for _ in range(3):  # TorchScript rewrites its code in the second and third call
        systems = batch_of(names, rng)
        found = model(ts.io.atoms_to_state(systems, torch.device("cpu"), torch.float64))
        forces = np.split(found["forces"].numpy(), np.cumsum([len(atoms) for atoms in systems])[:-1])
        for k, atoms in enumerate(systems):
            atoms.calc = calculator
            scale = TOLERANCE[precision] * (1.0 + np.abs(atoms.get_forces()).max())
            np.testing.assert_allclose(forces[k], atoms.get_forces(), rtol=0, atol=scale)
            assert found["energy"][k].item() == pytest.approx(
                atoms.get_potential_energy(), rel=0, abs=len(atoms) * (scale + 1e-11)
            )
            if periodic:
                of_virial = 10.0 * len(atoms) * scale / atoms.get_volume()
                np.testing.assert_allclose(found["stress"][k], atoms.get_stress(voigt=False), rtol=0, atol=of_virial)


def test_a_batch_moves_as_in_ase(exported):
    """Velocity Verlet from the same momenta: the time step, masses and forces are the same, and systems do not mix."""
    rng = np.random.default_rng(6)
    systems = batch_of(("crystal", "small cell"), rng)
    for atoms in systems:
        atoms.set_momenta(rng.normal(0.0, 0.5, atoms.positions.shape))
    state = ts.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)
    model = exported("schnet-repulsion", compute_stress=False)
    moving = ts.nve_init(state, model, kT=0.0)
    moving.momenta = torch.as_tensor(np.vstack([atoms.get_momenta() for atoms in systems]))
    for _ in range(20):
        moving = ts.nve_step(moving, model, dt=torch.tensor(0.2 * units.fs, dtype=torch.float64))
    found = np.split(moving.positions.numpy(), [len(systems[0])])
    for atoms, positions in zip(systems, found, strict=True):
        before = atoms.positions.copy()
        atoms.calc = NetworkCalculator(model_of("schnet-repulsion"), "float64", "torch")
        VelocityVerlet(atoms, 0.2 * units.fs).run(20)
        apart = (positions - atoms.positions) @ np.linalg.inv(atoms.cell.array)  # TorchSim may wrap atoms into the cell
        assert np.abs((apart - np.round(apart)) @ atoms.cell.array).max() < 1e-7
        assert np.abs(atoms.positions - before).max() > 0.01


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    """Fewer steps of it."""
    page = (ROOT / "docs" / "large_systems.md").read_text(encoding="utf-8")
    code = re.search(r"^```text\n(import torch_sim\n.*?)^```", page, re.S | re.M)[1]
    assert "n_steps=1000" in code
    (tmp_path / "inputs").symlink_to(ROOT / "inputs")
    (tmp_path / "acac.pt").write_bytes(as_metatomic(load_model("acac"), "acac", "float32"))
    monkeypatch.chdir(tmp_path)
    exec(code.replace("n_steps=1000", "n_steps=3"), {})
    energies = np.array(re.findall(r"-\d+\.\d+", capsys.readouterr().out), dtype=float)
    assert len(energies) == 8
    assert 0.0 < np.ptp(energies) < 1.0
