"""Zeros of energy: one for each level of theory, none for files; what free constants would do to conformers."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.training.dataset import read_dataset
from mlcalc.training.energy_zero import composition, describe, energy_levels, fit_zeros
from mlcalc.training.settings import TrainingSettings, split_frames
from mlcalc.training.trainer import Trainer

ZERO = {"H": -13.6, "C": -1028.0, "O": -2041.0}


def frames_of(formula: str, energies, engine=None, **info) -> list:
    """Frames whose energy is that of their free atoms and a given one."""
    frames = []
    for energy in energies:
        atoms = Atoms(formula, np.arange(3.0 * len(Atoms(formula))).reshape(-1, 3))
        total = energy + sum(ZERO[symbol] for symbol in atoms.symbols)
        atoms.calc = SinglePointCalculator(atoms, energy=total, forces=np.zeros((len(atoms), 3)))
        atoms.info.update(info | ({"engine": engine} if engine else {}))
        frames.append(atoms)
    return frames


def dataset_of(tmp_path, *files):
    for k, frames in enumerate(files):
        write(tmp_path / f"{k}.xyz", frames, format="extxyz")
    return read_dataset([tmp_path / f"{k}.xyz" for k in range(len(files))])


def fitted(dataset, zeros: str, files=("a", "b")):
    levels, elements = energy_levels(dataset, zeros, files), sorted(set(dataset.numbers.tolist()))
    found = fit_zeros(dataset, levels, np.arange(len(dataset)), elements, lambda frames: np.zeros(len(frames)))
    reference = (composition(dataset, np.arange(len(dataset)), elements) * found[levels.of_frame]).sum(axis=1)
    return levels, found, dataset.energies - reference


def test_free_atoms_of_one_level(tmp_path):
    """Three compositions of three elements: a regular system of equations."""
    dataset = dataset_of(tmp_path, frames_of("CH4", [0.0]), frames_of("CO", [0.0]) + frames_of("H2O", [0.0]))
    levels, zeros, rest = fitted(dataset, "one")
    assert levels.names == ["no engine"]
    np.testing.assert_allclose(zeros[0], [ZERO["H"], ZERO["C"], ZERO["O"]], rtol=1e-6)
    np.testing.assert_allclose(rest, 0.0, atol=1e-6)
    assert describe(levels, zeros, [1, 6, 8]).startswith(
        "zero of energy: H -13.6000, C -1028.0000, O -2041.0000 eV per atom"
    )


def test_conformers_in_two_files_keep_their_difference(tmp_path):
    closed, opened = frames_of("CH4", [0.0] * 50), frames_of("CH4", [1.659] * 4)
    dataset = dataset_of(tmp_path, closed, opened)
    assert np.ptp(fitted(dataset, "one")[2]) == pytest.approx(1.659, abs=1e-9)
    assert np.ptp(fitted(dataset, "file")[2]) == pytest.approx(
        0.0, abs=1e-9
    )  # what a constant for each file does to them


def test_engines_have_constants(tmp_path):
    xtb, dft = frames_of("CH4", [0.0, 0.2], "tblite:GFN2-xTB"), frames_of("CH4", [7.0, 7.1], "cp2k:a.inp")
    dataset = dataset_of(tmp_path, xtb, dft)
    with pytest.raises(InputError, match="tblite:GFN2-xTB in 2, cp2k:a.inp in 2 structures.*energy_zeros"):
        energy_levels(dataset, "one", ())
    levels, zeros, rest = fitted(dataset, "engine")
    assert levels.of_frame.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(rest, [-0.1, 0.1, -0.05, 0.05], atol=1e-9)
    assert (zeros[1] - zeros[0]) @ [4, 1] == pytest.approx(6.95)
    assert "2 frames of cp2k:a.inp" in describe(levels, zeros, [1, 6])
    assert energy_levels(dataset, "shared", ()).of_frame.tolist() == [0, 0, 0, 0]
    with pytest.raises(InputError, match="no engine in 1"):
        energy_levels(dataset_of(tmp_path, xtb, frames_of("CH4", [0.0])), "one", ())


def test_a_level_of_several_compositions_has_a_constant_for_each_element(tmp_path):
    other = {"H": 0.3, "C": -2.0, "O": 5.0}
    first, second = [], []
    for formula in ("CH4", "CO", "H2O"):
        first += frames_of(formula, [0.0], "a")
        second += frames_of(formula, [sum(other[symbol] for symbol in Atoms(formula).symbols)], "b")
    _, zeros, rest = fitted(dataset_of(tmp_path, first, second), "engine")
    np.testing.assert_allclose(zeros[1] - zeros[0], [0.3, -2.0, 5.0], atol=1e-5)
    np.testing.assert_allclose(rest, 0.0, atol=1e-5)


def test_the_trainer_keeps_conformers_apart(tmp_path):
    dataset = dataset_of(tmp_path, frames_of("CH4", [0.0] * 30), frames_of("CH4", [1.5] * 30))
    values = {"data": ["0.xyz", "1.xyz"], "n_features": 8, "n_interactions": 1, "compile": False, "split": "random"}
    values["precision"] = "float64"
    trainer = Trainer(build_settings(TrainingSettings, values, "t"), dataset)
    assert len(trainer.offsets) == 1
    relative = trainer.batches.make(np.arange(len(dataset))).labels["energy"].numpy()
    assert relative[dataset.sources == 1].mean() - relative[dataset.sources == 0].mean() == pytest.approx(1.5, abs=1e-6)
    assert "60 frames of no engine" in trainer.describe()


def test_half_of_a_small_set_is_never_held_out(tmp_path):
    two = [atoms for k in range(2) for atoms in frames_of("CH4", [0.0] * 20, trajectory=f"t{k}")]
    dataset = dataset_of(tmp_path, two)
    settings = build_settings(TrainingSettings, {"data": ["0.xyz"], "test_fraction": 0.0}, "t")
    with pytest.raises(
        InputError, match="20 of 40 frames for validation and 0 for testing, where 5% were requested: there are only 2"
    ):
        split_frames(dataset, settings)
    four = [atoms for k in range(4) for atoms in frames_of("CH4", [0.0] * 10, trajectory=f"t{k}")]
    split = split_frames(dataset_of(tmp_path, four), settings)  # one of four, as liquids are trained
    assert split.describe(dataset_of(tmp_path, four), "trajectory") == (
        "frames: 30 to train on, 10 for validation, 0 for testing (3, 1, 0 trajectories)"
    )
