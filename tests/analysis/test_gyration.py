"""Radii of gyration of ring polymers: against their definition, the free particle, and themselves in parallel."""

import numpy as np
import pytest
from ase import Atoms, units

from analysis.distances.gyration import RingPolymerGyration
from analysis.runs.universe import bead_universe, open_run
from md.dynamics.ring_polymer import HBAR
from mlcalc.vibrations import HBAR as HBAR_OF_VIBRATIONS
from tests.analysis.run_folders import harmonic_beads, write_run

ATOMS = Atoms("CHO", [[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0]])


@pytest.fixture
def positions() -> np.ndarray:
    """(n_frames, P, N, 3) Å, spread in frame k by 0.1 (1 + k / n_frames)."""
    rng = np.random.default_rng(1)
    return ATOMS.positions + rng.normal(0, 0.1, (200, 4, 3, 3)) * np.linspace(1, 2, 200)[:, None, None, None]


@pytest.fixture
def universe(tmp_path, positions):
    return bead_universe(open_run(write_run(tmp_path / "run", ATOMS, positions)))


def test_definition(universe, positions):
    found = RingPolymerGyration(universe).run().results
    squared = ((positions - positions.mean(axis=1, keepdims=True)) ** 2).sum(axis=3).mean(axis=1)
    np.testing.assert_allclose(found.squared, squared, atol=1e-6)
    np.testing.assert_allclose(found.radius, np.sqrt(squared.mean(axis=0)), atol=1e-6)
    assert (found.error > 0).all()


def test_twice_and_in_parts(universe):
    analysis = RingPolymerGyration(universe)
    first = analysis.run().results.radius
    np.testing.assert_array_equal(analysis.run().results.radius, first)
    squared = analysis.run().results.squared
    np.testing.assert_array_equal(analysis.run(start=20, stop=100, step=4).results.squared, squared[20:100:4])


def test_in_parallel(universe):
    alone = RingPolymerGyration(universe).run()
    shared = RingPolymerGyration(universe).run(backend="multiprocessing", n_workers=2)
    np.testing.assert_array_equal(shared.results.squared, alone.results.squared)
    np.testing.assert_array_equal(shared.results.error, alone.results.error)


@pytest.mark.slow
def test_oscillators(tmp_path):
    """r² = Σ_k>0 3/(P β_P (ω² + ω_k²)m) of an oscillator in three dimensions, within four standard errors."""
    rng, n_beads, temperature, energies = np.random.default_rng(3), 8, 300.0, np.full(3, 0.15)
    beads = harmonic_beads(rng, energies, temperature, n_beads, 4000, 0.5) / np.sqrt(12.011)
    run = open_run(write_run(tmp_path / "run", Atoms("C", [[0, 0, 0]]), beads[:, :, None, :]))
    found = RingPolymerGyration(bead_universe(run)).run().results
    assert HBAR == HBAR_OF_VIBRATIONS
    hot = n_beads * units.kB * temperature
    rings = 2 * hot / HBAR * np.sin(np.pi * np.arange(1, n_beads) / n_beads)
    expected = 3.0 * (hot / ((0.15 / HBAR) ** 2 + rings**2)).sum() / n_beads / 12.011
    assert abs(found.radius[0] - np.sqrt(expected)) < 4.0 * found.error[0]
    assert found.error[0] < 0.02 * found.radius[0]


def test_classical_beads_have_no_width(tmp_path, positions):
    run = open_run(write_run(tmp_path / "classical", ATOMS, positions[:, :1]))
    found = RingPolymerGyration(bead_universe(run)).run().results
    assert not found.radius.any()
    assert not found.error.any()
