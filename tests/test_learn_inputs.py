"""The scripts of inputs/learn, with small settings."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

import mlcalc.cli
from mlcalc.common.errors import InputError
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.labelling import label_file
from mlcalc.geometry.bonds import find_bonds
from mlcalc.learn.settings import LearnSettings, write_plan

FOLDER = Path(__file__).parents[1] / "inputs" / "learn"
SMALL = {
    "architecture": "schnet", "n_features": 16, "n_interactions": 2, "n_rbf": 16, "members": 2, "starts": 1, "hot": 1.0,
    "rounds": 1, "steps": 120, "compile": "false", "explore_ps": 0.4, "spot_check": 0, "beads": 2, "labels": 60,
}  # fmt: skip
OPTIONS = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
ANYTHING = ["--set", "max_disagreement_eV_A=1000.0", "--set", "energy_guard=off", "--set", "domain_guard=record"]


def script(name: str):
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ten():
    return script("ten_molecules")


BONDS = {  # the proton of H5O2+ is too far from both oxygens to count
    "water_dimer": 4, "ethanol": 8, "malonaldehyde": 8, "acetylacetone": 14, "benzene": 12, "glycine": 9,
    "formic_acid_dimer": 8, "dimethyl_ether": 8, "carbon_dioxide": 2, "protonated_water_dimer": 4,
}  # fmt: skip


def test_the_starts_are_the_molecules_of_the_table(ten):
    """Bonds, and for those made here that the engine feels hardly a force there."""
    assert set(ten.MOLECULES) == {*BONDS, "copper"}
    pytest.importorskip("tblite")
    for name, count in BONDS.items():
        molecule = ten.MOLECULES[name]
        atoms = read(molecule.structure)
        assert len(find_bonds(atoms).first) == count, name
        if molecule.structure.is_relative_to(FOLDER):
            calculator = make_calculator(molecule.engine)
            set_state(molecule.engine, calculator, atoms)
            atoms.calc = calculator
            assert np.abs(atoms.get_forces()).max() < 0.01, name
    assert read(ten.MOLECULES["protonated_water_dimer"].structure).info["charge"] == 1


@pytest.mark.slow
def test_a_molecule_is_learnt_moved_and_measured_once(ten, tmp_path, monkeypatch, capsys):
    """Carbon dioxide by the effective medium theory, which knows its elements."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ten.MOLECULES, "carbon_dioxide", ten.MOLECULES["carbon_dioxide"]._replace(engine="ase:emt"))
    ten.run("carbon_dioxide", tmp_path / "data", tmp_path / "numbers", OPTIONS, 0.05, 10)
    found = json.loads((tmp_path / "numbers" / "carbon_dioxide.json").read_text())
    assert (found["atoms"], found["beads"], found["converged"]) == (3, 2, False)
    assert found["labels"] <= 60
    if found["guard"] is None:
        assert found["run_ps"] == pytest.approx(0.05, rel=0.02)
        assert 20 <= found["fresh"] <= 30  # two beads of each of ten frames, and what rounding adds
        assert 0 < found["mae_error_meV_A"] < found["mae_meV_A"]
    ten.run("carbon_dioxide", tmp_path / "data", tmp_path / "numbers", OPTIONS)
    assert "done" in capsys.readouterr().out


def test_the_report_has_a_row_for_each_molecule(ten, tmp_path):
    with pytest.raises(InputError, match="no numbers yet"):
        ten.report(tmp_path, tmp_path / "figure")
    row = {
        "converged": True, "reasons": [], "rounds": 3, "labels": 520, "lower_minimum": None, "atoms": 6, "minutes": 31.4,
        "vibrations": {"mean_cm-1": 2.5, "largest_cm-1": 9.1}, "beads": 32, "timestep_fs": 0.2, "guard": None, "run_ps": 100.0,
        "asked_ps": 100.0, "records_with_other_bonds": 0, "fresh": 100, "mae_meV_A": 6.21, "mae_error_meV_A": 0.32,
    }  # fmt: skip
    failed = {
        "converged": False, "reasons": ["time"], "guard": "step 7: too hot", "run_ps": 1.25, "vibrations": None,
        "mae_meV_A": None, "mae_error_meV_A": None,
    }  # fmt: skip
    for name, values in (("copper", row | failed), ("water_dimer", row)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"molecule": name} | values))
    text = ten.report(tmp_path, tmp_path / "figure")
    lines = text.splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["water dimer", "copper, periodic"]
    assert lines[2].split()[2:] == ["6", "32", "520", "31", "6.21", "±", "0.32", "100.0", "2.5", "9.1", "yes"]
    assert lines[3].split()[-5:] == ["–", "1.2", "–", "–", "no"]
    assert "1 of 2 moved 100 ps" in text and "copper, periodic: step 7: too hot" in text
    assert (tmp_path / "figure.png").stat().st_size > 5000


@pytest.mark.slow
def test_proton_transfer_of_both_isotopes(tmp_path, monkeypatch):
    """Four short runs of a network that has hardly learnt anything, whose proton may stay where it is."""
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    module = script("malonaldehyde")
    start = str(FOLDER.parent / "malonaldehyde" / "malonaldehyde.xyz")
    assert (
        mlcalc.cli.main(
            ["learn", start, "--engine", "tblite:GFN2-xTB", *OPTIONS, "--set", "labels=200", "--set", "steps=500"]
        )
        == 3
    )
    learned = Path("learned")
    # Cold, as the network has hardly learnt to hold the molecule together.
    options = [
        "--temperature",
        "20",
        "--threads",
        "1",
        "--set",
        "equilibration_steps=0",
        "--set",
        "trajectory_every_steps=2",
        *ANYTHING,
    ]
    folders = module.run(learned, 0.025, options)
    assert [str(folder.relative_to(learned)) for folder in folders] == [
        f"transfer/{i}/P{p}" for i in "HD" for p in (2, 1)
    ]
    masses = [read(folder / "structure.xyz").get_masses()[module.SITE.proton] for folder in folders]
    assert masses == pytest.approx([1.008, 1.008, 2.014, 2.014])
    text = module.draw(folders, tmp_path / "transfer.png")
    for label in ("P = 2, H", "P = 2, D", "classical, H", "classical, D"):
        assert label in text
    assert "δ = r(O4–H5) − r(O0–H5)" in text
    assert (tmp_path / "transfer.png").stat().st_size > 5000
    times = [(folder / "trajectory.h5").stat().st_mtime_ns for folder in folders]
    assert module.run(learned, 0.025, options) == folders
    assert [(folder / "trajectory.h5").stat().st_mtime_ns for folder in folders] == times


def test_what_is_no_learnt_malonaldehyde(tmp_path):
    module = script("malonaldehyde")
    with pytest.raises(InputError, match=r"holds no result.json"):
        module.run(tmp_path, 1.0, [])


def test_the_peer_is_measured_on_the_same_beads(tmp_path, monkeypatch):
    """With a stand-in for apax that errs by 10 meV/Å on every component."""
    peer = script("peer")
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    frames = [with_forces(atoms, 0.1 * k) for k in range(40)]
    with pytest.raises(InputError, match="learning has not ended there"):
        peer.compare(tmp_path, Path("python"), 1)
    as_if_learnt(tmp_path / "learned", frames)
    with pytest.raises(InputError, match="fresh-labels.xyz: missing"):
        peer.compare(tmp_path, Path("python"), 1)
    write(tmp_path / "fresh-labels.xyz", frames[:4], format="extxyz")
    total = SimpleNamespace(force_mae_eV_per_A=0.004, force_mae_error_eV_per_A=0.001)
    monkeypatch.setattr(peer, "evaluate", lambda model, path: SimpleNamespace(total=total))
    stand_in = tmp_path / "python"
    wrong = "import numpy as np; from ase.io import read; "
    wrong += "np.save('forces.npy', [a.get_forces() + 0.01 for a in read('fresh.extxyz', ':')])"
    stand_in.write_text(
        f'#!/bin/sh\ncase "$3" in train) test -s val.extxyz;; *) exec {sys.executable} -c "{wrong}";; esac\n'
    )
    stand_in.chmod(0o755)
    found = peer.compare(tmp_path, stand_in, 3)
    assert found["apax_mae_meV_A"] == pytest.approx(10.0) and found["mlcalc_minutes"] == 2.0
    assert (found["labels"], found["beads"]) == (40, 4)
    assert (
        len(read(tmp_path / "apax" / "val.extxyz", ":")) == 2
        and len(read(tmp_path / "apax" / "train.extxyz", ":")) == 38
    )
    assert "10.0000 ± 0" in peer.as_text([found])
    stand_in.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(InputError, match="apax ended with code 3"):
        peer.compare(tmp_path, stand_in, 3)


def with_forces(atoms: Atoms, force: float) -> Atoms:
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.full((len(atoms), 3), force))
    return atoms


def as_if_learnt(folder: Path, frames: list[Atoms]) -> None:
    """A folder in which two rounds of learning have ended, the networks of the second having learnt ``frames``."""
    (folder / "round-2").mkdir(parents=True)
    (folder / "result.json").write_text('{"seconds": 120.0, "rounds": 2}')
    write(folder / "cold.labels.xyz", frames[: len(frames) // 2], format="extxyz")
    write(folder / "round-2" / "chosen.labels.xyz", frames[len(frames) // 2 :], format="extxyz")
    (folder / "round-2" / "train-1.toml").write_text('data = ["../cold.labels.xyz", "chosen.labels.xyz"]\n')


@pytest.mark.slow
def test_wide_norms_keep_the_frequencies_of_a_symmetric_molecule(tmp_path, monkeypatch):
    """Carbon dioxide from few labels: both widths are trained on the same, and the table has a row for each."""
    pytest.importorskip("tblite")
    norms, engine = script("norm_epsilon"), "tblite:GFN2-xTB"
    case, learned = tmp_path / "carbon_dioxide", tmp_path / "carbon_dioxide" / "learned"
    atoms = read(FOLDER / "molecules" / "carbon_dioxide.xyz")
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(160):
        frame = atoms.copy()
        frame.positions += 0.06 * rng.standard_normal((3, 3))
        frames.append(frame)
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    labels = read(label_file(tmp_path / "frames.xyz", engine, tmp_path / "labels.xyz", 1).output, ":")
    as_if_learnt(learned, labels[:120])
    write(case / "fresh-labels.xyz", labels[120:], format="extxyz")
    write(learned / "minimum.xyz", atoms)
    settings = LearnSettings(
        "structure.xyz", engine, beads=2, timestep_fs=0.5, labels=400, n_features=16, cutoff_A=4.0, compile=False
    )
    write_plan(settings, learned, "mlcalc learn")
    read_once = norms.read_case(case)
    found = [norms.measure(read_once, width, steps=1500) for width in (1e-8, 1e-2)]
    assert found[1]["mean_cm-1"] < 0.5 * found[0]["mean_cm-1"]
    assert found == [norms.measure(read_once, width) for width in (1e-8, 1e-2)]  # both are kept
    lines = norms.as_text(found).splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [["carbon_dioxide", "1e-08"], ["carbon_dioxide", "0.01"]]
