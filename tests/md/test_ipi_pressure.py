"""The volume of liquid methane at constant pressure by i-PI and by rpmd, from the same network, within their errors."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from md.cli import main
from md.files.properties import read_table
from md.observables.statistics import block_average

METHANE = Path(__file__).parents[2] / "inputs" / "methane"
STEPS, PRESSURE_GPA, TIME_FS = 8000, 0.353, 200.0


def at_constant_pressure(text: str, beads: int) -> str:
    """The example for i-PI with a barostat, PILE-L and ``beads``; volumes in the output."""
    piston = f"<barostat mode='isotropic'><tau units='femtosecond'> {TIME_FS} </tau>"
    piston += f"<thermostat mode='langevin'><tau units='femtosecond'> {TIME_FS} </tau></thermostat></barostat>"
    for old, new in (
        (r"\[step,.*?\]", "[step, conserved{electronvolt}, volume{angstrom3}]"),
        (r"<total_steps>\d+", f"<total_steps>{STEPS}"),
        ("nbeads='1'", f"nbeads='{beads}'"),
        ("</temperature>", f"</temperature> <pressure units='gigapascal'> {PRESSURE_GPA} </pressure>"),
        ("mode='nvt' splitting='baoab'>", f"mode='npt' splitting='obabo'>{piston}"),
        ("mode='langevin'> <tau units='femtosecond'> 500", "mode='pile_l'> <tau units='femtosecond'> 500"),
        ("<address>methane", "<address>methane-npt"),
        (r"<trajectory.*?</trajectory>", ""),
    ):
        text, count = re.subn(old, new, text, flags=re.DOTALL)
        assert count == 1 or old == "</temperature>", old
    return text


@pytest.mark.slow
def test_volume_of_methane(tmp_path, monkeypatch, capfd):
    pytest.importorskip("ipi")
    monkeypatch.chdir(tmp_path)
    shutil.copy(METHANE / "start.xyz", tmp_path)
    (tmp_path / "ipi.xml").write_text(at_constant_pressure((METHANE / "ipi.xml").read_text(), 2))
    assert main(["ipi-launch", "ipi.xml", "--template", "start.xyz", "--model", "methane-cg", "--threads", "1"]) == 0
    theirs = np.loadtxt("ipi.out")[:, 2]
    keys = ["integrator=OBABO", "barostat=isotropic", f"pressure_GPa={PRESSURE_GPA}", f"barostat_time_fs={TIME_FS}"]
    keys += ["beads=2", "remove_com=false", "equilibration_steps=0", "properties_every_steps=10", "threads=1"]
    options = [part for key in keys for part in ("--set", key)] + [
        "--steps",
        str(STEPS),
        "--output",
        "run",
        "--no-figure",
    ]
    assert main(["run", str(METHANE / "md.toml"), *options]) == 0
    ours = read_table(tmp_path / "run" / "properties.csv")["volume_A3"]
    mine, other = (block_average(volumes[len(volumes) // 10 :]) for volumes in (ours, theirs))
    error = np.hypot(mine.error, other.error)
    assert error < 0.01 * mine.value
    assert abs(mine.value - other.value) < 4.0 * error
    with capfd.disabled():
        print(f"\nvolume / Å³: rpmd {mine.value:.1f} ± {mine.error:.1f}, i-PI {other.value:.1f} ± {other.error:.1f}")
