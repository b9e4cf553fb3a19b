"""Energies and charges of atoms as tables and numbers."""

from typing import Any

import numpy as np

from analysis.atoms.charges import AtomCharges
from analysis.atoms.charges_report import charges_as_dict, charges_as_text, shown
from analysis.atoms.partition import by_element, by_environment
from analysis.atoms.values import AtomValues
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.zip_files import npz_bytes

MOST_ATOMS = 100  # of the first structure that are listed in the text


def as_text(found: AtomValues, charges: AtomCharges | None) -> str:
    """Elements with the agreement of the models, environments, atoms of the first structure; of energies, then of charges."""
    several = len(found.models) > 1
    parts = [
        _element_table(found),
        "Energies in eV: each atom's share of network and priors, without the constant of its element.",
        "Over environments: spread (RMS) of their means about the mean of the element, within a model.",
    ]
    if several:
        parts += [
            "Over models: standard deviation of an atom's deviation from the mean of its element (RMS over atoms).",
            "Correlation: of these deviations over atoms, mean over pairs of models and that of the pair that agrees least.",
        ]
    else:
        parts.append("A partition into atoms is not unique: compare models of other seeds (--model again).")
    parts += ["", _environment_table(found), "", _atom_table(found)]
    return "\n".join(parts if charges is None else [*parts, "", charges_as_text(charges)])


def _element_table(found: AtomValues) -> str:
    header = ["element", "atoms", "environments", *(f"mean, {name}" for name in found.models), "over environments"]
    header += ["over models", "ratio", "correlation", "lowest"] if len(found.models) > 1 else []
    rows = []
    for symbol, item in by_element(found).items():
        row = [symbol, str(item.atoms), str(item.environments), *(f"{mean:.4f}" for mean in item.means)]
        row.append(f"{item.over_environments:.4f}")
        if len(found.models) > 1:
            row += [shown(item.over_models, 4), *(shown(x, 2) for x in (item.ratio, item.correlation, item.lowest))]
        rows.append(row)
    return aligned(header, rows, left=1)


def _environment_table(found: AtomValues) -> str:
    """Means over atoms with standard deviations, and the deviation from the element with its standard deviation over models."""
    several = len(found.models) > 1
    header = ["environment", "atoms", *found.models, "from the element's mean"]
    rows = []
    for name, item in by_environment(found).items():
        energies = [f"{mean:.4f} ({std:.4f})" for mean, std in zip(item.means, item.stds, strict=True)]
        spread = f" ({item.deviations.std(ddof=1):.4f})" if several else ""
        rows.append([name, str(item.atoms), *energies, f"{item.deviations.mean():+.4f}{spread}"])
    last = ", from the element's mean over models" if several else ""
    note = f"Mean energies in eV and, in brackets, standard deviations: over atoms{last}. By bonded neighbours."
    return aligned(header, rows, left=1) + "\n" + note


def _atom_table(found: AtomValues) -> str:
    rows = np.flatnonzero(found.frames == found.frames[0])
    listed = [
        [str(found.atoms[row]), str(found.environments[row]), *(f"{energy:.4f}" for energy in found.values[:, row])]
        for row in rows[:MOST_ATOMS]
    ]
    left = f"\n… and {len(rows) - MOST_ATOMS} more (in the NPZ file)" if len(rows) > MOST_ATOMS else ""
    return aligned(["first structure", "environment", *found.models], listed, left=2) + left


def as_json(found: AtomValues, charges: AtomCharges | None) -> str:
    """The numbers of the tables; those of all atoms of the first structure."""
    first = np.flatnonzero(found.frames == found.frames[0])
    return to_json({
        "models": found.models, "structures": int(found.frames[-1]) + 1, "atoms": len(found.numbers),
        "elements": {
            symbol: {
                "atoms": item.atoms, "environments": item.environments, "mean_eV": item.means.tolist(),
                "over_environments_eV": item.over_environments, "over_models_eV": item.over_models,
                "ratio": float(item.ratio), "correlation": item.correlation, "lowest_correlation": item.lowest,
            }
            for symbol, item in by_element(found).items()
        },
        "environments": {
            name: {
                "atoms": item.atoms, "mean_eV": item.means.tolist(), "std_eV": item.stds.tolist(),
                "deviation_eV": item.deviations.tolist(),
            }
            for name, item in by_environment(found).items()
        },
        "first_structure": {
            "environments": found.environments[first].tolist(), "energies_eV": found.values[:, first].tolist(),
        },
        **({} if charges is None else {"charges": charges_as_dict(charges)}),
    }, indent=1)  # fmt: skip


def as_npz(found: AtomValues, charges: AtomCharges | None) -> bytes:
    """The energies and charges of all atoms."""
    arrays: dict[str, Any] = {
        "energies_eV": found.values, "structure": found.frames, "atom": found.atoms, "numbers": found.numbers,
        "environments": found.environments, "models": np.array(found.models),
    }  # fmt: skip
    if charges is not None:
        arrays |= {
            "charges_e": charges.networks.values, "file_charges_e": charges.labels,
            "charges_models": np.array(charges.networks.models),
        }  # fmt: skip
    return npz_bytes(arrays)
