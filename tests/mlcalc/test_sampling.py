"""Sampled structures: their distributions against closed forms, same seed same bits, and what is refused."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.io import read, write

from mlcalc.common.errors import InputError
from mlcalc.data.distortions import closest_contact, shift_molecules
from mlcalc.data.sampling import (
    LangevinSettings,
    SampleSettings,
    sample_md,
    sample_normal_modes,
    sample_to_file,
)
from mlcalc.vibrations import normal_modes, position_covariance, potential_of


class Trap(Calculator):
    """Atoms held to the origin by springs of 5 eV/Å²: every position is Gaussian with variance kT/5."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 2.5 * (self.atoms.positions**2).sum(), "forces": -5.0 * self.atoms.positions}


def copper_trimer():
    """At its EMT minimum: an equilateral triangle."""
    from ase.optimize import BFGS

    atoms = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [1.2, 2.1, 0]], calculator=EMT())
    BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200)
    return atoms


@pytest.mark.parametrize("beads", [1, 8, None])
def test_normal_mode_draws_have_the_harmonic_covariance(beads):
    atoms = copper_trimer()
    modes = normal_modes(atoms, potential_of(atoms, EMT()))
    count = 20_000
    frames = sample_normal_modes(atoms, modes, 300.0, beads, count, np.random.default_rng(1))
    # Frames are centred on their mean position and modes keep the centre of mass: the same for equal masses.
    shifts = np.array([frame.positions for frame in frames]) - (atoms.positions - atoms.positions.mean(axis=0))
    measured = np.einsum("sia,sjb->iajb", shifts, shifts).reshape(9, 9) / count
    expected = position_covariance(modes, 300.0, beads)
    # Standard error of a Gaussian covariance element: √((C_ii C_jj + C_ij²)/count). 45 elements, so 4.5 of them.
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / count)
    assert (np.abs(measured - expected) <= 4.5 * error + 1e-12).all()
    assert frames[0].info.get("beads") == beads
    assert ("quantum" in frames[0].info["sampling"]) == (beads is None)


def test_draws_depend_on_the_seed_alone():
    atoms = copper_trimer()
    modes = normal_modes(atoms, potential_of(atoms, EMT()))
    one, same, other = (
        sample_normal_modes(atoms, modes, 300.0, 8, 3, np.random.default_rng(seed))[2].positions for seed in (5, 5, 6)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_md_samples_the_canonical_distribution_of_a_trap():
    # Period of C in the trap 61 fs, friction 0.05/fs: structures 100 fs apart are nearly independent.
    settings = LangevinSettings(timestep_fs=2.0, friction_per_fs=0.05, equilibration=100, stride=50)
    atoms = Atoms("C20", np.zeros((20, 3)))
    frames = sample_md(atoms, Trap(), 300.0, 60, np.random.default_rng(3), trajectories=3, settings=settings)
    positions = np.array([frame.positions for frame in frames])
    # Centring removes 1 of 20 degrees of freedom; 60·57 Gaussian numbers give a standard error of √(2/3420).
    variance = units.kB * 300.0 / 5.0 * 19 / 20
    assert np.mean(positions**2) == pytest.approx(variance, rel=4 * np.sqrt(2 / 3420))
    assert [frame.info["trajectory"] for frame in frames[::20]] == ["md-300K-0", "md-300K-1", "md-300K-2"]


def test_md_shares_the_count_and_repeats_with_the_seed():
    settings = LangevinSettings(equilibration=5, stride=2)
    runs = [
        sample_md(copper_trimer(), EMT(), 300.0, 5, np.random.default_rng(0), trajectories=2, settings=settings)
        for _ in range(2)
    ]
    assert [frame.info["trajectory"] for frame in runs[0]] == ["md-300K-0"] * 3 + ["md-300K-1"] * 2
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(*runs, strict=True))


def test_exploding_md_is_refused():
    class Repeller(Trap):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            self.results["forces"] = 1e300 * self.atoms.positions**3

    settings = LangevinSettings(timestep_fs=100.0, stride=10, equilibration=0)
    with np.errstate(all="ignore"), pytest.raises(InputError, match="timestep_fs = 100.0"):
        sample_md(molecule("H2O"), Repeller(), 300.0, 1, np.random.default_rng(0), settings=settings)


@pytest.mark.parametrize("method", ["normal-modes", "md", "compressed", "pushed"])
def test_sample_to_file(tmp_path, method):
    start = copper_trimer()
    start.rattle(0.05, seed=1)
    write(tmp_path / "start.xyz", start)
    settings = SampleSettings(count=6, trajectories=2, langevin=LangevinSettings(equilibration=10, stride=5))
    samples = sample_to_file(method, "ase:emt", tmp_path / "start.xyz", tmp_path / "out.xyz", settings)
    frames = read(tmp_path / "out.xyz", ":")
    assert len(frames) == len(samples) == 6
    assert all(frame.info["temperature_K"] == 300.0 for frame in frames)
    assert all(1.5 < frame.get_distance(0, 1) < 3.5 for frame in frames)
    np.testing.assert_allclose(frames[3].positions, samples[3].positions, atol=1e-8)  # the digits of extxyz


@pytest.mark.parametrize(
    ("method", "engine", "settings", "message"),
    [
        ("harmonic", "ase:emt", {}, "method 'harmonic': expected one of normal-modes, md, compressed, pushed, turned"),
        ("md", "no-such-model", {}, "no-such-model"),
        ("md", "ase:emt", {"count": 0}, "count = 0"),
        ("md", "ase:emt", {"count": 2, "trajectories": 3}, "trajectories = 3"),
        ("md", "ase:emt", {"temperature_K": -1.0}, "temperature_K = -1.0"),
        ("normal-modes", "ase:emt", {"beads": 0}, "beads = 0"),
        ("compressed", "ase:emt", {"scales": (1.2, 0.8)}, "scales = 1.2, 0.8"),
        ("pushed", "ase:emt", {"push_A": (0.5, 0.2)}, "push_A = 0.5, 0.2"),
    ],
)
def test_bad_requests_are_refused_and_nothing_is_written(tmp_path, method, engine, settings, message):
    write(tmp_path / "start.xyz", copper_trimer())
    short = LangevinSettings(equilibration=0, stride=1)
    settings = SampleSettings(**({"count": 2, "trajectories": 1, "langevin": short} | settings))
    with pytest.raises(InputError, match=message):
        sample_to_file(method, engine, tmp_path / "start.xyz", tmp_path / "out.xyz", settings)
    assert not (tmp_path / "out.xyz").exists()


def test_bad_langevin_settings_are_refused():
    for key, value in {"timestep_fs": 0.0, "friction_per_fs": float("nan"), "stride": 0, "equilibration": -1}.items():
        with pytest.raises(InputError, match=key):
            LangevinSettings(**{key: value})


def test_what_was_computed_is_kept(tmp_path):
    """Dynamics know energies and forces, draws know the minimum that they are about."""
    atoms = molecule("CH3CH2OH")
    atoms.set_masses(np.where(atoms.numbers == 1, 2.014, atoms.get_masses()))
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    few = SampleSettings(count=3, trajectories=1, langevin=LangevinSettings(equilibration=5, stride=5))
    sample_to_file("md", "ase:emt", tmp_path / "start.xyz", tmp_path / "md.xyz", few)
    for found in read(tmp_path / "md.xyz", ":"):
        assert found.info["engine"] == "ase:emt"
        own = found.copy()
        own.calc = EMT()
        assert found.get_potential_energy() == pytest.approx(own.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(found.get_forces(), own.get_forces(), atol=1e-5)
        np.testing.assert_allclose(found.get_masses(), atoms.get_masses(), atol=1e-6)
    sample_to_file("pushed", "ase:emt", tmp_path / "start.xyz", tmp_path / "pushed.xyz", few)
    assert read(tmp_path / "pushed.xyz").calc is None
    sample_to_file("normal-modes", "ase:emt", tmp_path / "start.xyz", tmp_path / "modes.xyz", few)
    assert read(tmp_path / "modes.xyz").calc is None
    assert np.linalg.norm(read(tmp_path / "modes.minimum.xyz").get_forces(), axis=1).max() < 0.005


def test_a_shifted_molecule_keeps_its_shape():
    dimer, other = molecule("H2O"), molecule("H2O")[[2, 0, 1]]
    other.translate([0.0, 0.3, 3.0])
    dimer += other
    apart = dimer.get_all_distances()[:3, 3:].min()
    for shifted in shift_molecules([dimer] * 20, (0.7, 1.5), np.random.default_rng(0)):
        for part in (slice(0, 3), slice(3, 6)):
            np.testing.assert_allclose(shifted[part].get_all_distances(), dimer[part].get_all_distances(), atol=1e-12)
        closest = np.unravel_index(dimer.get_all_distances()[:3, 3:].argmin(), (3, 3))
        assert shifted.get_all_distances()[:3, 3:][closest] == pytest.approx(shifted.info["scale"] * apart)
    with pytest.raises(InputError, match="expected an isolated cluster"):
        shift_molecules([molecule("H2O")], (0.7, 1.5), np.random.default_rng(0))


def test_the_closest_contact_is_relative_to_the_radii():
    """O–H 0.969 Å over 0.66 + 0.31 Å, though H–H is what a periodic cell of 2 Å brings near."""
    assert closest_contact(molecule("H2O")).relative == pytest.approx(0.969 / 0.97, abs=1e-3)
    chain = Atoms("H2", [[0, 0, 0], [0, 0, 1.5]], cell=[9, 9, 2.0], pbc=[False, False, True])
    assert closest_contact(chain) == (0, 1, pytest.approx(0.5 / 0.62))
