"""What a start structure says is what a run moves: masses, charge, spin, i-PI's cell and units; or it is refused."""

import builtins
import hashlib
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write
from ase.units import Bohr

from md.cli import main
from md.files.checkpoint import read_checkpoint
from md.runs.structures import read_start, read_structure
from mlcalc.common.errors import InputError
from mlcalc.model_file import load_model, save_model
from mlcalc.structures.structure_files import read_atoms
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

ROOT = Path(__file__).parents[2]
METHANE = ROOT / "inputs" / "methane" / "start.xyz"


def ipi_text(positions, cell: str, unit: str = "angstrom", cell_unit: str = "{angstrom}") -> str:
    """A frame as i-PI writes it, positions given in that unit."""
    head = f"# CELL(abcABC): {cell} Step: 40 Bead: 0 positions{{{unit}}} cell{cell_unit}"
    return "\n".join([str(len(positions)), head, *("C {} {} {}".format(*q) for q in positions.tolist()), ""])


def test_the_cell_of_ipis_comment_is_the_structures(tmp_path):
    start = read(METHANE)
    a, b, c = start.cell.lengths()
    for name, unit, scale in (("a", "angstrom", 1.0), ("b", "atomic_unit", Bohr)):
        text = ipi_text(start.positions / scale, f"{a} {b} {c} 90.0 90.0 90.0", unit)
        (tmp_path / f"{name}.xyz").write_text(text)
        found = read_structure(tmp_path / f"{name}.xyz")
        assert found.pbc.all()
        np.testing.assert_allclose(found.cell.array, start.cell.array, atol=1e-6)
        np.testing.assert_allclose(found.positions, start.positions, atol=1e-6)
    (tmp_path / "c.xyz").write_text(
        ipi_text(start.positions, f"{a / Bohr} {b / Bohr} {c / Bohr} 90 90 90", cell_unit="")
    )
    np.testing.assert_allclose(read_structure(tmp_path / "c.xyz").cell.array, start.cell.array, atol=1e-5)
    assert read_atoms(tmp_path / "a.xyz")[0].info == {"step": 40, "bead": 0}


def test_a_molecule_in_ipis_box_stays_a_molecule(tmp_path):
    (tmp_path / "a.xyz").write_text(
        ipi_text(read(ROOT / "inputs/c20/c20.xyz").positions, "50.0 50.0 50.0 90.0 90.0 90.0")
    )
    assert not read_structure(tmp_path / "a.xyz").pbc.any()


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("# CELL(abcABC): 20 20 20 90 90 90 Step: 0 Bead: 0", "structure 1: i-PI's comment names no unit"),
        ("# CELL(abcABC): 20 20 20 90 90 90 velocities{angstrom} cell{angstrom}", "velocities.* expected positions"),
        ("# CELL(abcABC): 20 20 20 90 90 90 positions{parsec} cell{angstrom}", "parsec"),
    ],
)
def test_comments_of_ipi_that_cannot_be_a_structure(tmp_path, head, message):
    (tmp_path / "a.xyz").write_text(f"1\n{head}\nC 0 0 0\n")
    with pytest.raises(InputError, match=message):
        read_structure(tmp_path / "a.xyz")


def test_beads_get_their_masses_from_the_model(tmp_path, capsys):
    """GRO has no masses; the run, its folder and a run that is resumed have those of the beads."""
    write(tmp_path / "start.gro", read(METHANE))
    model = load_model("methane-cg")
    capsys.readouterr()
    found = read_start(tmp_path / "start.gro", model)
    np.testing.assert_allclose(found.get_masses(), 16.042568, atol=1e-6)
    assert "its atoms are the beads of the model (C 16.0426 u)" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text(
        'structure = "start.gro"\nmodel = "methane-cg"\ntemperature_K = 190.0\ntimestep_fs = 5.0\nsteps = 20\n'
    )
    command = ["run", str(tmp_path / "run.toml"), "--output", str(tmp_path / "run"), "--no-figure"]
    assert main(command) == 0
    np.testing.assert_allclose(read(tmp_path / "run" / "structure.xyz").get_masses(), 16.042568, atol=1e-6)
    assert main([*command, "--steps", "40"]) == 0  # the same run, from its input
    assert main(["resume", str(tmp_path / "run"), "--steps", "60", "--no-figure"]) == 0  # and from its folder
    assert capsys.readouterr().err.count("beads of the model") == 2


def test_masses_that_are_said_are_kept(tmp_path, capsys):
    atoms = read(ROOT / "inputs/c20/c20.xyz")
    atoms.new_array("mass", np.full(20, 13.00335))
    write(tmp_path / "a.extxyz", atoms)
    np.testing.assert_allclose(read_structure(tmp_path / "a.extxyz").get_masses(), 13.00335)
    assert capsys.readouterr().err == ""


@pytest.fixture
def methane(tmp_path):
    save_model(random_model(SCHNETPACK_DIALECT, domain={"elements": [1, 6]}), tmp_path / "net.safetensors")
    (tmp_path / "run.toml").write_text('structure = "ch4.xyz"\nsteps = 20\ntimestep_fs = 0.1\n')
    atoms = molecule("CH4")
    return atoms, [
        "run", str(tmp_path / "run.toml"), "--model", str(tmp_path / "net.safetensors"), "--output", str(tmp_path / "run"),
        "--no-figure",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "info", [{"charge": 1}, {"multiplicity": 3}, {"charge": 0.5}, {"charge": 1, "total_charge": 2}]
)
def test_a_charge_that_the_model_does_not_know_is_refused(tmp_path, methane, capsys, info):
    atoms, command = methane
    atoms.info.update(info)
    write(tmp_path / "ch4.xyz", atoms, format="extxyz")
    assert main(command) == 2
    assert "rpmd: error:" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_charge_of_a_start_stays_with_the_run(tmp_path, methane):
    atoms, command = methane
    network = random_model(SCHNETPACK_DIALECT, domain={"elements": [1, 6], "charge": 1})
    save_model(network, tmp_path / "net.safetensors")
    atoms.info["total_charge"] = 1
    write(tmp_path / "ch4.xyz", atoms, format="extxyz")
    assert main(command) == 0
    assert read(tmp_path / "run" / "structure.xyz").info["charge"] == 1
    assert main(["frames", str(tmp_path / "run"), "-o", str(tmp_path / "frames.xyz")]) == 0
    assert {frame.info["charge"] for frame in read(tmp_path / "frames.xyz", ":")} == {1}


def test_a_structure_that_says_nothing_is_written_as_before():
    """What runs are recognised by must not change."""
    found = read_structure(ROOT / "inputs/c20/c20.xyz")
    assert found.info == {}
    assert set(found.arrays) == {"numbers", "positions"}


@pytest.mark.parametrize("command", ["run", "resume"])
def test_models_and_structure_are_opened_once(tmp_path, command, monkeypatch):
    """Several numbers of beads and all; hashes, copies and status are of what was read."""
    write_acetylene(tmp_path, 'steps = 10\nbeads = [2, 1]\ncommittee = ["other.safetensors"]\n')
    shutil.copy(tmp_path / "net.safetensors", tmp_path / "other.safetensors")
    monkeypatch.chdir(tmp_path)
    opened, open_file = Counter(), io.open

    def counted(file, mode="r", *arguments, **keys):
        if "r" in mode and "+" not in mode:
            opened[str(file)] += 1
        return open_file(file, mode, *arguments, **keys)

    if command == "resume":
        assert rpmd_run(tmp_path) == 0
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", counted)
        patch.setattr(builtins, "open", counted)
        if command == "run":
            assert rpmd_run(tmp_path) == 0
        else:
            assert main(["resume", str(tmp_path / "out"), "--steps", "20", "--no-figure"]) == 0
    names = ["net.safetensors", "other.safetensors", "start.xyz"]
    if command == "resume":
        names = [
            f"out/P{n}/{name}"
            for n in (2, 1)
            for name in ("model.safetensors", "committee-000.safetensors", "structure.xyz")
        ]
    totals = {name: sum(count for path, count in opened.items() if path.endswith(name)) for name in names}
    assert totals == dict.fromkeys(names, 1)
    digest = hashlib.sha256((tmp_path / "net.safetensors").read_bytes()).hexdigest()
    for folder in (tmp_path / "out" / "P2", tmp_path / "out" / "P1"):
        assert json.loads((folder / "status.json").read_text())["model_sha256"] == digest
        identity = read_checkpoint(folder)[0].physics
        assert identity["model"] == identity["committee[0]"] == digest
        assert identity["structure"] == hashlib.sha256((folder / "structure.xyz").read_bytes()).hexdigest()
