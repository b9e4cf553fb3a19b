"""Hostile cells and positions are refused before the native search sees them; every other one gives ASE's pairs."""

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculatorSetupError
from ase.calculators.calculator import InputError as AseInputError
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcalc import CommitteeCalculator, InputError, SchNetCalculator
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.neighbours import NeighbourList
from mlcalc.geometry.pairs import half_pairs, pairs_within
from tests.conftest import SCHNETPACK_DIALECT, random_model

PAIR = np.array([[0.0, 0.0, 0.0], [1.4, 0.0, 0.0]])
CLOUD = np.random.default_rng(0).normal(0.0, 4.0, (80, 3))
BAD_CELLS = [
    (np.diag([np.nan, 9.0, 9.0]), "expected finite numbers"),
    (np.diag([np.inf, 9.0, 9.0]), "expected finite numbers"),
    (np.eye(3) * 1e200, "of at most 1e\\+08"),
    (np.eye(3) * 1e-5, "flat or too small"),
    (np.array([[10.0, 0, 0], [20.0, 0, 0], [0, 0, 10.0]]), "flat or too small"),
    (np.array([[10.0, 0, 0], [0, 10.0, 0], [10.0, 10.0, 1e-9]]), "flat or too small"),
    (np.diag([9.0, 9.0, 0.0]), "every periodic direction needs a cell vector"),
]


def lengths(pairs, positions) -> np.ndarray:
    return np.sort(np.linalg.norm(positions[pairs.second] - positions[pairs.first] + pairs.shift, axis=1))


def ase_lengths(positions, cutoff, cell, pbc) -> np.ndarray:
    """Of half pairs: ASE lists every pair twice."""
    return np.sort(neighbor_list("d", Atoms(f"H{len(positions)}", positions, cell=cell, pbc=pbc), cutoff))[::2]


@pytest.mark.parametrize(("cell", "message"), BAD_CELLS)
def test_bad_cells(cell, message):
    with pytest.raises(InputError, match=message):
        pairs_within(PAIR, 4.0, cell, True)
    with pytest.raises(InputError, match=message):
        check_cell(cell, True, 4.0)
    atoms = Atoms("C2", PAIR, cell=cell, pbc=True)
    model = random_model(SCHNETPACK_DIALECT)
    for calculator in (SchNetCalculator(model), CommitteeCalculator([model, model])):
        atoms.calc = calculator
        with pytest.raises(CalculatorSetupError, match=message):
            atoms.get_potential_energy()


def test_a_model_without_cutoff_serves_molecules():
    check_cell(None, None, None)
    check_cell(np.full((3, 3), np.nan), False, None)
    with pytest.raises(InputError, match="molecules only"):
        check_cell(np.eye(3) * 9.0, True, None)


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.diag([3.0, 3.0, 1e6]), True, "expected lengths closer to one another"),
        (np.eye(3) * 0.02, True, "pairs of atoms within . Å"),
        (np.diag([9.0, 9.0, np.nan]), (True, True, False), "expected finite numbers"),
    ],
)
def test_cells_that_cannot_be_searched(cell, pbc, message):
    atoms = Atoms("C2", PAIR, cell=cell, pbc=pbc)
    with pytest.raises(InputError, match=message):
        pairs_within(PAIR, 4.0, cell, pbc)
    atoms.calc = SchNetCalculator(random_model(SCHNETPACK_DIALECT))
    with pytest.raises((AseInputError, CalculatorSetupError), match=message):
        atoms.get_potential_energy()


@pytest.mark.parametrize("pbc", [False, True, (True, True, False)])
@pytest.mark.parametrize("far", [np.nan, np.inf, 1e9, 1e12, 1e308])
def test_atoms_beyond_all_bounds(far, pbc):
    positions = CLOUD.copy()
    positions[7, 1] = far
    with pytest.raises(InputError, match="NaN or infinite" if not np.isfinite(far) else "atom 7: "):
        pairs_within(positions, 4.0, np.eye(3) * 20.0, pbc)
    atoms = Atoms("C2", [[0.0, 0.0, 0.0], [far, 0.0, 0.0]])
    atoms.calc = SchNetCalculator(random_model(SCHNETPACK_DIALECT))
    with pytest.raises(AseInputError, match=r"NaN or infinite|from the origin"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("pbc", [False, True, (True, True, False), (False, True, False)])
@pytest.mark.parametrize("far", [1e3, 1e5, 0.9e8])
def test_an_atom_that_has_left(far, pbc):
    """Its absence is all that the others notice, or the search says that it cannot be made; it does so soon."""
    positions = CLOUD.copy()
    positions[0, 2] = far
    began = time.perf_counter()
    try:
        pairs = pairs_within(positions, 4.0, np.eye(3) * 30.0, pbc)
    except InputError as error:
        assert far > 1e6
        assert "has an atom left the others?" in str(error)
        return
    finally:
        assert time.perf_counter() - began < 2.0
    inside = np.delete(positions, 0, axis=0) if not np.broadcast_to(pbc, 3)[2] else positions
    folded = inside - np.floor(inside / 30.0) * 30.0 * np.broadcast_to(pbc, 3)
    np.testing.assert_allclose(lengths(pairs, positions), ase_lengths(folded, 4.0, np.eye(3) * 30.0, pbc), atol=1e-6)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    size=st.sampled_from([3, 8, 20]),
)
def test_pairs_are_those_of_ase(seed, pbc, size):
    """In skewed, left-handed and rotated cells, periodic in some directions or none."""
    rng = np.random.default_rng(seed)
    cell, positions = rng.normal(size=(3, 3)) * size, rng.normal(size=(rng.integers(1, 40), 3)) * 10.0
    planes = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)  # distances between lattice planes
    if (
        abs(np.linalg.det(cell)) < 5.0 or planes.min() < 0.5
    ):  # ASE's search takes gigabytes for cells that are almost flat
        return
    np.testing.assert_allclose(
        lengths(pairs_within(positions, 4.0, cell, pbc), positions), ase_lengths(positions, 4.0, cell, pbc), atol=1e-9
    )


def test_a_skewed_cell_is_the_crystal_that_it_is():
    """A primitive cell with vectors to far lattice points: its planes lie hundredths of an Å apart, its atoms do not."""
    diamond = bulk("C", "diamond", 3.57)
    skewed = np.array([[1, 0, 0], [25, 1, 0], [12, 9, 1]]) @ diamond.cell.array
    found = lengths(pairs_within(diamond.positions, 4.0, skewed, True), diamond.positions)
    np.testing.assert_allclose(found, ase_lengths(diamond.positions, 4.0, diamond.cell.array, True), atol=1e-9)


def test_more_pairs_than_memory_holds():
    dense = np.random.default_rng(1).normal(0.0, 0.5, (12_000, 3))
    for pbc in (True, False):
        with pytest.raises(InputError, match="pairs of atoms within 6 Å.*expected at most 30000000"):
            pairs_within(dense, 6.0, np.eye(3) * 20.0, pbc)
    with pytest.raises(InputError, match="100000 atoms without a cutoff have 4999950000 pairs"):
        half_pairs(np.zeros((100_000, 3)), None)


def test_many_images_are_sorted_as_few_are():
    """Far more pairs than atoms: in order all the same, and soon."""
    pairs = NeighbourList(4.0, True, 0.0).update(PAIR[None], np.eye(3) * 0.4, True)
    assert pairs.count[0] > 4000
    order = np.lexsort((*pairs.shift.T[::-1], pairs.second, pairs.first))
    assert np.array_equal(order, np.arange(pairs.count[0]))
    assert pairs.row[0].tolist() == [0, np.sum(pairs.first == 0), pairs.count[0]]


def test_a_list_that_is_made_anew_refuses_too():
    neighbours = NeighbourList(4.0, False, 1.0)
    neighbours.update(CLOUD[None], np.eye(3) * 20.0, True)
    for cell in (np.eye(3) * 1e200, np.eye(3) * 1e-5, np.diag([np.nan, 20.0, 20.0])):
        with pytest.raises(InputError, match="cell ="):
            neighbours.update(CLOUD[None], cell, True)
