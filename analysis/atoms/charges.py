"""Charges that networks give to atoms, beside those that a file carries: Mulliken's of QM9, those of GFN2-xTB by ``mlcalc label``.

Of the n atoms of an environment, with the charge q_i of the file and that of a network, whose error is e_i::

    MAE = Σ_i |e_i| / n
    r   = correlation of the network's charges with q_i over these atoms

Atoms of one molecule are not independent. The standard error of a mean x̄ over atoms in M molecules is therefore, with the sum over
the atoms i of molecule m (Cochran, Sampling Techniques, 3rd ed., Wiley 1977, chapter 9A: a ratio of sums over molecules)::

    SE² = M/(M − 1) Σ_m (Σ_i (x_i − x̄))² / n²
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.atoms.values import AtomValues, elements_of, values_of
from mlcalc.model import Model
from mlcalc.structures.readout_labels import read_readout_labels

_OUTPUT = "charges"
_FEWEST = 3  # atoms of a correlation: that of two is ±1
_SAME_E = 1e-9  # charges that differ by less do not vary


class AtomCharges(NamedTuple):
    """Charges of all atoms of some structures.

    Attributes:
        networks: Those of the models, e.
        labels: (n,) e, those that the file carries; NaN in structures without any.
        origins: What the file says of where they come from.
    """

    networks: AtomValues
    labels: np.ndarray
    origins: list[str]

    @property
    def compared(self) -> bool:
        """Whether the file carries any."""
        return bool(np.isfinite(self.labels).any())


class Comparison(NamedTuple):
    """Charges of some atoms.

    Attributes:
        atoms, molecules: How many; labelled: how many atoms have a charge in the file. The numbers of models are of all atoms,
            those that compare with the file of the labelled ones.
        label, label_error, label_spread: Mean of the file's charges, its standard error over molecules, standard deviation, e.
        means, mean_errors, spreads: (n_models,) e, the same of each model.
        maes, mae_errors, correlations: (n_models,) e, e and r; NaN without labels, or where charges do not vary.
        over_models: e, standard deviation of an atom's charge over models, RMS over atoms; NaN for one model.
    """

    atoms: int
    molecules: int
    labelled: int
    label: float
    label_error: float
    label_spread: float
    means: np.ndarray
    mean_errors: np.ndarray
    spreads: np.ndarray
    maes: np.ndarray
    mae_errors: np.ndarray
    correlations: np.ndarray
    over_models: float


def atom_charges(models: dict[str, Model], frames: list[Atoms], source: str, shells: int = 1) -> AtomCharges | None:
    """Charges of all atoms by each model that has a readout of them, in float64; None if none has.

    Args:
        models: By name, models that serve the structures (atom_energies checks); source: What they are called in messages.
        shells: Of neighbours in environments.

    Raises:
        InputError: Charges in the file that are no numbers, or do not add up to the charge of their structure.
    """
    able = {name: model for name, model in models.items() if _has_charges(model)}
    if not able:
        return None
    labels = read_readout_labels(frames, source, [_OUTPUT], required=False)[0][_OUTPUT]
    known = np.isfinite(labels)
    rows = np.repeat(np.arange(len(frames)), [len(atoms) for atoms in frames])
    origins = sorted({_origin(frames[k]) for k in np.unique(rows[known]).tolist()})
    values = values_of(list(able), [_charges(model, frames) for model in able.values()], frames, shells)
    return AtomCharges(values, labels, origins)


def _has_charges(model: Model) -> bool:
    from mlcalc.readouts import available

    return _OUTPUT in available(model, periodic=False)


def _origin(atoms: Atoms) -> str:
    if "engine" in atoms.info:
        return str(atoms.info["engine"])
    return "Mulliken, QM9" if "qm9" in atoms.info else "no engine named"


def _charges(model: Model, frames: list[Atoms]) -> np.ndarray:
    from mlcalc.torch_readouts import Readouts

    readouts, found = Readouts(model, "float64"), []
    for atoms in frames:
        box = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)
        found.append(readouts(atoms.numbers, atoms.positions[None], *box)["charges"][0])
    return np.concatenate(found)


def by_environment(found: AtomCharges) -> dict[str, Comparison]:
    """Environments by name: elements by atomic number, within an element the lowest mean charge of the networks first."""
    values = found.networks
    names, first, of_atom = np.unique(values.environments, return_index=True, return_inverse=True)
    items = {str(name): compare(found, of_atom == k) for k, name in enumerate(names)}
    z_of = dict(zip(map(str, names), values.numbers[first].tolist(), strict=True))
    return dict(sorted(items.items(), key=lambda item: (z_of[item[0]], item[1].means.mean())))


def compare(found: AtomCharges, rows: np.ndarray) -> Comparison:
    """The numbers of the atoms where rows (n,) is true."""
    values, molecules = found.networks.values[:, rows], found.networks.frames[rows]
    labels, known = found.labels[rows], np.isfinite(found.labels[rows])
    errors = np.abs(values - labels)[:, known]
    label, label_error = mean_over_molecules(labels[known], molecules[known])
    means = np.array([mean_over_molecules(of_model, molecules) for of_model in values])
    maes = np.array([mean_over_molecules(of_model, molecules[known]) for of_model in errors])
    return Comparison(
        atoms=len(molecules), molecules=len(np.unique(molecules)), labelled=int(known.sum()),
        label=label, label_error=label_error, label_spread=float(labels[known].std()) if known.any() else np.nan,
        means=means[:, 0], mean_errors=means[:, 1], spreads=values.std(axis=1),
        maes=maes[:, 0], mae_errors=maes[:, 1],
        correlations=np.array([_correlation(of_model[known], labels[known]) for of_model in values]),
        over_models=float(np.sqrt(values.var(axis=0, ddof=1).mean())) if len(values) > 1 else np.nan,
    )  # fmt: skip


def mean_over_molecules(values: np.ndarray, molecules: np.ndarray) -> tuple[float, float]:
    """Mean of values (n,) of atoms in molecules (n,), and its standard error; NaN of none, or for the error of one molecule."""
    if not len(values):
        return np.nan, np.nan
    mean, (_, index) = float(values.mean()), np.unique(molecules, return_inverse=True)
    sums = np.bincount(index, values - mean)
    m = len(sums)
    return mean, float(np.sqrt(m / (m - 1) * np.square(sums).sum()) / len(values)) if m > 1 else np.nan


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    if len(one) < _FEWEST or min(one.std(), other.std()) < _SAME_E:
        return np.nan
    return float(np.corrcoef(one, other)[0, 1])


def by_element(found: AtomCharges) -> dict[str, Comparison]:
    """Elements by symbol, in the order of their atomic numbers, then ``all``."""
    numbers = found.networks.numbers
    items = {symbol: compare(found, numbers == z) for z, symbol in elements_of(found.networks).items()}
    return items | {"all": compare(found, np.full(len(numbers), True))}
