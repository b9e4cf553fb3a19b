"""Committees: the mean of several models as one calculator, and how far they disagree."""

import pickle

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces
from ase.outputs import Properties

from mlcalc import CommitteeCalculator, InputError, SchNetCalculator
from mlcalc.committee import disagreement
from tests.conftest import SCHNETPACK_DIALECT, random_model

MODELS = [random_model(SCHNETPACK_DIALECT, seed=seed) for seed in range(3)]


def test_by_hand():
    """Two models: half their distance, on every atom."""
    forces = np.zeros((2, 3, 3))
    forces[1, 1] = [3.0, 0.0, 4.0]
    found = disagreement(np.array([1.0, 2.0]), forces)
    assert found.energy == 0.5
    np.testing.assert_allclose(found.forces, [0.0, 2.5, 0.0])


@pytest.mark.parametrize("atoms", [molecule("C2H6"), bulk("C", "diamond", 3.57)], ids=["molecule", "crystal"])
def test_mean_and_standard_deviation(atoms):
    atoms.rattle(0.05, seed=1)
    energies, forces = [], []
    for model in MODELS:
        atoms.calc = SchNetCalculator(model, dtype="float64")
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    atoms.calc = CommitteeCalculator(MODELS, dtype="float64")
    assert atoms.calc.disagreement is None
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies), abs=1e-9)
    np.testing.assert_allclose(atoms.get_forces(), np.mean(forces, axis=0), atol=1e-12)
    assert atoms.calc.disagreement.energy == pytest.approx(np.std(energies), abs=1e-9)
    np.testing.assert_allclose(atoms.calc.disagreement.forces, np.sqrt(np.var(forces, axis=0).sum(axis=1)), atol=1e-12)
    Properties(atoms.calc.results)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-4), atol=1e-4)
    if atoms.pbc.all():
        assert atoms.get_stress().shape == (6,)


def test_models_that_are_one_agree():
    atoms = molecule("C2H2")
    atoms.calc = CommitteeCalculator([MODELS[0]] * 4)
    atoms.get_forces()
    assert atoms.calc.disagreement.energy < 1e-9
    assert atoms.calc.disagreement.forces.max() < 1e-12


def test_moves_pickles_and_is_not_computed_twice():
    atoms = molecule("C2H2")
    atoms.calc = CommitteeCalculator(MODELS)
    atoms.get_forces()
    first = atoms.calc.disagreement
    atoms.get_potential_energy()
    assert atoms.calc.disagreement is first
    atoms.rattle(0.05)
    atoms.get_potential_energy()
    assert atoms.calc.disagreement is not first
    again = pickle.loads(pickle.dumps(atoms))
    assert again.get_potential_energy() == atoms.get_potential_energy()


def test_set_reaches_every_model():
    atoms = molecule("C2H2")
    atoms.calc = CommitteeCalculator(MODELS)
    atoms.get_forces()
    assert atoms.calc.set(dtype="float64") == {"precision": "float64"}
    assert atoms.calc.disagreement is None
    found = atoms.get_forces()
    atoms.calc = CommitteeCalculator(MODELS, dtype="float64")
    np.testing.assert_array_equal(found, atoms.get_forces())


@pytest.mark.parametrize(
    ("setting", "error"),
    [({"model": MODELS[0]}, TypeError), ({"models": MODELS}, TypeError), ({"dtype": "x"}, InputError)],
)
def test_set_refuses(setting, error):
    atoms = molecule("C2H2")
    atoms.calc = CommitteeCalculator(MODELS)
    energy = atoms.get_potential_energy()
    with pytest.raises(error):
        atoms.calc.set(**setting)
    assert atoms.get_potential_energy() == energy
    for name in ("stresses", "dipole"):
        with pytest.raises(PropertyNotImplementedError):
            atoms.calc.get_property(name, atoms)


@pytest.mark.parametrize("models", ["c20", [], ["c20"]])
def test_one_is_no_committee(models):
    with pytest.raises(InputError, match="at least two, a committee"):
        CommitteeCalculator(models)
