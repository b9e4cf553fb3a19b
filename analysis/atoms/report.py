"""Energies of atoms as tables and numbers."""

import io

import numpy as np

from analysis.atoms.energies import AtomEnergies
from analysis.atoms.partition import by_element, by_environment
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned

MOST_ATOMS = 100  # of the first structure that are listed in the text


def as_text(found: AtomEnergies) -> str:
    """Elements with the agreement of the models, environments, atoms of the first structure."""
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
    return "\n".join([*parts, "", _environment_table(found), "", _atom_table(found)])


def _element_table(found: AtomEnergies) -> str:
    header = ["element", "atoms", "environments", *(f"mean, {name}" for name in found.models), "over environments"]
    header += ["over models", "ratio", "correlation", "lowest"] if len(found.models) > 1 else []
    rows = []
    for symbol, item in by_element(found).items():
        row = [symbol, str(item.atoms), str(item.environments), *(f"{mean:.4f}" for mean in item.means)]
        row.append(f"{item.over_environments:.4f}")
        if len(found.models) > 1:
            row += [_shown(item.over_models, 4), *(_shown(x, 2) for x in (item.ratio, item.correlation, item.lowest))]
        rows.append(row)
    return aligned(header, rows, left=1)


def _shown(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if np.isfinite(value) else "–"


def _environment_table(found: AtomEnergies) -> str:
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


def _atom_table(found: AtomEnergies) -> str:
    rows = np.flatnonzero(found.frames == found.frames[0])
    listed = [
        [str(found.atoms[row]), str(found.environments[row]), *(f"{energy:.4f}" for energy in found.energies[:, row])]
        for row in rows[:MOST_ATOMS]
    ]
    left = f"\n… and {len(rows) - MOST_ATOMS} more (in the NPZ file)" if len(rows) > MOST_ATOMS else ""
    return aligned(["first structure", "environment", *found.models], listed, left=2) + left


def as_json(found: AtomEnergies) -> str:
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
            "environments": found.environments[first].tolist(), "energies_eV": found.energies[:, first].tolist(),
        },
    }, indent=1)  # fmt: skip


def as_npz(found: AtomEnergies) -> bytes:
    """The energies of all atoms."""
    stream = io.BytesIO()
    np.savez_compressed(
        stream, energies_eV=found.energies, structure=found.frames, atom=found.atoms, numbers=found.numbers,
        environments=found.environments, models=np.array(found.models),
    )  # fmt: skip
    return stream.getvalue()
