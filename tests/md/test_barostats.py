"""Constant pressure against closed forms, reversibility, the order in the time step, and the trajectory of i-PI."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from ase import units

from md.dynamics.barostats import BAROSTATS, thermal_piston
from md.dynamics.integrators import SPLITTINGS
from md.dynamics.ring_polymer import HBAR, RingPolymer, thermal_ring_polymer
from md.observables.statistics import block_average
from md.runs.ensembles import BAROSTAT_NAMES
from md.simulation import Dynamics, simulate
from tests.md.crystals import Crystal

T, MASS = 300.0, 12.011
DYNAMICS = Dynamics(T, 1.0, barostat="isotropic", pressure_GPa=0.01, barostat_time_fs=50.0, centroid_time_fs=50.0)
CELL = np.array([[6.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.0, 0.5, 8.0]])


def start(dynamics: Dynamics, scaled: np.ndarray, n_beads: int, volume: float, rng) -> RingPolymer:
    """Thermal ring polymers at coordinates s of a skewed cell."""
    cell = CELL * (volume / np.linalg.det(CELL)) ** (1 / 3)
    masses = np.linspace(MASS, 2 * MASS, len(scaled))
    state = thermal_ring_polymer(scaled @ cell, masses, n_beads, T, rng, cell=cell)
    return state._replace(piston=thermal_piston(dynamics, n_beads, len(scaled), rng))


def crystal(n_atoms: int, rng) -> Crystal:
    return Crystal(rng.uniform(size=(n_atoms, 3)), 5.0, 400.0, 0.05)


BOX = partial(Crystal, force_constant=5.0, lengths=(7.0, 7.5, 8.0), stiffness=(1.0, 1.5, 2.0))


def at_pressure(dynamics: Dynamics, n_beads: int, rng) -> tuple[Crystal, RingPolymer]:
    """A crystal of four atoms that resists every change that the barostat makes, and thermal ring polymers in it."""
    if dynamics.barostat == "isotropic":
        potential = crystal(4, rng)
        return potential, start(dynamics, potential.scaled, n_beads, 380.0, rng)
    potential = BOX(rng.uniform(size=(4, 3)))
    cell = np.diag(potential.lengths)
    state = thermal_ring_polymer(potential.scaled @ cell, np.full(4, MASS), n_beads, T, rng, cell=cell)
    return potential, state._replace(piston=thermal_piston(dynamics, n_beads, 4, rng))


def check(mean, exact: float, within: float) -> None:
    """Four standard errors, which must themselves be small enough to notice a wrong formula."""
    assert mean.error < within * abs(exact)
    assert abs(mean.value - exact) < 4.0 * mean.error


def test_names():
    assert tuple(BAROSTATS) == BAROSTAT_NAMES


@pytest.mark.parametrize("remove_com", [True, False])
@pytest.mark.parametrize(
    ("n_beads", "integrator", "barostat"),
    [(1, "OBABO", "isotropic"), (4, "BAOAB", "isotropic"), (4, "BAOAB", "orthorhombic")],
)
def test_volumes_of_an_ideal_gas(n_beads, integrator, barostat, remove_com):
    """Mean (N + 1)k_BT/p and variance (N + 1)(k_BT/p)², the centre of mass held or not: with 3 atoms a wrong count is 25 % off.

    Three lengths of the cell change nothing in that, although their ratios are free.
    """
    rng, n_atoms = np.random.default_rng(n_beads), 3
    dynamics = replace(DYNAMICS, integrator=integrator, timestep_fs=2.0, remove_com=remove_com, barostat=barostat)
    unit = units.kB * T / (dynamics.pressure_GPa * units.GPa)
    gas, volumes, pressures = Crystal(np.zeros((n_atoms, 3))), [], []
    state = start(dynamics, rng.uniform(size=(n_atoms, 3)), n_beads, (n_atoms + 1) * unit, rng)
    for sample in simulate(state, gas, dynamics, rng, 30_000, 10):
        volumes.append(sample.volume / unit)
        pressures.append(sample.properties["pressure_GPa"])
    check(block_average(volumes), n_atoms + 1, 0.04)
    check(block_average((np.array(volumes) - n_atoms - 1) ** 2), n_atoms + 1, 0.1)
    check(block_average(pressures), dynamics.pressure_GPa, 0.04)


@pytest.mark.parametrize(("n_beads", "integrator"), [(1, "OBABO"), (4, "OBABO"), (4, "BAOAB"), (4, "BCOCB")])
def test_volumes_of_a_crystal(n_beads, integrator):
    rng, dynamics = np.random.default_rng(n_beads), replace(DYNAMICS, integrator=integrator, pressure_GPa=2.0)
    potential, pressure = crystal(4, rng), 2.0 * units.GPa
    mean, variance = 400.0 * (1.0 - pressure / 0.05), units.kB * T * 400.0 / 0.05
    state, volumes, pressures = start(dynamics, potential.scaled, n_beads, mean, rng), [], []
    for sample in simulate(state, potential, dynamics, rng, 30_000, 10):
        volumes.append(sample.volume)
        pressures.append(sample.properties["pressure_GPa"])
    check(block_average(volumes), mean, 0.01)
    check(block_average((np.array(volumes) - mean) ** 2), variance, 0.1)
    check(block_average(pressures), 2.0, 0.02)


@pytest.mark.parametrize(("n_beads", "integrator"), [(1, "OBABO"), (4, "BCOCB")])
def test_lengths_of_a_crystal(n_beads, integrator):
    """Means and variances of three lengths under a pressure, by quadrature of exp(−β[pV + Σ ½K(L − l)²])."""
    rng, pressure = np.random.default_rng(n_beads), 0.5
    dynamics = replace(
        DYNAMICS,
        integrator=integrator,
        barostat="orthorhombic",
        pressure_GPa=pressure,
        barostat_time_fs=150.0,
        remove_com=False,
    )
    potential, state = at_pressure(dynamics, n_beads, rng)
    lengths, pressures = [], []
    for sample in simulate(state, potential, dynamics, rng, 30_000, 10):
        lengths.append(sample.ring_polymer.cell.diagonal().copy())
        pressures.append(sample.properties["pressure_GPa"])
        assert np.count_nonzero(sample.ring_polymer.cell) == 3
    grid = [length + np.linspace(-1.0, 1.0, 81) for length in potential.lengths]
    axes = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    energy = 0.5 * (np.array(potential.stiffness) * (axes - potential.lengths) ** 2).sum(axis=-1)
    weight = np.exp(-(energy + pressure * units.GPa * axes.prod(axis=-1)) / (units.kB * T))[..., None]
    mean = (weight * axes).sum(axis=(0, 1, 2)) / weight.sum()
    variance = (weight * (axes - mean) ** 2).sum(axis=(0, 1, 2)) / weight.sum()
    for axis, series in enumerate(np.array(lengths).T):
        assert abs(mean[axis] - potential.lengths[axis]) > 0.05
        check(block_average(series), mean[axis], 0.002)
        check(block_average((series - mean[axis]) ** 2), variance[axis], 0.15)
    check(block_average(pressures), pressure, 0.05)


@pytest.mark.parametrize("barostat", ["isotropic", "orthorhombic"])
@pytest.mark.parametrize("integrator", SPLITTINGS)
@pytest.mark.parametrize("n_beads", [1, 3])
def test_constant_enthalpy_is_reversible(integrator, n_beads, barostat):
    """With momenta of atoms and cell turned round, as many steps lead back."""
    rng = np.random.default_rng(3)
    dynamics = replace(DYNAMICS, integrator=integrator, thermostat="none", remove_com=False, barostat=barostat)
    potential, state = at_pressure(dynamics, n_beads, rng)
    before = [array.copy() for array in (state.positions, state.momenta, state.cell, state.piston)]
    for turn in range(2):
        *_, last = simulate(state, potential, dynamics, rng, 100, 100)
        moved = abs(last.volume / abs(np.linalg.det(before[2])) - 1.0)
        assert moved > 1e-3 if turn == 0 else moved < 1e-10
        state.momenta[:] *= -1.0
        state.piston[:] *= -1.0
    for found, expected in zip((state.positions, state.momenta, state.cell, state.piston), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def enthalpy_wiggle(timestep_fs: float, barostat: str) -> float:
    rng = np.random.default_rng(5)
    dynamics = replace(DYNAMICS, timestep_fs=timestep_fs, thermostat="none", pressure_GPa=1.0, barostat=barostat)
    potential, state = at_pressure(dynamics, 4, rng)
    samples = simulate(state, potential, dynamics, rng, round(60.0 / timestep_fs))
    return float(np.std([sample.properties["conserved_eV"] for sample in samples]))


@pytest.mark.parametrize("barostat", ["isotropic", "orthorhombic"])
def test_error_of_the_enthalpy_is_of_second_order(barostat):
    """Halving the time step quarters the wiggle, to the next order; without p_h or ln V it would not shrink at all."""
    assert enthalpy_wiggle(0.2, barostat) / enthalpy_wiggle(0.1, barostat) == pytest.approx(4.0, rel=0.05)


def test_thermostats_keep_the_conserved_quantity():
    rng, dynamics = np.random.default_rng(6), replace(DYNAMICS, timestep_fs=0.1, pressure_GPa=1.0)
    potential = crystal(4, rng)
    state = start(dynamics, potential.scaled, 4, 380.0, rng)
    samples = [sample.properties for sample in simulate(state, potential, dynamics, rng, 2000, 10)]
    assert np.ptp([sample["conserved_eV"] for sample in samples]) < 2e-3
    assert np.std([sample["potential_eV"] for sample in samples]) > 0.05


def test_no_time_moves_nothing():
    rng, dynamics = np.random.default_rng(7), replace(DYNAMICS, timestep_fs=0.0)
    potential = crystal(2, rng)
    state = start(dynamics, potential.scaled, 3, 380.0, rng)
    cells = [sample.ring_polymer.cell.copy() for sample in simulate(state, potential, dynamics, rng, 10)]
    assert all(np.array_equal(cell, cells[0]) for cell in cells)


# i-PI's own barostat on the same potential, in atomic units; its cells have lattice vectors in columns, an upper triangle.
PES = """
import numpy as np
from ipi.pes.dummy import Dummy_driver

__DRIVER_NAME__, __DRIVER_CLASS__ = "own", "Own"

class Own(Dummy_driver):
    def __init__(self, **kw):
        super().__init__()
    def compute(self, cell, pos):
        if isinstance(cell, list):
            return [self.compute(*one) for one in zip(cell, pos)]
        away, volume = pos - np.array({scaled}) @ cell.T, abs(np.linalg.det(cell))
        slope = {modulus!r} * (volume / {volume!r} - 1.0)
        force = -{stiffness!r} * away
        energy = 0.5 * {stiffness!r} * (away**2).sum() + 0.5 * slope * (volume - {volume!r})
        return energy, force, away.T @ force - slope * volume * np.eye(3), ""
"""
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
system.cell.h[:] = np.array(given["cell"]).T
system.motion.barostat.p[:] = given["piston"]
simulation.run(given["steps"], write_outputs=False)
print("RESULT" + json.dumps({"q": np.array(system.beads.q).tolist(), "p": np.array(system.beads.p).tolist(),
                             "h": np.array(system.cell.h).tolist(), "piston": np.array(system.motion.barostat.p).tolist()}))
"""
INPUT = """<simulation verbosity='quiet'>
<output prefix='x'></output> <prng><seed>1</seed></prng>
<ffdirect name='own'><pes>custom</pes><pes_path>{folder}/pes.py</pes_path></ffdirect>
<system>
<initialize nbeads='{beads}'><file mode='xyz'>{folder}/start.xyz</file></initialize>
<forces><force forcefield='own'/></forces>
<ensemble><temperature>{temperature!r}</temperature><pressure>{pressure!r}</pressure></ensemble>
<motion mode='dynamics'><fixcom>False</fixcom>
<dynamics mode='npt' splitting='{splitting}'><timestep>{timestep!r}</timestep>
<barostat mode='isotropic'><tau>{tau!r}</tau></barostat></dynamics></motion>
</system></simulation>"""


@pytest.mark.parametrize(("integrator", "n_beads"), [("OBABO", 1), ("OBABO", 4), ("BAOAB", 3)])
def test_the_trajectory_of_ipi(tmp_path, integrator, n_beads):
    """Constant enthalpy from the same start: positions, momenta, cell and its momentum, to rounding."""
    pytest.importorskip("ipi")
    rng, n_atoms, steps = np.random.default_rng(n_beads), 3, 30
    dynamics = replace(DYNAMICS, integrator=integrator, thermostat="none", pressure_GPa=2.0, remove_com=False)
    potential = crystal(n_atoms, rng)
    cell = np.array([[6.0, 0.0, 0.0], [1.0, 7.0, 0.0], [0.3, 0.5, 8.0]])
    state = start(dynamics, potential.scaled, n_beads, 350.0, rng)
    state.positions[:] = potential.scaled @ cell + rng.normal(0.0, 0.1, state.positions.shape)
    state.cell[:] = cell
    time = HBAR / units.Hartree
    mass, per_length = units._me / units._amu, 1.0 / units.Bohr
    momentum = mass * units.Bohr / time
    modulus = potential.bulk_modulus / units.Hartree * units.Bohr**3
    (tmp_path / "pes.py").write_text(
        PES.format(
            scaled=potential.scaled.tolist(), volume=potential.volume / units.Bohr**3, modulus=float(modulus),
            stiffness=float(potential.force_constant / units.Hartree * units.Bohr**2),
        )
    )  # fmt: skip
    comment = "# CELL(abcABC): 9 9 9 90 90 90 cell{angstrom} positions{angstrom}"
    atoms = "".join(f"C {k} 0 0\n" for k in range(n_atoms))
    (tmp_path / "start.xyz").write_text(f"{n_atoms}\n{comment}\n{atoms}")
    xml = INPUT.format(
        folder=tmp_path, beads=n_beads, splitting=integrator.lower(), temperature=float(units.kB * T / units.Hartree),
        pressure=float(2.0 * units.GPa / units.Hartree * units.Bohr**3), timestep=float(units.fs / time),
        tau=float(50.0 * units.fs / time),
    )  # fmt: skip
    given = {
        "xml": xml, "steps": steps, "masses": (state.masses / mass).tolist(), "cell": (cell * per_length).tolist(),
        "positions": (state.positions * per_length).reshape(n_beads, -1).tolist(),
        "momenta": (state.momenta / momentum).reshape(n_beads, -1).tolist(),
        "piston": (state.piston / (units.Hartree * time)).tolist(),
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
    assert line is not None, done.stdout[-1000:] + done.stderr[-2000:]
    theirs = json.loads(line.removeprefix("RESULT"))
    *_, last = simulate(state, potential, dynamics, rng, steps, steps)
    assert abs(last.volume / abs(np.linalg.det(cell)) - 1.0) > 1e-3
    np.testing.assert_allclose(state.cell * per_length, np.array(theirs["h"]).T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(state.positions.reshape(n_beads, -1) * per_length, theirs["q"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(state.momenta.reshape(n_beads, -1) / momentum, theirs["p"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(state.piston / (units.Hartree * time), theirs["piston"], rtol=1e-7)
