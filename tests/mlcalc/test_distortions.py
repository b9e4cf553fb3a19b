"""Distorted copies: what they keep and what they change, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from scipy.stats import kstest

from mlcalc.common.errors import InputError
from mlcalc.data.distortions import compress, push, turn
from mlcalc.data.sampling import LangevinSettings, SampleSettings, sample_to_file
from mlcalc.geometry.bonds import find_bonds


def test_compression_scales_all_distances_by_the_recorded_factor():
    atoms = molecule("C6H6")
    atoms.info["sampling"] = "made up"
    scaled = compress([atoms] * 50, (0.8, 1.1), np.random.default_rng(0))
    factors = np.array([frame.info["scale"] for frame in scaled])
    for frame, factor in zip(scaled, factors, strict=True):
        np.testing.assert_allclose(frame.get_all_distances(), factor * atoms.get_all_distances(), atol=1e-12)
    assert 0.8 <= factors.min() < 0.85
    assert 1.05 < factors.max() <= 1.1
    assert scaled[0].info["sampling"] == "uniformly scaled: made up"


def test_pushes_move_one_to_three_atoms_by_lengths_in_range():
    atoms = molecule("C6H6")
    atoms.info["sampling"] = "made up"
    centred = atoms.positions - atoms.positions.mean(axis=0)
    pushed = push([atoms] * 100, (0.2, 0.5), np.random.default_rng(0))
    numbers = []
    for frame in pushed:
        shift = frame.positions - centred
        shift -= np.median(shift, axis=0)  # atoms left alone moved with the centre only
        lengths = np.linalg.norm(shift, axis=1)
        moved = lengths > 1e-9
        numbers.append(moved.sum())
        assert (lengths[moved] > 0.2 - 1e-9).all() and (lengths[moved] < 0.5 + 1e-9).all()
    assert set(numbers) == {1, 2, 3}
    assert pushed[0].info["sampling"] == "1 to 3 atoms pushed by 0.2 to 0.5 Å: made up"
    closest = min(frame.get_all_distances()[np.triu_indices(12, 1)].min() for frame in pushed)
    assert closest > 0.65 * 2 * 0.31  # no two hydrogens, let alone others, on top of each other


def test_impossible_pushes_are_refused():
    with pytest.raises(InputError, match="too close together"):
        push([Atoms("C2", [[0, 0, 0], [0, 0, 0.5]])], (0.01, 0.02), np.random.default_rng(0))


def test_turns_leave_bonds_and_angles():
    """Distances over one and two bonds stay, and no others are made; dihedrals vary."""
    atoms = molecule("CH3CH2OH")
    atoms.info |= {"sampling": "made up", "charge": 0}
    bonds = find_bonds(atoms)
    near = {pair for pair in zip(bonds.first.tolist(), bonds.second.tolist(), strict=True)}
    near |= {(min(a, b), max(a, b)) for c in range(len(atoms)) for a in range(len(atoms)) for b in range(len(atoms))
             if a != b and {(min(a, c), max(a, c)), (min(b, c), max(b, c))} <= near}  # fmt: skip
    first, second = np.array(sorted(near)).T
    turned = turn([atoms] * 50, np.random.default_rng(0))
    for frame in turned:
        before, after = atoms.get_all_distances(), frame.get_all_distances()
        np.testing.assert_allclose(after[first, second], before[first, second], rtol=0, atol=1e-10)
        assert len(find_bonds(frame).first) == len(bonds.first)
        assert frame.info == {"sampling": "turned about bonds: made up", "charge": 0}
    changed = [np.abs(frame.get_all_distances() - atoms.get_all_distances()).max() for frame in turned]
    assert min(changed) > 1e-3
    assert max(changed) > 1.0


def test_angles_of_turns_are_uniform():
    """Hydrogen peroxide has one bond to turn about, and no turn of it brings atoms too close."""
    frames = turn([molecule("H2O2")] * 2000, np.random.default_rng(1))
    h, o = (np.flatnonzero(frames[0].numbers == z) for z in (1, 8))
    bonded = h if frames[0].get_distance(h[0], o[0]) < 1.2 else h[::-1]
    angles = [frame.get_dihedral(bonded[0], *o, bonded[1]) / 360 for frame in frames]
    assert kstest(angles, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (molecule("C6H6"), "turned: C6H6 has no bond outside rings"),
        (molecule("H2O"), "turned: H2O has no bond"),
        (bulk("Cu"), "expected an isolated molecule"),
    ],
    ids=["ring", "single atoms", "periodic"],
)
def test_what_cannot_be_turned_is_refused(atoms, message):
    with pytest.raises(InputError, match=message):
        turn([atoms], np.random.default_rng(0))


def test_turned_structures_of_a_file(tmp_path):
    write(tmp_path / "start.xyz", molecule("CH3CH2OH"))
    few = SampleSettings(count=4, trajectories=2, langevin=LangevinSettings(equilibration=5, stride=5))
    sample_to_file("turned", "ase:emt", tmp_path / "start.xyz", tmp_path / "out.xyz", few)
    frames = read(tmp_path / "out.xyz", ":")
    assert len(frames) == 4
    assert all(frame.info["sampling"] == "turned about bonds: classical Langevin MD" for frame in frames)
