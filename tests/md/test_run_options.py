"""Less common keys of a run: coloured noise, periodic cells, estimators per atom; and incompatible combinations."""

import os
import signal

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write

import md.runs.start
from analysis.__main__ import main as analysis
from md.cli import main
from md.runs.config import read_settings
from md.runs.start import run
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

GLE = "# A MATRIX: (picoseconds^-1)\n5 40\n-40 60\n"


@pytest.fixture
def case(tmp_path):
    """Inputs for acetylene and for a box of eight atoms on a random network."""
    model = random_model(
        SCHNETPACK_DIALECT, domain={"min_distance_A": 0.9, "max_nearest_distance_A": 2.5, "free_elements": [6]}
    )
    save_model(model, tmp_path / "net.safetensors")
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3) * 2.2
    write(tmp_path / "box.xyz", Atoms("C8", corners, cell=np.diag([4.4, 4.5, 4.6]), pbc=True), format="extxyz")
    write(tmp_path / "molecule.xyz", molecule("C2H2"), format="extxyz")
    (tmp_path / "gle.txt").write_text(GLE)
    write(tmp_path / "one.xyz", Atoms("C"), format="extxyz")
    slab = Atoms("C8", corners, cell=np.diag([4.4, 4.5, 4.6]))
    for name, pbc in (("slab", (1, 1, 0)), ("wire", (0, 0, 1)), ("two", (1, 1, 0))):
        slab.pbc = pbc
        slab.cell[2] *= name != "two"
        write(tmp_path / f"{name}.xyz", slab, format="extxyz")
    for name in ("box", "molecule", "one", "slab", "wire", "two"):
        (tmp_path / f"{name}.toml").write_text(
            f'structure = "{name}.xyz"\nmodel = "{tmp_path}/net.safetensors"\noutput = "{tmp_path}/out"\n'
            "temperature_K = 50.0\ntimestep_fs = 0.05\nsteps = 40\nbeads = 4\nthreads = 1\n"
        )
    return tmp_path


def rpmd(case, name: str, *assignments: str) -> int:
    options = [part for text in assignments for part in ("--set", text)]
    return main(["run", str(case / f"{name}.toml"), "--no-figure", *options])


def test_coloured_noise(case):
    assert rpmd(case, "molecule", "thermostat=GLE", f"gle_file={case}/gle.txt") == 0
    assert (case / "out" / "gle.txt").read_text() == GLE


def test_the_matrices_lie_beside_the_input(case):
    text = (case / "molecule.toml").read_text()
    (case / "molecule.toml").write_text(text + 'thermostat = "GLE"\ngle_file = "gle.txt"\n')
    assert rpmd(case, "molecule") == 0


def test_a_periodic_run_records_pressure_and_box(case, capsys):
    import MDAnalysis

    assert rpmd(case, "box", "pressure=true") == 0
    assert "pressure, centroid virial / GPa" in capsys.readouterr().out
    header = [line for line in (case / "out" / "properties.csv").read_text().splitlines() if line[0] != "#"][0].split(
        ","
    )
    assert "pressure_GPa" in header
    assert "kinetic_virial_com_eV" not in header
    universe = MDAnalysis.Universe.empty(32, trajectory=True)
    universe.load_new(str(case / "out" / "trajectory.h5"), format="H5MD")
    np.testing.assert_allclose(universe.trajectory[1].dimensions, [4.4, 4.5, 4.6, 90, 90, 90], rtol=1e-6)


def test_estimators_per_atom(case, capsys):
    assert rpmd(case, "molecule", "per_atom=true", "trajectory_every_steps=1", "remove_rotation=true") == 0
    with h5py.File(case / "out" / "trajectory.h5") as file:
        kinetic = file["observables/trajectory/kinetic_virial_per_atom_eV/value"][:]
        assert file["observables/trajectory/kinetic_virial_per_atom_eV/step"][:].tolist() == list(range(41))
    lines = [line for line in (case / "out" / "properties.csv").read_text().splitlines() if line[0].isdigit()]
    total = [float(line.split(",")[4]) for line in lines]
    np.testing.assert_allclose(kinetic.sum(axis=1)[::10], total, rtol=1e-12)
    capsys.readouterr()
    assert analysis(["properties", str(case / "out"), "--per-atom"]) == 0
    printed = capsys.readouterr().out
    assert "dF/dm / eV/u" in printed
    assert [line.split()[:2] for line in printed.splitlines()[3:7]] == [["0", "C"], ["1", "C"], ["2", "H"], ["3", "H"]]


def test_no_estimators_per_atom(case, capsys):
    assert rpmd(case, "molecule") == 0
    assert analysis(["properties", str(case / "out"), "--per-atom"]) == 2
    assert "run with per_atom = true" in capsys.readouterr().err


def test_what_does_not_fit_is_refused(case, capsys):
    (case / "bad.txt").write_text(GLE.replace("5 40", "-5 40"))
    refused = [
        ("molecule", ["thermostat=GLE"], "thermostat = 'GLE' with gle_file = ''"),
        ("molecule", [f"gle_file={case}/gle.txt"], "thermostat = 'PILE-L' with gle_file"),
        ("molecule", ["thermostat=GLE", f"gle_file={case}/none.txt"], "not a readable file"),
        ("molecule", ["thermostat=GLE", f"gle_file={case}/bad.txt"], "the noise, is not positive definite"),
        ("molecule", ["heat_capacity=true", "thermostat=none"], "heat_capacity with thermostat = 'none'"),
        ("molecule", ["pressure=true"], "is not periodic: a molecule has no pressure"),
        ("slab", ["pressure=true"], "slab.xyz has pbc = [True, True, False] and 3 cell vectors: a volume"),
        ("two", ["pressure=true"], "two.xyz has pbc = [True, True, False] and 2 cell vectors: a volume"),
        ("wire", ["pressure=true"], "wire.xyz has pbc = [False, False, True] and 3 cell vectors: a volume"),
        (
            "one",
            [],
            "one.xyz: 1 atom with its centre of mass at rest: no degree of freedom is left; set remove_com = false",
        ),
        ("one", ["beads=1"], "1 atom with its centre of mass at rest: no degree of freedom is left"),
        (
            "one",
            ["remove_rotation=true"],
            "1 atom with its centre of mass and rotation at rest: no degree of freedom is left",
        ),
        ("box", ["remove_rotation=true"], "remove_rotation = true with a periodic structure"),
        ("molecule", ["friction_scale=0"], "friction_scale = 0.0: expected more than 0 and at most 100.0"),
        ("molecule", ["friction_scale=101"], "friction_scale = 101.0: expected more than 0 and at most 100.0"),
        ("molecule", ["centroid_time_fs=-1"], "centroid_time_fs = -1.0: expected more than 0"),
        ("molecule", ["temperature_K=0"], "temperature_K = 0.0: expected more than 0"),
        ("molecule", ["temperature_K=1e6"], "at most 100000.0"),
        ("molecule", ["timestep_fs=-0.5"], "timestep_fs = -0.5: expected at least 0"),
        ("molecule", ["beads=0"], "beads = 0: expected at least 1 and at most 1024"),
        ("molecule", ["timestep_fs=20.0"], "stable up to"),
        ("molecule", ["timestep_fs=1.0", "beads=[4, 256]"], "OBABO with 256 beads at 50 K is stable up to 0."),
    ]
    for name, options, message in refused:
        assert rpmd(case, name, *options) == 2, options
        error = capsys.readouterr().err
        assert message in error, error
        assert error.count("\n") == 1
    assert not (case / "out").exists()


def test_of_several_structures_the_last_one_is_used_and_that_is_said_once(case, capsys):
    """A resumed run does not repeat it, neither from its own copy nor from the file."""
    frames = [molecule("CH4"), molecule("C2H2")]
    write(case / "molecule.xyz", frames, format="extxyz")
    for steps in (40, 60):
        assert rpmd(case, "molecule", f"steps={steps}") == 0
        error = capsys.readouterr().err
        assert error == f"note: {case}/molecule.xyz holds 2 structures: the last one is used\n"
    assert main(["resume", str(case / "out"), "--no-figure"]) == 0
    assert capsys.readouterr().err == ""
    assert len(read(case / "out" / "structure.xyz")) == 4


def test_a_single_atom_moves_where_its_centre_of_mass_may(case):
    assert rpmd(case, "one", "remove_com=false") == 0


def test_the_table_of_estimators(capsys):
    assert main(["estimators"]) == 0
    printed = capsys.readouterr().out
    assert "pressure_GPa: pressure, centroid virial / GPa [pressure]" in printed
    assert "doi:10.1063/1.442815" in printed


def test_a_run_from_python_gives_signals_back(case):
    """After a run in a notebook, Ctrl-C interrupts the kernel again; workers forked later end when their pool does."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    code, folders = run(
        read_settings(case / "molecule.toml", {"beads": 2, "steps": 10, "output": str(case / "python")})
    )
    assert code == 0
    assert (folders[0] / "trajectory.h5").is_file()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert main(["resume", str(folders[0]), "--steps", "20", "--no-figure"]) == 0
    assert (
        main(["run", str(case / "molecule.toml"), "--output", str(case / "command"), "--steps", "4", "--no-figure"])
        == 0
    )
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_signal_while_a_start_is_prepared(tmp_path, monkeypatch, capsys, number, resumed):
    """Neighbours and the stiffest vibration of many atoms take a minute: a signal need not wait for them."""
    write_acetylene(tmp_path, "steps = 20\n")
    if resumed:
        assert rpmd_run(tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def prepare(settings, kind, potential=None):
        os.kill(os.getpid(), number)
        pytest.fail("prepared")

    monkeypatch.setattr(md.runs.start, "prepare", prepare)
    command = ["resume", str(tmp_path / "out"), "--steps", "40"] if resumed else ["run", str(tmp_path / "run.toml")]
    assert main(command) == 128 + number
    assert "rpmd: interrupted" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
