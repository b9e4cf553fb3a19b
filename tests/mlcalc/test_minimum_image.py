"""Minimum images against a search through many images, and ASE's."""

from itertools import product

import numpy as np
import pytest
from ase import Atoms
from ase.geometry import find_mic

from mlcalc.common.errors import InputError
from mlcalc.geometry.minimum_image import close_distances, joined_beads, lattice_of, minimum_images
from mlcalc.geometry.pairs import distances_within

PERIODS = [(1, 1, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)]


def random_cell(rng: np.random.Generator, skewed: bool) -> np.ndarray:
    """Any orientation and handedness; a skewed one has rows that are long sums of the others."""
    cell = rng.normal(size=(3, 3)) * rng.uniform(2.0, 8.0, (3, 1))
    return cell + np.tril(rng.integers(-3, 4, (3, 3)), -1) @ cell if skewed else cell


@pytest.mark.parametrize("pbc", PERIODS)
@pytest.mark.parametrize("skewed", [False, True])
def test_against_a_search_through_many_images(pbc, skewed):
    rng, periodic = np.random.default_rng(sum(4**k * p for k, p in enumerate(pbc))), np.array(pbc, dtype=bool)
    for _ in range(10):
        cell = random_cell(rng, skewed)
        if rng.random() < 0.5:
            cell[~periodic] = 0.0  # as structures without these vectors have it
        lattice, vectors = lattice_of(cell, periodic), 12.0 * rng.normal(size=(20, 3))
        found = minimum_images(vectors, lattice)
        steps = (vectors - found) @ np.linalg.pinv(cell[periodic])
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)  # periods of the given cell lie between
        np.testing.assert_allclose(np.rint(steps) @ cell[periodic], vectors - found, atol=1e-6)
        many = np.array(list(product(*(range(-3, 4) if p else (0,) for p in (1, 1, 1))))) @ lattice.vectors
        lengths = np.linalg.norm(found[:, None] + many, axis=2)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), lengths.min(axis=1), atol=1e-9)


def test_against_ase():
    rng = np.random.default_rng(8)
    for trial in range(40):
        cell, vectors = random_cell(rng, trial % 2 == 0), 20.0 * rng.normal(size=(30, 3))
        found = np.linalg.norm(minimum_images(vectors, lattice_of(cell)), axis=1)
        np.testing.assert_allclose(found, find_mic(vectors, cell)[1], atol=1e-9)


def test_distances_within_half_the_height_are_those_of_nearest_images():
    rng = np.random.default_rng(9)
    for trial, pbc in enumerate(PERIODS * 4):
        cell, positions = random_cell(rng, trial % 2 == 0), 10.0 * rng.random((8, 3))
        lattice = lattice_of(cell, pbc)
        nearest = Atoms("H8", positions, cell=cell, pbc=pbc).get_all_distances(mic=all(pbc))[np.triu_indices(8, 1)]
        if not all(pbc):  # ASE leaves the part of a tilted vector without a period in the plane
            first, second = np.triu_indices(8, 1)
            nearest = np.linalg.norm(minimum_images(positions[second] - positions[first], lattice), axis=1)
        expected = np.sort(nearest[nearest < 0.5 * lattice.height])
        for found in (
            distances_within(positions, 0.5 * lattice.height, cell, pbc),
            close_distances(positions, lattice, 0.5 * lattice.height),
        ):
            np.testing.assert_allclose(np.sort(found), expected, atol=1e-9)
    with pytest.raises(InputError, match="half the least height of the cell"):
        close_distances(positions, lattice, 0.51 * lattice.height)


def test_short_vectors_are_the_same_array():
    vectors = np.random.default_rng(1).normal(size=(5, 7, 3))
    assert minimum_images(vectors, lattice_of(np.diag([50.0, 60.0, 70.0]))) is vectors
    assert lattice_of(np.eye(3), False) is None


def test_not_finite_remains_so():
    vectors = np.array([[np.nan, 0.0, 0.0], [9.0, 0.0, 0.0]])
    assert np.isnan(minimum_images(vectors, lattice_of(10.0 * np.eye(3)))[0, 0])


def test_beads_are_joined_at_their_first():
    """A ring polymer across a corner of a skewed cell, its beads wrapped one by one."""
    rng, cell = np.random.default_rng(2), np.array([[9.0, 0.5, 0.0], [-4.0, 8.0, 1.0], [3.0, -3.0, 7.0]])
    together = np.array([[0.1, 0.0, 0.2], [4.0, 3.0, 2.0]]) + rng.normal(0.0, 0.3, (16, 2, 3))
    fractional = together @ np.linalg.inv(cell)
    apart = (fractional - np.floor(fractional)) @ cell
    joined = joined_beads(apart, lattice_of(cell))
    np.testing.assert_allclose(joined - joined[0], together - together[0], atol=1e-12)
    np.testing.assert_array_equal(joined[0], apart[0])
    assert joined_beads(apart, None) is apart


@pytest.mark.parametrize(
    "cell",
    [np.diag([9.0, 9.0, 0.0]), [[9, 0, 0], [0, 9, 0], [9, 9, 0]], np.diag([9.0, 9.0, np.nan])],
    ids=["missing", "dependent", "not finite"],
)
def test_periods_that_are_none_are_refused(cell):
    with pytest.raises(InputError, match="expected a vector of its own for each period"):
        lattice_of(cell)
