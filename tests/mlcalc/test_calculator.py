"""The ASE calculator: conventions of ASE, checks at the door, forces and stress against finite differences."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import (
    CalculationFailed,
    CalculatorSetupError,
    PropertyNotImplementedError,
    get_calculator_class,
)
from ase.calculators.calculator import InputError as AseInputError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.db import connect
from ase.outputs import Properties

from mlcalc import InputError, NetworkCalculator, SchNetCalculator
from mlcalc.model_file import save_model
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model

DOMAIN = {"min_distance_A": 0.9, "max_nearest_distance_A": 1.6}
NETWORK = random_model(SCHNETPACK_DIALECT, domain=DOMAIN)


@pytest.fixture
def ethanol() -> Atoms:
    atoms = molecule("C2H6")
    atoms.rattle(0.03, seed=1)
    return atoms


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_results_fit_ase(ethanol, backend):
    ethanol.calc = SchNetCalculator(NETWORK, dtype="float64", backend=backend)
    energy = ethanol.get_potential_energy()
    assert type(energy) is float
    results = ethanol.calc.results
    Properties(results)  # ASE's own check of names, shapes and types
    assert results["free_energy"] == energy
    assert results["energies"].sum() == pytest.approx(energy, abs=1e-9)
    np.testing.assert_allclose(ethanol.get_forces(), calculate_numerical_forces(ethanol, eps=1e-4), atol=2e-5)
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        ethanol.get_stress()


def test_stress_against_finite_differences():
    network = random_model(SCHNETPACK_DIALECT)
    diamond = bulk("C", "diamond", 3.57) * (2, 1, 1)  # smaller than twice the cutoff: several images of each pair
    diamond.rattle(0.05, seed=2)
    diamond.calc = SchNetCalculator(network, dtype="float64")
    np.testing.assert_allclose(diamond.get_stress(), calculate_numerical_stress(diamond, eps=1e-5), atol=1e-6)


def test_cell_and_composition_may_change_between_calls():
    calculator = SchNetCalculator(random_model(SCHNETPACK_DIALECT), dtype="float64")

    def fresh() -> SchNetCalculator:
        return SchNetCalculator(random_model(SCHNETPACK_DIALECT), dtype="float64")

    wide = bulk("C", "diamond", 3.9)
    for atoms in (bulk("C", "diamond", 3.57), wide, molecule("C2H2"), molecule("CH4"), wide):
        atoms.calc = calculator
        seen = atoms.get_potential_energy()
        atoms.calc = fresh()
        assert seen == pytest.approx(atoms.get_potential_energy(), abs=1e-10)


def test_nothing_is_computed_twice(ethanol):
    ethanol.calc = SchNetCalculator(NETWORK)
    forces = ethanol.get_forces()
    assert ethanol.get_forces() is not forces  # ASE hands out copies
    results = ethanol.calc.results
    ethanol.set_initial_charges(np.linspace(-0.4, 0.4, len(ethanol)))  # partial charges, neutral together
    ethanol.get_potential_energy()
    assert ethanol.calc.results is results
    ethanol.positions[0, 0] += 0.01
    ethanol.get_potential_energy()
    assert ethanol.calc.results is not results


@pytest.mark.parametrize("say", [{"charge": 1}, {"total_charge": -1.0}, {"spin": 3}, {"multiplicity": 3}])
def test_another_charge_or_spin_is_refused(ethanol, say):
    """Also where it is the only thing that has changed, and where it is said by the atoms."""
    ethanol.calc = SchNetCalculator(NETWORK)
    energy = ethanol.get_potential_energy()
    ethanol.info.update(say)
    with pytest.raises(AseInputError, match="this model was trained on"):
        ethanol.get_potential_energy()
    ethanol.info.clear()
    assert ethanol.get_potential_energy() == energy
    ethanol.set_initial_charges([1.0] + [0.0] * (len(ethanol) - 1))
    with pytest.raises(AseInputError, match="charge 1, but this model was trained on charge 0"):
        ethanol.get_forces()


def test_pickle_and_todict(ethanol):
    ethanol.calc = SchNetCalculator(NETWORK)
    energy = ethanol.get_potential_energy()
    again = pickle.loads(pickle.dumps(ethanol))
    again.positions += 1e-3
    assert again.get_potential_energy() == pytest.approx(energy, abs=1e-4)
    assert ethanol.calc.todict()["precision"] == "float32"


@pytest.mark.parametrize("computed", [False, True])
@pytest.mark.parametrize(
    "setting",
    [
        {"model": random_model(SCHNETPACK_DIALECT, seed=7)},
        {"precision": "float64"},
        {"backend": "torch"},
        {"threads": 1},
    ],
)
def test_set_is_as_the_constructor(ethanol, setting, computed):
    ethanol.calc = SchNetCalculator(NETWORK)
    if computed:
        ethanol.get_forces()
    assert list(ethanol.calc.set(**setting)) == list(setting)
    found, parameters = ethanol.get_forces(), ethanol.calc.todict()
    assert ethanol.calc.set(**setting) == {}
    assert ethanol.calc.results  # nothing has changed
    ethanol.calc = SchNetCalculator(**({"model": NETWORK} | setting))
    np.testing.assert_array_equal(found, ethanol.get_forces())
    assert parameters == ethanol.calc.todict()


def test_set_survives_pickling_and_databases(ethanol, tmp_path):
    path, other = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for seed, name in enumerate((path, other)):
        save_model(random_model(SCHNETPACK_DIALECT, seed=seed), name)
    ethanol.calc = SchNetCalculator(path)
    before = ethanol.get_potential_energy()
    ethanol.calc.set(model=other, dtype="float64")
    energy = ethanol.get_potential_energy()
    assert abs(energy - before) > 1e-3
    assert pickle.loads(pickle.dumps(ethanol)).get_potential_energy() == energy
    with connect(tmp_path / "rows.db") as database:
        database.write(ethanol)
        row = database.get(1)
    again = row.toatoms()
    again.calc = SchNetCalculator(**row.calculator_parameters)
    assert again.get_potential_energy() == energy == row.energy


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"precison": "float64"}, TypeError, "did you mean 'precision'"),
        ({"parameters": "file"}, TypeError, "unknown setting 'parameters'"),
        ({"dtype": "nonsense"}, InputError, "expected one of float32, float64"),
        ({"backend": None}, InputError, "expected one of numba, torch"),
        ({"threads": 0}, InputError, "at least 1"),
        ({"threads": 1.5}, InputError, "whole number"),
        ({"threads": True}, InputError, "whole number"),
        ({"model": "no-such-model"}, InputError, "no such file"),
        ({"dtype": "float64", "model": "no-such-model"}, InputError, "no such file"),
    ],
)
def test_set_refuses_and_leaves_all_as_it_was(ethanol, setting, error, message):
    ethanol.calc = SchNetCalculator(NETWORK)
    energy, parameters = ethanol.get_potential_energy(), ethanol.calc.todict()
    with pytest.raises(error, match=message):
        ethanol.calc.set(**setting)
    assert ethanol.calc.todict() == parameters
    assert ethanol.calc.results["energy"] == energy
    if error is InputError:
        with pytest.raises(error, match=message):
            SchNetCalculator(**({"model": NETWORK} | setting))


def test_settings_are_not_changed_behind_the_calculators_back(ethanol):
    ethanol.calc = SchNetCalculator(NETWORK)
    ethanol.get_potential_energy()
    with pytest.raises(AttributeError):
        ethanol.calc.model = NETWORK
    ethanol.calc.parameters["model"] = "c20"
    with pytest.raises(CalculatorSetupError, match="set in place"):
        ethanol.get_potential_energy()


@pytest.mark.parametrize("name", ["dipole", "magmoms", "stresses", "nonsense"])
def test_properties_that_a_network_has_not(ethanol, name):
    ethanol.calc = SchNetCalculator(NETWORK)
    with pytest.raises(PropertyNotImplementedError):
        ethanol.calc.get_property(name, ethanol)
    with pytest.raises(PropertyNotImplementedError, match=name):
        ethanol.calc.calculate(ethanol, [name])
    with pytest.raises(PropertyNotImplementedError):
        ethanol.get_stresses()


def test_two_calculators_in_two_threads(ethanol):
    def trace(seed: int) -> list[float]:
        atoms = ethanol.copy()
        atoms.calc = SchNetCalculator(NETWORK, dtype="float64", threads=1)
        rng = np.random.default_rng(seed)
        energies = []
        for _ in range(20):
            atoms.positions += rng.normal(0, 1e-3, atoms.positions.shape)
            energies.append(atoms.get_potential_energy())
        return energies

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(trace, [1, 2])) == [trace(1), trace(2)]


def test_isolated_atom_is_finite_and_without_force():
    """Where the training set held such; else its energy is not known, and refused."""
    atoms = Atoms("C")
    for known in ("free_elements", "lone_elements"):
        atoms.calc = SchNetCalculator(random_model(SCHNETPACK_DIALECT, domain=DOMAIN | {known: [6]}))
        assert np.isfinite(atoms.get_potential_energy())
        assert not atoms.get_forces().any()
    for domain in (DOMAIN, DOMAIN | {"free_elements": [1]}):
        atoms.calc = SchNetCalculator(random_model(SCHNETPACK_DIALECT, domain=domain))
        with pytest.raises(
            AseInputError, match=r"atoms without any neighbour \(C\): this model was trained on neighbours up to"
        ):
            atoms.get_potential_energy()


def stretched(factor: float) -> Atoms:
    atoms = molecule("C2H6")
    atoms.positions *= factor
    return atoms


@pytest.mark.parametrize(
    ("atoms", "error", "message"),
    [
        (Atoms(), AseInputError, "holds no atoms"),
        (Atoms("CO", [[0, 0, 0], [0, 0, 1.1]]), AseInputError, "element O: this model knows H, C"),
        (Atoms("C2", [[0, 0, 0], [0, 0, np.nan]]), AseInputError, r"atom\(s\) \[1\] are NaN"),
        (Atoms("C2"), AseInputError, "they coincide"),
        (Atoms("C2", [[0, 0, 0], [0, 0, 0.3]]), AseInputError, "closer than anything this model was trained on"),
        (stretched(1 / 0.529177), AseInputError, "positions in Bohr, read as Å"),
        (stretched(0.529177), AseInputError, "positions in Å, converted twice"),
        (Atoms("C", pbc=True), CalculatorSetupError, "every periodic direction needs a cell vector"),
    ],
)
def test_refusals(atoms, error, message):
    atoms.calc = SchNetCalculator(NETWORK)
    with pytest.raises(error, match=message):
        atoms.get_potential_energy()
    assert atoms.calc.results == {}


def test_refusals_of_models_and_arguments():
    diamond = bulk("C", "diamond", 3.57)
    diamond.calc = SchNetCalculator(random_model(ORIGINAL_DIALECT))
    with pytest.raises(CalculatorSetupError, match="molecules only"):
        diamond.get_potential_energy()
    for bad in ({"dtype": "float16"}, {"backend": "jax"}, {"model": "no-such-model"}):
        with pytest.raises(InputError, match="expected one of|no such file"):
            SchNetCalculator(**({"model": NETWORK} | bad))


def test_overflow_is_reported(ethanol):
    broken = random_model(SCHNETPACK_DIALECT)
    broken.weights["readout.0.bias"][:] = 1e30
    broken.weights["readout.1.weight"][:] = 1e30
    ethanol.calc = SchNetCalculator(broken)
    with pytest.raises(CalculationFailed, match="NaN or infinite"):
        ethanol.get_potential_energy()
    assert ethanol.calc.results == {}


def test_memory_stays_flat(ethanol):
    import resource

    ethanol.calc = SchNetCalculator(NETWORK)

    def calls(n: int) -> int:
        for k in range(n):
            ethanol.positions[0, 0] += 1e-7 * (-1) ** k
            ethanol.get_potential_energy()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = calls(300)
    assert calls(3000) - before < 4096  # KiB; one leaked force array per call would be more than that


def test_names_of_version_0_1():
    """``dtype`` is another name of the precision, and SchNetCalculator one for a SchNet alone."""
    general, known = NetworkCalculator(NETWORK, precision="float64"), SchNetCalculator(NETWORK, dtype="float64")
    assert general.parameters == known.parameters and (general.name, known.name) == ("mlcalc", "schnet")
    assert get_calculator_class("mlcalc") is NetworkCalculator and get_calculator_class("schnet") is SchNetCalculator
