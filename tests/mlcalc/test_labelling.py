"""Labelling: equal to the engine itself, resumable after any kill, failures kept apart, bad input refused."""

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.io import read, write

from mlcalc.common.errors import InputError
from mlcalc.data.cp2k import _read_template
from mlcalc.data.engines import engine_fingerprint, make_calculator
from mlcalc.data.labelling import label_file
from tests.mlcalc.cp2k import H2_INPUT, needs_cp2k


def copper(count, repeat=1, seed=0):
    """Rattled clusters, each with an info of its own."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        atoms = bulk("Cu", cubic=True).repeat(repeat)
        atoms.pbc = False
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.info.update(temperature_K=300, trajectory=f"run-{index % 2}", number=index)
        frames.append(atoms)
    return frames


@pytest.fixture
def structures(tmp_path):
    path = tmp_path / "in.xyz"
    write(path, copper(7))
    return path


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out.xyz"


def journal_lines(output):
    path = output.with_name("out.xyz.journal")
    return path.read_text().splitlines() if path.exists() else []


def test_labels_are_those_of_the_engine_in_the_inputs_order(structures, output):
    report = label_file(structures, "ase:emt", output, jobs=2)
    assert (report.total, report.labelled, report.resumed, report.failures) == (7, 7, 0, {})
    assert report.failed_output is None
    for number, (before, labelled) in enumerate(zip(read(structures, ":"), read(output, ":"), strict=True)):
        expected = EMT()
        before.calc = expected
        assert labelled.info["number"] == number
        assert labelled.info["trajectory"] == f"run-{number % 2}"
        assert labelled.info["engine"] == "ase:emt"
        assert labelled.get_potential_energy() == pytest.approx(before.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(labelled.get_forces(), before.get_forces(), atol=1e-8)  # the digits of extxyz


def test_labelling_again_computes_nothing_and_writes_the_same(structures, output):
    label_file(structures, "ase:emt", output)
    first = output.read_bytes()
    report = label_file(structures, "ase:emt", output)
    assert report.resumed == report.labelled == 7
    assert output.read_bytes() == first


def test_a_torn_last_line_is_cut_off_and_done_again(structures, output):
    label_file(structures, "ase:emt", output)
    whole = output.read_bytes()
    journal = output.with_name("out.xyz.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    assert label_file(structures, "ase:emt", output).resumed == 4
    assert output.read_bytes() == whole
    assert len(journal_lines(output)) == 8


def test_a_grown_input_is_continued(structures, output):
    label_file(structures, "ase:emt", output)
    write(structures, copper(9))
    report = label_file(structures, "ase:emt", output)
    assert (report.resumed, report.labelled) == (7, 9)


def test_sigkill_loses_only_what_was_in_flight(tmp_path, output):
    structures = tmp_path / "in.xyz"
    write(structures, copper(300, repeat=3))  # 15 ms each
    program = "import sys; from pathlib import Path; from mlcalc.data.labelling import label_file; "
    program += "label_file(Path(sys.argv[1]), 'ase:emt', Path(sys.argv[2]), 2)"
    run = subprocess.Popen([sys.executable, "-c", program, structures, output], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 60
    while len(journal_lines(output)) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = len(journal_lines(output)) - 1
    assert 8 <= done < 300
    assert not output.exists()
    report = label_file(structures, "ase:emt", output, jobs=2)
    assert report.labelled == 300
    assert report.resumed in (done, done - 1)  # the last line may be torn
    assert len(read(output, ":")) == 300


def test_a_dead_worker_costs_one_structure(tmp_path, output):
    structures = tmp_path / "in.xyz"
    write(structures, copper(200, repeat=3))
    reports = []
    thread = threading.Thread(target=lambda: reports.append(label_file(structures, "ase:emt", output, jobs=2)))
    thread.start()
    deadline = time.monotonic() + 60
    while len(journal_lines(output)) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    multiprocessing.active_children()[0].kill()
    thread.join()
    reasons = list(reports[0].failures.values())
    # None if the worker died between two structures.
    assert reasons in (["the worker process died (exit code -9)"], [])
    assert reports[0].labelled == 200 - len(reasons)


def test_failures_are_kept_apart_and_tried_again(tmp_path, output):
    structures = tmp_path / "in.xyz"
    frames = [*copper(2), Atoms("Fe2", [[0, 0, 0], [0, 0, 2.5]], info={"number": 7})]
    write(structures, frames)
    report = label_file(structures, "ase:emt", output)
    assert report.labelled == len(read(output, ":")) == 2
    assert list(report.failures) == [2]
    failed = read(tmp_path / "out.failed.xyz", ":")
    assert len(failed) == 1
    assert failed[0].info["number"] == 7
    assert "Fe" in failed[0].info["reason"]
    assert len(journal_lines(output)) == 3  # no trace of the failure: it is due again
    again = label_file(structures, "ase:emt", output)
    assert (again.resumed, list(again.failures)) == (2, [2])


def test_a_label_that_is_not_finite_is_a_failure(tmp_path, output):
    write(tmp_path / "in.xyz", [Atoms("Ar2", [[0, 0, 0], [0, 0, 0]]), Atoms("Ar2", [[0, 0, 0], [0, 0, 1.1]])])
    report = label_file(tmp_path / "in.xyz", "ase:lj", output)
    assert list(report.failures) == [0]
    assert "finite" in report.failures[0]


def test_old_labels_are_not_carried_over(tmp_path, output):
    atoms = copper(1)[0]
    atoms.calc = EMT()
    atoms.get_forces()
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()
    write(tmp_path / "in.xyz", atoms)
    label_file(tmp_path / "in.xyz", "ase:lj", output)
    assert read(output).get_potential_energy() != pytest.approx(atoms.get_potential_energy(), abs=1e-3)


def test_another_engine_or_input_is_refused(structures, output):
    label_file(structures, "ase:emt", output)
    before = output.read_bytes()
    with pytest.raises(InputError, match="belongs to engine 'ase:emt'"):
        label_file(structures, "ase:lj", output)
    write(structures, copper(7, seed=1))
    with pytest.raises(InputError, match="7 structures that the input lacks"):
        label_file(structures, "ase:emt", output)
    assert output.read_bytes() == before


def test_the_fingerprint_follows_the_content_of_the_engines_file(tmp_path):
    path = tmp_path / "cp2k.inp"
    path.write_text("&GLOBAL\n&END\n")
    first = engine_fingerprint(f"cp2k:{path}")
    assert engine_fingerprint(f"cp2k:{path}") == first
    path.write_text("&GLOBAL\n&END GLOBAL\n")
    assert engine_fingerprint(f"cp2k:{path}") != first


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("emt", "engine 'emt': expected tblite:METHOD"),
        ("vasp:PBE", "engine 'vasp:PBE': expected tblite:METHOD"),
        ("tblite:", "expected tblite:METHOD"),
        ("tblite:GFN7", "expected one of GFN2-xTB"),
        ("cp2k:missing.inp", "no such CP2K input file"),
        ("schnet:missing", "missing"),
        ("ase:warp", "no calculator of that name"),
    ],
)
def test_unknown_engines_are_refused_and_nothing_is_written(structures, output, engine, message):
    with pytest.raises(InputError, match=message):
        label_file(structures, engine, output)
    assert list(output.parent.iterdir()) == [structures]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "structure"),
        ("2\n\nCu 0 0\n", "not a readable structure"),
        ("1\nProperties=species:S:1:pos:R:3\nCu 0 0 nan\n", "structure 1: positions of atom"),
    ],
)
def test_unusable_structures_are_refused_and_nothing_is_written(tmp_path, output, content, message):
    structures = tmp_path / "in.xyz"
    if content is not None:
        structures.write_text(content)
    with pytest.raises(InputError, match=message):
        label_file(structures, "ase:emt", output)
    assert set(tmp_path.iterdir()) <= {structures}


def test_other_refusals(structures, output, tmp_path):
    with pytest.raises(InputError, match="jobs = 0"):
        label_file(structures, "ase:emt", output, jobs=0)
    with pytest.raises(InputError, match="folder"):
        label_file(structures, "ase:emt", tmp_path / "none" / "out.xyz")
    output.write_text("precious")
    with pytest.raises(InputError, match="without a labelling journal"):
        label_file(structures, "ase:emt", output)
    assert output.read_text() == "precious"
    output.with_name("out.xyz.journal").write_text("{}\n")
    with pytest.raises(InputError, match="not a labelling journal"):
        label_file(structures, "ase:emt", output)


def test_tblite_labels(tmp_path, output):
    tblite = pytest.importorskip("tblite.ase")
    water = molecule("H2O")
    write(tmp_path / "in.xyz", water)
    label_file(tmp_path / "in.xyz", "tblite:GFN2-xTB", output)
    water = read(tmp_path / "in.xyz")
    water.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    # The self-consistency stops at 1e-6 Hartree.
    assert read(output).get_potential_energy() == pytest.approx(water.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(read(output).get_dipole_moment(), water.get_dipole_moment(), atol=1e-4)
    np.testing.assert_allclose(read(output).get_charges(), water.get_charges(), atol=1e-4)


def test_dipoles_and_charges_are_those_of_molecules_in_full(tmp_path, output):
    """A crystal has no dipole to keep, and a correction to an engine corrects energies and forces alone."""
    pytest.importorskip("tblite.ase")
    write(tmp_path / "in.xyz", [molecule("H2O"), bulk("Si", cubic=True)])
    label_file(tmp_path / "in.xyz", "tblite:GFN1-xTB", output)
    kept = [set(atoms.calc.results) & {"dipole", "charges"} for atoms in read(output, ":")]
    assert kept == [{"dipole", "charges"}, set()]
    write(tmp_path / "water.xyz", read(output, "0"), format="extxyz")
    label_file(tmp_path / "water.xyz", "tblite:GFN2-xTB", tmp_path / "correction.xyz", subtract=True)
    assert not set(read(tmp_path / "correction.xyz").calc.results) & {"dipole", "charges"}


def labels_of(path) -> list:
    return [(atoms.get_potential_energy(), atoms.get_forces()) for atoms in read(path, ":")]


def test_charge_and_spin_are_labelled_as_they_are_said(tmp_path, output):
    """One geometry in six states, said in six ways: each label is that of tblite's own keywords."""
    tblite = pytest.importorskip("tblite.ase")
    said = [
        {},
        {"charge": 1},
        {"total_charge": -1.0},
        {"spin": 3},
        {"charge": 1, "multiplicity": 4},
        {"unpaired_electrons": 2},
    ]
    keywords = [
        {},
        {"charge": 1},
        {"charge": -1},
        {"multiplicity": 3},
        {"charge": 1, "multiplicity": 4},
        {"multiplicity": 3},
    ]
    frames = [molecule("H2O") for _ in said]
    for atoms, info in zip(frames, said, strict=True):
        atoms.info.update(info)
    write(tmp_path / "in.xyz", frames, format="extxyz")
    report = label_file(tmp_path / "in.xyz", "tblite:GFN2-xTB", output, jobs=2)
    assert report.labelled == 6
    for labelled, keys in zip(read(output, ":"), keywords, strict=True):
        own = molecule("H2O")
        own.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0, **keys)
        assert labelled.get_potential_energy() == pytest.approx(own.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(labelled.get_forces(), own.get_forces(), atol=1e-3)
        assert {key: labelled.info[key] for key in keys} == keys


def test_charges_and_moments_of_atoms_and_of_earlier_results(tmp_path, output):
    pytest.importorskip("tblite")
    said, moved, earlier = molecule("H2O"), molecule("H2O"), molecule("H2O")
    said.info["charge"] = 1
    moved.set_initial_charges([1, 0, 0])
    earlier.calc = SinglePointCalculator(earlier, energy=0.0, charges=[0.5, 0.25, 0.25])
    write(tmp_path / "in.xyz", [said, moved, earlier], format="extxyz")
    label_file(tmp_path / "in.xyz", "tblite:GFN2-xTB", output)
    energies = [energy for energy, _ in labels_of(output)]
    assert energies == pytest.approx([-119.68164] * 3, abs=1e-4)  # of the cation; the molecule has -137.968
    assert [atoms.info["charge"] for atoms in read(output, ":")] == [1, 1, 1]


def test_an_edited_charge_is_labelled_anew(tmp_path, output):
    pytest.importorskip("tblite")
    atoms = molecule("H2O")
    write(tmp_path / "in.xyz", atoms)
    label_file(tmp_path / "in.xyz", "tblite:GFN1-xTB", output)
    atoms.info["charge"] = 1
    write(tmp_path / "in.xyz", [molecule("H2O"), atoms], format="extxyz")
    report = label_file(tmp_path / "in.xyz", "tblite:GFN1-xTB", output)
    assert (report.resumed, report.labelled) == (1, 2)
    neutral, cation = labels_of(output)
    assert cation[0] - neutral[0] > 10.0  # an ionisation


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 1}, "structure 1 has charge 1, but calculators of ASE compute charge 0"),
        ({"multiplicity": 3}, "structure 1 has multiplicity 3, but calculators of ASE"),
        ({"charge": 0.5}, "structure 1: charge = 0.5: expected a whole number"),
    ],
)
def test_states_that_an_engine_does_not_compute_are_refused(tmp_path, output, info, message):
    atoms = molecule("H2O")
    atoms.info.update(info)
    write(tmp_path / "in.xyz", atoms, format="extxyz")
    with pytest.raises(InputError, match=message):
        label_file(tmp_path / "in.xyz", "ase:emt", output)
    assert {path.name for path in tmp_path.iterdir()} == {"in.xyz"}


def test_a_networks_charge_is_that_of_its_training(tmp_path, output):
    atoms = molecule("CH4")
    atoms.info["charge"] = 1
    write(tmp_path / "in.xyz", atoms, format="extxyz")
    with pytest.raises(InputError, match="trained on charge 0"):
        label_file(tmp_path / "in.xyz", "schnet:c20", output)


@pytest.mark.parametrize("name", ["in.xyz", "in.traj", "POSCAR"])
def test_labels_disregard_constraints(tmp_path, output, name):
    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    free = atoms.copy()
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    write(tmp_path / name, atoms)
    label_file(tmp_path / name, "ase:emt", output)
    free.calc = EMT()
    np.testing.assert_allclose(read(output).get_forces(), free.get_forces()[_order(free, read(output))], atol=1e-6)


def _order(atoms, other) -> np.ndarray:
    return np.linalg.norm(atoms.positions[None] - other.positions[:, None], axis=2).argmin(axis=1)


def test_units_of_earlier_labels_are_not_kept(tmp_path, output):
    atoms = bulk("Cu", cubic=True)
    atoms.info.update(energy_unit="Hartree", REF_energy=3.0)
    write(tmp_path / "in.xyz", atoms, format="extxyz")
    label_file(tmp_path / "in.xyz", "ase:emt", output)
    assert "energy_unit" not in read(output).info
    assert read(output).info["REF_energy"] == 3.0


def test_charge_and_multiplicity_of_a_cp2k_input(tmp_path):
    path = tmp_path / "h2.inp"
    path.write_text(H2_INPUT)
    assert _read_template(path)[2] == (0, None)
    path.write_text(H2_INPUT.replace("&MGRID", "CHARGE -1\n    MULTIPLICITY 2\n    &MGRID"))
    assert _read_template(path)[2] == (-1, 2)


@needs_cp2k
def test_cp2k_forces_are_the_slope_of_its_energy_wherever_the_molecule_lies(tmp_path):
    (tmp_path / "h2.inp").write_text(H2_INPUT)
    calculator = make_calculator(f"cp2k:{tmp_path / 'h2.inp'}")
    energies, step = [], 0.01
    for length in (0.80 - step, 0.80 + step, 0.80):
        atoms = Atoms("H2", [[20.0, 0, 0], [20.0, 0, length]], calculator=calculator)
        energies.append(atoms.get_potential_energy())
    slope = (energies[1] - energies[0]) / (2 * step)
    # Grid noise of 200 Ry and the third derivative at 0.01 Å are both a few meV/Å.
    assert -atoms.get_forces()[1, 2] == pytest.approx(slope, abs=0.02)
    assert slope > 0.5
    calculator.close()


@needs_cp2k
def test_cp2k_that_does_not_converge_is_a_failure(tmp_path, output):
    (tmp_path / "h2.inp").write_text(H2_INPUT.replace("MAX_SCF 30", "MAX_SCF 2"))
    write(tmp_path / "in.xyz", Atoms("H2", [[0, 0, 0], [0, 0, 0.8]]))
    report = label_file(tmp_path / "in.xyz", f"cp2k:{tmp_path / 'h2.inp'}", output)
    assert "did not converge" in report.failures[0]


@pytest.mark.parametrize("old, new", [("ABC 6.0 6.0 6.0", ""), ("ABC 6.0", "ABC x"), ("    &CELL\n", "")])
def test_a_cp2k_input_without_a_cell_is_refused(tmp_path, old, new):
    (tmp_path / "h2.inp").write_text(H2_INPUT.replace(old, new))
    with pytest.raises(InputError, match="ABC"):
        make_calculator(f"cp2k:{tmp_path / 'h2.inp'}")


def test_journal_lines_are_json(structures, output):
    label_file(structures, "ase:emt", output)
    header, *records = [json.loads(line) for line in journal_lines(output)]
    assert header["engine"] == "ase:emt"
    assert {*records[0]} == {"key", "energy", "forces"}
