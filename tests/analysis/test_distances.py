"""Pair distances: which pairs, their densities and moments, and whether the errors are correct."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from MDAnalysis import Universe

from analysis.distances.pair_distances import PairDistances, bonded_pairs, diameter_pairs, pair_moments
from mlcalc.common.errors import InputError
from mlcalc.vibrations import position_variance
from tests.analysis.run_folders import autoregressive, dodecahedron, harmonic_beads


def universe_of(positions: np.ndarray) -> Universe:
    """In-memory Universe of positions (n_frames, P, N, 3), beads as segments."""
    n_frames, n_beads, n_atoms = positions.shape[:3]
    universe = Universe.empty(
        n_beads * n_atoms, n_residues=n_beads, n_segments=n_beads,
        atom_resindex=np.repeat(np.arange(n_beads), n_atoms), residue_segindex=np.arange(n_beads),
    )  # fmt: skip
    universe.load_new(positions.reshape(n_frames, -1, 3).astype(np.float32), order="fac")
    return universe


def diatomic(lengths: np.ndarray) -> np.ndarray:
    """Positions (n_frames, P, 2, 3) of two atoms at distances (n_frames, P) along a fixed line."""
    positions = np.zeros((*lengths.shape, 2, 3))
    positions[..., 1, :] = lengths[..., None] * np.array([0.6, 0.0, 0.8])
    return positions


ONE_PAIR = {"bonds": np.array([[0, 1]])}


def test_c20_has_thirty_bonds_and_ten_diameters():
    atoms = dodecahedron()
    bonds, diameters = bonded_pairs(atoms), diameter_pairs(atoms)
    assert len(bonds) == 30 and len(diameters) == 10
    assert (np.bincount(bonds.ravel()) == 3).all() and (np.bincount(diameters.ravel()) == 1).all()
    # Opposite corners of a dodecahedron about the origin; coordinates are exact to rounding.
    np.testing.assert_allclose(atoms.positions[diameters[:, 0]], -atoms.positions[diameters[:, 1]], atol=1e-12)


def test_pairs_of_benzene():
    atoms = molecule("C6H6")
    bonds = bonded_pairs(atoms)
    symbols = np.array(atoms.get_chemical_symbols())
    assert sorted("".join(sorted(symbols[pair])) for pair in bonds) == ["CC"] * 6 + ["CH"] * 6
    assert len(diameter_pairs(atoms)) == 0


def test_against_a_naive_loop():
    rng = np.random.default_rng(5)
    positions = rng.uniform(0.0, 2.0, (40, 3, 4, 3)).astype(np.float32)
    pairs = {"some": np.array([[0, 2], [3, 1]])}
    results = PairDistances(universe_of(positions), pairs, r_max=2.5, bin_width=0.1).run().results

    counts, total, shortest, lengths = np.zeros(25), 0, np.inf, {0: [], 1: []}
    for frame in positions.astype(np.float64):
        for bead in frame:
            for i in range(4):
                for j in range(i):
                    distance = np.sqrt(((bead[i] - bead[j]) ** 2).sum())
                    total, shortest = total + 1, min(shortest, distance)
                    if distance < 2.5:
                        counts[int(distance / 0.1)] += 1
            for p, (i, j) in enumerate(pairs["some"]):
                lengths[p].append(np.sqrt(((bead[i] - bead[j]) ** 2).sum()))
    np.testing.assert_allclose(results.histograms["all", "beads"].density, counts / (total * 0.1), atol=1e-12)
    assert results.histograms["all", "beads"].outside == pytest.approx(1 - counts.sum() / total)
    assert results.histograms["all", "beads"].outside > 0
    assert results.shortest == pytest.approx(shortest)
    mean, std = results.moments["some", "beads"]
    assert mean.value == pytest.approx(np.mean([np.mean(lengths[p]) for p in (0, 1)]))
    # The correction for the uncertain mean, of relative order 1/2n with n = 40 independent frames, comes on top.
    assert std.value == pytest.approx(np.mean([np.std(lengths[p]) for p in (0, 1)]), rel=0.02)


@pytest.mark.parametrize("n_beads", [1, 4])
def test_harmonic_diatomic(n_beads):
    """A stretch of 1500 cm⁻¹ at 300 K: Gaussian distances whose width is known exactly, for beads and centroid."""
    energy, mass = np.array([1500.0]) * units.invcm, 6.0
    rng = np.random.default_rng(11)
    q = harmonic_beads(rng, energy, 300.0, n_beads, 4000, memory=0.7)[..., 0] / np.sqrt(mass)
    results = PairDistances(universe_of(diatomic(1.2 + q)), ONE_PAIR, r_max=2.0).run().results
    for kind, beads in (("beads", n_beads), ("centroid", 1)):
        expected = float(np.sqrt(position_variance(energy, 300.0, beads)[0] / mass))
        mean, std = results.moments["bonds", kind]
        assert abs(mean.value - 1.2) < 4 * mean.error
        assert abs(std.value - expected) < 4 * std.error
        assert std.error < 0.05 * expected  # so that the line above can fail
        histogram = results.histograms["bonds", kind]
        np.testing.assert_array_equal(histogram.density, results.histograms["all", kind].density)
        assert histogram.density.sum() * 0.01 == pytest.approx(1.0)
        z = (histogram.r - 1.2) / expected
        gaussian = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / expected
        core = np.abs(z) < 1.5
        # With 20 blocks a z-score is Student's t of 19 degrees of freedom, rms √(19/17) = 1.06; bins are correlated.
        scores = (histogram.density[core] - gaussian[core]) / histogram.error[core]
        assert 0.5 < np.sqrt(np.mean(scores**2)) < 1.8


def test_uniform_distances():
    lengths = np.random.default_rng(2).uniform(1.0, 2.0, (3000, 2))
    results = PairDistances(universe_of(diatomic(lengths)), ONE_PAIR, r_max=2.5, bin_width=0.1).run().results
    density, error = results.histograms["all", "beads"].density, results.histograms["all", "beads"].error
    # Bin 10, [1.0, 1.1), to 19, [1.9, 2.0). Float32 positions may put a distance of exactly a bin edge on either side.
    assert np.all(np.abs(density[10:20] - 1.0) < 5 * error[10:20])
    assert density[:9].sum() == density[21:].sum() == 0.0
    mean, std = results.moments["bonds", "beads"]
    assert abs(mean.value - 1.5) < 4 * mean.error
    assert abs(std.value - 1 / np.sqrt(12)) < 4 * std.error


def test_running_twice_gives_the_same():
    lengths = np.random.default_rng(3).normal(1.5, 0.1, (60, 2))
    analysis = PairDistances(universe_of(diatomic(lengths)), ONE_PAIR, r_max=3.0)
    first = analysis.run(start=10).results
    moments, density = first.moments, first.histograms["all", "beads"].density.copy()
    again = analysis.run(start=10).results
    assert again.moments == moments
    np.testing.assert_array_equal(again.histograms["all", "beads"].density, density)


def test_in_parallel():
    """Each worker analyses part of the frames, and must know which."""
    rng = np.random.default_rng(4)
    universe = universe_of(diatomic(1.5 + 0.1 * rng.normal(size=(107, 3))))
    alone = PairDistances(universe, ONE_PAIR, 4.0).run(start=3)
    shared = PairDistances(universe, ONE_PAIR, 4.0).run(start=3, backend="multiprocessing", n_workers=3)
    assert shared.results.shortest == alone.results.shortest
    assert shared.results.moments == alone.results.moments
    assert "powers" not in shared.results
    for key, histogram in alone.results.histograms.items():
        np.testing.assert_array_equal(shared.results.histograms[key].counts, histogram.counts)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_errors_are_honest_and_the_width_unbiased(memory):
    """Over many short series, the scatter of the estimates must be what their errors claim."""
    rng = np.random.default_rng(17)
    widths = np.array([0.03, 0.05, 0.1])
    estimates, errors = [], []
    for _ in range(150):
        lengths = 1.5 + widths * autoregressive(rng, 2000, (3,), memory)
        _, std = pair_moments(lengths - 1.5, (lengths - 1.5) ** 2, np.full(3, 1.5))
        estimates.append(std.value)
        errors.append(std.error)
    scatter = np.std(estimates, ddof=1)
    # The scatter of 150 estimates is known to 1/√300 = 6 %; blocking's own error adds some 10 % of downward bias.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(scatter, rel=0.25)
    assert abs(np.mean(estimates) - widths.mean()) < 4 * scatter / np.sqrt(150)


def test_errors_shrink_with_the_square_root_of_the_length():
    rng = np.random.default_rng(23)
    lengths = 0.05 * autoregressive(rng, 64_000, (30,), 0.5)
    _, short = pair_moments(lengths[:4000], lengths[:4000] ** 2, np.ones(30))
    _, long = pair_moments(lengths, lengths**2, np.ones(30))
    # 16 times the frames: a fourth of the error. Blocking knows each to 10 % or so.
    assert short.error / long.error == pytest.approx(4.0, rel=0.35)


def test_frozen_atoms_have_no_width():
    analysis = PairDistances(universe_of(diatomic(np.full((40, 2), 1.5))), ONE_PAIR, r_max=3.0).run()
    assert analysis.results.moments["bonds", "beads"].std.value == 0.0
    assert analysis.results.moments["bonds", "beads"].std.error == 0.0


def test_pairs_of_distant_atoms_are_not_bonds():
    assert len(bonded_pairs(Atoms("C2", [[0, 0, 0], [0, 0, 5.0]]))) == 0


def test_a_frame_with_nan_is_refused():
    lengths = np.full((40, 2), 1.5)
    lengths[17, 1] = np.nan
    with pytest.raises(InputError, match="frame 17"):
        PairDistances(universe_of(diatomic(lengths)), ONE_PAIR, r_max=3.0).run()


def test_coarsening_merges_counts():
    rng = np.random.default_rng(4)
    lengths = rng.normal(1.5, 0.1, (400, 1))
    fine = PairDistances(universe_of(diatomic(lengths)), ONE_PAIR, r_max=2.0, bin_width=0.01).run()
    coarse = PairDistances(universe_of(diatomic(lengths)), ONE_PAIR, r_max=2.0, bin_width=0.04).run()
    merged, direct = (a.results.histograms["all", "beads"] for a in (fine, coarse))
    merged = merged.coarsened(4)
    np.testing.assert_allclose(merged.r, direct.r)
    np.testing.assert_allclose(merged.density, direct.density)
    np.testing.assert_allclose(merged.error, direct.error)
    assert fine.results.histograms["all", "beads"].coarsened(3).density.shape == (66,)
