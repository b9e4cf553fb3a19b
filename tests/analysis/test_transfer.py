"""``python -m analysis transfer``: free energies against double wells of closed form, its refusals, its output."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from scipy.special import ndtr

from analysis.__main__ import main
from analysis.runs.universe import bead_universe, open_run
from analysis.transfer.coordinate import ProtonTransfer
from analysis.transfer.free_energy import changes_of_side, landscape, shares_of, symmetrised
from analysis.transfer.site import Site, find_site, isotope, symmetric
from tests.analysis.run_folders import autoregressive, malonaldehyde, write_run

KT = units.kB * 300.0
HEIGHT, PLACE, TILT = 0.05, 0.4, 0.03  # eV, Å and eV/Å of the double wells below
SITE = Site(4, 5, 0)
FINE = np.linspace(-0.9, 0.9, 20001)


def potential(x: np.ndarray, tilt: float = 0.0) -> np.ndarray:
    """A double well in eV."""
    return HEIGHT * ((x / PLACE) ** 2 - 1) ** 2 + tilt * x


def barrier(tilt: float = 0.0) -> float:
    """U(0) above the lowest minimum."""
    return float(potential(np.zeros(1), tilt)[0] - potential(FINE, tilt).min())


def sampled(rng, n: int, n_beads: int = 1, alike: float = 0.0, memory: float = 0.8, tilt: float = 0.0) -> np.ndarray:
    """(n, P) Å; each bead of each frame is distributed as exp(−U/k_BT).

    Gaussian numbers with any correlation become numbers with any distribution by the inverse of its cumulative function. Those of
    beads share the part √alike.
    """
    common = autoregressive(rng, n, (1,), memory)
    own = autoregressive(rng, n, (n_beads,), memory)
    cumulative = np.cumsum(np.exp(-potential(FINE, tilt) / KT))
    return np.interp(ndtr(np.sqrt(alike) * common + np.sqrt(1 - alike) * own), cumulative / cumulative[-1], FINE)


def molecules(delta: np.ndarray) -> np.ndarray:
    """(n, P, 9, 3) Å of malonaldehyde with its proton on the line between the oxygens, at δ (n, P) Å."""
    donor, _, acceptor = SITE
    start = malonaldehyde().positions
    along = start[acceptor] - start[donor]
    along /= np.linalg.norm(along)
    frames = np.tile(start, (*delta.shape, 1, 1))
    frames[..., SITE.proton, :] = 0.5 * (start[donor] + start[acceptor]) + 0.5 * delta[..., None] * along
    return frames


def write_transfer(folder: Path, delta: np.ndarray, mass: float | None = None, **options) -> str:
    atoms = malonaldehyde()
    if mass is not None:
        masses = atoms.get_masses()
        masses[SITE.proton] = mass
        atoms.set_masses(masses)
    return str(write_run(folder, atoms, molecules(delta), **options))


def report_of(capsys, *arguments: str) -> dict:
    assert main(["transfer", *arguments, "--json", "--discard", "0"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("tilt", [0.0, TILT])
@pytest.mark.parametrize("n_beads, alike", [(1, 0.0), (8, 0.3)])
def test_free_energy_of_a_double_well(n_beads, alike, tilt):
    delta = sampled(np.random.default_rng(7), 4000, n_beads, alike, tilt=tilt)
    shares = shares_of(delta)
    found = landscape(shares if tilt else symmetrised(shares), KT, transfers=100)
    exact = potential(found.delta, tilt) - potential(FINE, tilt).min()
    seen = exact < 4 * KT
    z = (found.free_energy - exact)[seen] / found.free_energy_error[seen]
    assert np.abs(z).max() < 4 and 0.4 < z.std() < 1.6
    mean, bound = found.barrier
    assert not bound and abs(mean.value - barrier(tilt)) < 3 * mean.error
    assert mean.error < 0.1 * barrier(tilt)
    assert abs(abs(found.well) - PLACE) < 0.05
    assert found.density.sum() * 0.05 == pytest.approx(1.0)


def test_claimed_errors_are_the_scatter_of_independent_runs():
    rng = np.random.default_rng(3)
    means = [
        landscape(symmetrised(shares_of(sampled(rng, 1000, 4, 0.5))), KT, transfers=100).barrier.mean for _ in range(60)
    ]
    values, errors = np.array([mean[:2] for mean in means]).T
    assert 0.75 < values.std(ddof=1) / errors.mean() < 1.3  # a spread of 60 is known to 9 %
    assert abs(values.mean() - barrier()) < 4 * errors.mean() / np.sqrt(60)


def test_beads_of_a_frame_are_one_sample():
    """Eight equal beads say no more than one."""
    delta = sampled(np.random.default_rng(2), 500)
    one, eight = (landscape(shares_of(np.repeat(delta, n, axis=1)), KT, 100) for n in (1, 8))
    for name in ("density", "density_error", "free_energy", "free_energy_error"):
        np.testing.assert_allclose(getattr(one, name), getattr(eight, name), rtol=1e-12)
    assert one.barrier.mean == pytest.approx(eight.barrier.mean, rel=1e-12)


def test_mirror_images():
    shares = shares_of(np.array([[0.31, -0.02], [0.3, 9.0]]))
    found = landscape(symmetrised(shares), KT, 1)
    np.testing.assert_array_equal(found.density, found.density[::-1])
    held = dict(zip(found.delta.round(2).tolist(), (found.density * 0.05).tolist(), strict=True))
    assert (held[0.0], held[0.3], held[-0.3]) == pytest.approx((0.25, 0.25, 0.25))  # a quarter lies beyond


def test_changes_of_side():
    assert changes_of_side(np.array([-0.4, 0.15, -0.4, 0.25, 0.1, 0.3, -0.1, -0.3]), well=-0.4) == 2
    assert changes_of_side(np.full(5, -0.4), well=-0.4) == 0


def test_distances_of_beads_and_centroid(tmp_path):
    """Of coordinates that MDAnalysis read, also across the faces of a cell."""
    delta = sampled(np.random.default_rng(1), 30, 4, 0.9)
    positions = molecules(delta)
    expected = [np.linalg.norm(positions[..., SITE.proton, :] - positions[..., end, :], axis=-1) for end in (4, 0)]
    centroid = positions.mean(axis=1)
    centred = [np.linalg.norm(centroid[:, SITE.proton] - centroid[:, end], axis=-1) for end in (4, 0)]
    boxed = malonaldehyde()
    boxed.set_cell([9.0, 8.0, 7.0])
    boxed.pbc = True
    for name, atoms, frames in (
        ("free", malonaldehyde(), positions),
        ("boxed", boxed, (positions + [0.0, -1.5, 0.0]) % [9.0, 8.0, 7.0]),
    ):
        run = open_run(write_run(tmp_path / name, atoms, frames))
        found = ProtonTransfer(bead_universe(run), SITE, malonaldehyde()).run()
        np.testing.assert_allclose(found.results.delta[:, :-1], expected[0] - expected[1], atol=1e-5)
        np.testing.assert_allclose(found.results.delta[:, -1], centred[0] - centred[1], atol=1e-5)
        np.testing.assert_allclose(found.results.apart, malonaldehyde().get_distance(0, 4), atol=1e-5)
        assert find_site(run) == SITE


def test_several_workers_find_the_same(tmp_path):
    run = open_run(write_transfer(tmp_path / "run", sampled(np.random.default_rng(1), 40, 2)))
    one = ProtonTransfer(bead_universe(run), SITE, run.structure).run()
    two = ProtonTransfer(bead_universe(run), SITE, run.structure).run(backend="multiprocessing", n_workers=2)
    for name in ("delta", "apart"):
        np.testing.assert_array_equal(one.results[name], two.results[name])


@pytest.mark.parametrize("heavy, equal", [([], True), ([5], True), ([6], False), ([6, 8], True), ([7], True)], ids=str)
def test_isotopes_and_symmetry(heavy, equal):
    """H5 moves, H7 is on the middle carbon, H6 and H8 change places."""
    atoms = malonaldehyde()
    masses = atoms.get_masses()
    masses[heavy] = 2.014
    atoms.set_masses(masses)
    assert symmetric(atoms, SITE) is equal


def test_a_substituent_or_a_held_atom_ends_the_symmetry():
    atoms = malonaldehyde()
    atoms.symbols[6] = "F"
    assert not symmetric(atoms, SITE)
    from ase.constraints import FixAtoms

    held = malonaldehyde()
    held.set_constraint(FixAtoms([6, 8]))
    assert not symmetric(held, SITE)


def test_names_of_isotopes():
    assert [isotope(mass) for mass in (1.008, 2.01410177784, 3.016, 5.0)] == ["H", "D", "T", "H of 5 u"]


def test_runs_side_by_side(tmp_path, capsys):
    """Quantum, deuterated and classical: differences with their errors, in table, numbers and figure."""
    rng = np.random.default_rng(5)
    runs = [
        write_transfer(tmp_path / "P4", sampled(rng, 400, 4, 0.2)),
        write_transfer(tmp_path / "P1", sampled(rng, 400)),
        write_transfer(tmp_path / "D", sampled(rng, 400, 4, 0.2), mass=2.014),
    ]
    assert main(["transfer", *runs, "--discard", "0"]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "transfer.txt").read_text() in printed
    for suffix in (".png", ".svg", ".json"):
        assert (tmp_path / f"transfer{suffix}").stat().st_size > 0
    assert "δ = r(O4–H5) − r(O0–H5)" in printed and "0.5 by symmetry" in printed
    report = json.loads((tmp_path / "transfer.json").read_text())
    assert [run["label"] for run in report["runs"]] == ["P = 4, H", "P = 4, D", "classical, H"]
    for run in report["runs"]:
        share = run["acceptor_share"]
        assert run["symmetrised"] and abs(share["value"] - 0.5) < 4 * share["error"]
        assert run["transfers"] > 10 and not run["warnings"]
        beads = run["used"]["beads"]
        assert abs(beads["barrier_eV"] - barrier()) < 4 * beads["barrier_error_eV"]
        assert run["apart"]["beads"]["mean_A"]["value"] == pytest.approx(malonaldehyde().get_distance(0, 4), abs=1e-5)
        density = run["apart_density"]["density_per_A"]
        assert sum(density) * 0.02 == pytest.approx(1.0)
    pairs = [(pair["run"], pair["against"]) for pair in report["differences"]]
    assert pairs == [("P = 4, H", "classical, H"), ("P = 4, D", "classical, H"), ("P = 4, D", "P = 4, H")]
    for pair in report["differences"]:
        assert abs(pair["beads"]["barrier_eV"]) < 4 * pair["beads"]["barrier_error_eV"]


def test_symmetry_is_a_choice(tmp_path, capsys):
    run = write_transfer(tmp_path / "run", sampled(np.random.default_rng(8), 500, tilt=TILT))
    asked = {choice: report_of(capsys, run, "--symmetry", choice)["runs"][0] for choice in ("no", "yes")}
    assert [asked[choice]["symmetrised"] for choice in ("no", "yes")] == [False, True]
    assert asked["no"]["used"] == asked["no"]["sampled"]
    beads = asked["no"]["used"]["beads"]
    assert abs(beads["barrier_eV"] - barrier(TILT)) < 4 * beads["barrier_error_eV"]
    assert not asked["no"]["warnings"] and "differ by more than four" in asked["yes"]["warnings"][0]


def test_pieces_are_pooled_by_mass(tmp_path, capsys):
    rng = np.random.default_rng(9)
    runs = [
        write_transfer(tmp_path / name, sampled(rng, 60), mass)
        for name, mass in (("a", None), ("b", 2.014), ("c", None))
    ]
    report = report_of(capsys, *runs, "--pool")
    assert [(run["label"], run["frames"]) for run in report["runs"]] == [("classical, H", 120), ("classical, D", 60)]


def test_a_barrier_that_was_not_passed_is_a_bound(tmp_path, capsys):
    rng = np.random.default_rng(4)
    left = -np.abs(rng.normal(0.6, 0.05, (400, 1)))
    runs = [write_transfer(tmp_path / "left", left), write_transfer(tmp_path / "P2", sampled(rng, 400, 2))]
    assert main(["transfer", *runs]) == 0
    printed = capsys.readouterr().out
    assert "the proton never changed sides" in printed and "no difference of barriers" in printed
    report = report_of(capsys, runs[0])["runs"][0]["used"]["beads"]
    assert report["barrier_is_lower_bound"] and report["barrier_error_eV"] is None
    # About a third of the frames lies in the fullest bin of 0.05 Å, half of it after mirroring; three are the most unseen.
    assert KT * np.log(400 / 6 / 3) - 0.02 < report["barrier_eV"] < KT * np.log(400 / 6 / 3) + 0.02


@pytest.mark.parametrize(("thermostat", "canonical"), [("PILE-G", True), ("none", False)])
def test_free_energies_need_a_thermostat(tmp_path, capsys, thermostat, canonical):
    run = write_transfer(tmp_path / "run", sampled(np.random.default_rng(5), 100))
    with (tmp_path / "run" / "input.toml").open("a") as file:
        file.write(f'thermostat = "{thermostat}"\n')
    warnings = report_of(capsys, run)["runs"][0]["warnings"]
    assert any("need not be that of 300 K" in line for line in warnings) == (not canonical)


def test_few_frames_say_nothing_about_a_barrier(tmp_path, capsys):
    run = write_transfer(tmp_path / "run", -np.linspace(0.3, 0.9, 20)[:, None])
    assert main(["transfer", run, "--discard", "0"]) == 0
    assert "not sampled" in capsys.readouterr().out


def refusal(capsys, *arguments: str) -> str:
    assert main(["transfer", *arguments]) == 2
    return capsys.readouterr().err


def test_atoms_that_are_no_site(tmp_path, capsys):
    run = write_transfer(tmp_path / "run", sampled(np.random.default_rng(1), 40))
    for atoms in ("4-5-0", "4,5", "x"):
        assert "expected three atom indices" in refusal(capsys, run, "--atoms", atoms)
    for atoms in ("4,5,9", "4,5,4"):
        assert "three different indices from 0 to 8" in refusal(capsys, run, "--atoms", atoms)
    assert "atom 1 is C: expected DONOR,H,ACCEPTOR" in refusal(capsys, run, "--atoms", "4,1,0")
    assert not list((tmp_path / "run").glob("transfer*"))
    assert report_of(capsys, run, "--atoms", "0,5,4")["runs"][0]["atoms"] == {"donor": 0, "proton": 5, "acceptor": 4}


def test_several_sites_or_none(tmp_path, capsys):
    bare = Atoms("C2", [[0, 0, 0], [0, 0, 1.3]])
    run = write_run(tmp_path / "bare", bare, np.tile(bare.positions, (30, 1, 1, 1)))
    assert "no hydrogen on N, O, F or S" in refusal(capsys, str(run))
    water = Atoms("OHHO", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [1.6, 1.5, 0]])
    run = write_run(tmp_path / "water", water, np.tile(water.positions, (30, 1, 1, 1)))
    message = refusal(capsys, str(run))
    assert "2 protons and acceptors are possible (O0–H1···O3, O0–H2···O3): expected --atoms DONOR,H,ACCEPTOR" in message


def test_a_proton_that_leaves_and_one_that_comes(tmp_path, capsys):
    positions = molecules(np.full((30, 1), -0.5))
    away, taken = positions.copy(), positions.copy()
    away[20, :, SITE.proton] = [0.2, 4.0, 0.0]
    taken[21, :, 8] = taken[21, :, 4] + [0.9, 0.0, 0.0]
    run = write_run(tmp_path / "away", malonaldehyde(), away)
    assert "frame 20: the centroid of H5 is" in refusal(capsys, str(run), "--atoms", "4,5,0")
    run = write_run(tmp_path / "taken", malonaldehyde(), taken)
    assert "frame 21: the centroid of H8 is bonded to O4 (0.90 Å)" in refusal(capsys, str(run))


def test_runs_that_do_not_belong_together(tmp_path, capsys):
    run = write_transfer(tmp_path / "run", sampled(np.random.default_rng(1), 40))
    bare = Atoms("C2", [[0, 0, 0], [0, 0, 1.3]])
    other = write_run(tmp_path / "other", bare, np.tile(bare.positions, (30, 1, 1, 1)))
    assert "expected the same atoms" in refusal(capsys, run, str(other))
    short = write_transfer(tmp_path / "short", sampled(np.random.default_rng(1), 19))
    assert "expected at least 20" in refusal(capsys, short)
