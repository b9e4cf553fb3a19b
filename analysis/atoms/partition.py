"""How unique the partition of an energy into atoms is: spread over environments against spread over models.

Only the sum of atomic energies is determined by data. What networks of several seeds agree on may be chemistry; what they do not
agree on is not. With δ_im the energy of atom i in model m, relative to the mean of all atoms of its element in m, and δ_Em the mean
of δ_im over the n_E atoms of environment E, for the n atoms and M models of an element::

    S_env²    = ⟨ Σ_E n_E δ_Em² / n ⟩_m                         spread over environments, within a model
    S_models² = ⟨ Σ_m (δ_im − ⟨δ_i⟩)² / (M − 1) ⟩_i             spread over models, of an atom
    r         = mean over pairs of models of the correlation of δ_im over atoms

If all models agree, S_models / S_env is 0 and r is 1. If each gives environments energies of its own, the ratio is 1 and r is 0.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np

from analysis.atoms.values import AtomValues, elements_of


class Partition(NamedTuple):
    """Of one element.

    Attributes:
        atoms, environments: How many.
        means: (n_models,) eV, of its atoms.
        over_environments: S_env, eV.
        over_models: S_models, eV; NaN for one model.
        correlation: r; lowest: that of the pair of models that agree least. NaN for one model, or where energies do not vary.
    """

    atoms: int
    environments: int
    means: np.ndarray
    over_environments: float
    over_models: float
    correlation: float
    lowest: float

    @property
    def ratio(self) -> float:
        """S_models / S_env; NaN without a spread over environments: one alone has none but for rounding."""
        return (
            self.over_models / self.over_environments
            if self.environments > 1 and self.over_environments > 0
            else np.nan
        )


class Environment(NamedTuple):
    """Of one environment: its number of atoms; (n_models,) eV means and standard deviations (denominator n) of their energies, and
    means of their deviations from the mean of the element."""

    atoms: int
    means: np.ndarray
    stds: np.ndarray
    deviations: np.ndarray


def by_environment(found: AtomValues) -> dict[str, Environment]:
    """Environments by name: elements by atomic number, within an element the lowest mean deviation first."""
    deviations = found.deviations()
    result: dict[str, Environment] = {}
    for z in elements_of(found):
        of_element = {}
        for name in np.unique(found.environments[found.numbers == z]):
            rows = found.environments == name
            energies = found.values[:, rows]
            of_element[str(name)] = Environment(
                int(rows.sum()), energies.mean(axis=1), energies.std(axis=1), deviations[:, rows].mean(axis=1)
            )
        result |= dict(sorted(of_element.items(), key=lambda item: item[1].deviations.mean()))
    return result


def by_element(found: AtomValues) -> dict[str, Partition]:
    """Elements by symbol, in the order of their atomic numbers."""
    deviations = found.deviations()
    result: dict[str, Partition] = {}
    for z, symbol in elements_of(found).items():
        rows = found.numbers == z
        delta = deviations[:, rows]
        names, of_atom, counts = np.unique(found.environments[rows], return_inverse=True, return_counts=True)
        sums = np.zeros((len(delta), len(names)))
        np.add.at(sums.T, of_atom, delta.T)
        correlations = _correlations(delta)
        result[symbol] = Partition(
            atoms=int(rows.sum()),
            environments=len(names),
            means=found.values[:, rows].mean(axis=1),
            over_environments=float(np.sqrt((sums**2 / counts).sum(axis=1).mean() / rows.sum())),
            over_models=float(np.sqrt(delta.var(axis=0, ddof=1).mean())) if len(delta) > 1 else np.nan,
            correlation=float(np.mean(correlations)) if correlations else np.nan,
            lowest=min(correlations) if correlations else np.nan,
        )
    return result


def _correlations(delta: np.ndarray) -> list[float]:
    """Of every pair of models; none where the energies of one do not vary (beyond rounding)."""
    size = np.sqrt((delta**2).mean(axis=1))
    if len(delta) < 2 or not (size > 1e-9).all():
        return []
    return [float((delta[a] * delta[b]).mean() / (size[a] * size[b])) for a, b in combinations(range(len(delta)), 2)]
