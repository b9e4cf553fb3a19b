"""Guards: what stops a run, within how many steps, and what it leaves behind."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read

import md.runs.driving
import md.runs.preparation
from md.cli import main
from md.dynamics.integrators import in_modes, make_laws
from md.dynamics.ring_polymer import HBAR, RingPolymer, thermal_ring_polymer
from md.files.checkpoint import read_checkpoint
from md.files.trajectory import read_frames
from md.guards.endings import Exit, SimulationError
from md.guards.limits import Guard, Limits, degrees_of_freedom, limits_of
from md.runs.config import RunSettings
from md.simulation import Dynamics, simulate
from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.geometry.domain import nearest_distances
from mlcalc.torch_potential import TorchPotential
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

WIDE = Limits(force=1e9, distance=0.0, temperature=1e9, gyration=np.full(2, 1e9))


@pytest.fixture
def case(tmp_path):
    write_acetylene(tmp_path, "steps = 400\nbeads = 3\ncheckpoint_every_steps = 50\n")
    return tmp_path


def state(n_beads=4):
    rng = np.random.default_rng(0)
    polymer = thermal_ring_polymer(np.array([[0, 0, 0], [0, 0, 1.2]]), np.array([12.0, 16.0]), n_beads, 300.0, rng)
    polymer.positions[:] += rng.normal(0, 0.05, polymer.positions.shape)
    modes = in_modes(polymer, make_laws(Dynamics(300.0, 0.5, remove_com=False), n_beads))
    return polymer, modes, rng.normal(size=n_beads), rng.normal(size=polymer.positions.shape)


def test_each_limit_is_that_of_its_quantity():
    """Just below the value of the quantity, computed here by its definition, the guard reports; just above, it does not."""
    polymer, modes, energies, forces = state()
    q, p, masses = polymer[:3]
    gyration = np.sqrt(((q - q.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    values = {
        "force": np.linalg.norm(forces, axis=2).max(),
        "temperature": (p**2 / masses[:, None]).sum() / (24 * units.kB * 4),
        "gyration": gyration,
    }
    codes = {"force": Exit.FORCE, "temperature": Exit.TEMPERATURE, "gyration": Exit.GYRATION}
    for name, value in values.items():
        Guard(WIDE._replace(**{name: value * 1.001}), 24)(7, q, modes, energies, forces)
        with pytest.raises(SimulationError, match="step 7") as caught:
            Guard(WIDE._replace(**{name: value * 0.999}), 24)(7, q, modes, energies, forces)
        assert caught.value.code == codes[name]
        assert caught.value.frame.positions is q
    one = gyration * np.array([2.0, 0.999])  # any atom suffices
    with pytest.raises(SimulationError, match="wide"):
        Guard(WIDE._replace(gyration=one), 24)(7, q, modes, energies, forces)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["energies", "forces"])
def test_a_number_that_is_not_finite(value, where):
    polymer, modes, energies, forces = state()
    (energies if where == "energies" else forces[:, 1, 2])[2] = value
    with pytest.raises(SimulationError, match=r"bead\(s\) \[2\] are not finite") as caught:
        Guard(WIDE, 24)(0, polymer.positions, modes, energies, forces)
    assert caught.value.code == Exit.NOT_FINITE


def test_limits_that_nobody_set():
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.2]])
    limits = limits_of(RunSettings("x", beads=4, temperature_K=3000.0), atoms, 0.9)
    assert limits.force == 200.0
    assert limits.temperature == pytest.approx(30_000 * (1 + 10 / 21))
    # The free particle: every mode of the ring has <q̃²> = k_B T P / (m ω_k²), so r_G² → ħ²/(4 m k_B T) for many beads.
    omega = 2 * 4096 * units.kB * 300.0 * 4096 / HBAR / 4096 * np.sin(np.pi * np.arange(1, 4096) / 4096)
    exact = np.sqrt(3 * units.kB * 300.0 * (1.0 / omega**2).sum() / 12.011)
    limits = limits_of(RunSettings("x", beads=4), atoms, 0.9)
    assert limits.gyration[0] == pytest.approx(5 * exact, rel=1e-3)
    assert limits.temperature == 10_000
    assert limits_of(RunSettings("x", thermostat="GLE", gle_file="y"), atoms, 0.9).temperature == np.inf
    limits = limits_of(RunSettings("x", max_temperature_K=500.0, max_gyration_A=0.2, max_force_eV_A=3.0), atoms, 0.9)
    assert (limits.force, limits.temperature, limits.gyration.tolist()) == (3.0, 500.0, [0.2, 0.2])


@pytest.mark.parametrize(
    ("n_atoms", "n_beads", "com", "rotation", "freedom"),
    [
        (1, 1, False, False, 3), (1, 1, True, False, 0), (1, 1, False, True, 3), (1, 4, True, False, 9),
        (2, 1, True, True, 1), (1, 2, True, True, 1), (3, 1, True, True, 3), (20, 8, True, True, 474),
    ],
)  # fmt: skip
def test_degrees_of_freedom(n_atoms, n_beads, com, rotation, freedom):
    """A point cannot rotate, two points can about two axes."""
    settings = RunSettings("x", beads=n_beads, remove_com=com, remove_rotation=rotation)
    assert degrees_of_freedom(n_atoms, settings) == freedom


@pytest.mark.parametrize("periodic", [False, True])
def test_smallest_distance_of_kernel_and_network(periodic):
    """Both see what a search over all pairs and images finds."""
    rng = np.random.default_rng(1)
    cell, pbc = (np.diag([9.0, 9.5, 10.0]), np.ones(3, bool)) if periodic else (None, None)
    numbers = rng.choice([1, 6], 12)
    positions = rng.uniform(0, 9, (3, 12, 3))
    expected = min(nearest_distances(frame, cell, pbc)[0].min() for frame in positions)
    model = random_model(SCHNETPACK_DIALECT)
    for potential in (
        SchNetKernel(model, numbers, "float64", 1, cell, pbc),
        TorchPotential(model, numbers, "float64", cell, pbc),
    ):
        potential(positions)
        assert potential.smallest_distance() == pytest.approx(expected, rel=1e-9)
    lonely = SchNetKernel(model, numbers[:1], "float64", 1)
    lonely(positions[:, :1])
    assert lonely.smallest_distance() == np.inf


def push(monkeypatch, strength: float, from_call: int) -> None:
    """From some call on the network pulls the two carbons together."""
    make = md.runs.driving.make_potential

    class Pulled:
        calls = 0

        def __init__(self, *arguments):
            self.network = make(*arguments)

        def __call__(self, positions):
            energies, forces = self.network(positions)
            self.calls += len(positions) == 3
            if self.calls >= from_call:
                along = positions[:, 1] - positions[:, 0]
                along *= strength / np.linalg.norm(along, axis=1)[:, None]
                forces[:, 0] += along
                forces[:, 1] -= along
            return energies, forces

        def __getattr__(self, name):
            return getattr(self.network, name)

    monkeypatch.setattr(md.runs.driving, "make_potential", Pulled)


def test_a_run_that_explodes(case, capsys, monkeypatch):
    """It stops at that step, gives the reason, leaves the frame and the checkpoint; a corrected run resumes bit for bit."""
    assert rpmd_run(case, "--output", str(case / "whole")) == 0
    with monkeypatch.context() as patch:
        push(patch, 1000.0, from_call=2 + 163)
        assert rpmd_run(case) == 4
    error = capsys.readouterr().err
    assert "step 163: the force on atom" in error
    assert "above max_force_eV_A = 200" in error
    status = json.loads((case / "out" / "status.json").read_text())
    assert (status["state"], status["step"]) == ("failed", 160)
    assert read_checkpoint(case / "out")[0].step == 150
    frames = read(case / "out" / "breach.xyz", ":")
    assert [(frame.info["step"], frame.info["bead"], frame.info["reason"]) for frame in frames] == [
        (163, bead, "force") for bead in range(3)
    ]
    assert max(np.linalg.norm(frame.arrays["model_forces"], axis=1).max() for frame in frames) > 900
    assert main(["resume", str(case / "out"), "--no-figure"]) == 0
    for name in ("properties.csv",):
        assert (case / "out" / name).read_bytes() == (case / "whole" / name).read_bytes()
    assert np.array_equal(
        read_frames(case / "out" / "trajectory.h5")[1], read_frames(case / "whole" / "trajectory.h5")[1]
    )


def test_atoms_that_come_too_close(case, capsys, monkeypatch):
    """The three modes of the guard of the model's domain."""
    push(monkeypatch, 60.0, from_call=0)
    monkeypatch.setattr(md.runs.preparation, "_minimum", lambda *_: None)  # this force is of no energy
    assert rpmd_run(case, "--set", "domain_guard=stop") == 5
    error = capsys.readouterr().err
    assert "closer than this model can be trusted (from 0.810 Å for these elements)" in error
    assert f"rpmd resume {case}/out --set domain_guard=warn" in error
    frames = read(case / "out" / "breach.xyz", ":")
    assert min(frame.get_all_distances()[np.triu_indices(4, 1)].min() for frame in frames) < 0.81
    stopped_at = frames[0].info["step"]
    limits = ["--set", "max_temperature_K=1e9", "--set", "max_force_eV_A=1e9", "--steps", str(stopped_at + 10)]
    for mode in ("warn", "record"):
        assert rpmd_run(case, "--set", f"domain_guard={mode}", *limits, "--output", str(case / mode)) == 0
        assert capsys.readouterr().err.count(f"step {stopped_at}: atoms ") == (mode == "warn")
        status = json.loads((case / mode / "status.json").read_text())
        assert status["steps_too_close"] > 5
        assert status["smallest_distance_A"] < 0.81
        assert not (case / mode / "breach.xyz").exists()
    assert "closer than this model can be trusted" in (case / "warn" / "run.log").read_text()


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("max_temperature_K=20", 6, "above the limit of 20 K"),
        ("max_gyration_A=0.001", 7, "times as wide as allowed"),
        ("max_force_eV_A=0.1", 4, "above max_force_eV_A = 0.1"),
    ],
)
def test_exit_codes(case, capsys, option, code, message):
    assert rpmd_run(case, "--set", option) == code
    assert message in capsys.readouterr().err
    assert json.loads((case / "out" / "status.json").read_text())["state"] == "failed"
    assert (case / "out" / "breach.xyz").exists()


def test_healthy_runs_stay_far_from_the_limits():
    """A harmonic molecule at thermal equilibrium, light atoms, many beads: nothing comes within a factor of two."""
    settings = RunSettings("x", beads=16, temperature_K=100.0)
    masses, rng = np.array([1.008, 12.011]), np.random.default_rng(0)
    limits = limits_of(settings, Atoms("HC", masses=masses), 0.0)
    guard = Guard(limits._replace(gyration=limits.gyration / 2, temperature=limits.temperature / 2), 90)
    start = thermal_ring_polymer(np.zeros((2, 3)), masses, 16, 100.0, rng)
    for _ in simulate(
        RingPolymer(*start[:3]), lambda q: ((q**2).sum(axis=(1, 2)) / 2, -q), Dynamics(100.0, 1.0, remove_com=False),
        rng, 20_000, 1000, guard=guard,
    ):  # fmt: skip
        pass


@pytest.mark.parametrize(
    "option", ["domain_guard=off", "max_force_eV_A=0", "max_temperature_K=-1", "max_gyration_A=nan"]
)
def test_refusals(case, capsys, option):
    assert rpmd_run(case, "--set", option) == 2
    assert option.partition("=")[0] in capsys.readouterr().err
    assert not (case / "out").exists()
