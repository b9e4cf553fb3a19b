"""Runs on engines and on potentials from Python: as on networks, or refused."""

import json
import re

import h5py
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.md.verlet import VelocityVerlet

from analysis.__main__ import main as analysis
from md.cli import main
from md.potentials import Harmonic, Morse
from md.runs.config import RunSettings, read_settings
from md.runs.identity import RUN, identity
from md.runs.start import run
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene
from tests.mlcalc.broken_calculators import Springs
from tests.mlcalc.cp2k import H2_INPUT, needs_cp2k

SPRINGS = "ase:tests.mlcalc.broken_calculators.Springs"
KEYS = (
    "temperature_K = 300.0\nsteps = 20\nbeads = 3\nproperties_every_steps = 5\ntrajectory_every_steps = 5\n"
    'checkpoint_every_steps = 5\nthreads = 1\nenergy_guard = "off"\n'
)


@pytest.fixture
def case(tmp_path):
    """A folder with an input of acetylene on EMT."""
    write(tmp_path / "start.xyz", molecule("C2H2"), format="extxyz")
    (tmp_path / "run.toml").write_text(
        f'structure = "start.xyz"\nengine = "ase:emt"\noutput = "{tmp_path}/out"\n{KEYS}'
    )
    return tmp_path


def frames(folder) -> np.ndarray:
    with h5py.File(folder / "trajectory.h5") as file:
        return file["particles/trajectory/position/value"][:]


def of_start(case, **info) -> None:
    atoms = molecule("C2H2")
    atoms.info.update(info)
    write(case / "start.xyz", atoms, format="extxyz")


class Copy(Calculator):
    """EMT that makes a list of everything anew for each structure."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        fresh = self.atoms.copy()
        fresh.calc = EMT()
        self.results = {"energy": fresh.get_potential_energy(), "forces": fresh.get_forces()}


def test_classical_motion_is_that_of_ase_from_the_momenta_of_the_structure(case):
    """The same engine, momenta and time step: velocity Verlet here, in worker processes, and there."""
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=1)
    momenta = np.random.default_rng(2).normal(0.0, np.sqrt(63.546 * units.kB * 300.0), (len(atoms), 3))
    atoms.set_momenta(momenta)
    write(case / "crystal.xyz", atoms, format="extxyz")
    options = ["beads=1", "momenta=structure", "thermostat=none", "remove_com=false", "timestep_fs=2.0"]
    options = [word for text in [f"structure={case}/crystal.xyz", *options] for word in ("--set", text)]
    assert rpmd_run(case, *options) == 0
    atoms = read(case / "crystal.xyz")  # rounded as the run's
    atoms.calc = EMT()
    VelocityVerlet(atoms, 2.0 * units.fs).run(20)
    assert np.abs(atoms.positions - read(case / "crystal.xyz").positions).max() > 0.05
    np.testing.assert_allclose(frames(case / "out")[-1], atoms.positions, atol=1e-5)  # float32 in the file


def test_a_potential_from_python_gives_what_the_engine_gives(case):
    """A calculator, and a function of beads; both run in this process."""
    assert rpmd_run(case) == 0
    calculator, settings = Copy(), read_settings(case / "run.toml", {})

    def function(positions):
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        for bead, place in enumerate(positions):
            atoms = molecule("C2H2")
            atoms.positions, atoms.calc = place, EMT()
            energies[bead], forces[bead] = atoms.get_potential_energy(), atoms.get_forces()
        return energies, forces

    for name, potential in (("calculator", calculator), ("function", function)):
        own = RunSettings(**{**vars(settings), "engine": f"python:{name}", "output": str(case / name)})
        assert run(own, potential=potential)[0] == 0
        np.testing.assert_allclose(frames(case / name), frames(case / "out"), atol=1e-6)
        assert run(own, potential=potential)[0] == 0  # finished: resumed, and nothing is left to do
        with pytest.raises(InputError, match="engine = 'python:other', was 'python:"):
            run(RunSettings(**{**vars(own), "engine": "python:other"}), potential=potential)
        assert main(["check", str(case / name)]) == 0
        with pytest.raises(InputError, match=r"comes from Python: md.runs.start.run\(settings, potential"):
            run(own)


def test_potentials_from_python_that_do_not_fit(case):
    settings = RunSettings(str(case / "start.xyz"), engine="python:x", output=str(case / "out"))
    for potential, message in (
        (3, "potential = 3: expected an ASE calculator, or a function"),
        (lambda q: (np.zeros(1), np.zeros((1, 3, 3))), r"forces \(1, 3, 3\): expected \(1,\) and \(1, 4, 3\)"),
    ):
        with pytest.raises(InputError, match=message):
            run(settings, potential=potential)
    for wrong in (RunSettings(settings.structure), RunSettings(settings.structure, engine="ase:emt")):
        with pytest.raises(InputError, match="expected settings with engine = 'python:NAME'"):
            run(wrong, potential=Harmonic(3.0))
    assert not (case / "out").exists()


def test_distances_of_functions_are_unknown(case):
    """Two nitrogens that a Morse curve joins; nothing tells how near they come."""
    write(case / "n2.xyz", molecule("N2"), format="extxyz")
    settings = RunSettings(str(case / "n2.xyz"), engine="python:morse", output=str(case / "out"), steps=5)
    assert run(settings, potential=Morse(9.9, 2.7, 1.1))[0] == 0
    assert json.loads((case / "out" / "status.json").read_text())["smallest_distance_A"] is None


@pytest.mark.parametrize("threads", [1, 2])
def test_xtb_resumes_to_the_bit_on_any_number_of_workers(case, threads, capsys):
    pytest.importorskip("tblite")
    options = ["--engine", "tblite:GFN1-xTB", "--set", "energy_guard=warn", "--set", "heat_capacity=true"]
    assert rpmd_run(case, *options) == 0
    assert "note: engine" not in capsys.readouterr().err
    parts = ["--output", str(case / "parts"), "--threads", str(threads)]
    assert rpmd_run(case, *options, *parts, "--steps", "10") == 0
    assert main(["resume", str(case / "parts"), "--steps", "20", "--no-figure"]) == 0
    for name in ("properties.csv", "checkpoint"):
        found, expected = ((case / folder / name).read_bytes() for folder in ("parts", "out"))
        assert found == expected
    assert (frames(case / "parts") == frames(case / "out")).all()
    assert (frames(case / "out")[-1] != frames(case / "out")[0]).any()


def test_the_charge_of_the_structure_reaches_xtb(case):
    tblite = pytest.importorskip("tblite.ase")
    of_start(case, charge=1, multiplicity=2)
    assert rpmd_run(case, "--engine", "tblite:GFN1-xTB", "--steps", "0") == 0
    ion = molecule("C2H2")
    ion.calc = tblite.TBLite(method="GFN1-xTB", charge=1, multiplicity=2, verbosity=0)
    line = (case / "out" / "properties.csv").read_text().splitlines()
    first = dict(zip(line[0].split(","), line[1].split(","), strict=True))
    assert float(first["potential_eV"]) == pytest.approx(ion.get_potential_energy(), abs=1e-6)


def test_what_follows_a_run(case, capsys):
    """Overview, check, frames, distances; and the note that bits may differ."""
    assert rpmd_run(case) == 0
    assert "engine ase:emt: the same positions may not give the same bits" in capsys.readouterr().err
    assert main(["check", str(case / "out")]) == 0
    assert main(["info", str(case / "out")]) == 0
    printed = capsys.readouterr().out
    assert "engine ase:emt" in printed and re.search(r"engine +ase:emt \([0-9a-f]{12}\)", printed)
    assert main(["frames", str(case / "out"), "-o", str(case / "frames.xyz")]) == 0
    assert read(case / "frames.xyz").info["sampling"] == "ring-polymer MD, ase:emt"
    assert rpmd_run(case, "--overwrite", "--steps", "5") == 0
    assert main(["resume", str(case / "out"), "--steps", "10", "--no-figure"]) == 0
    assert len(frames(case / "out")) == 3


def test_another_engine_is_another_run(case, capsys):
    assert rpmd_run(case, "--steps", "5") == 0
    for engine in ("ase:emt {}", SPRINGS):
        assert rpmd_run(case, "--engine", engine) == 2
        error = capsys.readouterr().err
        assert f"engine = '{engine} sha256:" in error and "was 'ase:emt sha256:" in error
    assert main(["resume", str(case / "out"), "--engine", "ase:lj"]) == 2
    assert "--engine 'ase:lj': the run in" in capsys.readouterr().err
    write_acetylene(case, KEYS.replace("temperature_K = 300.0\n", "").replace("threads = 1\n", ""))
    assert rpmd_run(case) == 2  # a network
    assert "engine = None, was 'ase:emt" in capsys.readouterr().err


def test_a_folder_from_elsewhere_runs_no_code_by_itself(case, capsys):
    """The engine of a received folder could be any function: the user repeats it."""
    assert rpmd_run(case, "--engine", SPRINGS, "--steps", "5") == 0
    path = case / "out" / "input.toml"
    path.write_text(path.read_text().replace(f'"{SPRINGS}"', f'"ase:os.mkdir {{\\"path\\": \\"{case}/made\\"}}"'))
    for command in (["resume"], ["check"], ["info"]):
        main([*command, str(case / "out")])
    assert "runs code that it names: if you trust it, repeat it: rpmd resume" in capsys.readouterr().err
    assert not (case / "made").exists()
    path.write_text(re.sub("engine = .*", f'engine = "{SPRINGS}"', path.read_text()))
    assert main(["resume", str(case / "out"), "--steps", "10"]) == 2
    assert main(["resume", str(case / "out"), "--steps", "10", "--engine", SPRINGS, "--no-figure"]) == 0


@pytest.mark.parametrize(
    ("fails", "message"),
    [("raises", "RuntimeError: the self-consistency did not converge"), ("dies", "worker process died (exit code -9)"),
     ("nan", "not a finite number")],
)  # fmt: skip
def test_a_run_whose_engine_fails_stops_and_resumes(case, fails, message, capsys):
    """Beads of the failure are kept; the last checkpoint holds, and each part of the run gets farther."""
    engine = f'{SPRINGS} {{"fails": "{fails}", "after": 70}}'  # some 30 before the first step, then 3 for each
    assert rpmd_run(case, "--engine", engine) == 12
    error = capsys.readouterr().err
    assert error.count("rpmd: error") == 1 and message in error and re.search(r"step \d+: engine .*: bead \d: ", error)
    status = json.loads((case / "out" / "status.json").read_text())
    assert status["state"] == "failed" and status["code"] == 12 and 0 < status["step"] < 20
    breach = read(case / "out" / "breach.xyz", ":")
    assert len(breach) == 3 and breach[0].info["reason"] == "engine"
    assert main(["check", str(case / "out")]) == 0
    if fails != "dies":  # once is enough
        return
    resume = ["resume", str(case / "out"), "--engine", engine, "--no-figure"]
    for _ in range(4):
        code = main(resume)
        assert code in (0, 12)
    assert code == 0
    assert rpmd_run(case, "--engine", SPRINGS, "--output", str(case / "whole")) == 0
    np.testing.assert_array_equal(frames(case / "out"), frames(case / "whole"))


def test_an_engine_that_fails_at_the_start_writes_nothing(case, capsys):
    assert rpmd_run(case, "--engine", f'{SPRINGS} {{"fails": "raises"}}') == 2
    error = capsys.readouterr().err
    assert "start.xyz: engine" in error and "did not converge" in error and not (case / "out").exists()


REFUSED = [
    (["--engine", "tblite:none"], "engine 'tblite:none': expected one of"),
    (["--engine", "emt"], "engine 'emt': expected tblite:METHOD"),
    (["--engine", "ase:emt", "--model", "c20"], "model = 'c20' and engine = 'ase:emt': expected one of them"),
    (["--set", "dipoles=true"], "dipoles = true with engine = 'ase:emt': no dipoles are taken from engines"),
    (["--set", "pressure=true"], "pressure = true with engine = 'ase:emt': no virials are taken from engines"),
    (["--engine", "python:mine"], "it comes from Python: md.runs.start.run(settings, potential=…)"),
    (["--set", "momenta=start"], "momenta = 'start': expected one of thermal, structure"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_engines_do_not_do_is_refused(case, options, message, capsys):
    assert rpmd_run(case, *options) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (case / "out").exists()


def test_structures_that_an_engine_cannot_compute_are_refused(case, capsys):
    of_start(case, charge=1)
    assert rpmd_run(case) == 2
    assert "start.xyz has charge 1, but calculators of ASE compute charge 0" in capsys.readouterr().err
    near = molecule("C2H2")
    near.positions *= 0.5
    write(case / "start.xyz", near, format="extxyz")
    assert rpmd_run(case) == 2
    assert "apart, less than half the sum of their covalent radii; expected positions in Å" in capsys.readouterr().err
    assert not (case / "out").exists()


def test_the_command_line_replaces_the_potential_of_the_file(case):
    settings = read_settings(case / "run.toml", {"model": "c20"})
    assert (settings.model, settings.engine) == ("c20", "")
    assert read_settings(case / "run.toml", {}).model == ""
    assert RunSettings("x").model == "c20"


def test_atoms_that_collide_stop_the_run(case, capsys):
    """The springs hold no atom off another one; half the sum of the covalent radii does."""
    atoms = molecule("C2H2")
    atoms.set_momenta([[0, 0, -300.0], [0, 0, 300.0], [0, 0, 0], [0, 0, 0]])
    write(case / "start.xyz", atoms, format="extxyz")
    options = [
        "momenta=structure",
        "thermostat=none",
        "beads=1",
        "max_temperature_K=1e9",
        "max_force_eV_A=1e9",
        "steps=200",
    ]
    assert rpmd_run(case, "--engine", SPRINGS, *(w for text in options for w in ("--set", text))) == 5
    assert "apart, closer than half the sum of their covalent radii, 0." in capsys.readouterr().err


def test_forces_against_the_energy(case, capsys):
    assert main(["check-forces", str(case / "run.toml")]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" ok\n") == 4 and "forces are those of the energy" in printed
    assert main(["check-forces", str(case / "run.toml"), "--engine", f'{SPRINGS} {{"fails": "wrong"}}']) == 1
    printed = capsys.readouterr().out
    assert "WRONG" in printed and "NOT those of the energy" in printed
    assert main(["check-forces", str(case / "run.toml"), "--step", "0"]) == 2
    assert not (case / "out").exists()


def test_a_committee_of_networks_beside_an_engine(case):
    """It records how far a network is off the engine's forces."""
    write_acetylene(case, "")
    (case / "run.toml").write_text(f'structure = "start.xyz"\nengine = "ase:emt"\noutput = "{case}/out"\n{KEYS}')
    assert rpmd_run(case, "--set", f'committee=["{case}/net.safetensors"]') == 0
    header, first, *_ = (case / "out" / "properties.csv").read_text().splitlines()
    assert float(first.split(",")[header.split(",").index("disagreement_eV_A")]) > 0.01
    assert main(["frames", str(case / "out"), "-o", str(case / "x.xyz"), "--disagreement", "0.1"]) == 2


def test_real_time_on_an_engine(case):
    options = [
        "trajectories=2",
        "trajectories_at_once=2",
        "thermostat=T-RPMD",
        "equilibration_steps=4",
        "steps=8",
        "beads=2",
    ]
    assignments = [word for text in options for word in ("--set", text)]
    assert main(["real-time", str(case / "run.toml"), *assignments, "--threads", "2", "--no-figure"]) == 0
    with h5py.File(case / "out" / "velocities.h5") as file:
        assert file["velocity"].shape == (2, 3, 4, 3) and np.isfinite(file["velocity"][:]).all()


def test_convergence_without_a_harmonic_reference(case, capsys):
    """Energies are above the minimum that the energy guard found: at P = 1 its mean of V + K is that of the runs' own columns."""
    settings = RunSettings(
        str(case / "start.xyz"), engine="python:springs", beads=(1, 2), steps=120, timestep_fs=0.2, properties_every_steps=1,
        trajectory_every_steps=1, output=str(case / "out"),
    )  # fmt: skip
    assert run(settings, potential=Springs())[0] == 0
    capsys.readouterr()
    assert analysis(["convergence", str(case / "out" / "P1"), str(case / "out" / "P2"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["harmonic"] is None and found["beads"] == [1, 2] and "No harmonic reference" in found["verdict"][0]
    table = np.genfromtxt(case / "out" / "P1" / "properties.csv", delimiter=",", names=True)
    mean = (table["potential_eV"] + table["kinetic_virial_eV"])[len(table) // 10 :].mean()
    assert found["found"]["energy_eV"][0]["value"] == pytest.approx(mean, rel=0.05)  # the springs' minimum is at 0 eV
    assert (case / "out" / "convergence.png").exists()


def test_identities_of_networks_are_those_of_older_runs():
    """Every key that a run of an earlier release was compared by, and no other."""
    found = identity(RunSettings("x"), RUN, {"model": "1", "structure": "2"})
    assert set(found) == {
        "beads", "temperature_K", "timestep_fs", "equilibration_steps", "seed", "integrator", "thermostat", "centroid_time_fs",
        "friction_scale", "remove_com", "remove_rotation", "precision", "backend", "heat_capacity", "pressure", "per_atom",
        "properties_every_steps", "trajectory_every_steps", "trajectories_at_once", "velocities_every_steps", "command", "model",
        "structure",
    }  # fmt: skip


# Programs that are not installed with mlcalc


@pytest.mark.filterwarnings("ignore")  # those of MACE
def test_mace_by_its_importable_name(case):
    """A MACE with random weights, from the file that its own programs write."""
    pytest.importorskip("mace", reason="MACE is not installed: pip install mace-torch")
    from tests.benchmarks.peers.random_mace import random_mace

    precision = torch.get_default_dtype()
    torch.save(random_mace([1, 6], 4.0, 3.0, "8x0e+8x1o"), case / "mace.model")
    torch.set_default_dtype(precision)
    arguments = {"model_paths": str(case / "mace.model"), "device": "cpu", "default_dtype": "float64"}
    check_engine(case, f"ase:mace.calculators.MACECalculator {json.dumps(arguments)}")


@needs_cp2k
def test_cp2k(case):
    (case / "level.inp").write_text(H2_INPUT)
    write(case / "start.xyz", molecule("H2"), format="extxyz")
    check_engine(case, f"cp2k:{case}/level.inp")


def check_engine(case, engine: str) -> None:
    """Its forces are those of its energy; rings move, and a stopped run resumes."""
    assert main(["check-forces", str(case / "run.toml"), "--engine", engine, "--coordinates", "3"]) == 0
    keys = ("beads=2", "checkpoint_every_steps=2", "properties_every_steps=1", "trajectory_every_steps=2")
    options = ["--engine", engine, *(word for key in keys for word in ("--set", key))]
    assert rpmd_run(case, *options, "--steps", "2") == 0
    assert main(["resume", str(case / "out"), "--engine", engine, "--steps", "4"]) == 0
    table = np.genfromtxt(case / "out" / "properties.csv", delimiter=",", names=True)
    assert table["step"].tolist() == [0, 1, 2, 3, 4]
    assert len(frames(case / "out")) == 3 and np.ptp(table["conserved_eV"]) < 0.05
