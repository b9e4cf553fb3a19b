"""The guards of bonds and of energies: what they detect, what they ignore, and the verdict on a run."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.data import covalent_radii

import md.runs.driving
import md.runs.preparation
from md.cli import main
from md.guards.bonds import BondGuard
from md.guards.endings import Exit, Frame, SimulationError
from md.observables.averages import Ensemble, means
from md.observables.statistics import Mean
from md.runs.verdict import verdict
from mlcalc.geometry.bonds import BondWatch, find_bonds
from tests.conftest import rpmd_run, write_acetylene

NONE = np.zeros(0)


def same(positions):
    return positions


def frame(step, positions):
    return Frame(step, positions[None], NONE, NONE)


def test_a_bond_breaks_and_forms_with_hysteresis():
    """H2 taken apart and put together again: broken beyond 1.75, made below 1.25 of the sum of the radii, nothing in between."""
    reach = 2 * covalent_radii[1]
    watch, at = BondWatch(molecule("H2")), np.zeros((2, 3))
    for factor, bonded in ((1.0, True), (1.7, True), (1.8, False), (1.3, False), (1.2, True), (1.7, True)):
        at[1, 2] = factor * reach
        assert (watch.changes(at) == []) == bonded, factor


def test_quantum_and_thermal_motion_breaks_no_bond():
    """Centroids are classical to a good part; even each bead, at the width of zero-point motion of O-H at 300 K, stays bonded."""
    water, rng = molecule("H2O"), np.random.default_rng(0)
    width = np.sqrt(units._hbar / (2 * 0.948 * units._amu * 2 * np.pi * 3e10 * 3700)) * 1e10
    assert width == pytest.approx(0.069, abs=0.002)
    for _ in range(20_000):
        moved = water.positions + rng.normal(0, 1, (3, 3)) * np.array([[0.0], [1.0], [1.0]]) * width
        assert BondWatch(water).changes(moved) == [] if rng.random() < 0.02 else True


@pytest.mark.parametrize("n_atoms", [12, 600])
def test_large_and_periodic_systems_see_what_small_ones_see(n_atoms, monkeypatch):
    """A molecule across the boundary of a skewed cell, its atoms wrapped anyhow, has the bonds that it has alone."""
    rng = np.random.default_rng(2)
    cell = np.array([[9.0, 0, 0], [3.0, 9.0, 0], [1.0, 2.0, 10.0]])
    alone = molecule("CH3CH2OH")
    moved = alone.copy()
    moved.positions[0] += 3.0
    expected = [tuple(change) for change in BondWatch(alone).changes(moved.positions)]
    assert expected
    boxed = Atoms(alone.numbers, alone.positions, cell=cell, pbc=True)
    shifts = rng.integers(-2, 3, (len(alone), 3)) @ cell
    boxed.positions += shifts
    watch = BondWatch(boxed)
    assert watch.changes(boxed.positions) == []
    assert [tuple(change) for change in watch.changes(moved.positions + shifts)] == expected
    monkeypatch.setattr("mlcalc.geometry.bonds._FEW_ATOMS", n_atoms % 600)  # 0: by search, as molecules of many atoms
    assert [tuple(change) for change in BondWatch(alone).changes(moved.positions)] == expected
    assert len(find_bonds(boxed).first) == len(find_bonds(alone).first) == 8


def test_it_warns_once_for_each_kind_counts_and_names():
    said, apart = [], molecule("CH4")
    guard = BondGuard(apart, "warn", same, said.append)
    start = apart.positions.copy()
    guard(frame(0, start))
    apart.positions[1] *= 3.0
    for step in (10, 20):
        guard(frame(step, apart.positions))
    apart.positions[2] *= 3.0
    guard(frame(30, apart.positions))
    assert len(said) == 1
    assert "step 10: bonds differ from those of the start (by element and index of the atoms: C0-H1 broken)" in said[0]
    found = guard.seen()["bonds_changed"]
    assert found == {"records": 3, "first_step": 10, "changes": ["C0-H1 broken", "C0-H2 broken"]}
    later = BondGuard(apart, "record", same, said.append)
    later.resume(guard.seen())
    later(frame(40, apart.positions))  # the start of this one
    assert later.seen()["bonds_changed"]["records"] == 3
    stopping = BondGuard(molecule("CH4"), "stop", same)
    with pytest.raises(SimulationError) as caught:
        stopping(frame(40, apart.positions))
    assert caught.value.code == Exit.BONDS


def test_copies_are_looked_at_one_by_one():
    """Two molecules far apart in one place are no bond; one of two that has come apart is seen."""
    methane, said = molecule("CH4"), []
    guard = BondGuard(methane, "warn", same, said.append, copies=2)
    both = np.concatenate([methane.positions, methane.positions])
    guard(frame(0, both))
    assert not said
    both[6] *= 3.0
    guard(frame(1, both))
    assert "C0-H1 broken" in said[0]


class Deep:
    """The run's network, and from some call on a hole under one of the beads."""

    calls, from_call, minimum = 0, 52, None  # the first two calls of a run are of step 0

    def __init__(self, network, depth):
        self.network, self.depth = network, depth

    def __call__(self, positions):
        energies, forces = self.network(positions)
        self.calls += len(positions) == 3
        if self.minimum is not None and len(positions) == 3 and self.calls >= self.from_call:
            energies[1] = self.minimum - self.depth
        return energies, forces

    def __getattr__(self, name):
        return getattr(self.network, name)


@pytest.fixture
def hollow(tmp_path, monkeypatch):
    """Runs of acetylene; ``hollow(depth)`` makes one bead lie so many eV below the minimum from step 50 on."""
    write_acetylene(tmp_path, "steps = 100\nbeads = 3\ncheckpoint_every_steps = 20\n")
    make, relaxed = md.runs.driving.make_potential, md.runs.preparation.relaxed

    def prepare(depth):
        def minimum(potential, atoms):
            found = relaxed(potential, atoms)
            potential.minimum = found.get_potential_energy()
            return found

        monkeypatch.setattr(md.runs.driving, "make_potential", lambda *a: Deep(make(*a), depth))
        monkeypatch.setattr(md.runs.preparation, "relaxed", minimum)
        return tmp_path

    return prepare


def test_an_energy_below_the_minimum_stops_a_run(hollow, capsys, monkeypatch):
    case = hollow(0.2)
    assert rpmd_run(case) == Exit.ENERGY == 10
    out = capsys.readouterr()
    assert "step 50: the potential energy of a bead is 0.200 eV below the minimum that the start relaxes to" in out.err
    assert f"rpmd resume {case}/out --set energy_guard=warn" in out.err
    assert "verdict on P = 3: beads were up to 0.20 eV below the minimum of the start (1 step)" in out.out
    assert (case / "out" / "breach.xyz").exists()
    monkeypatch.setattr(Deep, "from_call", 1)
    assert main(["resume", str(case / "out"), "--no-figure", "--set", "energy_guard=warn"]) == 0
    out = capsys.readouterr()
    assert out.err.count("eV below the minimum") == 1
    assert json.loads((case / "out" / "status.json").read_text())["steps_too_low"] > 50
    assert 'energy_guard = "warn"' in (case / "out" / "input.toml").read_text()
    assert main(["info", str(case / "out")]) == 0
    assert "verdict" in (printed := capsys.readouterr().out)
    assert "eV below the minimum of the start" in printed


def test_a_margin_is_left_and_it_can_be_switched_off(hollow, capsys):
    case = hollow(0.09)  # conformers, rounding
    assert rpmd_run(case) == 0
    assert "verdict" not in capsys.readouterr().out
    assert rpmd_run(case, "--set", "energy_guard=off", "--output", str(case / "off")) == 0
    assert "minimum_eV" not in json.loads((case / "off" / "status.json").read_text())


def test_relaxation_finds_the_minimum_or_says_that_there_is_none(tmp_path, capsys, monkeypatch):
    """The floor is a minimum that scipy finds too; if there is none, the run continues without it, with a note."""
    from scipy.optimize import minimize

    from md.runs.config import read_settings

    write_acetylene(tmp_path, "steps = 10\nbeads = 2\n")
    prepared = md.runs.preparation.prepare(read_settings(tmp_path / "run.toml", {"precision": "float64"}))

    def surface(x):
        energies, forces = prepared.potential(x.reshape(1, 4, 3))
        return energies[0], -forces.ravel()

    x = prepared.atoms.positions.ravel()
    exact = minimize(surface, x, jac=True, method="BFGS", options={"gtol": 1e-4}).fun
    assert prepared.minimum == pytest.approx(exact, abs=2e-3)
    monkeypatch.setattr("md.potentials._RELAXATION_STEPS", 1)
    assert rpmd_run(tmp_path) == 0
    assert "the energy guard is off" in capsys.readouterr().err


def test_one_run_that_stops_does_not_keep_the_others_from_being_made(hollow, capsys):
    case = hollow(0.2)
    assert rpmd_run(case, "--set", "beads=[3, 2]") == Exit.ENERGY
    states = [json.loads((case / "out" / f"P{P}" / "status.json").read_text())["state"] for P in (3, 2)]
    assert states == ["failed", "finished"]
    header = capsys.readouterr().out.splitlines()[0]
    assert header.split() == ["P", "=", "3", "P", "=", "2"]


def test_keys_that_a_resumption_may_not_change(hollow, capsys):
    case = hollow(0.0)
    assert rpmd_run(case) == 0
    before = (case / "out" / "input.toml").read_bytes()
    assert main(["resume", str(case / "out"), "--set", "temperature_K=10"]) == 2
    assert "--set temperature_K=…: a resumed run keeps it; keys that may change: bond_guard" in capsys.readouterr().err
    assert main(["resume", str(case / "out"), "--set", "model=c20"]) == 2
    assert main(["resume", str(case / "out"), "--set", "domain_guard=of"]) == 2
    assert (case / "out" / "input.toml").read_bytes() == before


def series_of(heat_capacity, n, n_atoms=9, T=300.0, seed=0, n_beads=1):
    """Classical potential energies of a given heat capacity, (C − 3N/2) k_B from their fluctuation, independent."""
    rng, beta = np.random.default_rng(seed), 1.0 / (units.kB * T)
    v = rng.normal(0.0, np.sqrt(heat_capacity - 1.5 * n_atoms) / beta, n)
    kinetic = np.full(n, 1.5 * n_atoms / beta)
    springs = np.full(n, 1.5 * n_atoms * (n_beads - 1) / beta)
    return {
        "potential_eV": v, "kinetic_primitive_eV": kinetic, "kinetic_virial_eV": kinetic, "spring_eV": springs,
        "temperature_K": T + rng.normal(0, 10.0, n),
    }  # fmt: skip


def judged(series, seen=(), thermostat="PILE-L", n_beads=1, n_atoms=9):
    ensemble = Ensemble(n_beads, n_atoms, 300.0)
    n = len(next(iter(series.values())))
    return " ".join(verdict(means(series, ensemble), n, ensemble, thermostat, np.full(n_atoms, 12.0), dict(seen)))


def test_verdicts():
    assert judged(series_of(26.0, 4000)) == ""
    assert judged(series_of(51.0, 4000)) == ""  # floppy, but below twice 3N
    assert "more than twice the classical one of vibrations (3N = 27 k_B)" in judged(series_of(569.0, 4000))
    off = series_of(26.0, 4000)
    off["temperature_K"] += 15.0
    assert "differs from that of the thermostat, 300 K" in judged(off)
    assert judged(off, thermostat="none") == ""
    wide = series_of(26.0, 4000, n_beads=8) | {"gyration_radius_A": np.random.default_rng(0).normal(0.2, 0.01, 4000)}
    free = 0.058  # ħ/2(m k_B T)^½ of carbon, Å
    assert f"those of free particles ({free:.3f}" in judged(wide, n_beads=8)
    assert judged(wide | {"gyration_radius_A": np.full(4000, 0.05)}, n_beads=8) == ""
    changed = {"bonds_changed": {"records": 3, "first_step": 120, "changes": ["C1-C2 broken"]}}
    assert "bonds differed from those of the start in 3 records, from step 120 on (C1-C2 broken)" in judged(
        series_of(26.0, 4000), changed
    )


def test_heat_capacities_of_too_few_samples_are_no_numbers():
    ensemble = Ensemble(1, 9, 300.0)
    few = means(series_of(26.0, 10), ensemble)["heat_capacity_fluctuation_kB"]
    assert np.isnan(few.value)
    enough = means(series_of(26.0, 4000), ensemble)["heat_capacity_fluctuation_kB"]
    assert abs(enough.value - 26.0) < 4 * enough.error
    vague = series_of(26.0, 64)
    vague["kinetic_virial_eV"] = np.random.default_rng(1).normal(0, 40.0, 64)
    assert np.isnan(means(vague, ensemble)["heat_capacity_fluctuation_kB"].value)
    assert isinstance(enough, Mean)
