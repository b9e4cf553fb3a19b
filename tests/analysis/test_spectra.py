"""Densities of states against closed forms: lines, sum rules, an Ornstein–Uhlenbeck process, loops."""

import json

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from analysis.__main__ import main
from analysis.spectra import LIGHT, WINDOWS, autocorrelations, bands, density_of_states, harmonic_correlation

INTERVAL = 2.0  # fs


@pytest.mark.parametrize("window", WINDOWS)
def test_a_line_has_its_place_and_its_area(window):
    spectrum = density_of_states(harmonic_correlation([800.0], 1001, INTERVAL), INTERVAL, window)
    assert spectrum.wavenumbers[spectrum.mean.argmax()] == pytest.approx(800.0, abs=0.2 / (LIGHT * 2000.0))
    assert spectrum.freedom().value == pytest.approx(1.0, abs=1e-3)


def test_the_width_is_the_resolution():
    """Half of Hann's window of length L: full width at half maximum 1/cL."""
    spectrum = density_of_states(harmonic_correlation([3000.0], 4001, 0.5), 0.5, "hann")
    above = spectrum.wavenumbers[spectrum.mean > 0.5 * spectrum.mean.max()]
    assert np.ptp(above) == pytest.approx(1.0 / (LIGHT * 2000.0), rel=0.3)


def test_position_of_two_lines():
    spectrum = density_of_states(harmonic_correlation([500.0, 500.0, 1100.0], 2001, INTERVAL), INTERVAL, "hann")
    assert spectrum.position().value == pytest.approx(700.0, abs=1.0)
    assert spectrum.position(800.0).value == pytest.approx(1100.0, abs=1.0)
    assert spectrum.freedom(0.0, 800.0).value == pytest.approx(2.0, abs=0.01)


def test_autocorrelation_against_loops():
    rng, masses, kT = np.random.default_rng(1), np.array([12.0, 1.0]), units.kB * 300.0
    v = rng.standard_normal((3, 12, 2, 3)).astype(np.float32)
    found = autocorrelations(v, masses, 300.0, 5)
    for k in range(3):
        for lag in range(5):
            total = sum(
                masses[i] * np.dot(v[k, t, i].astype(float), v[k, t + lag, i].astype(float))
                for i in range(2) for t in range(12 - lag)
            )  # fmt: skip
            assert found[k, lag] == pytest.approx(total / (12 - lag) / units.fs**2 / kT, rel=1e-6)


def test_spectrum_of_an_ornstein_uhlenbeck_process():
    """A Lorentzian about zero, broadened by the window as its correlation times the window is; within four standard errors."""
    rng, decay, n, frames = np.random.default_rng(2), 0.97, 300, 2000
    v = np.empty((n, frames))
    v[:, 0] = rng.standard_normal(n)
    for t in range(1, frames):
        v[:, t] = decay * v[:, t - 1] + np.sqrt(1 - decay**2) * rng.standard_normal(n)
    velocities = np.zeros((n, frames, 1, 3))
    velocities[:, :, 0, 0] = v * np.sqrt(units.kB * 300.0) * units.fs  # mass 1: one degree of freedom
    found = density_of_states(autocorrelations(velocities, np.ones(1), 300.0, 301), INTERVAL, "hann")
    exact = density_of_states(decay ** np.arange(301.0)[None], INTERVAL, "hann").mean
    inside = found.wavenumbers < 1000.0
    z = (found.mean - exact)[inside] / found.error[inside]
    assert np.abs(z).max() < 4.0
    assert np.std(z) > 0.3  # the errors are not overdone either
    total = found.freedom()
    assert abs(total.value - 1.0) < 4.0 * total.error < 0.05


def test_bands_part_at_wide_gaps():
    assert bands(np.array([100.0, 120.0, 400.0, 420.0]), 50.0) == [(0.0, 260.0), (260.0, np.inf)]
    assert bands(np.array([100.0, 120.0]), 50.0) == [(0.0, np.inf)]


@pytest.fixture
def run(tmp_path):
    """A folder as 'rpmd real-time' leaves it: two carbon atoms, 1000 cm⁻¹ and random phases, five trajectories of 200 frames."""
    rng, folder = np.random.default_rng(3), tmp_path / "P2"
    folder.mkdir()
    phases = rng.uniform(0, 2 * np.pi, (5, 1, 2, 3))
    angle = 2 * np.pi * LIGHT * 1000.0 * INTERVAL * np.arange(200)[None, :, None, None] + phases
    with h5py.File(folder / "velocities.h5", "w") as file:
        file["velocity"] = np.sqrt(2 * units.kB * 300.0 / 12.0) * units.fs * np.cos(angle)
        file["velocity"].attrs.update(interval_fs=INTERVAL, n_beads=2, temperature_K=300.0)
        file["mass"] = np.full(2, 12.0)
    (folder / "input.toml").write_text('model = "none"\nthermostat = "none"\n')
    write(folder / "structure.xyz", Atoms("C2", [[0, 0, 0], [0, 0, 1.3]]), format="extxyz")
    return folder


def test_command(run, capsys):
    assert main(["spectrum", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (entry,) = found["runs"]
    assert (entry["dynamics"], entry["beads"], entry["trajectories"]) == ("RPMD, P = 2", 2, 5)
    assert entry["mean_wavenumber_per_cm"]["value"] == pytest.approx(1000.0, abs=10.0)
    assert entry["degrees_of_freedom"]["value"] == pytest.approx(6.0, rel=0.05)
    times = entry["correlation_interval_fs"] * np.arange(len(entry["correlation"]))
    assert entry["correlation"][:20] == pytest.approx(6.0 * np.cos(2 * np.pi * LIGHT * 1000.0 * times[:20]), abs=0.2)
    for suffix in (".png", ".svg", ".txt", ".json"):
        assert (run / "spectrum").with_suffix(suffix).stat().st_size > 100
    assert main(["spectrum", str(run), "--correlation-fs", "100", "--window", "blackman"]) == 0
    assert "Lines are 334 cm⁻¹ wide: correlations up to 100 fs, window blackman" in capsys.readouterr().out


def test_refusals(run, tmp_path, capsys):
    refused = [
        ([str(tmp_path)], "not a run folder of 'rpmd real-time'"),
        ([str(run), "--correlation-fs", "1e4"], "expected at least 30 (16 frames) and at most 398"),
        ([str(run), "--correlation-fs", "3"], "expected at least 30"),
        ([str(run), "-o", str(tmp_path / "figure.pdf")], "ends in .png"),
    ]
    for arguments, message in refused:
        assert main(["spectrum", *arguments]) == 2
        assert message in capsys.readouterr().err
    with h5py.File(run / "velocities.h5", "a") as file:
        attributes = dict(file["velocity"].attrs)
        del file["velocity"]
        file["velocity"] = np.empty((0, 10, 2, 3))
        file["velocity"].attrs.update(attributes)
    assert main(["spectrum", str(run)]) == 2
    assert "no trajectory has come to its end yet" in capsys.readouterr().err
