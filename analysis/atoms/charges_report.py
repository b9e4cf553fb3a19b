"""Charges of atoms as tables and numbers."""

import numpy as np

from analysis.atoms.charges import AtomCharges, Comparison, by_element, by_environment
from mlcalc.common.tables import aligned


def charges_as_text(found: AtomCharges) -> str:
    """Elements for each model, environments over all of them."""
    notes = ["Charges in e; ± is a standard error over molecules; in brackets standard deviations over atoms."]
    if found.compared:
        notes.append(f"Those of the file ({', '.join(found.origins)}): MAE and r, their correlation over atoms.")
    else:
        notes.append("The file carries none to compare with.")
    if len(found.networks.models) > 1:
        notes.append(
            "By environment: means over models. Over models: standard deviation of an atom's charge (RMS over atoms)."
        )
    return "\n".join([_element_table(found), *notes, "", _environment_table(found)])


def _element_table(found: AtomCharges) -> str:
    header = ["charges", "model", "atoms", "mean"] + (["file", "MAE", "r"] if found.compared else [])
    rows = []
    for symbol, item in by_element(found).items():
        for k, model in enumerate(found.networks.models):
            mean = _mean(item.means[k], item.mean_errors[k], item.spreads[k])
            compared = [_of_file(item), _error(item.maes[k], item.mae_errors[k]), shown(item.correlations[k], 3)]
            rows.append([symbol, model, str(item.atoms), mean] + (compared if found.compared else []))
    return aligned(header, rows, left=2)


def _environment_table(found: AtomCharges) -> str:
    several = len(found.networks.models) > 1
    header = ["environment", "atoms", "molecules", "mean"] + (["file", "MAE", "r"] if found.compared else [])
    header += ["over models"] if several else []
    rows = []
    for name, item in by_environment(found).items():
        mean = _mean(item.means.mean(), item.mean_errors.mean(), item.spreads.mean())
        compared = [
            _of_file(item),
            _error(item.maes.mean(), item.mae_errors.mean()),
            shown(item.correlations.mean(), 3),
        ]
        row = [name, str(item.atoms), str(item.molecules), mean] + (compared if found.compared else [])
        rows.append(row + ([shown(item.over_models, 4)] if several else []))
    return aligned(header, rows, left=1)


def _of_file(item: Comparison) -> str:
    return _mean(item.label, item.label_error, item.label_spread)


def _mean(mean: float, error: float, spread: float) -> str:
    return "–" if np.isnan(mean) else f"{_error(mean, error)} ({spread:.4f})"


def _error(value: float, error: float) -> str:
    return shown(value, 4) if np.isnan(error) else f"{value:.4f} ± {error:.4f}"


def shown(value: float, decimals: int) -> str:
    """A number with so many decimals; a dash for none."""
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"


def charges_as_dict(found: AtomCharges) -> dict:
    """The numbers of the tables, JSON-able, for each model; charges of all atoms of the first structure."""
    first = found.networks.frames == found.networks.frames[0]
    return {
        "models": found.networks.models, "file": found.origins,
        "elements": {symbol: _as_dict(item) for symbol, item in by_element(found).items()},
        "environments": {name: _as_dict(item) for name, item in by_environment(found).items()},
        "first_structure": {
            "charges_e": found.networks.values[:, first].tolist(), "file_charges_e": found.labels[first].tolist(),
        },
    }  # fmt: skip


def _as_dict(item: Comparison) -> dict:
    return {
        "atoms": item.atoms, "molecules": item.molecules, "labelled_atoms": item.labelled,
        "file_mean_e": item.label, "file_mean_error_e": item.label_error, "file_std_e": item.label_spread,
        "mean_e": item.means.tolist(), "mean_error_e": item.mean_errors.tolist(), "std_e": item.spreads.tolist(),
        "mae_e": item.maes.tolist(), "mae_error_e": item.mae_errors.tolist(), "correlation": item.correlations.tolist(),
        "over_models_e": item.over_models,
    }  # fmt: skip
