"""Densities of states from velocities of an MDAnalysis trajectory: oscillators, equipartition, workers, bad input."""

import numpy as np
import pytest
from ase import units
from MDAnalysis import Universe
from MDAnalysis.coordinates.memory import MemoryReader

from analysis.spectrum.spectra import LIGHT
from analysis.spectrum.vdos import VibrationalDensity
from mlcalc.common.errors import InputError

TEMPERATURE_K, INTERVAL_FS, FRAMES = 300.0, 2.0, 6000
WAVENUMBERS, MASSES = np.array([400.0, 1500.0]), np.array([12.011, 1.008])


def oscillators(with_velocities: bool = True) -> Universe:
    """Two atoms on springs in three dimensions; each component has k_BT of energy and a phase of its own."""
    times = INTERVAL_FS * np.arange(FRAMES)
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, (2, 3))
    speeds = np.sqrt(2 * units.kB * TEMPERATURE_K / MASSES) * units.fs  # Å/fs, so that ⟨mv²⟩ = k_BT
    angles = 2 * np.pi * LIGHT * WAVENUMBERS[None, :, None] * times[:, None, None] + phases
    velocities = 1e3 * speeds[:, None] * np.cos(angles)  # Å/ps
    universe = Universe.empty(2, trajectory=False)
    universe.add_TopologyAttr("masses", MASSES)
    more = {"velocities": velocities.astype(np.float32)} if with_velocities else {}
    universe.load_new(np.zeros_like(velocities, dtype=np.float32), format=MemoryReader, dt=1e-3 * INTERVAL_FS, **more)
    return universe


def test_lines_lie_where_they_belong_and_count_degrees_of_freedom():
    found = VibrationalDensity(oscillators().atoms, TEMPERATURE_K).run().results
    for low, high, wavenumber in ((0.0, 900.0, 400.0), (900.0, 3000.0, 1500.0)):
        assert found.spectrum.freedom(low, high).value == pytest.approx(3.0, abs=0.05)
        assert found.spectrum.position(low, high).value == pytest.approx(wavenumber, abs=5.0)
    assert found.density.shape == found.error.shape == found.wavenumbers.shape
    top = found.wavenumbers[np.argmax(found.density * (found.wavenumbers < 900))]
    assert top == pytest.approx(400.0, abs=5.0)


def test_in_parallel_and_twice():
    analysis = VibrationalDensity(oscillators().atoms, TEMPERATURE_K, window="blackman")
    alone = analysis.run(start=10).results.density.copy()
    np.testing.assert_array_equal(analysis.run(start=10).results.density, alone)
    shared = VibrationalDensity(oscillators().atoms, TEMPERATURE_K, window="blackman")
    np.testing.assert_array_equal(shared.run(start=10, backend="multiprocessing", n_workers=2).results.density, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "hat"}, "window = 'hat'"),
        ({"parts": 1}, "parts = 1: expected at least 2"),
        ({"longest_lag_fs": 1e5}, "expected parts of more than longest_lag_fs = 100000"),
        ({"longest_lag_fs": 1.0}, "at least two frames in that time"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        VibrationalDensity(oscillators().atoms, TEMPERATURE_K, **options).run()


def test_no_velocities():
    with pytest.raises(InputError, match="the trajectory has no velocities"):
        VibrationalDensity(oscillators(with_velocities=False).atoms, TEMPERATURE_K)
