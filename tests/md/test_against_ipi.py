"""The same motion by i-PI, in its own process and its own units, from the same start.

Not BCOCB: where that takes two square roots of a step's Cayley map, i-PI's Cayley propagator takes two maps of half a step.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units

from md.potentials import Harmonic
from md.ring_polymer import HBAR, RingPolymer
from md.simulation import Dynamics, simulate

MASSES, STEPS, T, TIMESTEP_FS = np.array([12.011, 1.008]), 20, 300.0, 0.5
ELECTRON_MASS = units._me / units._amu  # in u
ATOMIC_TIME = HBAR / units.Hartree  # in ASE's units
MOMENTUM = ELECTRON_MASS * units.Bohr / ATOMIC_TIME
SPRING = 0.3  # Hartree / bohr²

NAMES = {"potential_eV": "potential", "kinetic_virial_eV": "kinetic_cv", "kinetic_primitive_eV": "kinetic_td"}

# Runs i-PI on arrays that it is given in atomic units, and prints those it ends with, and its estimators.
SCRIPT = """
import json, sys
import numpy as np
try:
    from ipi.scripting import InteractiveSimulation
except ImportError:
    from ipi.utils.scripting import InteractiveSimulation
given = json.loads(sys.argv[1])
simulation = InteractiveSimulation(given["xml"])
system = simulation.syslist[0]
system.beads.m[:] = given["masses"]
system.beads.q[:] = given["positions"]
system.beads.p[:] = given["momenta"]
simulation.run(given["steps"], write_outputs=False)
names = ("kinetic_cv", "kinetic_td", "potential")
result = {name: float(np.ravel(system.properties[name][0] if isinstance(system.properties[name], tuple)
                               else system.properties[name])[0]) for name in names}
print("RESULT" + json.dumps(result | {"q": np.array(system.beads.q).tolist(), "p": np.array(system.beads.p).tolist()}))
"""

INPUT = """<simulation verbosity='quiet'>
<output prefix='x'></output> <prng><seed>1</seed></prng>
<ffdirect name='well'><pes>harmonic</pes><parameters>{{k1: {spring}}}</parameters></ffdirect>
<system>
<initialize nbeads='{beads}'><file mode='xyz'>{folder}/start.xyz</file></initialize>
<forces><force forcefield='well'/></forces>
<ensemble><temperature>{temperature!r}</temperature></ensemble>
<motion mode='dynamics'><fixcom>False</fixcom>
<dynamics mode='nve' splitting='{splitting}'><timestep>{timestep!r}</timestep></dynamics></motion>
</system></simulation>"""


def by_ipi(folder: Path, state: RingPolymer, splitting: str) -> dict:
    """Positions, momenta and estimators after STEPS steps of i-PI, atomic units."""
    n_beads = len(state.positions)
    cell = "# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} positions{angstrom}"
    (folder / "start.xyz").write_text(f"2\n{cell}\nC 0 0 0\nH 0 0 1\n")
    # Numbers in atomic units: i-PI's own constants for kelvin and femtosecond have but eight digits.
    text = INPUT.format(
        spring=SPRING, beads=n_beads, folder=folder, splitting=splitting,
        temperature=float(units.kB * T / units.Hartree), timestep=float(TIMESTEP_FS * units.fs / ATOMIC_TIME),
    )  # fmt: skip
    given = {
        "xml": text, "steps": STEPS, "masses": (MASSES / ELECTRON_MASS).tolist(),
        "positions": (state.positions / units.Bohr).reshape(n_beads, -1).tolist(),
        "momenta": (state.momenta / MOMENTUM).reshape(n_beads, -1).tolist(),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(given)], capture_output=True, text=True, cwd=folder
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line is not None, done.stdout[-1000:] + done.stderr[-2000:]
    return json.loads(line.removeprefix("RESULT"))


@pytest.mark.parametrize(
    ("integrator", "splitting", "n_beads"),
    [("OBABO", "obabo", 8), ("OBABO", "obabo", 1), ("BAOAB", "baoab", 5)],
)  # fmt: skip
def test_constant_energy_motion(tmp_path, integrator, splitting, n_beads):
    pytest.importorskip("ipi")
    rng = np.random.default_rng(n_beads)
    state = RingPolymer(rng.normal(0.0, 0.1, (n_beads, 2, 3)), rng.normal(0.0, 3.0, (n_beads, 2, 3)), MASSES)
    theirs = by_ipi(tmp_path, state, splitting)
    potential = Harmonic(SPRING * units.Hartree / units.Bohr**2)
    dynamics = Dynamics(T, TIMESTEP_FS, integrator, "none", remove_com=False)
    *_, last = simulate(state, potential, dynamics, rng, STEPS, STEPS)
    np.testing.assert_allclose(state.positions.reshape(n_beads, -1) / units.Bohr, theirs["q"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(state.momenta.reshape(n_beads, -1) / MOMENTUM, theirs["p"], rtol=0, atol=1e-9)
    for name, key in NAMES.items():
        assert last.properties[name] / units.Hartree == pytest.approx(theirs[key], rel=1e-8), name
