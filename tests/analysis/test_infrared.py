"""Infrared absorption: oscillators of charges in closed form, the unit of chemists, runs with dipoles, and what is refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.io import write

from analysis.__main__ import main as analysis
from analysis.spectrum.infrared import absorption, dipole_correlations
from analysis.spectrum.spectra import LIGHT
from md.cli import main as rpmd
from md.potentials import Dipoles
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.cli import main as mlcalc
from mlcalc.model_file import save_model
from mlcalc.modes import KM_PER_MOL, infrared_intensities
from mlcalc.torch_potential import model_of, new_network
from mlcalc.torch_readouts import Readouts
from mlcalc.vibrations import modes_of_hessian

SIZES = {"n_features": 8, "n_interactions": 1, "n_rbf": 8, "cutoff": 4.0, "readout_hidden": 4}


def test_the_unit_is_that_of_chemists():
    """1 (D/Å)²/u is 42.256 km/mol."""
    assert KM_PER_MOL * units.Debye**2 == pytest.approx(42.256, abs=2e-3)


@pytest.mark.parametrize(("wavenumber", "interval_fs"), [(600.0, 2.0), (3400.0, 2.0), (3400.0, 3.5)])
def test_an_oscillator_absorbs_what_it_does_in_closed_form(wavenumber, interval_fs):
    """p = p₀ + z q with thermal q: the integral is κ|z|², however few frames there are in a period."""
    rng, n, frames, kT = np.random.default_rng(1), 4000, 401, units.kB * 300.0
    z, omega = np.array([0.3, -0.2, 0.1]), 2.0 * np.pi * LIGHT * wavenumber
    width = np.sqrt(kT) / (omega / units.fs)
    phases, amplitudes = rng.uniform(0, 2 * np.pi, n), width * np.sqrt(2.0) * np.sqrt(rng.exponential(size=n))
    q = amplitudes[:, None] * np.cos(omega * interval_fs * np.arange(frames) + phases[:, None])
    dipoles = np.array([1.0, 2.0, -3.0]) + q[:, :, None] * z
    found = absorption(dipole_correlations(dipoles, interval_fs, 300.0, 200), interval_fs, "hann")
    exact = KM_PER_MOL * (z @ z)
    near = (wavenumber - 300.0, wavenumber + 300.0)
    value, error = found.freedom(*near)[:2]
    assert abs(value - exact) < 4.0 * error
    assert error < 0.02 * exact
    assert found.position(*near).value == pytest.approx(wavenumber, abs=5.0)


def test_harmonic_intensities_of_fixed_charges():
    """A network whose atoms do not see each other has charges by element: ∂p/∂q is their sum over displacements."""
    torch.manual_seed(1)
    atoms = molecule("H2O")
    model = model_of(new_network(SchNetConfig(elements=(1, 8), **SIZES), torch.float64, ("charges",)))
    for name in ("f2out.1.weight", "f2out.1.bias"):
        model.weights[f"interactions.0.{name}"] *= 0.0
    rng = np.random.default_rng(2)
    modes = modes_of_hessian(atoms, (lambda m: m @ m.T)(rng.normal(size=(9, 9))))
    charges = Readouts(model, "float64")(atoms.numbers, atoms.positions[None])["charges"][0]
    derivatives = np.einsum("a,kax->kx", charges, modes.displacements)
    expected = KM_PER_MOL * np.square(derivatives).sum(axis=1)
    np.testing.assert_allclose(infrared_intensities(modes, model), expected, rtol=1e-9)
    assert infrared_intensities(modes, replace(model, readouts=())) is None


def test_dipoles_of_copies_are_means_over_beads():
    torch.manual_seed(2)
    model = model_of(new_network(PaiNNConfig(elements=(1, 8), **SIZES), torch.float64, ("dipole",)))
    atoms = molecule("H2O")
    beads = atoms.positions + np.random.default_rng(3).normal(0, 0.05, (4, 3, 3, 3))  # P, M, N, 3
    found = Dipoles(model, atoms, "float64")(beads.reshape(4, 9, 3), 3)
    readouts = Readouts(model, "float64")
    for copy in range(3):
        np.testing.assert_allclose(
            found[copy], readouts(atoms.numbers, beads[:, copy])["dipoles"].mean(axis=0), atol=1e-14
        )


@pytest.fixture
def case(tmp_path):
    """A folder with an input for water, a gentle network with a readout of dipoles, and one without."""
    torch.manual_seed(3)
    network = new_network(PaiNNConfig(elements=(1, 8), **SIZES), torch.float64, ("dipole",))
    network.energy_scale.fill_(1e-3)
    model = model_of(network, {"domain": {"min_distance_A": 0.2, "max_nearest_distance_A": 3.0}})
    save_model(model, tmp_path / "net.safetensors")
    plain = {name: w for name, w in model.weights.items() if not name.startswith("readouts.")}
    save_model(replace(model, weights=plain, readouts=()), tmp_path / "plain.safetensors")
    write(tmp_path / "water.xyz", molecule("H2O"), format="extxyz")
    (tmp_path / "run.toml").write_text(
        f'structure = "water.xyz"\nmodel = "{tmp_path}/net.safetensors"\noutput = "{tmp_path}/out"\nbeads = [2, 1]\n'
        'thermostat = "T-RPMD"\ntemperature_K = 30.0\nsteps = 200\nequilibration_steps = 20\ntrajectories = 4\n'
        'trajectories_at_once = 2\ntimestep_fs = 0.25\nenergy_guard = "off"\nbond_guard = "off"\nthreads = 1\ndipoles = true\n'
    )
    return tmp_path


def test_runs_record_dipoles(case, capsys):
    assert rpmd(["real-time", str(case / "run.toml"), "--no-figure"]) == 0
    for n_beads in (2, 1):
        with h5py.File(case / "out" / f"P{n_beads}" / "velocities.h5") as file:
            assert file["dipole"].shape == (4, 51, 3)
            assert np.abs(file["dipole"][:]).min() > 0
    capsys.readouterr()
    runs = [str(case / "out" / name) for name in ("P2", "P1")]
    assert analysis(["spectrum", *runs, "--infrared"]) == 0
    printed = capsys.readouterr().out
    assert "intensity / km mol⁻¹" in printed
    assert (case / "out" / "infrared.png").stat().st_size > 10_000
    resumed = ["real-time", str(case / "run.toml"), "--no-figure", "--set", "trajectories=6"]
    assert rpmd(resumed) == 0
    with h5py.File(case / "out" / "P2" / "velocities.h5") as file:
        assert file["dipole"].shape == (6, 51, 3)
    assert rpmd(["check", runs[0]]) == 0


def test_modes_name_intensities(case, capsys, monkeypatch):
    monkeypatch.setattr("mlcalc.modes.relax", lambda atoms, calculator, force: atoms)
    monkeypatch.setattr("mlcalc.modes.normal_modes", lambda atoms, potential: modes_of_hessian(atoms, np.eye(9)))
    assert mlcalc(["modes", str(case / "water.xyz"), "--model", str(case / "net.safetensors"), "--json"]) == 0
    assert '"infrared_intensities_km_mol"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "model='{case}/plain.safetensors'"], "dipoles = true: the model has no readout of it: train one"),
        (["--set", "structure='{case}/ice.xyz'"], "dipoles = true: a periodic structure has none"),
    ],
)
def test_refused_runs(case, capsys, options, message):
    ice = molecule("H2O", cell=[9.0, 9.0, 9.0], pbc=True)
    write(case / "ice.xyz", ice, format="extxyz")
    options = [option.replace("{case}", str(case)) for option in options]
    assert rpmd(["real-time", str(case / "run.toml"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (case / "out").exists()


def test_other_refusals(case, capsys):
    assert rpmd(["run", str(case / "run.toml"), "--set", "thermostat=PILE-L"]) == 2
    assert "dipoles = true: 'rpmd real-time' records them; leave it out" in capsys.readouterr().err
    assert rpmd(["real-time", str(case / "run.toml"), "--no-figure", "--set", "dipoles=false"]) == 0
    capsys.readouterr()
    assert analysis(["spectrum", str(case / "out" / "P2"), "--infrared"]) == 2
    assert "no dipoles were recorded: run 'rpmd real-time' with dipoles = true" in capsys.readouterr().err
