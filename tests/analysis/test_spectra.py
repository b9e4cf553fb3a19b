"""Densities of states against closed forms: lines, sum rules, an Ornstein–Uhlenbeck process, loops."""

import json

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from analysis.__main__ import main
from analysis.spectrum.parts import by_atoms, by_element
from analysis.spectrum.report import analyse
from analysis.spectrum.spectra import LIGHT, WINDOWS, autocorrelations, bands, density_of_states, harmonic_correlation
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model

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
        file["velocity"].attrs.update(unit="Angstrom fs-1", interval_fs=INTERVAL, n_beads=2, temperature_K=300.0)
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


@pytest.fixture
def hydride(tmp_path):
    """CH: C moves with 500 cm⁻¹, H with 2000, each three degrees of freedom; five trajectories of random phases and amplitudes."""
    rng, folder = np.random.default_rng(7), tmp_path / "CH"
    folder.mkdir()
    wavenumbers, masses = np.array([500.0, 2000.0]), np.array([12.0, 1.0])
    angle = 2 * np.pi * LIGHT * wavenumbers[:, None] * INTERVAL * np.arange(400)[None, :, None, None]
    angle = angle + rng.uniform(0, 2 * np.pi, (5, 1, 2, 3))
    amplitudes = rng.normal(1.0, 0.1, (5, 1, 2, 1)) * np.sqrt(2 * units.kB * 300.0 / masses)[:, None] * units.fs
    with h5py.File(folder / "velocities.h5", "w") as file:
        file["velocity"] = amplitudes * np.cos(angle)
        file["velocity"].attrs.update(unit="Angstrom fs-1", interval_fs=INTERVAL, n_beads=1, temperature_K=300.0)
        file["mass"] = masses
    (folder / "input.toml").write_text('model = "none"\nthermostat = "none"\n')
    write(folder / "structure.xyz", Atoms("CH", [[0, 0, 0], [0, 0, 1.1]]), format="extxyz")
    return folder


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--by", "element"], ["C", "H"]),
        (["--atoms", "1"], ["atom 1", "other atoms"]),
        (["--atoms", "0,1"], ["atoms 0, 1"]),
    ],
)
def test_parts_add_up_to_the_whole(hydride, capsys, options, names):
    assert main(["spectrum", str(hydride), *options, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert list(entry["parts"]) == names
    parts = entry["parts"].values()
    assert np.sum([part["density_cm"] for part in parts], axis=0) == pytest.approx(
        np.array(entry["density_cm"]), abs=1e-12
    )
    assert sum(part["degrees_of_freedom"]["value"] for part in parts) == pytest.approx(
        entry["degrees_of_freedom"]["value"]
    )
    assert sorted(atom for part in parts for atom in part["atoms"]) == [0, 1]
    assert (hydride / "spectrum.png").stat().st_size > 1000


def test_elements_have_their_own_lines(hydride, capsys):
    assert main(["spectrum", str(hydride), "--by", "element", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    for name, expected in (("C", 500.0), ("H", 2000.0)):
        part = entry["parts"][name]
        assert part["mean_wavenumber_per_cm"]["value"] == pytest.approx(expected, abs=20.0)
        freedom = part["degrees_of_freedom"]
        assert abs(freedom["value"] - 3.0) < 4 * freedom["error"] < 2.0
        assert np.all(np.array(part["density_error_cm"]) >= 0) and max(part["density_error_cm"]) > 0
    assert main(["spectrum", str(hydride), "--by", "element"]) == 0
    printed = capsys.readouterr().out
    assert "atoms" in printed.splitlines()[0] and sum(" H " in line for line in printed.splitlines()) == 1


def test_harmonic_parts(tmp_path, capsys):
    """C2 of two isotopes: of a stretch each atom has the share of the other's mass."""
    model = random_model(SCHNETPACK_DIALECT, seed=5)
    save_model(model, tmp_path / "model.safetensors")
    atoms, folder = Atoms("C2", [[0, 0, 0], [0, 0, 1.2]]), tmp_path / "run"
    atoms.set_masses([12.0, 36.0])
    folder.mkdir()
    with h5py.File(folder / "velocities.h5", "w") as file:
        file["velocity"] = 1e-3 * np.random.default_rng(1).normal(size=(3, 400, 2, 3))
        file["velocity"].attrs.update(unit="Angstrom fs-1", interval_fs=INTERVAL, n_beads=1, temperature_K=300.0)
        file["mass"] = atoms.get_masses()
    (folder / "input.toml").write_text(f'model = "{tmp_path / "model.safetensors"}"\nthermostat = "none"\n')
    write(folder / "structure.xyz", atoms, format="extxyz", columns=["symbols", "positions", "masses"])
    found = analyse([folder], "hann", None, by_element)
    assert found.parts["C"].weights == pytest.approx([1.0])
    found = analyse([folder], "hann", None, lambda structure: by_atoms(["0"], structure))
    weights = [part.weights[0] for part in found.parts.values()]
    assert weights == pytest.approx([0.75, 0.25], rel=1e-3)
    total = sum(part.harmonic.mean for part in found.parts.values())
    np.testing.assert_allclose(total, found.harmonic.mean, atol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (["0,2"], "no atom 2: expected indices from 0 to 1"),
        (["0,x"], "expected atom indices from 0, as in 0,1,2"),
        (["0-1"], "expected atom indices from 0"),
        (["0,0"], "an atom is given twice"),
        (["0", "1,0"], "an atom is given twice"),
    ],
)
def test_refused_atoms(hydride, capsys, atoms, message):
    assert main(["spectrum", str(hydride), *(f"--atoms={text}" for text in atoms)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (hydride / "spectrum.png").exists()


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
    assert "no trajectory is complete yet" in capsys.readouterr().err
