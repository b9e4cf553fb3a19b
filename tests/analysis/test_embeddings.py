"""Vectors of elements: the periodic table, the permutation test, principal components, the command."""

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from ase.data import atomic_numbers

from analysis.__main__ import main
from analysis.embeddings.periodic_table import F_BLOCK, group, period
from analysis.embeddings.permutation import all_arrangements, count_arrangements, separation
from analysis.embeddings.report import compare, nearest_alike
from analysis.embeddings.vectors import element_vectors, principal_components
from analysis.model_names import model_names
from mlcalc.architectures import architecture_of
from mlcalc.model import Model
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model
from tests.mlcalc.architectures import ROWS

ELEMENTS = (17, 1, *range(3, 10), *range(11, 17), 19, 20, 35, 53)  # not in ascending order
ROW_OF = {
    1: "H He", 2: "Li Be B C N O F Ne", 3: "Na Mg Al Si P S Cl Ar",
    4: "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr", 5: "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe",
}  # fmt: skip


def with_vectors(vectors: np.ndarray, elements=ELEMENTS) -> Model:
    """A SchNet with these vectors (n, d)."""
    config = replace(SCHNETPACK_DIALECT, elements=tuple(elements), n_features=vectors.shape[1])
    model = random_model(config)
    model.weights["energy_shift"] = np.zeros(len(elements))
    model.weights["embedding.weight"] = vectors.astype(np.float32)
    return model


def by_class(class_of, spread: float, seed: int, features: int = 8) -> np.ndarray:
    """A random vector for each class, and a deviation for each element."""
    rng = np.random.default_rng(seed)
    of_class = rng.normal(size=(20, features))
    return np.array([of_class[class_of(z)] for z in ELEMENTS]) + rng.normal(0.0, spread, (len(ELEMENTS), features))


def test_groups_and_periods():
    for row, symbols in ROW_OF.items():
        numbers = [atomic_numbers[symbol] for symbol in symbols.split()]
        assert {period(z) for z in numbers} == {row}
        groups = {1: [1, 18], 2: [1, 2, *range(13, 19)], 3: [1, 2, *range(13, 19)]}.get(row, list(range(1, 19)))
        assert [group(z) for z in numbers] == groups
    named = {"Cs": 1, "Ba": 2, "La": F_BLOCK, "Yb": F_BLOCK, "Lu": 3, "Hf": 4, "Hg": 12, "Tl": 13, "At": 17, "Rn": 18,
             "Ra": 2, "U": F_BLOCK, "Lr": 3, "Og": 18}  # fmt: skip
    assert {symbol: group(atomic_numbers[symbol]) for symbol in named} == named
    assert Counter(group(z) for z in range(1, 119))[F_BLOCK] == 28
    assert [period(z) for z in (54, 55, 86, 87, 118)] == [5, 6, 6, 7, 7]


@pytest.mark.parametrize("counts", [[2, 2], [1, 3, 2], [2, 1, 1, 1]])
def test_all_arrangements_are_all_permutations(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    found = [tuple(row.tolist()) for row in all_arrangements(counts)]
    assert sorted(found) == sorted(set(permutations(labels.tolist())))
    assert len(found) == count_arrangements(counts)


def test_exact_against_every_permutation():
    """The twin: a loop over n! permutations of the elements."""
    rng = np.random.default_rng(3)
    points, labels = rng.normal(size=(7, 3)), np.array([5, 5, 5, 9, 9, 2, 2])
    points[:3] += 0.7
    d = np.linalg.norm(points[:, None] - points[None], axis=2)

    def statistic(of):
        same = np.equal.outer(of, of)
        upper = np.triu(np.ones_like(same), 1)
        return d[same & upper].mean() - d[~same & upper].mean()

    everything = np.array([statistic(labels[list(order)]) for order in permutations(range(7))])
    found = separation(d, labels, rng, 10)
    assert found.exact
    assert found.arrangements == 210
    assert found.statistic == pytest.approx(statistic(labels))
    assert found.p == pytest.approx((everything <= statistic(labels) + 1e-9).mean())
    assert found.pairs == 5


def test_sampling_against_the_exact_test():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(9, 4)), np.repeat([0, 1, 2], 3)
    points[labels == 0] += 0.5
    d = np.linalg.norm(points[:, None] - points[None], axis=2)
    exact, n = separation(d, labels, rng, 1), 20_000
    sampled = separation(d, labels, np.random.default_rng(1), n, most=0)
    assert (exact.exact, sampled.exact, sampled.arrangements) == (True, False, n)
    assert 0.01 < exact.p < 0.9
    assert abs(sampled.p - exact.p) < 4 * np.sqrt(exact.p * (1 - exact.p) / n) + 1 / n
    assert separation(d, labels, np.random.default_rng(1), n, most=0) == sampled


@pytest.mark.parametrize("name, other", [("group", "period"), ("period", "group")])
def test_a_class_that_is_there_is_found(name, other):
    """Close vectors in one class give the smallest p that so many arrangements can give; the other class stays without."""
    class_of = {"group": group, "period": period}[name]
    vectors = element_vectors(with_vectors(by_class(class_of, 0.3, 1)), "net")
    found = compare([vectors], 999, 0)[0].tests
    assert found[name].p == 1 / 1000
    assert found[name].statistic < 0 < found[other].p
    assert found[other].p > 0.2


def test_nearest_elements_of_the_same_class():
    """All of four elements in two periods by hand; by chance each finds one of its class among three."""
    model = with_vectors(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [3.0, 0.0]]), [3, 4, 11, 12])
    vectors = element_vectors(model, "net")  # Li Be Na Mg
    assert nearest_alike(vectors, "period") == (3, 4, pytest.approx(4 / 3))  # Mg is nearer to Be than to Na
    assert nearest_alike(vectors, "group") == (1, 4, pytest.approx(4 / 3))
    loose = element_vectors(with_vectors(by_class(group, 0.05, 1)), "net")
    counts = Counter(group(z) for z in ELEMENTS)
    assert nearest_alike(loose, "group")[0] == sum(count for count in counts.values() if count > 1)


def test_random_vectors_give_uniform_p():
    """Over 200 seeds: mean ½, variance 1/12 and share below 0.1, each within four standard errors."""
    n = 200
    networks = [element_vectors(with_vectors(by_class(lambda z: 0, 1.0, seed)), "net") for seed in range(n)]
    p = np.array([
        [test.p for test in compare([vectors], 199, seed)[0].tests.values()] for seed, vectors in enumerate(networks)
    ])  # fmt: skip
    assert np.abs(p.mean(axis=0) - 0.5).max() < 4 * np.sqrt(1 / 12 / n)
    assert np.abs(p.var(axis=0) - 1 / 12).max() < 4 * np.sqrt((1 / 80 - 1 / 144) / n)
    assert np.abs((p <= 0.1).mean(axis=0) - 0.1).max() < 4 * np.sqrt(0.1 * 0.9 / n)


def test_elements_of_one_class_or_of_all_different_ones():
    model = with_vectors(np.random.default_rng(0).normal(size=(4, 3)), [3, 4, 5, 6])  # one period, four groups
    assert compare([element_vectors(model, "net")], 9, 0)[0].tests == {"group": None, "period": None}


def test_principal_components():
    """Distances and variance are kept; of a plane in ten dimensions two components hold everything."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(12, 2)) * [3.0, 1.0] @ np.linalg.qr(rng.normal(size=(10, 10)))[0][:2] + 5.0
    components, explained = principal_components(vectors)
    assert components.shape == (12, 10)
    np.testing.assert_allclose(explained[:2].sum(), 1.0)
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(components @ components.T, centred @ centred.T, atol=1e-9)
    np.testing.assert_allclose(components.T @ components, np.diag(explained) * (centred**2).sum(), atol=1e-9)
    largest = components[np.abs(components).argmax(axis=0), np.arange(10)]
    assert (largest[:2] > 0).all()
    turned = vectors @ np.linalg.qr(rng.normal(size=(10, 10)))[0] - 2.0
    np.testing.assert_allclose(np.abs(principal_components(turned)[0][:, :2]), np.abs(components[:, :2]), atol=1e-9)
    assert principal_components(rng.normal(size=(4, 9)))[0].shape == (4, 3)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_architecture_has_vectors_or_is_refused_by_name(row):
    model = random_model(replace(row.make_model((6, 1), 3.0, 0).config, elements=(8, 6, 1, 7)))
    if "embedding.weight" in model.weights:
        found = element_vectors(model, "net")
        assert found.symbols == ["H", "C", "N", "O"]
        np.testing.assert_array_equal(found.vectors, model.weights["embedding.weight"][[2, 1, 3, 0]])
    else:
        title = architecture_of(model.config).title
        with pytest.raises(ValueError, match=f"net: a {title} has no vectors of elements"):
            element_vectors(model, "net")


def test_an_architecture_without_vectors_is_refused_by_name():
    model = with_vectors(np.eye(len(ELEMENTS)))
    del model.weights["embedding.weight"]
    with pytest.raises(ValueError, match="net: a SchNet has no vectors of elements"):
        element_vectors(model, "net")


def test_names():
    assert model_names(["acac", "nets/one/model.safetensors", "two.safetensors"]) == ["acac", "one", "two"]
    assert model_names(["a/net.safetensors", "b/net.safetensors"]) == ["a/net.safetensors", "b/net.safetensors"]
    with pytest.raises(ValueError, match="acac: given 2 times"):
        model_names(["acac", "c20", "acac"])


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(with_vectors(by_class(group, 0.3, 1)), "one.safetensors")
    save_model(with_vectors(by_class(lambda z: 0, 1.0, 2)), "two.safetensors")
    save_model(with_vectors(np.ones((4, 3)), [1, 6, 7, 8]), "alike.safetensors")
    save_model(random_model(SCHNETPACK_DIALECT), "few.safetensors")
    return tmp_path


def embeddings(*arguments: str) -> int:
    return main(["embeddings", *arguments, "--permutations", "199"])


def test_files_hold_the_same_numbers(folder, capsys):
    assert embeddings("one.safetensors", "two.safetensors", "-o", "out.png", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "out.json").read_text()) == printed
    one, two = printed["models"]
    assert (one["model"], one["features"], one["correlation_with_first"]) == ("one (SchNet)", 8, pytest.approx(1.0))
    assert one["tests"]["group"]["p"] == 1 / 200
    assert two["tests"]["group"]["p"] > 0.01
    assert abs(two["correlation_with_first"]) < 0.5
    assert sum(one["explained"]) == pytest.approx(1.0)
    vectors = element_vectors(with_vectors(by_class(group, 0.3, 1)), "one")
    rows = {symbol: row for row, symbol in enumerate(vectors.symbols)}
    assert list(one["elements"]) == list(rows)
    for symbol, item in one["elements"].items():
        gaps = np.linalg.norm(vectors.vectors - vectors.vectors[rows[symbol]], axis=1)
        assert gaps[rows[item["nearest"]]] == pytest.approx(item["nearest_distance"]) == np.sort(gaps)[1]
        assert (item["group"], item["period"]) == (group(atomic_numbers[symbol]), period(atomic_numbers[symbol]))
    assert [(folder / "out").with_suffix(f".{kind}").exists() for kind in ("png", "svg", "txt")] == [True] * 3
    assert "p: share of arrangements" in (folder / "out.txt").read_text()


def test_some_elements(folder, capsys):
    assert embeddings("one.safetensors", "-o", "out.png", "--json", "--elements", "F", "Cl", "H", "Li", "Na") == 0
    found = json.loads(capsys.readouterr().out)["models"][0]
    assert list(found["elements"]) == ["H", "Li", "F", "Na", "Cl"]
    test = found["tests"]["group"]
    assert (test["exact"], test["arrangements"], test["p"], test["pairs"]) == (True, 10, 0.1, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["few.safetensors"], "few: 2 elements (H, C): expected at least 4"),
        (["one.safetensors", "alike.safetensors"], "alike: the vectors of all 4 elements are equal"),
        (["one.safetensors", "one.safetensors"], "one.safetensors: given 2 times"),
        (["one.safetensors", "--elements", "H", "Xe"], "one: element 'Xe': this model knows Cl, H, Li"),
        (["one.safetensors", "--elements", "H", "C", "N"], "one: 3 elements (H, C, N): expected at least 4"),
        (["none.safetensors"], "none.safetensors"),
        (["one.safetensors", "--permutations", "0"], "permutations = 0: expected at least 1"),
        (["one.safetensors", "--seed", "-1"], "seed = -1: expected at least 0"),
        (["one.safetensors", "-o", "out.pdf"], "expected a name that ends in .png"),
    ],
)  # fmt: skip
def test_refusals(folder, capsys, arguments, message):
    before = sorted(folder.iterdir())
    assert main(["embeddings", "-o", "out.png", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert sorted(folder.iterdir()) == before
