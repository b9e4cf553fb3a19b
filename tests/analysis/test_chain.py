"""``python -m analysis chain``: maps, sums, secondary structure, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.io import read, write

from analysis.__main__ import main
from analysis.chain.frames import read_chain
from analysis.chain.means import over_networks, rows_of
from analysis.chain.report import Report, arrays, as_json, as_text, separation_classes, strongest_triples
from analysis.chain.residues import agreement, explain_chain
from analysis.chain.secondary import SecondaryStructure, assign, common_structure, pair_classes, read_secondary
from analysis.distances.slow_motion import careful_mean
from analysis.relevance.explain import explain
from md.observables.statistics import Mean
from mlcalc import InputError
from tests.analysis.chains import SEQUENCE, frames, network, write_chain, write_models
from tests.analysis.run_folders import write_run

PARTS = SecondaryStructure({"α1": (1, 5)}, {"β1": (6, 7), "β2": (8, 9)}, (2, 9))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    write_chain(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["schnet", "painn"])
def test_maps_and_sums_are_those_of_the_frames(name):
    """Pairs, triples and orders are those of each structure; classes and separations share out the pairs without rest."""
    model, found = network(name), frames()
    item = explain_chain(model, name, found, 0.1)
    for k, atoms in enumerate(found.structures()):
        single = explain(model, atoms, 0.1)
        for i, j, value in zip(single.trace.first, single.trace.second, single.pairs, strict=True):
            assert item.pairs[k, i, j] == item.pairs[k, j, i] == value
        keys = np.flatnonzero(item.triples.frames == k)
        places = [item.triples.residues(key) for key in item.triples.keys[keys]]
        assert sorted(places) == sorted(tuple(sorted(three)) for three in single.sets.atoms.tolist())
        assert item.total[k] == single.total and item.energy[k] == single.trace.energy
        np.testing.assert_array_equal(item.singles[k], single.singles)
    for classes in (separation_classes(9), pair_classes(PARTS, 9)):
        sums = sum(item.of_pairs(part.pairs) for part in classes if part.within is None)
        np.testing.assert_allclose(sums, item.orders["2"], rtol=1e-12)
    assert sum(item.triples.means().values()) == pytest.approx(item.orders["3"].mean(), rel=1e-9)
    key = max(item.triples.means(), key=item.triples.means().get)
    assert item.triples.series(key).mean() == pytest.approx(item.triples.means()[key])
    assert set(item.apart) == {"bonds", "angles", "dihedrals", "bead_repulsion"}


def test_a_chain_read_from_its_other_end():
    """Without priors the network does not know where a chain begins: the map is turned over."""
    found, model = frames(), network(priors={})
    back = found._replace(numbers=found.numbers[::-1].copy(), positions=found.positions[:, ::-1].copy())
    one, two = (explain_chain(model, "net", item, 0.0) for item in (found, back))
    np.testing.assert_allclose(two.pairs, one.pairs[:, ::-1, ::-1], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(two.orders["3"], one.orders["3"], rtol=1e-8)


def test_classes_of_pairs():
    """Each pair of residues once, in the first class that it fits; parts of a class share it out."""
    classes = pair_classes(PARTS, 9)
    classes_alone = [part for part in classes if part.within is None]
    np.testing.assert_array_equal(sum(part.pairs.astype(int) for part in classes_alone), np.triu(np.ones((9, 9)), 1))
    pairs = {part.name: {(int(i) + 1, int(j) + 1) for i, j in np.argwhere(part.pairs)} for part in classes}
    assert pairs["helix, i and i+4"] == pairs["α1"] == {(1, 5)}
    assert pairs["two strands"] == pairs["β1–β2"] == set()  # none is more than 3 apart
    assert pairs["core"] == {(2, 9)} and len(pairs["|i−j| ≤ 3"]) == 8 + 7 + 6
    far = pair_classes(SecondaryStructure({}, {"β1": (1, 2), "β2": (5, 6), "β3": (9, 9)}), 9)
    pairs = {part.name: {(int(i) + 1, int(j) + 1) for i, j in np.argwhere(part.pairs)} for part in far}
    assert (
        pairs["β1–β2"] == {(1, 5), (1, 6), (2, 6)} and pairs["β2–β3"] == {(5, 9)} and pairs["β1–β3"] == {(1, 9), (2, 9)}
    )
    assert pairs["two strands"] == pairs["β1–β2"] | pairs["β2–β3"] | pairs["β1–β3"] and not pairs["core"]
    assert [int(part.pairs.sum()) for part in separation_classes(9)] == [8, 7, 6, 5, 10, 0, 0]


def helix(n: int) -> np.ndarray:
    """Cα of an α-helix: 100° and 1.5 Å for each residue, radius 2.3 Å."""
    turn = np.radians(100.0) * np.arange(n)
    return np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(n)], axis=1)


def strand(n: int) -> np.ndarray:
    """Cα of a strand: 3.3 Å for each residue, in zigzag, slightly twisted."""
    k = np.arange(n)
    side, twist = 0.9 * (-1.0) ** k, np.radians(10.0) * k
    return np.stack([side * np.cos(twist), side * np.sin(twist), 3.3 * k], axis=1)


def test_p_sea():
    """Ideal helices and strands; short strands only beside others; neither in a straight line."""
    assert "".join(assign(helix(12)))[1:9] == "a" * 8 and "b" not in assign(helix(12))
    assert "".join(assign(strand(9)))[1:7] == "b" * 6
    assert set(assign(np.outer(np.arange(9), [3.8, 0, 0]))) == {"c"}
    assert set(assign(helix(4))) == {"c"}
    alone = strand(6)
    sheet = np.concatenate([alone + [0, 4.8 * k, 0] for k in range(3)])
    assert "b" not in assign(alone)
    found = assign(sheet)
    assert "b" in found[6:12] and "b" not in found[:6] and "b" not in found[12:]  # the middle one touches two


def test_the_structure_of_most_frames():
    straight = np.outer(np.arange(12), [3.8, 0, 0])
    for others, expected in ((1, {"α1": (2, 10)}), (3, {})):
        found = common_structure(np.array([helix(12)] * 2 + [straight] * others))
        assert set(found.helices) == set(expected) and not found.strands and not found.core
        assert str(found).startswith("α1" if expected else "no helix")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('helices = {"α1" = [1, 12]}', r"α1 = \[1, 12\]: expected residues 1 to 9"),
        ('helices = {"α1" = [1, 1_000_000_000_000_000]}', "expected residues 1 to 9"),
        ('helices = {"α1" = [2, 4]}\nstrands = {"β1" = [1, 5], "β2" = [6, 8]}', "residue 2 twice"),
        ('helices = {"α1" = [5, 2]}', r"α1 = \[5, 2\]: expected \[first, last\] residue"),
        ('helices = {"α1" = [0, 2]}', r"expected \[first, last\] residue, from 1"),
        ('strands = {"β1" = [1.0, 2]}', r"β1 = \[1.0, 2\]"),
        ('strands = {"β1" = 3}', "β1 = 3"),
        ('helices = {"a" = [1, 5]}\nstrands = {"a" = [7, 8]}', "a: a helix and a strand of one name"),
        ('helices = {"a" = [1, 5]}\nstrands = {"b" = [5, 8]}', "residue 5 twice"),
        ("core = [2, 2]", "core: residue 2 twice"),
        ("core = [12]", "core: residue 12: expected 1 to 9"),
        ("core = [0]", "core: residue 0: expected 1 to 9"),
        (f"core = {list(range(1, 100_001))}", "core: residue 10: expected 1 to 9"),
        ("sheet = 1", "unknown key 'sheet'"),
    ],
)
def test_files_of_secondary_structure_that_are_none(text, words, tmp_path):
    (tmp_path / "parts.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_secondary(tmp_path / "parts.toml", 9)


def test_means():
    """Over frames blocked, over networks by their scatter; one frame has no error, one network no mean over networks."""
    two = rows_of([np.array([1.0, 1.0]), np.array([3.0, 3.0])])
    assert two[2][:2] == (2.0, 1.0) and over_networks([Mean(1.0, 0.0, 1.0)] * 3)[:2] == (1.0, 0.0)
    series = np.random.default_rng(0).normal(size=64)
    assert rows_of([series]) == [careful_mean(series)]
    values, mask = np.array([[0.0, 1.0, 2.0], [0, 0, 5.0], [0, 0, 0]]), np.triu(np.ones((3, 3), dtype=bool), 1)
    assert agreement(values, 2 - 3 * values, mask) == pytest.approx(-1.0) and np.isnan(
        agreement(values, 0 * values, mask)
    )


def test_command(folder, capsys):
    """Tables of two networks: sums of the JSON are those of the orders; the figure, the maps and the page are written."""
    (folder / "parts.toml").write_text('core = [2, 9]\nhelices = {"α1" = [1, 5]}', encoding="utf-8")
    models = ["schnet.safetensors", "painn.safetensors"]
    assert main(["chain", *models, "frames.xyz", "--secondary", "parts.toml", "-o", "out.png", "--gamma", "0.1"]) == 0
    printed, found = capsys.readouterr().out, json.loads((folder / "out.json").read_text())
    assert "network without priors" in printed and "not explained: prior bead_repulsion / eV" in printed
    labels = [f"{SEQUENCE[k - 1]}{k}" for k in found["strongest_pairs"][0]["residues"]]
    assert "mean of networks" in printed and " ".join(labels) in printed
    for item, name in zip(found["networks"], ("schnet", "painn"), strict=True):
        assert item["explained"] == "network without priors" and set(item["prior_energies"]) >= {"bonds", "angles"}
        order_2 = item["relevance_by_order"]["2"]["value_eV"]
        for table in ("by_separation", "by_class"):
            rows = [row["relevance"][name]["value_eV"] for row in found[table] if row["within"] is None]
            assert sum(rows) == pytest.approx(order_2, rel=1e-9)
    maps = np.load(folder / "out.npz")
    assert maps["network1_pairs_eV"].sum() / 2 == pytest.approx(order_2) and maps["contacts"].max() <= 1.0
    assert (folder / "out.png").stat().st_size > 10_000 and (folder / "out.svg").exists()
    # One frame: no errors, no scatter.
    assert main(["chain", models[0], "frames.xyz", "--frames", "1", "-o", "one.png", "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["frames"] == 1 and alone["networks"][0]["energy"]["error_eV"] is None
    assert (
        "±" not in (folder / "one.txt").read_text().split("frames of")[0]
        and "nan" not in (folder / "one.txt").read_text()
    )


def test_the_page_turns_the_map_on_the_structure(folder):
    pytest.importorskip("chemiscope")
    assert main(["chain", "schnet.safetensors", "frames.xyz", "--frames", "2", "-o", "out.png", "--html"]) == 0
    page = (folder / "out.html").read_text(encoding="utf-8")
    assert "pair relevance" in page and '"cylinders"' in page


def test_runs_and_files_say_the_same(folder):
    """A run of one bead; a sequence that its structure does not carry is given."""
    structures = read("frames.xyz", ":")
    positions = np.array([atoms.positions for atoms in structures])[:, None]
    bare = structures[0].copy()
    bare.info = {}
    write_run(folder / "run", bare, positions, model="none")
    of_file = read_chain(folder / "frames.xyz", None, 40, None)
    of_run = read_chain(folder / "run", SEQUENCE, 40, 0.0)
    np.testing.assert_allclose(of_run.positions, of_file.positions, atol=1e-5)
    assert of_run.labels == of_file.labels == ["D1", "A2", "Y3", "D4", "A5", "Y6", "D7", "A8", "Y9"]
    assert len(read_chain(folder / "run", SEQUENCE, 2, 0.0).positions) == 2
    assert len(read_chain(folder / "run", SEQUENCE, 40, 0.8).positions) == 1
    write_run(folder / "ring", bare, np.repeat(positions, 2, axis=1), model="none")
    for path, sequence, discard, words in (
        ("run", None, None, "carry no sequence: give one-letter codes with --sequence"),
        ("ring", SEQUENCE, None, "a run with P = 2: expected a classical one"),
        ("run", SEQUENCE, 0.9, "run: 3 frames, 0 after discarding the first 90%; expected at least 1"),
        ("frames.xyz", None, 0.1, "--discard 0.1: an option for runs only"),
        ("frames.xyz", "DAYDAYDAA", None, "bead 9 has the type Y: expected A, of the sequence"),
        ("frames.xyz", "DAY", None, "9 beads: expected one for each of the 3 residues"),
        ("frames.xyz", "DAYDAYDAX", None, "sequence: 'X': expected letters of"),
    ):
        with pytest.raises(InputError, match=words):
            read_chain(folder / path, sequence, 40, discard)
    structures[1].set_cell([50.0] * 3)
    structures[1].pbc = True
    write("cell.xyz", structures, format="extxyz")
    with pytest.raises(InputError, match=r"cell.xyz, structure 2: it has a cell"):
        read_chain(folder / "cell.xyz", None, 40, None)


def test_refusals(folder, capsys):
    models, output = ["schnet.safetensors", "frames.xyz"], ["-o", "out.png"]
    for arguments, words in (
        ([*models, "--contact", "0", *output], "--contact = 0.0: expected more than 0"),
        ([*models, "--frames", "0", *output], "--frames = 0: expected at least 1"),
        ([*models, "--gamma", "-1", *output], "gamma = -1.0"),
        ([*models, "--secondary", "none.toml", *output], "none.toml: no such file"),
        ([*models, "-o", "out.pdf"], "expected a name that ends in .png"),
        (["schnet.safetensors", *models, *output], "given 2 times: expected different models"),
        (["schnet.safetensors", "none.xyz", *output], "none.xyz: no such file"),
    ):
        assert main(["chain", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not list(folder.glob("out.*"))


def test_strongest_are_those_of_all_networks():
    """A triple that two networks see with opposite signs is not among the strongest."""
    found = frames()
    one = explain_chain(network(), "one", found, 0.0)
    other = one._replace(model="two", triples=one.triples._replace(values=-one.triples.values), pairs=-one.pairs)
    report = Report(found, [one, other], 0.0, 8.0, SecondaryStructure(), "none")
    sums = [sum(item.triples.means()[key] for item in report.found) for key in strongest_triples(report)]
    np.testing.assert_allclose(sums, 0.0, atol=1e-12)
    numbers = json.loads(as_json(report))
    assert all(
        row["relevance"]["mean of networks"]["value_eV"] == pytest.approx(0, abs=1e-12) for row in numbers["by_class"]
    )
    assert set(arrays(report)) >= {"network0_pairs_error_eV", "network1_pairs_eV", "distance_A"}
    assert not numbers["strongest_pairs"]


def test_a_torn_chain_is_named():
    found = frames()
    found.positions[1, 4:] += 30.0
    with pytest.raises(
        InputError, match="frames, frame 2 with the model net: the energy of the prior bonds is no number"
    ):
        explain_chain(network(), "net", found, 0.0)


def test_a_model_without_priors_is_explained_with_all_it_has():
    item = explain_chain(replace(network(), priors={}), "net", frames(), 0.0)
    assert item.apart == {}
    report = Report(frames(), [item], 0.0, 8.0, SecondaryStructure(), "none")
    assert "network with its priors" in as_text(report) and "not explained" not in as_text(report)
