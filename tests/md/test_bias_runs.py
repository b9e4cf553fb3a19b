"""Biased runs: records, conserved energy, hills, what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.constraints import FixAtoms
from ase.io import read, write

from md.bias.settings import BiasSettings
from md.bias.terms import coordinate_of
from md.cli import main
from md.files.checkpoint import read_checkpoint
from md.files.properties import read_table
from md.files.trajectory import read_frames
from md.runs.config import RunSettings, read_settings
from md.runs.identity import RUN, identity
from md.runs.start import run
from mlcalc.common.errors import InputError
from tests.conftest import rpmd_run, write_acetylene

KEYS = "steps = 60\nbeads = 3\nproperties_every_steps = 5\ntrajectory_every_steps = 5\ncheckpoint_every_steps = 20\n"
UMBRELLA = (
    '[[bias]]\nvariable = "distance"\natoms = [0, 1]\non = "mean"\nkind = "harmonic"\nat_A = 1.25\n'
    "force_constant_eV_A2 = 20.0\n"
)
HILLS = (
    '[[bias]]\nvariable = "difference"\natoms = [2, 0, 1]\non = "centroid"\nkind = "metadynamics"\nheight_eV = 0.02\n'
    "width_A = 0.05\nevery_steps = 4\nbias_factor = 5\n"
)
DIHEDRAL = (
    '[[bias]]\nvariable = "dihedral"\natoms = [2, 0, 1, 3]\non = "mean"\nkind = "upper"\nat_deg = 3\n'
    "force_constant_eV_deg2 = 1\n"
)
COORDINATION = DIHEDRAL.replace("dihedral", "coordination").replace("at_deg", "at_1").replace("_deg2", "")


@pytest.fixture
def case(tmp_path):
    write_acetylene(tmp_path, KEYS)
    return tmp_path


def add(case, text: str) -> None:
    path = case / "run.toml"
    path.write_text(path.read_text() + text)


def test_records_of_a_biased_run(case, capsys):
    assert rpmd_run(case, "--output", str(case / "free")) == 0
    add(case, UMBRELLA + HILLS)
    assert rpmd_run(case) == 0
    table, free = read_table(case / "out" / "properties.csv"), read_table(case / "free" / "properties.csv")
    assert main(["info", str(case / "out")]) == 0
    screen = capsys.readouterr().out
    assert "harmonic on the distance of atoms 0, 1 (mean)" in screen
    assert "metadynamics on the difference of atoms 2, 0, 1 (centroid)" in screen
    names = ["distance_0_A", "bias_0_eV", "difference_1_A", "bias_1_eV"]
    assert list(table) == [*free, *names]
    assert table["potential_eV"][0] == free["potential_eV"][0]  # without the bias
    assert not np.array_equal(table["potential_eV"], free["potential_eV"])
    _, beads = read_frames(case / "out" / "trajectory.h5", 0, 1)
    beads = beads.astype(float)
    lengths = np.linalg.norm(beads[:, :, 1] - beads[:, :, 0], axis=2).mean(axis=1)
    np.testing.assert_allclose(table["distance_0_A"], lengths, atol=1e-6)
    np.testing.assert_allclose(table["bias_0_eV"], 10.0 * (lengths - 1.25) ** 2, atol=1e-5)
    mean = beads.mean(axis=1)
    difference = np.linalg.norm(mean[:, 0] - mean[:, 2], axis=1) - np.linalg.norm(mean[:, 1] - mean[:, 0], axis=1)
    np.testing.assert_allclose(table["difference_1_A"], difference, atol=1e-6)
    hills = read_table(case / "out" / "hills.csv")
    assert list(hills) == ["step", "time_fs", "centre_A", "height_eV"]
    assert hills["step"].tolist() == list(range(4, 61, 4))
    at = np.isin(hills["step"], table["step"])
    np.testing.assert_array_equal(hills["centre_A"][at], table["difference_1_A"][np.isin(table["step"], hills["step"])])

    # Energies and heights, from the table of hills alone: those before a record act there, each lowered by those before it.
    def bias(value, n):
        return (hills["height_eV"][:n] * np.exp(-0.5 * ((value - hills["centre_A"][:n]) / 0.05) ** 2)).sum()

    for n, height in enumerate(hills["height_eV"]):
        expected = 0.02 * np.exp(-bias(hills["centre_A"][n], n) / (4 * units.kB * 50.0))
        assert height == pytest.approx(expected, rel=1e-10)
    for row, step in enumerate(table["step"]):
        n = int((hills["step"] < step).sum())
        assert table["bias_1_eV"][row] == pytest.approx(bias(table["difference_1_A"][row], n), rel=1e-9, abs=1e-12)
    state = read_checkpoint(case / "out")[0].state["hills"]
    np.testing.assert_array_equal(state, np.column_stack([hills["centre_A"], hills["height_eV"]]))


def test_an_inert_bias_leaves_every_bit(case):
    """A wall out of reach: the biased run is the unbiased run."""
    assert rpmd_run(case, "--output", str(case / "free")) == 0
    add(case, UMBRELLA.replace('"harmonic"', '"upper"').replace("1.25", "50.0"))
    assert rpmd_run(case) == 0
    table, free = read_table(case / "out" / "properties.csv"), read_table(case / "free" / "properties.csv")
    assert all(np.array_equal(table[name], free[name]) for name in free)
    assert not table["bias_0_eV"].any()


@pytest.mark.parametrize("on", ["centroid", "mean", "bead"])
def test_energy_is_conserved_with_a_bias(case, on):
    """Without a thermostat; with hills too, without what they add where they come."""
    hills = HILLS.replace("= 5", "= 100").replace("0.02", "0.004")
    add(case, UMBRELLA.replace('"mean"', f'"{on}"') + (hills if on != "bead" else ""))
    spread = []
    for timestep in (0.1, 0.05):
        options = [f"timestep_fs={timestep}", "thermostat=none", f"steps={round(20 / timestep)}"]
        options = [word for text in options for word in ("--set", text)]
        assert rpmd_run(case, *options, "--overwrite") == 0
        table = read_table(case / "out" / "properties.csv")
        spread.append(np.ptp(table["conserved_eV"]))
        work = read_table(case / "out" / "hills.csv")["height_eV"].sum() if on != "bead" else np.ptp(table["bias_0_eV"])
        assert spread[-1] < 0.02 * work
    assert spread[1] < 0.5 * spread[0]  # a quarter, where the error is that of the time step


def test_what_changes_the_bias_is_another_run(case, capsys):
    add(case, UMBRELLA)
    assert rpmd_run(case) == 0
    assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 0
    text = (case / "run.toml").read_text()
    for other in (text.replace("1.25", "1.26"), text.replace('"mean"', '"bead"'), text.replace(UMBRELLA, "")):
        (case / "run.toml").write_text(other)
        assert rpmd_run(case, "--steps", "100") == 2
        assert "holds a run of another input: bias = " in capsys.readouterr().err
    assert main(["resume", str(case / "out"), "--set", "bias=[]"]) == 2
    assert "--set bias=…: a resumed run keeps it" in capsys.readouterr().err


def test_identities_of_other_runs_are_as_before():
    assert "bias" not in identity(RunSettings("x.xyz"), RUN, {})
    bias = BiasSettings("distance", (0, 1), "bead", "harmonic", at_A=1.0, force_constant_eV_A2=2.0)
    found = identity(RunSettings("x.xyz", bias=(bias,)), RUN, {})["bias"]
    assert found == json.loads(json.dumps(found))
    of_numpy = BiasSettings(
        "distance", (0, 1), "bead", "harmonic", at_A=np.float32(1), force_constant_eV_A2=np.float64(2)
    )
    assert identity(RunSettings("x.xyz", bias=(of_numpy,)), RUN, {})["bias"] == found
    assert found[0] == {
        "variable": "distance", "atoms": [0, 1], "on": "bead", "kind": "harmonic", "at_A": 1.0, "force_constant_eV_A2": 2.0
    }  # fmt: skip


def test_the_copy_of_the_input_says_the_same(case):
    add(case, UMBRELLA + HILLS)
    expected = read_settings(case / "run.toml", {}).bias
    assert rpmd_run(case) == 0
    assert read_settings(case / "out" / "input.toml", {}).bias == expected
    assert all(isinstance(bias, BiasSettings) for bias in expected)


BAD = {
    UMBRELLA.replace("atoms = [0, 1]", "atoms = [0, 4]"): "start.xyz has no atom 4; expected 0 to 3",
    UMBRELLA.replace("atoms = [0, 1]", "atoms = [0, -1]"): "has no atom -1",
    UMBRELLA.replace("atoms = [0, 1]", "atoms = [1, 1]"): "atom 1 is named twice",
    UMBRELLA.replace("atoms = [0, 1]", "atoms = [0, 1, 2]"): "a distance has 2 atoms",
    UMBRELLA.replace("atoms = [0, 1]", "atoms = [0, 1.5]"): "atoms = [0, 1.5]: expected a list, each item a whole number",
    UMBRELLA.replace("at_A = 1.25", "at_deg = 1.25"): "kind = 'harmonic' on a distance: missing key 'at_A'",
    UMBRELLA + "height_eV = 1.0\n": "kind = 'harmonic' on a distance has no 'height_eV'",
    UMBRELLA.replace('on = "mean"\n', ""): "missing key 'on'",
    UMBRELLA.replace('"mean"', '"means"'): "on = 'means': expected one of centroid, mean, bead",
    UMBRELLA.replace("force_constant_eV_A2", "force_constant"): "unknown key 'force_constant'; did you mean 'force_constant_eV",
    UMBRELLA.replace("20.0", "-20.0"): "force_constant_eV_A2 = -20.0: expected more than 0",
    UMBRELLA.replace("20.0", "nan"): "expected a finite number",
    UMBRELLA.replace("20.0", "1e9"): "is stable up to",
    HILLS + HILLS: "2 biases of kind 'metadynamics': expected at most one",
    HILLS.replace('"centroid"', '"bead"'): "kind = 'metadynamics' on = 'bead'",
    HILLS.replace("= 5", "= 1"): "bias_factor = 1.0: expected more than 1",
    HILLS.replace("every_steps = 4", "every_steps = 0"): "every_steps = 0: expected at least 1",
    DIHEDRAL: "which is periodic: expected harmonic",
    COORDINATION: "kind = 'upper' on a coordination: missing key 'to_atoms'",
    "bias = 3\n": "bias = 3: expected a list, each item a table",
    "heat_capacity = true\n" + UMBRELLA: "heat_capacity = true with a bias",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_biases_are_refused(case, text, capsys):
    add(case, text)
    assert rpmd_run(case) == 2
    line = capsys.readouterr().err
    assert BAD[text] in line and len(line.splitlines()) == 1, line
    assert not (case / "out").exists()


def test_held_atoms_and_real_time_are_refused(case, capsys):
    add(case, "remove_com = false\n" + UMBRELLA)
    atoms = read(case / "start.xyz")
    atoms.set_constraint(FixAtoms([1]))
    write(case / "start.xyz", atoms, format="extxyz")
    assert rpmd_run(case) == 2
    assert "a constraint of" in (text := capsys.readouterr().err) and "holds atom 1" in text
    write(case / "start.xyz", molecule("C2H2"), format="extxyz")
    command = ["real-time", str(case / "run.toml"), "--no-figure", "--set", "thermostat=T-RPMD"]
    assert main([*command, "--set", "remove_com=true"]) == 2
    assert "bias: it disturbs motion in real time" in capsys.readouterr().err
    assert not (case / "out").exists()


def test_indices_are_those_of_the_structure_where_atoms_are_held():
    bias = BiasSettings("distance", (4, 2), "bead", "harmonic", at_A=1.0, force_constant_eV_A2=2.0)
    assert coordinate_of(bias, (False,) * 3, np.array([1, 2, 4])).atoms.tolist() == [2, 1]


def test_damaged_hills_are_found(case, capsys):
    add(case, HILLS)
    assert rpmd_run(case) == 0
    assert main(["check", str(case / "out")]) == 0
    capsys.readouterr()
    path = case / "out" / "hills.csv"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert main(["check", str(case / "out")]) != 0
    assert "hills.csv" in capsys.readouterr().out
    assert main(["resume", str(case / "out"), "--steps", "80", "--no-figure"]) == 2
    assert "hills.csv" in capsys.readouterr().err


def test_a_breach_shows_the_forces_of_the_model(case):
    """The umbrella pulls with hundreds of eV/Å; guards look at the potential alone."""
    add(case, UMBRELLA.replace("1.25", "3.0").replace("20.0", "200.0"))
    code = rpmd_run(case, "--set", "max_force_eV_A=1e-3")
    assert code not in (0, 2)
    found = read(case / "out" / "breach.xyz")
    assert np.abs(found.arrays["model_forces"]).max() < 100.0


def test_from_python_and_in_a_cell(tmp_path):
    """A bias reaches through the walls of a cell; a potential from Python takes it too."""
    write(tmp_path / "two.xyz", Atoms("H2", [[0.2, 1, 1], [5.8, 1, 1]], cell=[6, 6, 6], pbc=True), format="extxyz")
    bias = BiasSettings("distance", (0, 1), "bead", "harmonic", at_A=1.0, force_constant_eV_A2=2.0)
    settings = RunSettings(
        str(tmp_path / "two.xyz"), engine="python:free", beads=2, steps=20, output=str(tmp_path / "out"), bias=(bias,),
        energy_guard="off", bond_guard="off", domain_guard="record",
    )  # fmt: skip

    def free(positions, cell):
        return np.zeros(len(positions)), np.zeros_like(positions)

    code, (folder,) = run(settings, potential=free)
    assert code == 0
    assert read_table(folder / "properties.csv")["distance_0_A"][0] == pytest.approx(0.4)
    with pytest.raises(InputError, match="pressure = true"):
        dataclasses.replace(settings, engine="", pressure=True)
