"""What vectors of elements say about the periodic table: tests, tables, numbers."""

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from analysis.embeddings.periodic_table import group, period
from analysis.embeddings.permutation import Separation, separation
from analysis.embeddings.vectors import Vectors
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned

CLASSES = {"group": group, "period": period}  # what is tested: name, and the class of an atomic number

_TESTS = ("model", "same", "pairs of one", "their distance", "of others", "p", "arrangements", "nearest alike")


class Compared(NamedTuple):
    """Vectors of a model, by class the result of the test, and the correlation of their distances with those of the first model.

    A test is None where no two elements are of one class, or all; a correlation where the models share fewer than three pairs.
    """

    vectors: Vectors
    tests: dict[str, Separation | None]
    correlation: float | None


def compare(models: list[Vectors], samples: int, seed: int) -> list[Compared]:
    """Test the vectors of each model, each test with a random generator of this seed."""
    return [Compared(vectors, _tests(vectors, samples, seed), _correlation(models[0], vectors)) for vectors in models]


def _tests(vectors: Vectors, samples: int, seed: int) -> dict[str, Separation | None]:
    return {
        name: separation(
            vectors.distances(),
            np.array([class_of(z) for z in vectors.numbers]),
            np.random.default_rng(seed),
            samples,
        )
        for name, class_of in CLASSES.items()
    }


def _correlation(one: Vectors, other: Vectors) -> float | None:
    shared = np.intersect1d(one.numbers, other.numbers)
    first, second = np.triu_indices(len(shared), 1)
    if len(first) < 3:
        return None
    of_pairs = []
    for vectors in (one, other):
        rows = np.searchsorted(vectors.numbers, shared)
        of_pairs.append(vectors.distances()[rows[first], rows[second]])
    return float(np.corrcoef(of_pairs)[0, 1])


def nearest(vectors: Vectors) -> dict[str, tuple[str, float]]:
    """By symbol the element whose vector is nearest, and its distance."""
    distances = vectors.distances()
    np.fill_diagonal(distances, np.inf)
    symbols = vectors.symbols
    return {symbol: (symbols[row.argmin()], float(row.min())) for symbol, row in zip(symbols, distances, strict=True)}


def nearest_alike(vectors: Vectors, name: str) -> tuple[int, int, float]:
    """Number of elements whose nearest element is of the same class (a name of CLASSES), of all, and expected by chance."""
    labels = np.array([CLASSES[name](z) for z in vectors.numbers])
    distances, n = vectors.distances(), len(labels)
    np.fill_diagonal(distances, np.inf)
    alike = int((labels[distances.argmin(axis=1)] == labels).sum())
    return alike, n, float((np.equal.outer(labels, labels).sum() - n) / (n - 1))


def as_text(found: list[Compared]) -> str:
    """Three tables: models with their principal components, tests, and nearest elements."""
    models = [
        [
            item.vectors.title, str(len(item.vectors.numbers)), str(item.vectors.vectors.shape[1]),
            *(f"{100 * share:.1f} %" for share in (*item.vectors.explained, 0.0, 0.0)[:2]),
            f"{item.vectors.distances()[np.triu_indices(len(item.vectors.numbers), 1)].mean():.3f}",
            "–" if item.correlation is None else f"{item.correlation:.3f}",
        ]
        for item in found
    ]  # fmt: skip
    tests = [
        [item.vectors.title, name, *_test_row(test), "{} of {} ({:.1f})".format(*nearest_alike(item.vectors, name))]
        for item in found
        for name, test in item.tests.items()
    ]
    return "\n".join([
        aligned(["model", "elements", "features", "component 1", "2", "mean distance", "correlation"], models, left=1),
        "Components: shares of the variance. Distances: Euclidean, in all features. Correlation: of the distances of pairs of "
        "elements with those in the first model.\n",
        aligned([*_TESTS], tests, left=2),
        "p: share of arrangements of the labels on the elements that bring elements of one class as near, or nearer.",
        "Nearest alike: elements whose nearest element is of the same class; in brackets, how many would be by chance.\n",
        _nearest_table(found),
    ])  # fmt: skip


def _test_row(test: Separation | None) -> list[str]:
    if test is None:
        return ["–", "–", "–", "–", "none to compare"]
    how = f"all {test.arrangements}" if test.exact else f"{test.arrangements} random"
    return [str(test.pairs), f"{test.same:.3f}", f"{test.other:.3f}", f"{test.p:.2g}", how]


def _nearest_table(found: list[Compared]) -> str:
    of_models = [nearest(item.vectors) for item in found]
    numbers = sorted({int(z) for item in found for z in item.vectors.numbers})
    rows = [
        [symbol, str(group(z) or "f"), str(period(z)), *(table.get(symbol, ("–",))[0] for table in of_models)]
        for z in numbers
        for symbol in [chemical_symbols[z]]
    ]
    return aligned(
        ["element", "group", "period", *(f"nearest in {item.vectors.title}" for item in found)], rows, left=1
    )


def as_json(found: list[Compared]) -> str:
    """The numbers of the tables, coordinates along the components included."""
    return to_json({"distance": "Euclidean", "models": [_numbers(item) for item in found]}, indent=1)


def _numbers(item: Compared) -> dict:
    vectors, two = item.vectors, item.vectors.components[:, :2]
    return {
        "model": vectors.title, "features": vectors.vectors.shape[1], "explained": vectors.explained.tolist(),
        "correlation_with_first": item.correlation,
        "nearest_alike": {
            name: dict(zip(("elements", "of", "by_chance"), nearest_alike(vectors, name), strict=True)) for name in CLASSES
        },
        "tests": {
            name: None if test is None else {
                "pairs": test.pairs, "distance_same": test.same, "distance_other": test.other, "statistic": test.statistic,
                "p": test.p, "arrangements": test.arrangements, "exact": test.exact,
            }
            for name, test in item.tests.items()
        },
        "elements": {
            symbol: {"group": group(z), "period": period(z), "components": point, "nearest": near, "nearest_distance": distance}
            for symbol, z, point, (near, distance) in zip(
                vectors.symbols, vectors.numbers.tolist(), two.tolist(), nearest(vectors).values(), strict=True
            )
        },
    }  # fmt: skip
