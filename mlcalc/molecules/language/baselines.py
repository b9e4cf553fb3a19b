"""Solubilities without a network: ECFP counts with ridge regression or a random forest, of scikit-learn."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.molecules.language.tables import Solubility
from mlcalc.molecules.language.writing import SOLVENTS, molecule_of
from mlcalc.molecules.toolkit import rdkit

_RADIUS, _BITS = 2, 2048  # ECFP4: Rogers, Hahn, J. Chem. Inf. Model. 50, 742 (2010), doi:10.1021/ci100050t
_TREES = 300
_ALPHAS = np.logspace(-2, 5, 15)


def fingerprints(entries: Sequence[Solubility]) -> np.ndarray:
    """Counts of circular environments (n, 2048), and which solvent it is (n, 4) beside them."""
    rdkit()
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    counts = [generator.GetCountFingerprintAsNumPy(molecule_of(entry.writing.smiles)) for entry in entries]
    solvents = [[float(entry.solvent == name) for name in SOLVENTS] for entry in entries]
    return np.hstack([np.array(counts, dtype=float), np.array(solvents)])


def ridge(features: np.ndarray, values: np.ndarray) -> Any:
    """Ridge regression on standardised features; its strength is chosen by leave-one-out cross-validation."""
    _sklearn()
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(_ALPHAS)).fit(features, values)


def forest(features: np.ndarray, values: np.ndarray, seed: int) -> Any:
    """Random forest of 300 trees."""
    _sklearn()
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(_TREES, random_state=seed, max_features=0.33, n_jobs=1).fit(features, values)


def _sklearn() -> None:
    if find_spec("sklearn") is None:
        raise InputError("baselines need scikit-learn, which is not installed: pip install 'mlcalc[molecules]'")
