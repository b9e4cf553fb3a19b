"""Charge and multiplicity: every way in which files say them, and what contradicts itself."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import (
    ElectronicState,
    check_state,
    electronic_state,
    is_ground,
    state_of_results,
)


def water(**info) -> Atoms:
    atoms = molecule("H2O")
    atoms.info.update(info)
    return atoms


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, (None, None)),
        ({"charge": 1}, (1, None)),
        ({"charge": 0}, (0, None)),
        ({"total_charge": -1.0}, (-1, None)),
        ({"Charge": np.int64(2), "net_charge": 2.0}, (2, None)),
        ({"charge": 1, "spin": 2}, (1, 2)),
        ({"spin_multiplicity": 3}, (None, 3)),
        ({"total_spin": 1}, (None, 1)),
        ({"unpaired_electrons": 2}, (None, 3)),
        ({"charge": "1"}, (1, None)),
    ],
)
def test_said_in_the_comment(info, expected):
    assert electronic_state(water(**info)) == expected


def test_said_by_the_atoms():
    atoms = water()
    atoms.set_initial_charges([-0.68, 0.34, 0.341])  # partial charges
    assert electronic_state(atoms).charge == 0
    atoms.set_initial_charges([0.4, 0.3, 0.3])
    atoms.set_initial_magnetic_moments([-1.0, 0, 0])
    assert electronic_state(atoms) == (1, 2)
    atoms.set_initial_charges([0, 0, 0])
    atoms.set_initial_magnetic_moments([1.0, 0.5, 0.5])
    assert electronic_state(atoms) == (None, 3)
    atoms = Atoms("H2O", np.zeros((3, 3)), magmoms=np.eye(3))  # not collinear: the length √3 counts
    with pytest.raises(InputError, match="expected a whole number"):
        electronic_state(atoms)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 0.4}, "charge = 0.4: expected a whole number"),
        ({"charge": True}, "charge = True"),
        ({"charge": "one"}, "charge = one"),
        ({"charge": 1, "total_charge": 2}, "more than one charge: charge = 1, total_charge = 2"),
        ({"spin": 2}, "spin means a multiplicity .* of 2, which does not fit 10 electrons; expected 1, 3"),
        ({"charge": 1, "multiplicity": 1}, "does not fit 9 electrons; expected 2, 4"),
        ({"spin": 0}, "of 0, which does not fit"),
        ({"spin": 1, "unpaired_electrons": 2}, "more than one multiplicity"),
    ],
)
def test_contradictions_are_refused(info, message):
    with pytest.raises(InputError, match=f"w.xyz: .*{message}"):
        electronic_state(water(**info), "w.xyz")


def test_atoms_against_the_comment():
    atoms = water(charge=1)
    atoms.set_initial_charges([-1, 0, 0])
    with pytest.raises(InputError, match="charge = 1, initial_charges = -1"):
        electronic_state(atoms)


def test_earlier_results_that_add_up_to_whole_numbers():
    assert state_of_results({"charges": np.array([0.5, 0.26, 0.25]), "magmom": 1.0}) == (1, 2)
    assert state_of_results({"charges": np.array([-0.5, 0.25, 0.25]), "magmoms": np.zeros(3)}) == (None, None)
    assert state_of_results({"magmom": 1.37}) == (None, None)
    assert state_of_results({"energy": 1.0}) == (None, None)


def test_ground_states():
    assert is_ground(water(), ElectronicState())
    assert is_ground(water(), ElectronicState(0, 1))
    assert is_ground(molecule("CH3"), ElectronicState(0, 2))
    assert not is_ground(molecule("O2"), ElectronicState(0, 3))
    assert not is_ground(water(), ElectronicState(1))


@pytest.mark.parametrize(
    ("said", "domain", "meant"),
    [
        ((None, None), {}, (None, None)),
        ((0, 1), {}, (0, 1)),
        ((None, None), {"charge": 1}, (1, None)),
        ((1, 2), {"charge": 1}, (1, 2)),
        ((None, None), {"charge": 0, "multiplicity": 3}, (None, 3)),
        ((1, None), {}, "charge 1, but this model was trained on charge 0"),
        ((0, None), {"charge": -1}, "charge 0, but this model was trained on charge -1"),
        ((None, 3), {"charge": 0}, "multiplicity 3, but this model was trained on multiplicity 1"),
        ((None, 1), {"multiplicity": 3}, "multiplicity 1, but this model was trained on multiplicity 3"),
    ],
)
def test_what_a_model_serves(said, domain, meant):
    numbers, state = molecule("H2O").numbers, ElectronicState(*said)
    if isinstance(meant, str):
        with pytest.raises(InputError, match=meant):
            check_state(numbers, state, domain)
    else:
        assert check_state(numbers, state, domain) == meant
