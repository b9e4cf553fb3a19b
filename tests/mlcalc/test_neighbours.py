"""Neighbour lists against brute force: complete, sorted, made anew in time and not before."""

import numpy as np
import pytest
from ase.build import bulk

from mlcalc.common.errors import InputError
from mlcalc.geometry.neighbours import NeighbourList

CUTOFF, SKIN = 3.0, 0.8


@pytest.fixture(params=[True, False, (True, False, True)], ids=["periodic", "cluster", "slab"])
def system(request):
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 3)
    atoms.rattle(0.1, seed=1)
    atoms.pbc = request.param
    return atoms


def box(atoms) -> tuple:
    return (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)


def within(pairs, positions, cutoff: float) -> set:
    """Pairs of replica 0 within a distance as (i, j, rounded vector), each turned so that i < j."""
    found = set()
    for p in range(pairs.offset[0], pairs.offset[0] + pairs.count[0]):
        i, j = int(pairs.first[p]), int(pairs.second[p])
        vector = positions[j] - positions[i] + pairs.shift[p]
        if np.linalg.norm(vector) < cutoff:
            turned = (j, i, *np.round(-vector, 6)) if i > j else (i, j, *np.round(vector, 6))
            assert turned not in found
            found.add(turned)
    return found


def brute_force(atoms, cutoff: float) -> set:
    """The same from every pair in every one of the 27 nearest cells."""
    found = set()
    for cell in np.ndindex(3, 3, 3):
        translation = (np.array(cell) - 1) * atoms.pbc
        if np.any(((np.array(cell) - 1) != 0) & ~atoms.pbc):
            continue
        for i in range(len(atoms)):
            vectors = atoms.positions - atoms.positions[i] + translation @ atoms.cell.array
            for j in np.flatnonzero(np.linalg.norm(vectors, axis=1) < cutoff):
                if i < j:
                    found.add((i, int(j), *np.round(vectors[j], 6)))
    return found


def test_every_pair_once(system):
    pairs = NeighbourList(CUTOFF, True, SKIN).update(system.positions[None], *box(system))
    assert within(pairs, system.positions, CUTOFF) == brute_force(system, CUTOFF)


def test_atoms_outside_the_cell_keep_their_neighbours():
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * (2, 2, 3)
    inside = NeighbourList(CUTOFF, True, SKIN).update(atoms.positions[None], *box(atoms))
    moved = atoms.positions + np.random.default_rng(2).integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    outside = NeighbourList(CUTOFF, True, SKIN).update(moved[None], *box(atoms))
    assert within(outside, moved, CUTOFF) == within(inside, atoms.positions, CUTOFF)


def test_pairs_are_sorted_and_linked(system):
    pairs = NeighbourList(CUTOFF, True, SKIN).update(
        np.stack([system.positions, system.positions + 0.05]), *box(system)
    )
    for b in range(2):
        part = slice(pairs.offset[b], pairs.offset[b] + pairs.count[b])
        first, second, shift = pairs.first[part], pairs.second[part], pairs.shift[part]
        order = np.lexsort((*shift.T[::-1], second, first))
        assert np.array_equal(order, np.arange(len(order)))
        for i in range(len(system)):
            assert (first[pairs.row[b, i] : pairs.row[b, i + 1]] == i).all()
            links = pairs.link[2 * pairs.offset[b] + pairs.around[b, i] : 2 * pairs.offset[b] + pairs.around[b, i + 1]]
            assert [p for p in links if p >= 0] == np.flatnonzero(first == i).tolist()
            assert [-p - 1 for p in links if p < 0] == np.flatnonzero(second == i).tolist()
    share = np.bincount(first, minlength=len(system)) / pairs.count[1] * len(system)
    assert share.max() < 2.5  # no atom is first in all its pairs


def test_made_anew_when_an_atom_has_moved_by_half_the_skin(system):
    neighbours = NeighbourList(CUTOFF, True, SKIN)
    positions = system.positions[None].copy()
    neighbours.update(positions, *box(system))
    positions[0, 5] += [0.0, 0.49 * SKIN, 0.0]
    pairs = neighbours.update(positions, *box(system))
    assert neighbours.builds == 1
    moved = system.copy()
    moved.positions = positions[0]
    assert within(pairs, positions[0], CUTOFF) == brute_force(moved, CUTOFF)
    positions[0, 5] += [0.0, 0.02 * SKIN, 0.0]
    neighbours.update(positions, *box(system))
    assert neighbours.builds == 2


def test_made_anew_for_another_cell():
    atoms = bulk("C", "diamond", a=3.57, cubic=True) * 2
    neighbours = NeighbourList(CUTOFF, False, SKIN)
    neighbours.update(atoms.positions[None], *box(atoms))
    atoms.set_cell(atoms.cell * 1.02)
    pairs = neighbours.update(atoms.positions[None], *box(atoms))
    assert neighbours.builds == 2
    assert within(pairs, atoms.positions, CUTOFF) == brute_force(atoms, CUTOFF)


def test_a_small_molecule_has_one_list_for_ever():
    neighbours = NeighbourList(CUTOFF, False, SKIN)
    positions = np.random.default_rng(3).normal(size=(4, 6, 3))
    pairs = neighbours.update(positions)
    assert neighbours.update(100.0 * positions) is pairs
    assert pairs.count.tolist() == [15] * 4
    assert pairs.offset.tolist() == [0] * 4


def test_no_list_of_positions_that_are_not_finite(system):
    positions = np.stack([system.positions, system.positions])
    neighbours = NeighbourList(CUTOFF, True, SKIN)
    neighbours.update(positions, *box(system))
    positions[1, 3, 2] = np.nan
    with pytest.raises(InputError, match="atom 3 in replica 1"):
        neighbours.update(positions, *box(system))
