"""Learning by itself: budgets, the plan, what a disagreement means, when it has converged, and what is refused at the door."""

import errno
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import gamma

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.data.engines import make_calculator
from mlcalc.data.relaxation import relax
from mlcalc.learn.calibration import SHARE, calibrate, conformal_bound
from mlcalc.learn.cold import cold_structures
from mlcalc.learn.committee import choose
from mlcalc.learn.convergence import unmet
from mlcalc.learn.fresh import draw, lacking
from mlcalc.learn.labels import count_labels, label_stage, quarantined
from mlcalc.learn.lower_minimum import lower_minimum
from mlcalc.learn.observables import differing, observables
from mlcalc.learn.processes import Command, check_codes, run_all
from mlcalc.learn.progress import Progress
from mlcalc.learn.refine import corrected_labels, subset
from mlcalc.learn.rounds import Work, _more_fresh
from mlcalc.learn.settings import PLAN_FILE, LearnSettings, changed_plan, command_of, read_plan, write_plan
from mlcalc.learn.start import Start, completed, needed_beads, with_budget
from mlcalc.learn.starts import exploration_starts
from mlcalc.vibrations import HBAR, NormalModes
from tests.conftest import is_alive

PLAN = LearnSettings("a.xyz", "ase:emt", beads=4, timestep_fs=0.5, labels=300, n_features=16, cutoff_A=5.0)


def start_of(wavenumbers, atoms=None) -> Start:
    """A start with these vibrations, cm⁻¹; their vectors mean nothing."""
    atoms = atoms or molecule("H2O")
    energies = np.array(wavenumbers) * units.invcm
    return Start(atoms, NormalModes(atoms, energies, np.zeros((len(energies), len(atoms), 3))), 0.01)


@pytest.mark.parametrize(
    ("low", "expected"),
    [(("turned", "harmonic"), ["turned", "harmonic"]), (("harmonic",), ["harmonic", "harmonic"]),
     ((), ["", ""])],
    ids=["turned", "turns too high", "draws too high"],
)  # fmt: skip
def test_explorations_start_where_nothing_reacts(monkeypatch, tmp_path, low, expected):
    """Starts lie within f·k_BT of the minimum, 21·k_BT = 0.54 eV here; where no trial does, they are the minimum."""
    begin = start_of(np.full(21, 1000.0), molecule("CH3CH2OH"))

    def energies(models, frames):
        kinds = [atoms.info.get("sampling", "") for atoms in frames]
        heights = [0.5 if any(kind.startswith(word) for word in low) else 0.6 if kind else 0.0 for kind in kinds]
        return np.array([heights]) - 500.0, None

    monkeypatch.setattr("mlcalc.learn.starts.predict", energies)
    plan = replace(PLAN, starts=3)
    found = exploration_starts(plan, begin, tmp_path / "model", tmp_path / "cold", 1)
    assert found[0] is begin.atoms and len(found) == 3
    for atoms, kind in zip(found[1:], expected, strict=True):
        assert atoms.info.get("sampling", "").startswith(kind) and (kind or atoms is begin.atoms)


@given(st.integers(60, 5000), st.integers(1, 8), st.integers(0, 40))
def test_stages_stay_within_the_budget(labels, rounds, spot_check):
    try:
        plan = LearnSettings("a.xyz", "ase:emt", labels=labels, rounds=rounds, spot_check=spot_check)
    except InputError as error:
        assert "expected at least 5 of each" in str(error)
        return
    spent = plan.cold_labels + rounds * plan.fresh_labels + (rounds - 1) * plan.chosen_labels + spot_check
    assert labels - 2 * rounds - 2 <= spent <= labels


@pytest.mark.parametrize("wavenumber", [400.0, 1700.0, 3700.0])
def test_beads_are_the_least_power_of_two_that_suffices(wavenumber):
    """Against the sum over normal modes of a ring polymer, E = (1/β) Σ_k ω²/(ω² + ω_k²)."""
    beta, omega = 1.0 / (units.kB * 300.0), wavenumber * units.invcm / HBAR

    def energy(beads):
        k = np.arange(beads)
        omega_k = 2.0 * beads / (beta * HBAR) * np.sin(np.pi * k / beads)
        return (omega**2 / (omega**2 + omega_k**2)).sum() / beta

    limit = 0.5 * HBAR * omega / np.tanh(0.5 * beta * HBAR * omega)
    fine = [p for p in (1, 2, 4, 8, 16, 32, 64, 128) if p >= beta * HBAR * omega and energy(p) >= 0.98 * limit]
    assert needed_beads(start_of([wavenumber]), 300.0) == fine[0]


def test_what_is_set_is_not_chosen_anew():
    given = LearnSettings("a.xyz", "ase:emt", beads=6, labels=400)
    plan = completed(given, start_of([1600.0, 3700.0, 3800.0]))
    assert (plan.beads, plan.labels) == (6, 400)
    assert plan.timestep_fs == pytest.approx(0.45)  # 8.8 fs / 20, to 0.05
    assert completed(LearnSettings("a.xyz", "ase:emt"), start_of([300.0])).timestep_fs == 1.0


@pytest.mark.parametrize(
    ("n", "seconds", "labels"), [(9, 0.002, 4500), (9, 60.0, 900), (9, 0.2, 1440), (2, 60.0, 300), (50, 60.0, 2000)]
)
def test_cheap_labels_are_more(n, seconds, labels):
    """100 an atom from 300 to 2000; up to five times as many in 2 % of two hours of two processes, 288 s."""
    assert with_budget(LearnSettings("a.xyz", "ase:emt"), Atoms("H" * n), seconds).labels == labels


def test_explorations_of_the_first_rounds_are_shorter():
    assert [PLAN.of_round(number).explore_ps for number in (1, 2, 3, 4)] == [1.25, 2.5, 5.0, 5.0]
    assert PLAN.of_round(1).fresh_labels == PLAN.fresh_labels


def test_a_plan_reads_back_and_keeps_what_it_began_with(tmp_path):
    write_plan(PLAN, tmp_path, "mlcalc learn a.xyz")
    assert read_plan(tmp_path / PLAN_FILE).engine == "ase:emt"
    assert command_of(tmp_path) == "mlcalc learn a.xyz"
    changed = changed_plan(tmp_path, {"labels": 500, "hours": 3.0})
    assert (changed.labels, changed.hours, changed.beads) == (500, 3.0, 4)
    write_plan(changed, tmp_path, "another command")
    assert command_of(tmp_path) == "mlcalc learn a.xyz"
    path = tmp_path / PLAN_FILE
    path.write_text(path.read_text().replace("beads = 4\n", ""))  # a deleted line is the one of the begin
    assert changed_plan(tmp_path, {}).beads == 4
    path.write_text(path.read_text() + "beads = 8\n")
    with pytest.raises(InputError, match="began with beads = 4, not 8"):
        changed_plan(tmp_path, {})


def test_expected_errors_are_those_of_gaussian_members():
    """Members scattered independently about the truth: e = |δ₁| and σ have closed means, of χ with 3 and 3(M − 1) freedoms."""
    rng, members, n = np.random.default_rng(0), 3, 4000
    deviations = rng.normal(size=(members, n, 5, 3))
    sigma = np.sqrt(np.square(deviations - deviations.mean(axis=0)).sum(axis=-1).mean(axis=0))
    errors = np.linalg.norm(deviations[0], axis=-1)

    def mean_chi(freedoms):
        return math.sqrt(2.0) * gamma((freedoms + 1) / 2) / gamma(freedoms / 2)

    expected = mean_chi(3) / (mean_chi(3 * (members - 1)) / math.sqrt(members))
    found = calibrate(sigma, errors)
    assert found.factor == pytest.approx(expected, rel=0.01)  # 20 000 atoms: 4 standard errors
    assert found.coverage == pytest.approx(SHARE, abs=0.015)
    fresh = rng.normal(size=(members, n, 5, 3))
    other = np.sqrt(np.square(fresh - fresh.mean(axis=0)).sum(axis=-1).mean(axis=0))
    assert (np.linalg.norm(fresh[0], axis=-1) <= found.bound * other).mean() == pytest.approx(SHARE, abs=0.015)


def test_the_bound_is_the_conformal_order_statistic():
    rng = np.random.default_rng(1)
    assert conformal_bound(np.arange(8.0)) == math.inf  # nine in ten need nine scores
    assert conformal_bound(np.arange(9.0)) == 8.0
    # Of n uniform scores, the bound is Beta distributed with the mean ⌈(n + 1)·0.9⌉/(n + 1).
    bounds = [conformal_bound(rng.random(19)) for _ in range(4000)]
    assert np.mean(bounds) == pytest.approx(18 / 20, abs=4 * np.std(bounds) / math.sqrt(4000))


def vibrating(width, level, seed, count=200):
    """Frames of two trajectories of a dimer whose bond is Gaussian, and their energies, Gaussian about a level."""
    rng, frames = np.random.default_rng(seed), []
    for number, length in enumerate(rng.normal(1.1, width, count)):
        atoms = Atoms("N2", [[0, 0, 0], [0, 0, length]])
        atoms.info.update(trajectory=f"run {number % 2}", step=number)
        frames.append(atoms)
    return frames, rng.normal(level, 0.2, count)


def test_observables_of_a_gaussian_bond():
    minimum = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    found = observables(*vibrating(0.04, -3.0, 0), minimum)
    assert abs(found["potential_eV"].value + 3.0) < 4 * found["potential_eV"].error
    assert found["potential_eV"].error == pytest.approx(0.2 / math.sqrt(200), rel=0.6)
    assert found["bond_width_A"].value == pytest.approx(0.04, rel=0.1)
    same, wider = (observables(*vibrating(width, -3.0, 1), minimum) for width in (0.04, 0.06))
    assert differing(found, same) == []
    assert [text.split()[0] for text in differing(found, wider)] == ["bond_width_A"]
    assert observables([], np.zeros(0), minimum) == {}


def a_round(
    mae=5.0, error=0.5, guard=None, potential=1.0, failed=0, temperature=300.0, kinds=("beads 4", "beads 1")
) -> dict:
    """The record of a round; the error is that of the first kind of structures."""
    errors = [(mae, error), (1.0, 0.1)]
    return {
        "errors": [{"kind": kind, "mae": m, "mae_error": e} for kind, (m, e) in zip(kinds, errors, strict=False)], "failed": failed,
        "runs": [{"run": "300K-1/P4", "guard": guard, "temperature_K": temperature}],
        "observables": {"potential_eV": [potential, 0.01], "bond_width_A": [0.05, 0.001]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([a_round(), a_round()], None),
        ([a_round()], "only one round"),
        ([a_round(), a_round(mae=9.8)], "9.8 ± 0.5"),  # within the target only without the standard error
        ([a_round(), a_round(error=None)], "± unknown"),
        ([a_round(), a_round(guard="step 3: too hot")], "step 3: too hot"),
        ([a_round(), a_round(guard="step 3: too hot", temperature=390.0)], None),  # the hotter ones only explore
        ([a_round(), a_round(potential=1.05)], "potential_eV changed by +0.05"),
        ([a_round(), a_round(failed=2)], "could not compute 2"),
        ([a_round(), a_round(kinds=("beads 1",))], "no errors of fresh structures (beads 4)"),
        ([a_round(), a_round() | {"observables": {}}], "not known"),
    ],
)
def test_convergence_is_judged_by_all_of_its_conditions(records, said):
    reasons = unmet(PLAN, records)
    assert (reasons == []) if said is None else (len(reasons) == 1 and said in reasons[0])


@pytest.mark.parametrize(
    ("quantum", "classical", "spare", "more"),
    [
        ((5.0, 1.0), (5.0, 2.0), 100, {}),  # both below a third of 10
        ((5.0, 1.0), (5.0, 6.66), 100, {1: 30}),  # twice as precise: four times as many as ten
        (
            (25.0, 4.9),
            (5.0, 1.0),
            100,
            {},
        ),  # three standard errors above the target: no number of structures would help
        ((24.0, 5.0), (5.0, 1.0), 100, {4: 13}),  # 10·(5/3.33)² = 22.5
        ((5.0, 6.667), (5.0, 6.667), 20, {4: 10, 1: 10}),
        ((5.0, 6.667), (5.0, 6.667), -3, {4: 0, 1: 0}),
        ((5.0, None), (5.0, 1.0), 100, {4: 5}),
    ],
)
def test_fresh_structures_are_as_many_as_a_verdict_needs(quantum, classical, spare, more):
    errors = [
        {"kind": f"beads {beads}", "mae": mae, "mae_error": error, "frames": 10}
        for beads, (mae, error) in ((4, quantum), (1, classical))
    ]
    assert lacking(PLAN, errors, spare) == more


def test_fresh_structures_are_drawn_once():
    visited = []
    for k in range(40):
        atoms = Atoms(
            "Cu", info={"beads": (4, 1)[k % 2], "step": 10_000 * (k > 7), "temperature_K": 300.0, "sampling": "run"}
        )
        visited.append(atoms)
    rng = np.random.default_rng(0)
    first = draw(PLAN, visited, {4: 10, 1: 4}, (), rng)
    assert [atoms.info["beads"] for atoms in first] == 10 * [4] + 4 * [1]
    known = {atoms.info["visited"] for atoms in first}
    assert len(known) == 14 and min(known) > 7  # none of the first fifth of a run
    rest = draw(PLAN, visited, {4: 10, 1: 10}, known, rng)
    assert [atoms.info["beads"] for atoms in rest] == 6 * [4] + 10 * [1]  # all that are left
    assert not known & {atoms.info["visited"] for atoms in rest}


def test_more_fresh_structures_join_those_that_are_labelled(tmp_path):
    """Those keep their labels, and the budget holds."""
    rng, visited = np.random.default_rng(1), []
    for k in range(80):
        (atoms,) = copper(2.2 + 0.5 * rng.random())
        atoms.info.update(beads=(4, 1)[k % 2], step=10_000, sampling="run", temperature_K=300.0)
        visited.append(atoms)
    plan, path = replace(PLAN, rounds=2, spot_check=0), tmp_path / "round-1" / "fresh.xyz"
    work = Work(plan, tmp_path, Start(copper(2.4)[0], None, 0.01), Progress(tmp_path))
    path.parent.mkdir()
    write(path, draw(plan, visited, {4: 6, 1: 4}, (), rng))
    work.label(path)
    before = path.with_suffix(".all.xyz.journal").read_bytes()
    errors = [
        {"kind": "beads 1", "mae": 5.0, "mae_error": 6.66, "frames": 4},
        {"kind": "beads 4", "mae": 99.0, "mae_error": 5.0},
    ]
    errors[1]["frames"] = 6
    assert _more_fresh(work, 1, visited, errors)
    assert len(read(work.label(path), ":")) == 10 + 12
    assert path.with_suffix(".all.xyz.journal").read_bytes().startswith(before)
    assert not _more_fresh(work, 1, visited, errors[1:])
    poor = work._replace(settings=replace(plan, labels=35))
    assert (
        poor.settings.fresh_labels == 6
    )  # of the round to come: 7 of 35 are left beside these and the 22 that are spent
    assert _more_fresh(poor, 1, visited, errors)
    assert len(read(path, ":")) == 22 + 7


def test_the_least_known_and_most_different_structures_are_chosen():
    lengths = [1.0, 1.0, 1.0, 1.3, 1.1, 1.6]
    frames = [Atoms("N2", [[0, 0, 0], [0, 0, length]]) for length in lengths]
    expected = np.array([0.9, 0.8, 0.7, 0.5, 0.6, 0.001])
    assert choose(frames, expected, 1) == [0]
    assert choose(frames, expected, 3) == [0, 5, 3]
    assert sorted(choose(frames, expected, 6)) == [0, 3, 4, 5]  # twins teach nothing
    assert choose(frames[:1] * 9 + frames[5:], np.array([0.5] * 9 + [0.1]), 1) == [0]
    assert choose([], np.zeros(0), 3) == []


def argon(points) -> Atoms:
    """Seven atoms that ase:lj holds together, σ = 1 Å."""
    return Atoms("Ar7", 1.12 * np.array(points))


def test_a_lower_minimum_is_found_by_its_rule():
    """The two best isomers of seven Lennard-Jones atoms: −16.505 and −15.935 ε (Wales and Doye, doi:10.1021/jp970984n)."""
    ring = [[0.85 * np.cos(0.4 * np.pi * k), 0.85 * np.sin(0.4 * np.pi * k), 0.0] for k in range(5)]
    half, third = math.sqrt(0.5), 0.9
    octahedron = [[half, 0, 0], [-half, 0, 0], [0, half, 0], [0, -half, 0], [0, 0, half], [0, 0, -half]]
    best, second = argon([*ring, [0, 0, 0.53], [0, 0, -0.53]]), argon([*octahedron, [third * 0.9] * 3])
    second, rng = relax(second, make_calculator("ase:lj"), 1e-3), np.random.default_rng(0)
    second.calc = None
    shaken = []
    for atoms in (best, second, second):
        shaken.append(atoms.copy())
        shaken[-1].positions += rng.normal(scale=0.02, size=(7, 3))
    network, engine = make_calculator("ase:lj"), make_calculator("ase:lj")
    found = lower_minimum(second, shaken, network, engine)
    assert found.below_eV == pytest.approx(16.505 - 15.935, abs=2e-3)
    assert lower_minimum(second, shaken[1:], network, engine) is None
    assert lower_minimum(best, shaken, network, engine) is None
    assert lower_minimum(best, [], network, engine) is None


def copper(*distances):
    return [Atoms("Cu2", [[0, 0, 0], [0, 0, d]], info={"temperature_K": 300}) for d in distances]


def labelled(frames, spring=0.0):
    """Dimers with labels of EMT and of a spring of 2.4 Å beside it, the second level."""
    for atoms in frames:
        atoms.calc = make_calculator("ase:emt")
        vector = atoms.positions[1] - atoms.positions[0]
        length = np.linalg.norm(vector)
        pull = spring * (length - 2.4) * vector / length
        energy, forces = atoms.get_potential_energy() + 0.5 * spring * (length - 2.4) ** 2, atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy + 7.0 * spring, forces=forces + [pull, -pull])
        atoms.info["engine"] = "stiff" if spring else "ase:emt"
    return frames


def test_what_is_labelled_again_is_different_and_mostly_low():
    lengths = [*np.linspace(2.1, 3.3, 25), *np.linspace(2.1, 3.3, 25)]  # each of them twice
    frames = labelled(copper(*lengths))
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    chosen = subset(frames, 10)
    assert len(chosen) == 10
    assert energies[chosen].min() == energies.min()
    assert (energies[chosen] <= np.median(energies)).sum() >= 5
    spread = np.sort(np.array(lengths)[chosen])
    assert np.diff(spread).min() > 0.03  # no twins
    assert spread[0] < 2.2 and spread[-1] == 3.3
    assert len(subset(frames, 100)) == 25
    assert subset([], 10) == []


def test_labels_are_corrected_by_what_a_network_learns_of_the_difference(tmp_path):
    """20 of 60 dimers are known at the second level, a spring away: the others come near to it, in forces and relative energies."""
    plan = replace(
        PLAN, refines="learned", engine="stiff", architecture="schnet", n_interactions=1, later_steps=400, compile=False, jobs=1
    )  # fmt: skip
    lengths = np.linspace(2.2, 2.8, 60)
    (tmp_path / "before").mkdir()
    write(tmp_path / "before" / "labels.xyz", labelled(copper(*lengths)))
    write(tmp_path / "cold.labels.xyz", labelled(copper(*lengths[::3]), spring=2.0))
    path = corrected_labels(plan, tmp_path, tmp_path / "cold.labels.xyz")
    found, rest = read(path, ":"), np.delete(lengths, slice(None, None, 3))
    exact = labelled(copper(*rest), spring=2.0)
    assert [atoms.get_distance(0, 1) for atoms in found] == pytest.approx(rest.tolist())
    wrong = [np.abs(one.get_forces() - other.get_forces()).max() for one, other in zip(found, exact, strict=True)]
    assert np.mean(wrong) < 0.2 * 2.0 * np.abs(rest - 2.4).mean()
    energies = np.array(
        [[one.get_potential_energy(), other.get_potential_energy()] for one, other in zip(found, exact, strict=True)]
    )
    assert np.abs(energies[:, 0] - energies[:, 1]).max() < 0.1  # the constant of 14 eV is part of the correction
    before = path.read_bytes()
    assert corrected_labels(plan, tmp_path, tmp_path / "nothing").read_bytes() == before


def test_labels_that_are_not_learnt_are_set_apart_with_their_reason(tmp_path):
    path = tmp_path / "cold.xyz"
    write(path, [*copper(2.3, 1.0, 2.5), Atoms("Fe2", [[0, 0, 0], [0, 0, 2.2]])])
    kept = label_stage(path, "ase:emt", 1, 20.0)
    assert len(read(kept, ":")) == 2
    assert count_labels(tmp_path) == 3
    reasons = [atoms.info["reason"] for atoms in read(tmp_path / "cold.quarantine.xyz", ":")]
    assert "above max_label_force_eV_A = 20" in reasons[0]
    assert "Fe" in reasons[1]
    assert sum(quarantined(tmp_path).values()) == 2
    before = kept.read_bytes()
    assert label_stage(path, "no engine: the result is there", 1, 20.0).read_bytes() == before


def test_an_engine_that_stops_working_is_no_fault_of_structures(tmp_path):
    """EMT knows no iron: structures that it fails on are set apart only if it still computes the start."""
    path, iron = tmp_path / "cold.xyz", Atoms("Fe2", [[0, 0, 0], [0, 0, 2.2]])
    write(path, [*copper(2.3, 2.5), iron])
    with pytest.raises(InputError, match="has stopped working"):
        label_stage(path, "ase:emt", 1, 20.0, iron)
    assert count_labels(tmp_path) == 2
    assert not path.with_suffix(".labels.xyz").exists() and not path.with_suffix(".quarantine.xyz").exists()
    kept = label_stage(path, "ase:emt", 1, 20.0, copper(2.4)[0])
    assert (len(read(kept, ":")), sum(quarantined(tmp_path).values())) == (2, 1)


def test_a_periodic_start_is_explored_with_the_engine():
    atoms = bulk("Cu", cubic=True)
    plan = LearnSettings("a.xyz", "ase:emt", labels=60, rounds=1, spot_check=0, beads=1)
    frames = cold_structures(plan, Start(atoms, None, 0.01), make_calculator("ase:emt"))
    assert len(frames) == plan.cold_labels
    assert all(
        frame.pbc.all() and (frame.cell.array == atoms.cell.array).all() and frame.calc is None for frame in frames
    )
    assert {frame.info["temperature_K"] for frame in frames} == {300.0, 390.0}
    assert sum("pushed" in frame.info["sampling"] for frame in frames) == plan.cold_labels // 4


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A command of one's own: writes its process number, waits, ends with the code that it is given."""
    (tmp_path / "waiting.py").write_text(
        "import os, sys, time\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\ntime.sleep(float(sys.argv[2]))\nsys.exit(int(sys.argv[3]))\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return tmp_path


def test_commands_run_side_by_side_and_give_their_codes(module):
    commands = [Command("waiting", [module / f"pid{k}", 0.01, k], module / "log") for k in (0, 3, 1)]
    assert run_all(commands, 2) == [0, 3, 1]


def test_a_command_without_space_says_so_once(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "step 1\nrpmd: error: a.h5: Read-only file system; no incomplete file was left: make room and start again\n"
    )
    with pytest.raises(OSError, match="a.h5: Read-only file system") as raised:
        check_codes([Command("md.cli", ["run"], log)], [8])
    assert "no incomplete file" not in str(raised.value)
    assert raised.value.errno == errno.ENOSPC
    with pytest.raises(InputError, match="md.cli run ended with code 7"):
        check_codes([Command("md.cli", ["run"], log)], [7], allowed=(3,))
    check_codes([Command("md.cli", ["run"], log)], [3], allowed=(3,))


def test_commands_end_with_the_process_that_started_them(module):
    program = "import sys; from pathlib import Path; from mlcalc.learn.processes import Command, check_codes, run_all; "
    program += "run_all([Command('waiting', [sys.argv[1], 600, 0], Path(sys.argv[2]))], 1)"
    parent = subprocess.Popen([sys.executable, "-c", program, module / "pid", module / "log"])
    deadline = time.monotonic() + 60
    while not ((module / "pid").exists() and (module / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int((module / "pid").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


GOOD = Atoms("Cu4", [[0, 0, 0], [1.7, 1.7, 0], [1.7, 0, 1.7], [0, 1.7, 1.7]])


@pytest.mark.parametrize(
    ("atoms", "options", "said"),
    [
        (GOOD, [], "--engine is missing"),
        (GOOD, ["--engine", "emt"], "expected tblite:METHOD"),
        (GOOD, ["--engine", "ase:emt", "--labels", "40"], "fresh structures a round; expected at least 5"),
        (GOOD, ["--engine", "ase:emt", "--beads", "0"], "beads = 0"),
        (GOOD, ["--engine", "ase:emt", "--temperature", "-1"], "temperature_K = -1.0"),
        (GOOD, ["--engine", "ase:emt", "--set", "member=3"], "did you mean 'members'"),
        (GOOD, ["--engine", "ase:emt", "--set", "architecture=mace"], "architecture = 'mace'"),
        (Atoms("Fe2", [[0, 0, 0], [0, 0, 2.2]]), ["--engine", "ase:emt"], "ase:emt cannot compute this structure"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 1.0]]), ["--engine", "ase:emt"], "atoms 0 (Cu) and 1 (Cu) are 1.000 Å apart"),
        (Atoms("Cu"), ["--engine", "ase:emt"], "holds one atom"),
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]], info={"charge": 1}), ["--engine", "ase:emt"], "charge 1"),
        (
            Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]], info={"spin": 2}),
            ["--engine", "ase:emt"],
            "does not fit 58 electrons",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(tmp_path, monkeypatch, capsys, atoms, options, said):
    monkeypatch.chdir(tmp_path)
    write("start.xyz", atoms)
    assert main(["learn", "start.xyz", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["start.xyz"]


def test_a_folder_of_something_else_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("start.xyz", GOOD)
    (tmp_path / "learned").mkdir()
    (tmp_path / "learned" / "thesis.txt").write_text("years of work")
    assert main(["learn", "start.xyz", "--engine", "ase:emt"]) == 2
    assert "was not made by 'mlcalc learn'" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "learned").iterdir()] == ["thesis.txt"]
    assert main(["learn", "--status"]) == main(["learn", "--status", "elsewhere"]) == 2
    refused = capsys.readouterr().err.splitlines()
    assert refused[0].startswith("mlcalc: error: learned:") and refused[1].startswith("mlcalc: error: elsewhere:")
    assert main(["learn"]) == 2
