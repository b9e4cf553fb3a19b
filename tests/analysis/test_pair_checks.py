"""Exchange of partners, equivalent pairs, and errors of motion that is slow compared with a run."""

import itertools
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from analysis.__main__ import main
from analysis.distances.pair_checks import find_alike, joined_groups, scatters, slow_line, widened
from analysis.distances.pair_distances import PairDistances, PairMeans, pair_means, pair_moments
from analysis.distances.slow_motion import SHORT, careful_mean, correlation_times
from analysis.structure.equivalence import Likeness, scatter
from analysis.structure.exchange import BondWatch, Exchange
from analysis.structure.molecules import bonded_pairs
from md.observables.statistics import block_average
from tests.analysis.run_folders import (
    autoregressive,
    dodecahedron,
    malonaldehyde,
    proton_transfer,
    telegraph,
    write_run,
)
from tests.analysis.test_distances import universe_of


def report(capsys, *arguments) -> dict:
    assert main(["distances", *map(str, arguments), "--discard", "0", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["runs"][0]


def watched(atoms: Atoms, positions: np.ndarray) -> list[Exchange]:
    analysis = PairDistances(universe_of(positions), {}, r_max=5.0, watch=BondWatch(atoms))
    return analysis.run().results.exchanges


def test_proton_transfer_is_reported(tmp_path, capsys):
    away = telegraph(np.random.default_rng(3), 600, 20.0)
    run = write_run(tmp_path / "run", malonaldehyde(), proton_transfer(away, n_beads=3))
    found = report(capsys, run)
    (exchange,) = found["exchanges"]
    assert (exchange["pair"], exchange["partner"]) == ([4, 5], [0, 5])
    assert exchange["share"] == pytest.approx(away.mean(), abs=1e-12)
    assert exchange["bead_share"] == pytest.approx(away.mean(), abs=0.01)
    assert exchange["changes"] == np.diff(away, prepend=False).sum()
    groups = found["groups"]
    assert groups["O–H ⇄ O–H"]["pairs"] == [[0, 5], [4, 5]]
    assert groups["C=O ⇄ C–O"]["pairs"] == [[0, 1], [3, 4]] and groups["C=C ⇄ C–C"]["n_pairs"] == 2
    starred = {name for name, group in groups.items() if group["several_wells"]}
    assert starred == {"C=C", "C=O", "C–C", "C–O", "O–H", "O–H ⇄ O–H"}  # C–H has both of its kinds in one group
    lengths = malonaldehyde().get_all_distances()
    both = 0.5 * (lengths[0, 5] + lengths[4, 5])  # whatever the share of either well
    joined = groups["O–H ⇄ O–H"]["beads"]
    assert joined["mean_A"] == pytest.approx(both, abs=max(4 * joined["mean_error_A"], 0.002))
    assert abs(groups["O–H"]["beads"]["mean_A"] - both) < 4 * groups["O–H"]["beads"]["mean_error_A"]
    assert main(["distances", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "O4–H5 exchanged with O0–H5, an equivalent pair, in " in printed and "1 O–H*" in printed


def test_vibrations_are_no_exchange(tmp_path, capsys):
    """Beads wide enough for O–H to reach 1.4 Å at times, and C20."""
    run = write_run(tmp_path / "run", malonaldehyde(), proton_transfer(np.zeros(200, bool), 4, width=0.07))
    found = report(capsys, run)
    assert found["exchanges"] == [] and not any(group["several_wells"] for group in found["groups"].values())
    assert set(found["groups"]) == {"C=C", "C=O", "C–C", "C–O", "C–H", "O–H"}
    rng, cage = np.random.default_rng(1), dodecahedron()
    assert watched(cage, cage.positions + rng.normal(0.0, 0.08, (100, 4, 20, 3))) == []


def test_a_proton_halfway_stays_where_it_was():
    """H between two O atoms 2.75 Å apart, its distance to the first of them frame by frame; its side is unambiguous."""
    path = np.array([1.0, 1.3, 1.4, 1.3, 1.0, 1.6, 1.4, 1.3, 1.42, 1.0, 1.4, 1.7, 1.35])
    side = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1])
    positions = np.zeros((len(path), 2, 3, 3))
    positions[:, :, 1, 0], positions[:, :, 2, 0] = path[:, None], 2.75
    (found,) = watched(Atoms("OHO", positions[0, 0]), positions)
    assert (found.pair, found.partner, found.changes) == ((0, 1), (1, 2), 3)
    assert found.share == pytest.approx(side.mean()) and found.broken == 0.0
    assert found.bead_share == pytest.approx((path > 1.46).mean())  # beads have no memory


def test_a_bond_that_only_breaks():
    positions = np.zeros((4, 1, 2, 3))
    positions[:, 0, 1, 0] = [1.2, 1.3, 4.0, 5.0]
    assert watched(Atoms("N2", positions[0, 0]), positions) == [Exchange((0, 1), None, 0.0, 0.0, 0.5, 1)]


def test_watching_in_parallel():
    away = telegraph(np.random.default_rng(5), 90, 5.0)
    universe = universe_of(proton_transfer(away, 2))
    alone, shared = (
        PairDistances(universe, {}, 5.0, watch=BondWatch(malonaldehyde())).run(**options).results.exchanges
        for options in ({}, {"backend": "multiprocessing", "n_workers": 3})
    )
    assert alone == shared and len(alone) == 1


@pytest.mark.parametrize("name", ["CH4", "C2H4", "CH3OH", "C3H6_D3h", "H2CO", "N2H4"])
def test_likeness_against_all_permutations(name):
    """Pairs are equivalent if a permutation of like atoms that preserves the bonds maps one to the other."""
    atoms = molecule(name)
    bonds = {frozenset(pair) for pair in bonded_pairs(atoms).tolist()}
    pairs = list(itertools.combinations(range(len(atoms)), 2))
    orbit = {frozenset(pair): {frozenset(pair)} for pair in pairs}
    elements = [np.flatnonzero(atoms.numbers == number).tolist() for number in set(atoms.numbers.tolist())]
    for images in itertools.product(*(itertools.permutations(group) for group in elements)):
        to = dict(zip(itertools.chain(*elements), itertools.chain(*images), strict=True))
        if all(frozenset(to[atom] for atom in bond) in bonds for bond in bonds):
            for pair, found in orbit.items():
                found.add(frozenset(to[atom] for atom in pair))
    likeness = Likeness(atoms, bonded_pairs(atoms))
    for one, other in itertools.combinations(pairs, 2):
        assert (likeness.key(one) == likeness.key(other)) == (frozenset(other) in orbit[frozenset(one)])


def test_what_is_alike_at_the_start():
    """The hydrogen atoms of benzene are equivalent; those of an amide only by the graph, since one is cis and the other trans."""
    for name, expected in (("C6H6", 6), ("CH3CONH2", 0)):
        atoms = molecule(name)
        bonds = bonded_pairs(atoms)
        hydrogen = (
            bonds[(atoms.numbers[bonds] != 6).any(axis=1)]
            if name == "C6H6"
            else bonds[(atoms.numbers[bonds] == 7).any(axis=1)]
        )
        hydrogen = hydrogen[(atoms.numbers[hydrogen] == 1).any(axis=1)]
        assert sum(map(len, find_alike(atoms, {"X–H": hydrogen}, []).sets)) == expected


def test_scatter_of_equal_pairs():
    rng = np.random.default_rng(4)
    pairs = np.arange(20).reshape(10, 2)
    honest = [scatter(pairs, rng.normal(1.5, 0.01, 10), np.full(10, 0.01)).factor for _ in range(300)]
    assert np.mean(np.array(honest) > 1.0) < 0.01
    claimed = [scatter(pairs, rng.normal(1.5, 0.05, 10), np.full(10, 0.01)).factor for _ in range(100)]
    assert np.sqrt(np.mean(np.square(claimed))) == pytest.approx(5.0, rel=0.1)


def hopping(rng: np.random.Generator, n: int, time: float) -> np.ndarray:
    """(n, 2) Å, O–H and O…H of a proton that hops between two wells, whose means are 1.4 Å both."""
    away = telegraph(rng, n, time)
    return np.where(np.stack([away, ~away], axis=1), 1.75, 1.05) + 0.05 * rng.normal(size=(n, 2))


def coverage(n: int, time: float, seeds: int, careful: bool) -> tuple[float, float]:
    """Share of runs in which the mean of O–H lies within two errors of the truth, and ratio of claimed to true error."""
    rng, off, errors = np.random.default_rng(8), [], []
    for _ in range(seeds):
        mean = (careful_mean if careful else block_average)(hopping(rng, n, time)[:, 0])
        off.append(abs(mean.value - 1.4))
        errors.append(mean.error)
    return float(np.mean(np.array(off) < 2 * np.array(errors))), float(
        np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(off)))
    )


def test_errors_of_slow_motion():
    """Forty correlation times: blocks of a sixteenth of the run are too short to see them."""
    blocked, careful = coverage(2000, 50.0, 150, careful=False), coverage(2000, 50.0, 150, careful=True)
    assert blocked[0] < 0.85 and blocked[1] < 0.8
    assert careful[0] > 0.86 and careful[1] == pytest.approx(0.95, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "least", "low"), [(20, 0.77, 0.7), (40, 0.86, 0.85), (80, 0.90, 0.9), (300, 0.92, 0.9)]
)
def test_coverage_of_errors(times, least, low):
    """Two standard errors hold 95 % of Gaussian means; of few hops less, and it is said so below some fifteen correlation times."""
    inside, ratio = coverage(3000, 3000 / times, 500, careful=True)
    assert inside > least and low < ratio < 1.15


def hop_once_measured(rng, n: int, time: float):
    series = hopping(rng, n, time)
    groups = {"O–H": np.array([[4, 5]]), "O–H ⇄ O–H": np.array([[0, 5], [4, 5]])}
    both = pair_means(series - 1.4, np.full(2, 1.4))
    means = {"O–H": PairMeans(both.values[:1], both.errors[:1]), "O–H ⇄ O–H": PairMeans(*(a[::-1] for a in both))}
    moments = pair_moments(series[:, :1] - 1.4, (series[:, :1] - 1.4) ** 2, np.full(1, 1.4))
    likes = find_alike(malonaldehyde(), groups, [Exchange((4, 5), (0, 5), 0.3, 0.3, 0.0, 3)])
    found = scatters(likes, {name: groups[name] for name in means}, means)
    return moments, widened(moments, groups["O–H"], found)


def test_scatter_of_equivalent_pairs_mends_errors_of_few_hops():
    """Runs of eight correlation times: alone the errors hold the truth in two runs of three, with the other pair in nine of ten."""
    rng, alone, mended, warned = np.random.default_rng(6), [], [], []
    for _ in range(150):
        before, after = hop_once_measured(rng, 1000, 125.0)
        off = abs(before.mean.value - 1.4)
        alone.append(off < 2 * before.mean.error)
        mended.append(off < 2 * after.mean.error)
        line = slow_line({"O–H": "O–H"}, {("O–H", "beads"): before}, 10.0)
        warned.append(bool(line))
    assert np.mean(alone) < 0.75 and np.mean(mended) > 0.9
    assert np.mean(np.array(warned) | np.array(mended)) > 0.97


def test_a_run_that_is_too_short_says_so():
    rng = np.random.default_rng(2)
    slow = autoregressive(rng, 2000, (1,), np.exp(-1 / 400))
    moments = pair_moments(0.1 * slow, (0.1 * slow) ** 2, np.full(1, 1.5))
    assert correlation_times(moments.mean) < SHORT
    (line,) = slow_line({"O–H": "O–H"}, {("O–H", "beads"): moments}, 5.0)
    assert line.startswith("O–H: correlation time 0.") and line.endswith(" ps, run of 5 ps: the error is a lower bound")
    fast = autoregressive(rng, 2000, (1,), 0.8)
    assert slow_line({"O–H": "O–H"}, {("O–H", "beads"): pair_moments(fast, fast**2, np.full(1, 1.5))}, 5.0) == []


def test_joined_groups_have_one_name_each():
    exchanges = [Exchange((4, 5), (0, 5), 0.5, 0.5, 0.0, 20)]
    groups = {"mine": np.array([[0, 5], [4, 5]])}
    likes = find_alike(malonaldehyde(), groups, exchanges)
    assert joined_groups(malonaldehyde(), groups, likes) == {}  # the user has joined them
    assert likes.several_wells(groups["mine"]) and not likes.several_wells(np.array([[2, 7]]))
