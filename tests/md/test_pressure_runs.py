"""Runs at constant pressure: records, resuming to the bit, guards, what is refused."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write

from analysis.__main__ import main as analyse
from analysis.runs.run import pool
from analysis.runs.universe import open_run
from md.cli import main
from md.files.checkpoint import read_checkpoint, write_checkpoint
from md.files.properties import read_table
from md.files.trajectory import read_cells
from md.guards.endings import Exit
from md.runs.config import RunSettings
from md.runs.identity import RUN, identity
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run

KEYS = (
    "temperature_K = 50.0\ntimestep_fs = 0.05\nsteps = 60\nequilibration_steps = 10\nbeads = 3\nthreads = 1\n"
    "properties_every_steps = 5\ntrajectory_every_steps = 10\ncheckpoint_every_steps = 15\n"
    'barostat = "isotropic"\npressure_GPa = 20.0\nbarostat_time_fs = 40.0\n'
)


@pytest.fixture
def case(tmp_path):
    """Eight carbon atoms in a box, with a random network."""
    domain = {"min_distance_A": 0.9, "max_nearest_distance_A": 2.5, "free_elements": [6]}
    save_model(random_model(SCHNETPACK_DIALECT, domain=domain), tmp_path / "net.safetensors")
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3) * 2.2
    write(tmp_path / "start.xyz", Atoms("C8", corners, cell=np.diag([4.4, 4.5, 4.6]), pbc=True), format="extxyz")
    (tmp_path / "run.toml").write_text(
        f'structure = "start.xyz"\nmodel = "{tmp_path}/net.safetensors"\noutput = "{tmp_path}/out"\n{KEYS}'
    )
    return tmp_path


def content(folder) -> dict:
    """All results of a run, to the bit."""
    checkpoint, warning = read_checkpoint(folder)
    assert warning is None
    with h5py.File(folder / "trajectory.h5") as file:
        group = file["particles/trajectory"]
        frames = [group[name][:].tobytes() for name in ("position/value", "position/step", "box/edges/value")]
    state = {name: value.tobytes() for name, value in checkpoint.state.items()}
    return state | {"frames": frames, "table": (folder / "properties.csv").read_text(), "rng": checkpoint.generators}


def test_records(case, capsys):
    """Volumes of table, frames and checkpoint agree; the pressure is that of a further evaluation."""
    assert rpmd_run(case) == 0
    printed = capsys.readouterr().out
    assert "volume / Å³" in printed and "heat capacity" not in printed
    table, cells = read_table(case / "out" / "properties.csv"), read_cells(case / "out" / "trajectory.h5")
    np.testing.assert_allclose(table["volume_A3"][::2], np.linalg.det(cells), rtol=1e-12)
    assert np.ptp(table["volume_A3"]) > 1e-3 * table["volume_A3"][0]
    np.testing.assert_allclose(cells / cells[:, :1, :1], np.broadcast_to(np.diag([4.4, 4.5, 4.6]) / 4.4, cells.shape))
    state = read_checkpoint(case / "out")[0].state
    np.testing.assert_array_equal(state["cell"], cells[-1])
    assert state["piston"].shape == (1,)
    assert np.ptp(table["conserved_eV"]) < 0.01 * np.ptp(table["potential_eV"])
    assert main(["info", str(case / "out")]) == 0
    assert "seed 0, 20 GPa" in capsys.readouterr().out
    assert main(["check", str(case / "out")]) == 0
    assert rpmd_run(case, "--set", "pressure=true", "--output", str(case / "asked")) == 0
    assert (case / "asked" / "properties.csv").read_text() == (case / "out" / "properties.csv").read_text()


def test_lengths_change_each_by_itself(case, capsys):
    assert rpmd_run(case, "--set", "barostat=orthorhombic") == 0
    table, cells = read_table(case / "out" / "properties.csv"), read_cells(case / "out" / "trajectory.h5")
    np.testing.assert_array_equal(cells, [np.diag(cell.diagonal()) for cell in cells])
    assert np.ptp(cells[:, 0, 0] / cells[:, 1, 1]) > 1e-4 and np.ptp(cells[:, 0, 0] / cells[:, 2, 2]) > 1e-4
    assert read_checkpoint(case / "out")[0].state["piston"].shape == (3,)
    assert np.ptp(table["conserved_eV"]) < 0.01 * np.ptp(table["potential_eV"])
    capsys.readouterr()
    assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 0


@pytest.mark.parametrize(
    "options",
    [[], ["--set", "thermostat=PILE-G", "--set", "integrator=BCOCB"], ["--set", "thermostat=none", "--beads", "1"],
     ["--set", "backend=torch", "--set", "precision=float64"], ["--set", "barostat=orthorhombic"]],
    ids=["PILE-L", "PILE-G", "enthalpy", "torch", "orthorhombic"],
)  # fmt: skip
@pytest.mark.parametrize("first", [0, 23])
def test_a_longer_run_in_two_parts(case, options, first):
    assert rpmd_run(case, *options) == 0
    assert rpmd_run(case, *options, "--steps", str(first), "--output", str(case / "parts")) == 0
    assert main(["resume", str(case / "parts"), "--steps", "60", "--no-figure"]) == 0
    assert content(case / "parts") == content(case / "out")


def test_a_checkpoint_without_the_momentum_of_the_cell_is_refused(case, capsys):
    assert rpmd_run(case) == 0
    found, _ = read_checkpoint(case / "out")
    del found.state["piston"]
    write_checkpoint(case / "out", found)
    assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 2
    assert "piston (1,)" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_pressure(case, capsys):
    assert rpmd_run(case) == 0
    assert rpmd_run(case, "--set", "pressure_GPa=10") == 2
    assert "pressure_GPa = 10.0, was 20.0" in capsys.readouterr().err


def test_runs_of_two_pressures_are_not_pooled(case):
    for pressure, name in (("20", "one"), ("20", "two"), ("10", "other")):
        options = ["--set", f"pressure_GPa={pressure}", "--set", "seed=4", "--output", str(case / name)]
        assert rpmd_run(case, *options) == 0
    runs = [open_run(case / name) for name in ("one", "two", "other")]
    assert [len(run.folders) for run in pool(runs)] == [2, 1]


def test_a_cell_out_of_proportion_stops_a_run(case, capsys):
    options = ["--set", "pressure_GPa=-900", "--set", "max_force_eV_A=1e6", "--set", "max_temperature_K=1e7"]
    assert rpmd_run(case, *options, "--steps", "4000", "--set", "domain_guard=record") == Exit.VOLUME
    assert "times as long as at the start" in capsys.readouterr().err
    assert json.loads((case / "out" / "status.json").read_text())["code"] == Exit.VOLUME
    assert read(case / "out" / "breach.xyz").get_volume() > 8 * 4.4 * 4.5 * 4.6


def test_the_identity_of_runs_without_a_barostat_is_as_it_was():
    plain = identity(RunSettings("start.xyz"), RUN, {})
    assert not [key for key in plain if "barostat" in key or key == "pressure_GPa"]
    moved = identity(dataclasses.replace(RunSettings("start.xyz"), barostat="isotropic"), RUN, {})
    assert moved["barostat"] == "isotropic"


def test_what_does_not_go_together_is_refused(case, capsys):
    atoms = read(case / "start.xyz")
    for name, pbc in (("molecule", False), ("slab", (True, True, False)), ("held", True)):
        other = atoms.copy()
        other.pbc = pbc
        if name == "held":
            other.set_constraint(FixAtoms([0]))
        write(case / f"{name}.xyz", other, format="extxyz")
    atoms.cell[1, 0] = 0.2
    write(case / "skewed.xyz", atoms, format="extxyz")
    (case / "gle.txt").write_text("# A MATRIX: (picoseconds^-1)\n5 40\n-40 60\n# C MATRIX: (K)\n60 0\n0 60\n")
    bias = 'bias=[{variable="distance", atoms=[0, 1], on="mean", kind="harmonic", at_A=2.0, force_constant_eV_A2=1.0}]'
    refused = [
        ([f"structure={case}/molecule.xyz"], "barostat = 'isotropic', but"),
        ([f"structure={case}/slab.xyz"], "has pbc = [True, True, False] and 3 cell vectors: a volume"),
        ([f"structure={case}/held.xyz", "remove_com=false"], "a constraint holds 1 of 8 atoms, and barostat = 'isotropic'"),
        (["remove_rotation=true"], "remove_rotation = true with a periodic structure"),
        (["heat_capacity=true"], "barostat = 'isotropic' with heat_capacity = true"),
        ([bias], "barostat = 'isotropic' with a bias"),
        (["model=", "engine=ase:emt"], "barostat = 'isotropic' with engine = 'ase:emt': no virials are taken from engines"),
        (["thermostat=GLE", f"gle_file={case}/gle.txt"], "which has a covariance (C)"),
        (["barostat=anisotropic"], "barostat = 'anisotropic': expected one of none, isotropic, orthorhombic"),
        (["pressure_GPa=2000"], "pressure_GPa = 2000.0: expected at least -1000.0 and at most 1000.0"),
        (["pressure_GPa=nan"], "pressure_GPa = nan"),
        (["barostat_time_fs=0"], "barostat_time_fs = 0.0: expected more than 0"),
        (["barostat_time_fs=0.5"], "barostat_time_fs = 0.5: for the compressibility of"),
        (["barostat_time_fs=0.5", "barostat=orthorhombic"], "barostat_time_fs = 0.5: for the compressibility of"),
        ([f"structure={case}/skewed.xyz", "barostat=orthorhombic"], "expected cell vectors along x, y and z"),
        (["barostat=none"], "pressure_GPa = 20 without a barostat"),
        (["barostat=none", "pressure_GPa=0"], "barostat_time_fs = 40 without a barostat"),
    ]  # fmt: skip
    for assignments, message in refused:
        assert rpmd_run(case, *(part for text in assignments for part in ("--set", text))) == 2, assignments
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    keys = ["--set", "thermostat=none", "--set", "trajectories=2", "--set", "trajectories_at_once=1", "--no-figure"]
    assert main(["real-time", str(case / "run.toml"), *keys]) == 2
    assert "barostat = 'isotropic': it disturbs motion in real time" in capsys.readouterr().err
    assert not (case / "out").exists()


@pytest.mark.parametrize(
    "line", [["isotopes", "{}", "--atoms", "0"], ["free-energy", "{}", "--variable", "distance", "--atoms", "0,1"]]
)
def test_analyses_of_one_cell_refuse_it(case, capsys, line):
    """Their distances would be those of the first cell."""
    assert rpmd_run(case) == 0
    capsys.readouterr()
    assert analyse([word.format(case / "out") for word in line]) == 2
    assert "barostat = 'isotropic'" in capsys.readouterr().err
