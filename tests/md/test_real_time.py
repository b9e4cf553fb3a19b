"""``rpmd real-time``: batches of independent trajectories, against exact Kubo-transformed correlations and single runs."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import units

from analysis.spectrum.spectra import autocorrelations
from md.cli import main
from md.dynamics.normal_modes import to_modes, transform_matrix
from md.dynamics.ring_polymer import thermal_ring_polymer
from md.potentials import Harmonic, Morse
from md.runs.config import RunSettings
from md.runs.real_time import Copies, stop_rigid_motion, trajectories
from md.simulation import Dynamics, Motion, simulate
from tests.conftest import write_acetylene

RPMD = [sys.executable, "-c", "import sys; from md.cli import main; sys.exit(main())"]
MORSE, SHAPE = Morse(4.0, 2.0, 1.3), np.array([[0, 0, 0], [0, 0, 1.3]])


def nothing(step: int) -> None:
    pass


@pytest.mark.parametrize(("n_beads", "thermostat"), [(1, "none"), (4, "none"), (4, "T-RPMD")])
def test_velocity_autocorrelation_of_oscillators(n_beads, thermostat):
    """RPMD is exact for a harmonic potential: Kubo's correlation is k_BT/m cos ωt, whatever P and the friction of inner modes."""
    stiffness, copies, mass = 20.0, 200, 12.011
    settings = RunSettings(
        "", beads=n_beads, steps=300, equilibration_steps=400, velocities_every_steps=2, trajectories_at_once=copies
    )
    dynamics = Dynamics(300.0, 0.5, "BAOAB", thermostat, centroid_time_fs=20.0, remove_com=False)
    rng = np.random.default_rng(1)
    state = thermal_ring_polymer(np.zeros((2 * copies, 3)), np.full(2 * copies, mass), n_beads, 300.0, rng)
    motion = Motion(state, Copies(Harmonic(stiffness), copies), dynamics, rng)
    velocities, _ = trajectories(motion, settings, nothing)
    assert velocities.shape == (copies, 151, 2, 3)
    found = autocorrelations(velocities, np.full(2, mass), 300.0, 100)
    exact = 6.0 * np.cos(np.sqrt(stiffness / mass) * units.fs * np.arange(100))
    error = found.std(axis=0, ddof=1) / np.sqrt(copies)
    assert error.max() < 0.4
    # 100 lags that fluctuate together; the step of 0.5 fs adds (ωΔt)²/24 = 0.02 % to the frequency.
    assert (np.abs(found.mean(axis=0) - exact) < 4.0 * error + 0.01).all()


def test_copies_move_as_if_alone():
    """Without noise a batch equals its members."""
    rng = np.random.default_rng(2)
    state = thermal_ring_polymer(np.tile(SHAPE, (3, 1)), np.tile([12.0, 16.0], 3), 4, 300.0, rng)
    alone = [(state.positions[:, k : k + 2].copy(), state.momenta[:, k : k + 2].copy()) for k in (0, 2, 4)]
    dynamics = Dynamics(300.0, 0.3, thermostat="none", remove_com=False)
    for _ in simulate(state, Copies(MORSE, 3), dynamics, rng, 200, 200):
        pass
    for k, (q, p) in enumerate(alone):
        single = thermal_ring_polymer(SHAPE, np.array([12.0, 16.0]), 4, 300.0, rng)
        single.positions[:], single.momenta[:] = q, p
        for _ in simulate(single, MORSE, dynamics, rng, 200, 200):
            pass
        np.testing.assert_allclose(state.positions[:, 2 * k : 2 * k + 2], single.positions, atol=1e-10)


def test_every_copy_is_brought_to_rest():
    rng, shape = np.random.default_rng(3), np.array([[0, 0, 0], [0, 0, 1.2], [1.0, 0.3, 0]])
    masses = np.array([12.0, 16.0, 1.0])
    state = thermal_ring_polymer(np.tile(shape, (4, 1)), np.tile(masses, 4), 3, 300.0, rng)
    state.positions[:] += rng.normal(0, 0.1, state.positions.shape)
    stop_rigid_motion(state, 4, Dynamics(300.0, 0.5, remove_rotation=True))
    for k in range(0, 12, 3):
        q, p = state.positions[:, k : k + 3], state.momenta[:, k : k + 3]
        np.testing.assert_allclose(p.sum(axis=(0, 1)), 0.0, atol=1e-12)
        np.testing.assert_allclose(np.cross(q, p).sum(axis=(0, 1)), 0.0, atol=1e-11)
        assert np.abs(p).max() > 0.1
        modes = np.empty((3, 3, 3))
        to_modes(transform_matrix(3), np.ascontiguousarray(p), modes)
        assert np.abs(modes[1:]).max() > 0.1


@pytest.fixture
def case(tmp_path):
    """A folder with an input for acetylene."""
    keys = 'thermostat = "T-RPMD"\nsteps = 100\nequilibration_steps = 20\ntrajectories = 6\ntrajectories_at_once = 3\n'
    write_acetylene(tmp_path, keys + "beads = [4, 1]\n")
    return tmp_path


def rpmd(case: Path, *arguments: str) -> int:
    return main(["real-time", str(case / "run.toml"), *arguments])


def test_run_folders_and_spectrum(case, capfd):
    assert rpmd(case, "--steps", "200") == 0
    printed = capfd.readouterr().out
    assert "T-RPMD, P = 4: 6 trajectories of 0.01 ps" in printed
    assert (case / "out" / "spectrum.png").stat().st_size > 10_000
    for n_beads in (4, 1):
        folder = case / "out" / f"P{n_beads}"
        status = json.loads((folder / "status.json").read_text())
        assert (status["state"], status["trajectories"]) == ("finished", 6)
        with h5py.File(folder / "velocities.h5") as file:
            velocities = file["velocity"]
            assert velocities.shape == (6, 51, 4, 3)
            assert velocities.attrs["interval_fs"] == pytest.approx(0.2)
            np.testing.assert_allclose(np.einsum("a,tfax->tfx", file["mass"], velocities), 0.0, atol=1e-6)
            starts = velocities[:, 0]
        distances = np.linalg.norm((starts[:, None] - starts[None]).reshape(6, 6, -1), axis=2)
        assert distances[~np.eye(6, dtype=bool)].min() > 0.1 * np.linalg.norm(starts[0])  # no two alike


def test_same_seed_same_bits(case):
    found = []
    for output, threads in (("a", "1"), ("b", "0")):  # one, and all there are
        assert rpmd(case, "--beads", "4", "--output", str(case / output), "--threads", threads, "--no-figure") == 0
        with h5py.File(case / output / "velocities.h5") as file:
            found.append(file["velocity"][:])
    assert np.array_equal(*found)


def velocities(folder: Path) -> np.ndarray:
    with h5py.File(folder / "velocities.h5") as file:
        return file["velocity"][:]


def test_a_trajectory_does_not_depend_on_what_moves_beside_it(case):
    alone = ["--set", "trajectories=2", "--set", "trajectories_at_once=1", "--output", str(case / "alone")]
    assert rpmd(case, "--beads", "4", "--no-figure") == 0
    assert rpmd(case, "--beads", "4", "--no-figure", *alone) == 0
    assert np.array_equal(velocities(case / "out")[::3], velocities(case / "alone"))


@pytest.mark.slow
def test_killed_and_resumed_to_the_bit(case):
    """SIGKILL in the middle of a batch, then resume; more trajectories than the run was begun with."""
    options = ["--beads", "4", "--no-figure", "--steps", "2000"]
    killed = case / "killed"
    command = [*RPMD, "real-time", str(case / "run.toml"), *options, "--output", str(killed)]
    process = subprocess.Popen([*command, "--set", "trajectories=3000"], stdout=subprocess.DEVNULL)
    for _ in range(600):
        time.sleep(0.05)
        assert process.poll() is None
        if (killed / "checkpoint").exists():
            break
    process.kill()
    process.wait()
    n = len(velocities(killed)) + 9
    toml = (killed / "input.toml").read_text()
    (killed / "input.toml").write_text(toml.replace("trajectories = 3000", f"trajectories = {n}"))
    assert main(["resume", str(killed), "--no-figure"]) == 0
    assert rpmd(case, *options, "--set", f"trajectories={n}") == 0
    assert np.array_equal(velocities(killed), velocities(case / "out"))
    assert main(["resume", str(killed), "--no-figure", "--steps", "3000"]) == 2
    more = ["--set", f"trajectories={n + 6}"]
    assert rpmd(case, *options, *more) == 0
    assert rpmd(case, *options, *more, "--output", str(killed)) == 0
    assert np.array_equal(velocities(killed), velocities(case / "out"))
    assert len(velocities(killed)) == n + 6


def test_refusals_write_nothing(case, capsys):
    refused = [
        (["--set", "thermostat=PILE-L"], "'PILE-L' disturbs motion in real time: expected one of T-RPMD, none"),
        (["--set", "trajectories=7"], "expected a multiple of trajectories_at_once = 3"),
        (["--set", "trajectories=0"], "trajectories = 0: expected at least 1"),
        (["--steps", "2"], "expected at least velocities_every_steps = 4"),
    ]
    for options, message in refused:
        assert rpmd(case, *options) == 2, options
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (case / "out").exists()


def test_a_stopped_run_keeps_whole_trajectories(case):
    arguments = ["real-time", str(case / "run.toml"), "--beads", "4", "--set", "trajectories=3000000", "--no-figure"]
    process = subprocess.Popen([*RPMD, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = case / "out" / "status.json"
    for _ in range(600):
        time.sleep(0.1)
        assert process.poll() is None
        if status.exists() and json.loads(status.read_text()).get("trajectories", 0) >= 6:
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    ended = json.loads(status.read_text())
    with h5py.File(case / "out" / "velocities.h5") as file:
        assert len(file["velocity"]) == ended["trajectories"]
        assert np.isfinite(file["velocity"][:]).all()
    assert ended["state"] == "interrupted"
