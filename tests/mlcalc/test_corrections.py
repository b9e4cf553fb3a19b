"""Networks that correct an engine: their labels, the sum of both, and no use of the correction alone."""

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import read, write

from md.cli import main as rpmd
from mlcalc import NetworkCalculator
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.data.engines import engine_fingerprint, make_calculator
from mlcalc.data.labelling import label_file
from mlcalc.model_file import load_model, save_model
from mlcalc.potential import make_potential
from mlcalc.training.dataset import read_dataset
from mlcalc.training.domain import corrected_engine
from tests.conftest import random_model
from tests.mlcalc.test_training_domain import FAST

TRAIN = FAST.replace("train.xyz", "correction.xyz")


def ethanes(count=8):
    """With labels of Lennard-Jones, in kcal/mol as the comment says."""
    frames = []
    for k in range(count):
        atoms = molecule("C2H6")
        atoms.rattle(0.05, seed=k)
        atoms.calc = LennardJones(sigma=0.8, epsilon=0.1, rc=4.0)
        unit = 0.0433641153087705
        results = {"energy": atoms.get_potential_energy() / unit, "forces": atoms.get_forces() / unit}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(energy_unit="kcal/mol", number=k)
        frames.append(atoms)
    return frames


@pytest.fixture
def corrections(tmp_path):
    """The file of the differences between Lennard-Jones and EMT."""
    write(tmp_path / "dft.xyz", ethanes())
    label_file(tmp_path / "dft.xyz", "ase:emt", tmp_path / "correction.xyz", subtract=True)
    return tmp_path / "correction.xyz"


@pytest.fixture
def correction(tmp_path):
    """A model file of a network that corrects EMT."""
    config = PaiNNConfig(elements=(1, 6), n_features=8, n_interactions=2, n_rbf=8, cutoff=4.0, readout_hidden=8)
    save_model(random_model(config, priors={}, domain={"correction_to": "ase:emt"}), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_labels_are_the_files_own_less_those_of_the_engine(corrections):
    for before, found in zip(ethanes(), read(corrections, ":"), strict=True):
        expected = [before.copy() for _ in range(2)]
        expected[0].calc, expected[1].calc = LennardJones(sigma=0.8, epsilon=0.1, rc=4.0), EMT()
        energies, forces = (
            [of(atoms) for atoms in expected] for of in (lambda a: a.get_potential_energy(), lambda a: a.get_forces())
        )
        assert found.get_potential_energy() == pytest.approx(energies[0] - energies[1], abs=1e-6)
        np.testing.assert_allclose(found.get_forces(), forces[0] - forces[1], atol=1e-6)
        assert found.info["correction_to"] == "ase:emt" and found.info["number"] == before.info["number"]
        assert "energy_unit" not in found.info


def test_labelled_in_full_again_the_mark_is_gone(corrections, tmp_path):
    label_file(corrections, "ase:emt", tmp_path / "whole.xyz")
    assert not any("correction_to" in atoms.info for atoms in read(tmp_path / "whole.xyz", ":"))


def test_nothing_to_subtract_from(corrections, tmp_path):
    frames = ethanes()
    frames[2].calc = None
    write(tmp_path / "dft.xyz", frames)
    for path, message in (
        (tmp_path / "dft.xyz", "structure 3"),
        (corrections, "structure 1 holds corrections already"),
    ):
        with pytest.raises(InputError, match=message):
            label_file(path, "ase:emt", tmp_path / "again.xyz", subtract=True)
    assert not (tmp_path / "again.xyz").exists()


def test_a_network_learns_which_engine_it_corrects(corrections, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # evaluate draws a figure there
    (tmp_path / "train.toml").write_text(TRAIN)
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "net")]) == 0
    model = load_model(tmp_path / "net")
    assert model.domain["correction_to"] == "ase:emt"
    assert "repulsion" not in model.priors  # it is no energy of atoms that come close
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "net"), str(corrections)]) == 0
    assert "force MAE" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "net"), str(tmp_path / "dft.xyz")]) == 2
    assert "a correction to ase:emt: expected a potential, no correction" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "net")]) == 0
    assert "ase:emt" in capsys.readouterr().out


def test_corrections_and_labels_in_full_do_not_mix(corrections, tmp_path, capsys):
    (tmp_path / "train.toml").write_text(TRAIN.replace('["correction.xyz"]', '["correction.xyz", "dft.xyz"]'))
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "net")]) == 2
    assert "corrections to ase:emt in 8, labels in full in 8 structures: expected one kind" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize("mark", [3, np.array([1, 2])])
def test_a_mark_that_is_no_text(tmp_path, mark):
    """Numbers and lists in the comment line are read as names of engines: they are refused by name, without a traceback."""
    frames = [atoms.copy() for atoms in ethanes(2)]
    for atoms, labelled in zip(frames, ethanes(2), strict=True):
        atoms.calc, atoms.info["correction_to"] = labelled.calc, mark
    write(tmp_path / "marked.xyz", frames)
    dataset = read_dataset([tmp_path / "marked.xyz"])
    assert corrected_engine(dataset) == str(mark)


@pytest.mark.parametrize("place", ["key_value_pairs", "data"])
def test_a_mark_in_an_ase_database(corrections, tmp_path, place):
    """It is found in either table of a row."""
    with connect(tmp_path / "correction.db") as database:
        for atoms in read(corrections, ":"):
            mark = {"correction_to": atoms.info["correction_to"]}
            database.write(atoms, **(mark if place == "key_value_pairs" else {"data": mark}))
    assert corrected_engine(read_dataset([tmp_path / "correction.db"])) == "ase:emt"


def test_the_sum_is_the_engine_and_the_network(correction, tmp_path):
    write(tmp_path / "in.xyz", [atoms for atoms in ethanes(3)])
    label_file(tmp_path / "in.xyz", f"ase:emt + schnet:{correction}", tmp_path / "out.xyz", jobs=2)
    alone = load_model(correction).as_correction_to("ase:emt")
    for atoms in read(tmp_path / "out.xyz", ":"):
        energy, forces = make_potential(alone, atoms)(atoms.positions[None])
        engine = atoms.copy()
        engine.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(engine.get_potential_energy() + energy[0], abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), engine.get_forces() + forces[0], atol=1e-6)
    fingerprint = engine_fingerprint(f"ase:emt + schnet:{correction}")
    save_model(random_model(alone.config, seed=1, priors={}, domain={"correction_to": "ase:emt"}), correction)
    assert engine_fingerprint(f"ase:emt + schnet:{correction}") != fingerprint


def test_charges_of_the_network_count_in_the_sum(correction, tmp_path):
    frames, model = ethanes(1), load_model(correction)
    frames[0].info["charge"] = 0
    write(tmp_path / "in.xyz", frames)
    save_model(random_model(model.config, priors={}, domain={"correction_to": "ase:emt", "charge": 1}), correction)
    with pytest.raises(InputError, match="charge"):
        label_file(tmp_path / "in.xyz", f"ase:emt + schnet:{correction}", tmp_path / "out.xyz")


def test_a_correction_alone_is_no_potential(correction, tmp_path, capsys):
    """For every entrance: calculator, engine, potential, ring polymers."""
    message = "a correction to ase:emt, no potential by itself"
    for use in (NetworkCalculator, lambda path: make_calculator(f"schnet:{path}")):
        with pytest.raises(InputError, match=message):
            use(correction)
    with pytest.raises(InputError, match=message):
        make_potential(load_model(correction), ethanes(1)[0])
    write(tmp_path / "start.xyz", ethanes(1)[0])
    (tmp_path / "run.toml").write_text(
        f'structure = "start.xyz"\nmodel = "{correction}"\nbeads = 2\noutput = "{tmp_path / "run"}"\n'
    )
    assert rpmd(["run", str(tmp_path / "run.toml"), "--steps", "10"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("engine", ["ase:lj", "tblite:GFN2-xTB"])
def test_another_engine_is_refused(correction, engine):
    with pytest.raises(InputError, match=f"a correction to ase:emt: expected a correction to {engine}"):
        make_calculator(f"{engine} + schnet:{correction}")


def test_a_potential_is_no_correction(correction):
    save_model(random_model(load_model(correction).config, priors={}), correction)
    with pytest.raises(InputError, match="is a potential, no correction: expected a correction to ase:emt"):
        make_calculator(f"ase:emt + schnet:{correction}")
