"""Runs with the quantum bath: records, resuming to the bit, what is refused, and what analyses make of them."""

import csv
import json

import numpy as np
import pytest

from analysis.__main__ import main as analyse
from md.cli import main
from md.files.checkpoint import read_checkpoint, write_checkpoint
from md.files.properties import read_table
from md.runs.verdict import verdict_of_guards
from tests.conftest import rpmd_run, write_acetylene
from tests.md.test_gle import PIGLET

KEYS = (
    "steps = 1200\nequilibration_steps = 300\nbeads = 1\nproperties_every_steps = 10\ntrajectory_every_steps = 10\n"
    'checkpoint_every_steps = 150\nthermostat = "adQTB"\nintegrator = "BAOAB"\nbath_segment_fs = 10.0\nbath_adaptation_ps = 0.05\n'
    'domain_guard = "record"\nenergy_guard = "off"\nmax_force_eV_A = 1e6\n'
)

PLAIN = ["--set", "bath_segment_fs=1000", "--set", "bath_adaptation_ps=20"]  # other thermostats take only the defaults


@pytest.fixture
def case(tmp_path):
    """Acetylene and a random network."""
    write_acetylene(tmp_path, KEYS)
    return tmp_path


def test_records(case, capsys):
    assert rpmd_run(case) == 0
    printed = capsys.readouterr().out
    assert "kinetic energy, virial / eV" in printed and "primitive" not in printed and "centroid virial" not in printed
    table = read_table(case / "out" / "properties.csv")
    assert "kinetic_virial_com_eV" in table and not {"kinetic_virial_eV", "kinetic_primitive_eV"} & set(table)
    with open(case / "out" / "quantum_bath.csv", encoding="utf-8") as file:
        learnt = list(csv.DictReader(file))
    assert list(learnt[0]) == ["wavenumber_per_cm", "friction_ratio_1.008u", "friction_ratio_12.011u"]
    assert float(learnt[-1]["wavenumber_per_cm"]) == pytest.approx(1.0 / (2.0 * 0.05 * 2.99792458e-5), rel=1e-4)
    assert len({row["friction_ratio_1.008u"] for row in learnt}) > 10
    seen = json.loads((case / "out" / "status.json").read_text())["quantum_bath"]
    assert seen["masses_u"] == [1.008, 12.011] and seen["segments"] == 7
    assert main(["info", str(case / "out")]) == 0
    assert "P = 1 (quantum bath)" in capsys.readouterr().out
    assert main(["check", str(case / "out")]) == 0


@pytest.mark.parametrize("first", [0, 230, 1000])
def test_a_longer_run_in_two_parts(case, first):
    assert rpmd_run(case) == 0
    assert rpmd_run(case, "--steps", str(first), "--output", str(case / "parts")) == 0
    assert main(["resume", str(case / "parts"), "--steps", "1200", "--no-figure"]) == 0
    one, other = (read_checkpoint(case / name)[0] for name in ("out", "parts"))
    assert one.generators == other.generators and set(one.state) == set(other.state)
    for name, array in one.state.items():
        np.testing.assert_array_equal(array, other.state[name], err_msg=name)
    for name in ("properties.csv", "quantum_bath.csv"):
        assert (case / "out" / name).read_text() == (case / "parts" / name).read_text()


def test_checkpoints_that_do_not_fit_are_refused(case, capsys):
    assert rpmd_run(case) == 0
    found, _ = read_checkpoint(case / "out")
    state = found.state | {"bath_white": found.state["bath_white"][:, :5]}
    write_checkpoint(case / "out", found._replace(state=state))
    assert main(["resume", str(case / "out"), "--steps", "1300", "--no-figure"]) == 2
    assert "bath_white (3, 200, 4, 3)" in capsys.readouterr().err
    assert rpmd_run(case, "--set", "bath_segment_fs=20", "--overwrite") == 0
    assert rpmd_run(case, "--set", "bath_segment_fs=10") == 2
    assert "bath_segment_fs = 10.0, was 20.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beads", "4"], "beads = 4: its noise makes one bead quantum; set beads = 1"),
        (["--set", "beads=[1, 2]"], "beads = (1, 2)"),
        (["--set", "integrator=OBABO"], "integrator = 'OBABO': it needs one O a step; set BAOAB or BCOCB"),
        (["--set", "remove_rotation=true"], "remove_rotation = true"),
        (["--set", "per_atom=true"], "per_atom = true: its kinetic energies take centroids for classical"),
        (["--set", "heat_capacity=true"], "heat_capacity with thermostat = 'adQTB'"),
        (["--set", "thermostat=PILE-L"], "bath_segment_fs = 10 belongs to thermostat = 'adQTB': leave it out"),
        (["--set", "bath_segment_fs=1"], "bath_segment_fs = 1"),
    ],
)
def test_what_does_not_go_together_is_refused(case, capsys, options, message):
    assert rpmd_run(case, *options) == 2
    assert message in capsys.readouterr().err and not (case / "out").exists()


def test_real_time_refuses_it(case, capsys):
    assert main(["real-time", str(case / "run.toml"), "--no-figure"]) == 2
    assert "thermostat = 'adQTB' disturbs motion in real time" in capsys.readouterr().err


def test_widths_stand_beside_those_of_the_quantum_limit(case, capsys):
    """And a classical run is the one to compare with, although both have one bead."""
    assert rpmd_run(case) == 0
    assert rpmd_run(case, *PLAIN, "--set", "thermostat=PILE-L", "--output", str(case / "classical")) == 0
    capsys.readouterr()
    assert analyse(["distances", str(case / "classical"), str(case / "out"), "-o", str(case / "figure.png")]) == 0
    printed = capsys.readouterr().out
    assert "With P = 1, adQTB the" in printed and "times as wide as with P = 1" in printed


def test_a_bath_without_friction_left_is_reported():
    seen = {"quantum_bath": {"masses_u": [1.008, 12.011], "segments": 40, "at_limit": [0.0, 0.31]}}
    (text,) = verdict_of_guards(seen)
    assert "no friction left for 31% of the kinetic energy of atoms of 12.01 u" in text


def test_quantum_matrices_record_no_estimators_of_thermal_momenta(case, capsys):
    """One matrix for all modes leaves no thermal centroids; PIGLET does."""
    (case / "piglet.txt").write_text(PIGLET)
    (case / "one.txt").write_text(
        "# A MATRIX: (femtoseconds^-1)\n0.05 0.02\n-0.02 0.10\n# C MATRIX: (K)\n900 0\n0 900\n"
    )
    base = [*PLAIN, "--set", "thermostat=GLE", "--set", "temperature_K=300", "--beads", "2"]
    kinetic = {"kinetic_virial_eV", "kinetic_virial_com_eV", "kinetic_primitive_eV"}
    for name, expected in (
        ("one", {"kinetic_virial_com_eV"}),
        ("piglet", {"kinetic_virial_eV", "kinetic_virial_com_eV"}),
    ):
        options = [*base, "--set", f"gle_file={case}/{name}.txt", "--output", str(case / name)]
        assert rpmd_run(case, *options) == 0
        assert kinetic & set(read_table(case / name / "properties.csv")) == expected
        assert analyse(["distances", str(case / name), "-o", str(case / "figure.png")]) == 0
        assert "no harmonic reference: matrices of GLE with a covariance" in capsys.readouterr().out
        assert rpmd_run(case, *options, "--overwrite", "--set", "heat_capacity=true") == 2
        assert "heat_capacity = true" in capsys.readouterr().err
