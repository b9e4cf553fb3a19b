"""The same motion and the same averages by i-PI, in its own process and its own units.

Not BCOCB: where that takes two square roots of a step's Cayley map, i-PI's Cayley propagator takes two maps of half a step.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units

from md.components.split import Component, SplitPotential
from md.dynamics.ring_polymer import HBAR, RingPolymer, thermal_ring_polymer
from md.observables.statistics import block_average
from md.potentials import Harmonic
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
def found():
    return {name: float(np.ravel(system.properties[name][0] if isinstance(system.properties[name], tuple)
                                 else system.properties[name])[0]) for name in names}
series = []
for _ in range(given.get("samples", 0)):
    simulation.run(given["every"], write_outputs=False)
    series.append(found())
print("RESULT" + json.dumps(found() | {"q": np.array(system.beads.q).tolist(), "p": np.array(system.beads.p).tolist(),
                                       "series": series}))
"""

INPUT = """<simulation verbosity='quiet'>
<output prefix='x'></output> <prng><seed>1</seed></prng>
<ffdirect name='well'>{potential}</ffdirect>{others}
<system>
<initialize nbeads='{beads}'><file mode='xyz'>{folder}/start.xyz</file></initialize>
<forces>{forces}</forces>
<ensemble><temperature>{temperature!r}</temperature></ensemble>
<motion mode='dynamics'><fixcom>False</fixcom>
<dynamics mode='{ensemble}' splitting='{splitting}'><timestep>{timestep!r}</timestep>{nmts}{thermostat}</dynamics></motion>
</system></simulation>"""


HARMONIC = f"<pes>harmonic</pes><parameters>{{k1: {SPRING}}}</parameters>"


def by_ipi(
    folder: Path, state: RingPolymer, splitting: str, potential: str, friction_time: float | None, **run
) -> dict:
    """Final state and means of i-PI, in atomic units.

    Args:
        friction_time: Of PILE-L in atomic units; None for constant energy.
        run: ``steps`` to make, then ``samples`` of the estimators, ``every`` so many steps; a slow component in ``others``,
            ``forces`` and ``nmts``, with the outer step ``timestep_fs``.
    """
    n_beads, n_atoms = state.positions.shape[:2]
    cell = "# CELL(abcABC): 100 100 100 90 90 90 cell{angstrom} positions{angstrom}"
    atoms = "".join(f"H {10 * k} 0 0\n" for k in range(n_atoms))
    (folder / "start.xyz").write_text(f"{n_atoms}\n{cell}\n{atoms}")
    parts = {name: run.pop(name, "") for name in ("others", "nmts")}
    parts["forces"] = run.pop("forces", "<force forcefield='well'/>")
    timestep_fs = run.pop("timestep_fs", TIMESTEP_FS)
    thermostat = "" if friction_time is None else f"<thermostat mode='pile_l'><tau>{friction_time!r}</tau></thermostat>"
    # Numbers in atomic units: i-PI's own constants for kelvin and femtosecond have but eight digits.
    text = INPUT.format(
        potential=potential, beads=n_beads, folder=folder, splitting=splitting, thermostat=thermostat,
        ensemble="nvt" if thermostat else "nve", temperature=float(units.kB * T / units.Hartree),
        timestep=float(timestep_fs * units.fs / ATOMIC_TIME), **parts,
    )  # fmt: skip
    given = run | {
        "xml": text, "masses": (state.masses / ELECTRON_MASS).tolist(),
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
    theirs = by_ipi(tmp_path, state, splitting, HARMONIC, None, steps=STEPS)
    potential = Harmonic(SPRING * units.Hartree / units.Bohr**2)
    dynamics = Dynamics(T, TIMESTEP_FS, integrator, "none", remove_com=False)
    *_, last = simulate(state, potential, dynamics, rng, STEPS, STEPS)
    np.testing.assert_allclose(state.positions.reshape(n_beads, -1) / units.Bohr, theirs["q"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(state.momenta.reshape(n_beads, -1) / MOMENTUM, theirs["p"], rtol=0, atol=1e-9)
    for name, key in NAMES.items():
        assert last.properties[name] / units.Hartree == pytest.approx(theirs[key], rel=1e-8), name


# i-PI's model of hydrogen on a metal, as its "MorseHarmonic" has it: a quartic along z, harmonic across.
DEPTH, RANGE, HEIGHT, STIFFNESS = 0.2, 3.0, 1.1, 33.0  # eV, 1/Å, Å, eV/Å²
ADSORBED = f"<pes>MorseHarmonic</pes><parameters>{{De: {DEPTH}, a: {RANGE}, z0: {HEIGHT}, k: {STIFFNESS}}}</parameters>"


def adsorbed(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    z, forces = RANGE * (q[..., 2] - HEIGHT), -STIFFNESS * q
    forces[..., 2] = -DEPTH * RANGE * (2 * z - 3 * z**2 + 7 / 3 * z**3)
    energies = DEPTH * (z**2 - z**3 + 7 / 12 * z**4) + 0.5 * STIFFNESS * (q[..., :2] ** 2).sum(axis=-1)
    return energies.sum(axis=1), forces


QUARTIC = 0.2  # Hartree / bohr⁴
DRIVER = f"""
import numpy as np
from ipi.pes.dummy import Dummy_driver
__DRIVER_NAME__, __DRIVER_CLASS__ = "custom", "Quartic"
class Quartic(Dummy_driver):
    def compute_structure(self, cell, pos):
        return 0.25 * {QUARTIC} * (pos**4).sum(), -{QUARTIC} * pos**3, np.zeros((3, 3)), ""
"""


def quartic(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stiffness = QUARTIC * units.Hartree / units.Bohr**4
    return 0.25 * stiffness * (q**4).sum(axis=(1, 2)), -stiffness * q**3


@pytest.mark.parametrize(
    ("integrator", "splitting", "n_beads", "fewer", "every"),
    [
        ("OBABO", "obabo", 8, 3, 4),
        ("BAOAB", "baoab", 6, 4, 3),
        ("OBABO", "obabo", 4, 1, 1),
        ("OBABO", "obabo", 1, 1, 4),
    ],
)
def test_slow_forces_on_fewer_beads(tmp_path, integrator, splitting, n_beads, fewer, every):
    """Quartic wells on fewer beads at every M-th step. i-PI's first bead is our last, its step the outer one."""
    pytest.importorskip("ipi")
    rng = np.random.default_rng(n_beads)
    state = RingPolymer(rng.normal(0.0, 0.1, (n_beads, 2, 3)), rng.normal(0.0, 3.0, (n_beads, 2, 3)), MASSES)
    other = state._replace(positions=np.roll(state.positions, 1, axis=0), momenta=np.roll(state.momenta, 1, axis=0))
    (tmp_path / "quartic.py").write_text(DRIVER)
    theirs = by_ipi(
        tmp_path, other, splitting, HARMONIC, None, steps=STEPS,
        timestep_fs=every * TIMESTEP_FS / 2, nmts=f"<nmts>[1,{every}]</nmts>",
        others=f"<ffdirect name='slow'><pes>custom</pes><pes_path>{tmp_path}/quartic.py</pes_path></ffdirect>",
        forces=f"<force forcefield='well'><mts_weights>[0,1]</mts_weights></force>"
        f"<force forcefield='slow' nbeads='{fewer}' weight='0.7'><mts_weights>[1,0]</mts_weights></force>",
    )  # fmt: skip
    fast = Harmonic(SPRING * units.Hartree / units.Bohr**2)
    potential = SplitPotential(fast, [Component(quartic, 0.7, fewer, every)])
    dynamics = Dynamics(T, TIMESTEP_FS / 2, integrator, "none", remove_com=False)
    *_, last = simulate(state, potential, dynamics, rng, STEPS * every, STEPS * every)
    for ours, key, unit in ((state.positions, "q", units.Bohr), (state.momenta, "p", MOMENTUM)):
        found = np.roll(ours, 1, axis=0).reshape(n_beads, -1) / unit
        np.testing.assert_allclose(found, theirs[key], rtol=0, atol=1e-9)
    for name, key in NAMES.items():
        assert last.properties[name] / units.Hartree == pytest.approx(theirs[key], rel=1e-8), name


@pytest.mark.slow
def test_canonical_averages(tmp_path):
    """Thirty hydrogen atoms in anharmonic wells, PILE-L at P = 8: the estimators of both programs agree within their errors."""
    pytest.importorskip("ipi")
    n_atoms, rng, time_fs = 30, np.random.default_rng(1), 20.0
    state = thermal_ring_polymer(np.tile([0.0, 0.0, HEIGHT], (n_atoms, 1)), np.full(n_atoms, 1.008), 8, T, rng)
    theirs = by_ipi(
        tmp_path, state, "obabo", ADSORBED, float(time_fs * units.fs / ATOMIC_TIME), steps=500, samples=600, every=10
    )
    dynamics = Dynamics(T, TIMESTEP_FS, "OBABO", centroid_time_fs=time_fs, remove_com=False)
    ours = [sample.properties for sample in simulate(state, adsorbed, dynamics, rng, 60_000, 10) if sample.step >= 500]
    for name, key in NAMES.items():
        mine = block_average([sample[name] / units.Hartree for sample in ours])
        other = block_average([sample[key] for sample in theirs["series"]])
        error = np.hypot(mine.error, other.error)
        assert error < 0.02 * abs(mine.value), name
        assert abs(mine.value - other.value) < 4.0 * error, name
