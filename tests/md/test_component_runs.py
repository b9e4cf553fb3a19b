"""Runs with [[potential]] tables: records, identity, folders, resuming to the bit, what is refused."""

import json
import re

import h5py
import numpy as np
import pytest
from ase.build import molecule
from ase.io import read, write

from analysis.__main__ import main as analyse
from analysis.runs.run import pool
from analysis.runs.universe import open_run
from md.cli import main
from md.components.settings import PotentialSettings
from md.components.split import Component, SplitPotential
from md.files.checkpoint import read_checkpoint
from md.files.properties import read_table
from md.files.trajectory import read_frames
from md.potentials import load_model, make_potential
from md.runs.config import RunSettings, read_settings
from md.runs.identity import RUN, identity
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model, rpmd_run, write_acetylene

KEYS = (
    "steps = 60\nequilibration_steps = 12\nbeads = 4\nproperties_every_steps = 6\ntrajectory_every_steps = 6\n"
    'checkpoint_every_steps = 12\nprecision = "float64"\n'
)
SLOW = '[[potential]]\nmodel = "slow.safetensors"\nweight = 0.5\nbeads = 3\nevery_steps = 3\n'
FAST = '[[potential]]\nmodel = "slow.safetensors"\nweight = -0.25\nbeads = 1\n'
HILLS = (
    '[[bias]]\nvariable = "distance"\natoms = [0, 1]\non = "mean"\nkind = "metadynamics"\nheight_eV = 0.02\nwidth_A = 0.05\n'
    "every_steps = 12\nbias_factor = 5\n"
)


@pytest.fixture
def case(tmp_path):
    """Acetylene on two random networks."""
    write_acetylene(tmp_path, KEYS)
    domain = {"min_distance_A": 0.9, "max_nearest_distance_A": 1.4}
    save_model(random_model(SCHNETPACK_DIALECT, seed=5, domain=domain), tmp_path / "slow.safetensors")
    return tmp_path


def add(case, text: str) -> None:
    path = case / "run.toml"
    path.write_text(path.read_text() + text)


def content(folder) -> dict:
    """All results of a run, to the bit."""
    checkpoint, warning = read_checkpoint(folder)
    assert warning is None
    with h5py.File(folder / "trajectory.h5") as file:
        frames = file["particles/trajectory/position/value"][:].tobytes()
    state = {name: value.tobytes() for name, value in checkpoint.state.items()}
    return state | {"frames": frames, "table": (folder / "properties.csv").read_text(), "rng": checkpoint.generators}


def test_records_are_of_the_sum(case, capsys):
    """Energies and the virial estimator, from the frames and the networks alone."""
    add(case, SLOW + FAST)
    assert rpmd_run(case) == 0
    folder = case / "out"
    table, (_, frames) = read_table(folder / "properties.csv"), read_frames(folder / "trajectory.h5", 0, 1)
    atoms = read(folder / "structure.xyz")
    fast, slow = (
        make_potential(load_model(folder / name), atoms, "float64", threads=1)
        for name in ("model.safetensors", "potential-000.safetensors")
    )
    whole = SplitPotential(fast, [Component(slow, 0.5, 3), Component(slow, -0.25, 1)])
    for row, beads in enumerate(frames.astype(float)):  # stored in float32
        energies, forces = whole(beads)
        assert table["potential_eV"][row] == pytest.approx(energies.mean(), abs=1e-5)
        virial = 1.5 * 3 * 8.617333e-5 * 50.0 - 0.5 * ((beads - beads.mean(axis=0)) * forces).sum() / len(beads)
        assert table["kinetic_virial_eV"][row] == pytest.approx(virial, abs=1e-4)
    assert np.ptp(table["conserved_eV"]) < 0.02 * np.ptp(table["potential_eV"])
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    screen = capsys.readouterr().out
    assert "+0.5 × slow (3 beads, every 3 steps)" in screen
    assert "-0.25 × slow (1 bead, every step)" in screen
    assert main(["check", str(folder)]) == 0


def test_a_difference_to_itself_leaves_the_run(case):
    """The slow network added and subtracted: to rounding the run without it."""
    assert rpmd_run(case, "--output", str(case / "plain")) == 0
    add(case, SLOW + SLOW.replace("0.5", "-0.5"))
    assert rpmd_run(case) == 0
    tables = [read_table(case / name / "properties.csv") for name in ("plain", "out")]
    for name, values in tables[0].items():
        np.testing.assert_allclose(tables[1][name], values, rtol=1e-8, atol=1e-9, err_msg=name)


OPTIONS = [
    [],
    ["--set", "thermostat=PILE-G", "--set", "integrator=BCOCB", "--set", "remove_rotation=true"],
    ["--set", "thermostat=none", "--set", "integrator=BAOAB"],
    ["--set", "heat_capacity=true", "--set", "per_atom=true"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=["PILE-L", "PILE-G", "NVE", "all recorded"])
@pytest.mark.parametrize("bias", ["", HILLS], ids=["", "hills"])
def test_resumed_to_the_bit(case, options, bias):
    if bias and "heat_capacity=true" in options:
        pytest.skip("refused")
    add(case, SLOW + FAST + bias)
    assert rpmd_run(case, *options) == 0
    for first in ("0", "20"):  # within an outer step: the last checkpoint lies at its begin
        parts = case / f"parts{first}"
        assert rpmd_run(case, *options, "--steps", first, "--output", str(parts)) == 0
        (case / "slow.safetensors").rename(case / "away")  # the folder stands on its own
        assert main(["resume", str(parts), "--steps", "60", "--no-figure"]) == 0
        (case / "away").rename(case / "slow.safetensors")
        assert content(parts) == content(case / "out")


def test_another_component_is_another_run(case, capsys):
    add(case, SLOW)
    assert rpmd_run(case) == 0
    text, model = (case / "run.toml").read_text(), (case / "slow.safetensors").read_bytes()
    for old, new in (("weight = 0.5", "weight = 0.4"), ("beads = 3\n", "beads = 2\n"), (SLOW, ""), (SLOW, SLOW + FAST)):
        (case / "run.toml").write_text(text.replace(old, new))
        assert rpmd_run(case, "--steps", "120") == 2
        assert "holds a run of another input: " in capsys.readouterr().err
    (case / "run.toml").write_text(text)
    save_model(random_model(SCHNETPACK_DIALECT, seed=6), case / "slow.safetensors")
    assert rpmd_run(case, "--steps", "120") == 2
    assert "potential[0].model = " in capsys.readouterr().err
    (case / "slow.safetensors").write_bytes(model)
    assert rpmd_run(case, "--steps", "120") == 0
    (case / "out" / "potential-000.safetensors").unlink()
    assert main(["resume", str(case / "out"), "--steps", "180", "--no-figure"]) == 2
    assert "potential-000.safetensors" in capsys.readouterr().err


def test_identities_of_other_runs_are_as_before():
    assert "potential" not in identity(RunSettings("x.xyz"), RUN, {})
    part = PotentialSettings("net.safetensors", weight=-1.0, beads=2, every_steps=5)
    settings = RunSettings("x.xyz", beads=4, potential=(part,))
    found = identity(settings, RUN, {})["potential"]
    assert found == json.loads(json.dumps(found)) == [{"weight": -1.0, "beads": 2, "every_steps": 5}]


def test_the_copy_of_the_input_says_the_same(case):
    add(case, SLOW + FAST)
    expected = read_settings(case / "run.toml", {}).potential
    assert expected[0].model == str(case / "slow.safetensors")  # beside the input
    assert rpmd_run(case, "--steps", "0") == 0
    assert read_settings(case / "out" / "input.toml", {}).potential == expected


def test_overwriting_removes_old_components(case):
    add(case, SLOW + FAST)
    assert rpmd_run(case, "--steps", "0") == 0
    add(case, "")
    (case / "run.toml").write_text((case / "run.toml").read_text().replace(FAST, ""))
    assert rpmd_run(case, "--steps", "0", "--overwrite") == 0
    assert [path.name for path in (case / "out").glob("potential-*")] == ["potential-000.safetensors"]


def test_an_engine_as_the_slow_component(case, capsys):
    """EMT on one bead every third step; two inputs that name code of their own are resumed only where the user repeats it."""
    slow = SLOW.replace('model = "slow.safetensors"', "engine = 'ase:emt'").replace("beads = 3", "beads = 1")
    add(case, slow)
    options = ["--set", "energy_guard=off", "--set", "bond_guard=off"]
    assert rpmd_run(case, *options) == 0
    assert (case / "out" / "potential-000.txt").read_text().startswith("ase:emt sha256:")
    assert rpmd_run(case, *options, "--steps", "24", "--output", str(case / "parts")) == 0
    assert main(["resume", str(case / "parts"), "--steps", "60", "--no-figure"]) == 0
    assert content(case / "parts") == content(case / "out")
    named = slow.replace("ase:emt", "ase:ase.calculators.emt.EMT")
    (case / "run.toml").write_text((case / "run.toml").read_text().replace(slow, named))
    code = ["--output", str(case / "code")]
    assert rpmd_run(case, *options, *code, "--steps", "12") == 0
    assert main(["resume", str(case / "code"), "--steps", "24", "--no-figure"]) == 2
    assert "runs code that it names: if you trust it, repeat it" in capsys.readouterr().err
    repeated = ["--engine", "ase:ase.calculators.emt.EMT"]
    assert main(["resume", str(case / "code"), "--steps", "24", "--no-figure", *repeated]) == 0
    assert main(["resume", str(case / "code"), "--steps", "36", "--no-figure", "--engine", "ase:lj"]) == 2
    assert "the run in" in capsys.readouterr().err


BAD = {
    SLOW.replace("beads = 3", "beads = 5"): "beads = 5 in a [[potential]] table: contraction to more beads than there are, 4",
    SLOW.replace("beads = 3", "beads = -1"): "beads = -1: expected at least 0",
    SLOW.replace("every_steps = 3", "every_steps = 4"): "properties_every_steps = 6: expected a multiple of 4",
    SLOW + SLOW.replace("every_steps = 3", "every_steps = 2").replace("beads", "weight = 1.0\n#"): "Cannot overwrite a value",
    SLOW.replace("every_steps = 3", "every_steps = 0"): "every_steps = 0: expected at least 1",
    SLOW.replace("weight = 0.5", "weight = 0.0"): "weight = 0: expected another number than 0",
    SLOW.replace("weight = 0.5", "weight = nan"): "expected a finite number",
    SLOW.replace("weight", "wait"): "unknown key 'wait'; did you mean 'weight'?",
    SLOW.replace("slow.safe", "none.safe"): "none.safetensors",
    SLOW.replace('model = "slow.safetensors"', ""): "model = '' and engine = '': expected one of them",
    SLOW + 'engine = "ase:emt"\n': "and engine = 'ase:emt': expected one of them",
    SLOW.replace('model = "slow.safetensors"', 'engine = "python:mine"'): "only the run's own engine can come from Python",
    SLOW.replace('model = "slow.safetensors"', 'engine = "tblight:GFN2-xTB"'): "tblight",
    'committee = ["c20"]\n' + SLOW: "[[potential]] tables with a committee: ",
    "equilibration_steps = 13\n" + SLOW: "Cannot overwrite a value",
    HILLS.replace("12", "10") + SLOW: "every_steps of a bias = 10: expected a multiple of 3",
    "potential = 3\n": "potential = 3: expected a list, each item a table",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_tables_are_refused(case, text, capsys):
    add(case, text)
    assert rpmd_run(case) == 2
    line = capsys.readouterr().err
    assert BAD[text] in line and len(line.splitlines()) == 1, line
    assert not (case / "out").exists()


def test_resonance_is_refused(case, capsys):
    """Every 30 fs, longer than half the period of a C–C bond; names the largest number of steps."""
    add(case, SLOW.replace("every_steps = 3", "every_steps = 600"))
    intervals = [f"{name}_every_steps=600" for name in ("properties", "trajectory")] + ["equilibration_steps=0"]
    assert rpmd_run(case, *(part for text in intervals for part in ("--set", text))) == 2
    line = capsys.readouterr().err
    assert "every_steps = 600 of a [[potential]] table: with 4 beads and steps of 0.05 fs" in line
    most = int(re.search(r"expected at most (\d+), or fewer beads", line)[1])
    assert 20 < most < 600
    assert not (case / "out").exists()


def test_other_beads_and_real_time_are_refused(case, capsys):
    add(case, SLOW)
    assert rpmd_run(case, "--set", "beads=[8, 1]") == 2
    assert "contraction to more beads than there are, 1" in capsys.readouterr().err
    assert main(["converge", str(case / "run.toml"), "--beads", "1,8", "--no-figure"]) == 2
    assert "contraction to more beads than there are, 1" in capsys.readouterr().err
    command = ["real-time", str(case / "run.toml"), "--no-figure", "--set", "thermostat=T-RPMD"]
    assert main(command) == 2
    assert "[[potential]] tables: 'rpmd real-time' moves many molecules" in capsys.readouterr().err
    assert not (case / "out").exists()


def test_a_cell_and_its_pressure(case, capsys):
    """A barostat with contraction conserves its enthalpy; not with several time steps, nor with an engine."""
    atoms = molecule("C2H2")
    atoms.set_cell(6.0 * np.eye(3))
    atoms.pbc = True
    write(case / "start.xyz", atoms, format="extxyz")
    add(case, 'barostat = "isotropic"\npressure_GPa = 1.0\nbarostat_time_fs = 100.0\nthermostat = "none"\n')
    text = (case / "run.toml").read_text()
    for slow, message in (
        (SLOW, "[[potential]] tables with barostat = 'isotropic' and every_steps = 3"),
        (
            SLOW.replace('model = "slow.safetensors"', 'engine = "ase:emt"').replace("every_steps = 3\n", ""),
            "and engine = 'ase:emt'",
        ),
    ):
        (case / "run.toml").write_text(text + slow)
        assert rpmd_run(case) == 2
        assert message in capsys.readouterr().err
    (case / "run.toml").write_text(text + SLOW.replace("every_steps = 3\n", ""))
    assert rpmd_run(case) == 0
    table = read_table(case / "out" / "properties.csv")
    assert np.ptp(table["conserved_eV"]) < 0.02 * np.ptp(table["potential_eV"])
    assert np.ptp(table["volume_A3"]) > 0.0


def test_forces_of_the_sum_are_checked(case, capsys):
    add(case, SLOW + FAST)
    assert main(["check-forces", str(case / "run.toml"), "--check-beads", "2", "--coordinates", "4"]) == 0
    assert "forces are those of the energy" in capsys.readouterr().out


def test_guards_watch_the_domain_of_each_component(case, capsys):
    """The slow network is trained for longer bonds than the fast one: the run stops where it leaves that range."""
    domain = {"min_distance_A": 1.06, "min_distances_A": {"C-H": 1.412}, "max_nearest_distance_A": 1.5}
    save_model(random_model(SCHNETPACK_DIALECT, seed=5, domain=domain), case / "slow.safetensors")
    add(case, SLOW)
    code = rpmd_run(case, "--set", "temperature_K=600.0", "--steps", "6000")
    assert code not in (0, 2)
    assert "closer than this model can be trusted (from 1.059 Å" in (line := capsys.readouterr().err), line
    assert (case / "out" / "breach.xyz").exists()


def test_analyses_know_the_sum(case, capsys):
    """Runs of other components are not pooled; no harmonic reference of the fast model alone, no isotope effects."""
    add(case, SLOW)
    names = ("one", "two", "other")
    for seed, name in enumerate(names):
        weight = (
            [] if name != "other" else ["--set", "potential=[{model = 'slow.safetensors', weight = 0.4, beads = 3}]"]
        )
        if weight:
            weight[1] = weight[1].replace("slow.safetensors", str(case / "slow.safetensors"))
        options = ["--seed", str(seed), "--steps", "240", "--output", str(case / name), *weight]
        assert rpmd_run(case, *options) == 0
    runs = [open_run(case / name) for name in names]
    assert runs[0].model == runs[1].model != runs[2].model
    assert len(pool(runs)) == 2
    capsys.readouterr()
    assert analyse(["distances", str(case / "one")]) == 0
    assert "no harmonic reference for a run with [[potential]] tables" in capsys.readouterr().out
    assert analyse(["isotopes", str(case / "one"), "--atoms", "2"]) == 2
    assert "a run with [[potential]] tables" in capsys.readouterr().err
