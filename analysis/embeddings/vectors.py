"""The vectors of elements in a model: distances between them, and principal components."""

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from scipy.spatial.distance import pdist, squareform

from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model

WEIGHT = "embedding.weight"  # of every architecture that looks elements up in a table
FEWEST = 4  # elements: three points are always in a plane, and their distances have six orders at most


class Vectors(NamedTuple):
    """Vectors of the elements of a model.

    Attributes:
        title: Name of the model and of its architecture.
        numbers: (n,) atomic numbers, ascending; vectors: (n, n_features).
        components: (n, k) coordinates along the principal components, k = min(n − 1, n_features).
        explained: (k,) share of the variance along each, descending.
    """

    title: str
    numbers: np.ndarray
    vectors: np.ndarray
    components: np.ndarray
    explained: np.ndarray

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols in the same order."""
        return [chemical_symbols[z] for z in self.numbers]

    def distances(self) -> np.ndarray:
        """(n, n) Euclidean distances between the vectors, in all dimensions.

        Networks multiply these vectors by matrices, without a bias in most architectures; the difference of two vectors, in
        direction and length, is therefore what a network can tell two elements apart by. A cosine would drop the length.
        """
        return squareform(pdist(self.vectors))


def element_vectors(model: Model, name: str, only: list[str] | None = None) -> Vectors:
    """The vectors of a model's elements.

    Args:
        name: What the model is called in titles and messages; only: Symbols of some of its elements, None for all.

    Raises:
        InputError: A model without such vectors, or without one of these elements, or with too few, or with vectors that are all
            alike.
    """
    architecture = architecture_of(model.config).title
    if WEIGHT not in model.weights:
        raise InputError(f"{name}: a {architecture} has no vectors of elements ({WEIGHT}): expected a model that has")
    known = [chemical_symbols[z] for z in model.config.elements]
    if unknown := [symbol for symbol in only or () if symbol not in known]:
        raise InputError(f"{name}: element {unknown[0]!r}: this model knows {', '.join(known)}")
    rows = [row for row in np.argsort(model.config.elements) if only is None or known[row] in only]
    if len(rows) < FEWEST:
        listed = ", ".join(known[row] for row in rows)
        raise InputError(f"{name}: {len(rows)} elements ({listed}): expected at least {FEWEST}")
    vectors = model.weights[WEIGHT][rows].astype(np.float64)
    components, explained = principal_components(vectors)
    if not np.isfinite(explained).all():
        raise InputError(f"{name}: the vectors of all {len(rows)} elements are equal: expected a trained model")
    return Vectors(f"{name} ({architecture})", np.array(model.config.elements)[rows], vectors, components, explained)


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (n, k) and shares of the variance (k,) along the principal components of vectors (n, d), k = min(n − 1, d).

    The sign of each is that which makes its coordinate of largest magnitude positive. The shares of equal vectors are NaN.
    """
    centred = vectors - vectors.mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    k = min(len(vectors) - 1, vectors.shape[1])
    components = (left * singular)[:, :k]
    largest = components[np.abs(components).argmax(axis=0), np.arange(k)]
    variance = singular[:k] ** 2
    with np.errstate(invalid="ignore"):
        return components * np.where(largest < 0, -1.0, 1.0), variance / variance.sum()
