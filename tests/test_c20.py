"""The shipped C20 networks and the example inputs: what README and model cards say of them is so."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import InputError as AseInputError
from ase.io import read
from ase.optimize import BFGS

from md.runs.config import read_settings
from mlcalc import InputError, SchNetCalculator, load_model
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.model_file import shipped_models
from mlcalc.modes import relaxed_modes
from mlcalc.potential import build_potential
from mlcalc.torch_potential import TorchPotential
from mlcalc.training.evaluation import evaluate
from mlcalc.training.settings import TrainingSettings

C20 = Path(__file__).parents[1] / "inputs" / "c20"
MODELS = sorted(name for name in shipped_models() if name.startswith("c20"))


def test_three_networks_with_a_card_each():
    assert MODELS == ["c20", "c20-large", "c20-painn"]
    for name, path in shipped_models().items():
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        assert f"`{name}`" in card
        for key in ("domain", "test_errors", "provenance"):
            assert load_model(name).metadata[key]


@pytest.mark.parametrize("name", MODELS)
def test_recorded_errors_are_those_of_the_committed_labels(name):
    recorded = load_model(name).metadata["test_errors"]["pbe_d3_test.xyz"]
    found = evaluate(name, C20 / "pbe_d3_test.xyz").total
    assert found.frames == recorded["frames"]
    # float32 on another processor: the last digits of a mean over 10⁴ components.
    assert found.force_mae_eV_per_A == pytest.approx(recorded["force_mae_eV_per_A"], rel=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_float32_is_as_good_as_float64(name):
    """Rounding stays a hundred times below the networks' own error of some 10 meV/Å."""
    frames = read(C20 / "pbe_d3_test.xyz", ":20")
    q = np.array([frame.positions for frame in frames])
    forces = [build_potential(load_model(name), frames[0].numbers, dtype)(q)[1] for dtype in ("float32", "float64")]
    assert np.abs(forces[0] - forces[1]).max() < 1e-3
    assert np.abs(forces[0] - forces[1]).mean() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_table_costs_less_than_a_microelectronvolt_per_angstrom(name):
    """In float64 the kernel differs from the filter networks themselves by its interpolation alone."""
    frames = read(C20 / "pbe_d3_test.xyz", ":10")
    q, model = np.array([frame.positions for frame in frames]), load_model(name)
    exact = TorchPotential(model, frames[0].numbers, "float64").evaluate(q)
    found = build_potential(model, frames[0].numbers, "float64").evaluate(q)
    assert np.abs(found["forces"] - exact["forces"]).max() < 1e-6
    assert np.abs(found["energies"] - exact["energies"]).max() < 1e-6


def test_start_is_the_minimum():
    atoms = read(C20 / "c20.xyz")
    atoms.calc = SchNetCalculator("c20", dtype="float64")
    assert np.abs(atoms.get_forces()).max() < 1e-3
    moved = atoms.copy()
    moved.rattle(0.02, seed=1)
    moved.calc = atoms.calc
    assert BFGS(moved, logfile=None).run(fmax=1e-3, steps=300)
    assert moved.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_vibrations_are_the_teachers(name):
    """Lowest and highest frequency and zero-point energy of the authors' force model: 108.4, 1393.5 cm⁻¹, 69.36 kcal/mol.

    The lowest modes are those of the Jahn-Teller distortion, in a nearly flat valley: frequencies there are known to a fifth.
    """
    modes = relaxed_modes(read(C20 / "c20.xyz"), load_model(name))
    assert modes.wavenumbers[0] == pytest.approx(108.4, rel=0.2)
    assert modes.wavenumbers[-1] == pytest.approx(1393.5, rel=0.01)
    assert modes.zero_point_energy / (units.kcal / units.mol) == pytest.approx(69.36, rel=0.005)


@pytest.mark.parametrize(("factor", "message"), [(0.529177, "converted twice|Bohr"), (1 / 0.529177, "Bohr")])
def test_wrong_units_are_noticed(factor, message):
    atoms = read(C20 / "c20.xyz")
    atoms.positions *= factor
    atoms.calc = SchNetCalculator("c20")
    with pytest.raises(AseInputError, match=message):
        atoms.get_potential_energy()


def test_wrong_element_is_refused():
    atoms = read(C20 / "c20.xyz")
    atoms.numbers[0] = 14
    atoms.calc = SchNetCalculator("c20")
    with pytest.raises(AseInputError, match="element Si: this model knows C"):
        atoms.get_potential_energy()


def test_example_inputs_are_valid():
    for path in sorted(C20.glob("*.toml")):
        values = read_toml(path)
        if "data" in values:
            build_settings(TrainingSettings, values, path)
        else:
            assert Path(read_settings(path, {}).structure).is_file()
    assert read_settings(C20 / "rpmd.toml", {}).beads == (8, 1)


def test_dft_labels_say_where_they_come_from():
    for name in ("pbe_d3_train.xyz", "pbe_d3_test.xyz"):
        for frame in read(C20 / name, ":"):
            assert {"sampling", "temperature_K", "beads", "trajectory", "engine"} <= frame.info.keys()
            # The net force of a converged calculation is that of the integration grid.
            assert np.abs(frame.get_forces().sum(axis=0)).max() < 0.1


def test_training_and_test_trajectories_differ():
    names = [
        {frame.info["trajectory"] for frame in read(C20 / f"pbe_d3_{part}.xyz", ":")} for part in ("train", "test")
    ]
    assert not names[0] & names[1]


def test_no_structure_is_both_for_training_and_for_testing():
    """Trajectory names are given by hand; distances are not."""
    distances = [
        np.array([np.sort(frame.get_all_distances(), axis=None) for frame in read(C20 / f"pbe_d3_{part}.xyz", ":")])
        for part in ("train", "test")
    ]
    for frame in distances[1]:
        assert np.abs(distances[0] - frame).max(axis=1).min() > 1e-3


def test_cards_say_how_many_of_the_labels_each_network_saw():
    """`seen_by` names the networks that were trained while labels were still being computed; the others saw all."""
    seen = [frame.info["seen_by"].split() for frame in read(C20 / "pbe_d3_train.xyz", ":")]
    for name in MODELS:
        card = shipped_models()[name].with_suffix(".md").read_text(encoding="utf-8")
        assert f"{sum(name in names for names in seen) or len(seen)} " in card
        assert f"of the {len(seen)} CP2K labels" in card


def test_unknown_model_is_an_input_error():
    with pytest.raises(InputError, match="c20, c20-large"):
        SchNetCalculator("c60")
