"""The ``relevance`` command: structures in; what atoms, pairs and triples add to their energy out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.lrp import Rules, Trace, trace
from analysis.relevance import (
    Triples,
    pair_relevances,
    single_relevances,
    total_relevance,
    triple_relevances,
    triple_sets,
)  # fmt: skip
from analysis.walks import count_walks
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.model_file import Model, load_model
from mlcalc.structure_files import read_atoms
from mlcalc.tables import aligned

_PAIRS_SHOWN = 10


class Explanation(NamedTuple):
    """One structure, energies in eV.

    Attributes:
        atoms: The structure; trace: the network's forward pass on it.
        total: ΣR over all walks; singles: (N,) by atom; pairs: (n_pairs,) by half pair of the trace.
        sets, triples: All sets of three and the relevance (n_sets,) of each; None where they were not asked for.
    """

    atoms: Atoms
    trace: Trace
    total: float
    singles: np.ndarray
    pairs: np.ndarray
    sets: Triples | None
    triples: np.ndarray | None

    @property
    def by_order(self) -> dict[str, float]:
        """ΣR of walks by the number of atoms on them; the last entry holds all that is left."""
        found = {"1": float(self.singles.sum()), "2": float(self.pairs.sum())}
        if self.triples is not None:
            found["3"] = float(self.triples.sum())
        return found | {f"more than {len(found)}": self.total - sum(found.values())}


def explain(model: Model, atoms: Atoms, gamma: float | Sequence[float], with_triples: bool = True) -> Explanation:
    """n-body relevances of a structure; InputError for what analysis.lrp refuses."""
    rules = Rules(trace(model, atoms), gamma)
    sets = triple_sets(rules.trace) if with_triples else None
    triples = None if sets is None else triple_relevances(rules, sets)
    total, singles, pairs = (sums(rules) for sums in (total_relevance, single_relevances, pair_relevances))
    return Explanation(atoms, rules.trace, total, singles, pairs, sets, triples)


def explain_file(path: Path, model_name: str, gamma: float | Sequence[float], with_triples: bool) -> list[Explanation]:
    """All structures of a file; InputError names the one that the model does not serve."""
    model, found = load_model(model_name), []
    for number, atoms in enumerate(read_atoms(path), start=1):
        try:
            if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
                raise InputError("it has no atoms, or a position that is not a finite number")
            found.append(explain(model, atoms, gamma, with_triples))
        except InputError as error:
            raise InputError(f"{path}, structure {number}: {error}") from error
    return found


def as_text(found: list[Explanation], gamma: float | Sequence[float]) -> str:
    """A row per structure, and the strongest pairs where there is one structure alone."""
    orders = list(found[0].by_order)
    header = ["structure", "E / eV", "ΣR / eV", "ΣR/E", *(f"order {order} / eV" for order in orders), "walks"]
    rows = []
    for number, item in enumerate(found, start=1):
        sums = (f"{value:.4f}" for value in item.by_order.values())
        name = f"{number} {item.atoms.get_chemical_formula()}"
        rows.append([
            name, f"{item.trace.energy:.4f}", f"{item.total:.4f}", _ratio(item), *sums, f"{count_walks(item.trace):.3g}",
        ])  # fmt: skip
    lines = [aligned(header, rows, left=1)]
    lines.append(
        f"γ = {_gamma_text(gamma)}. E: without the constants of the elements. ΣR: all relevances; biases take the rest."
    )
    if len(found) == 1 and len(found[0].pairs):
        lines += ["", _strongest_pairs(found[0])]
    return "\n".join(lines)


def _ratio(item: Explanation) -> str:
    return f"{item.total / item.trace.energy:.3f}" if item.trace.energy else "–"


def _gamma_text(gamma: float | Sequence[float]) -> str:
    return f"{gamma:g}" if np.isscalar(gamma) else ", ".join(f"{value:g}" for value in gamma)


def _strongest_pairs(item: Explanation) -> str:
    t, symbols = item.trace, item.atoms.get_chemical_symbols()
    rows = []
    for k in np.argsort(-np.abs(item.pairs))[:_PAIRS_SHOWN]:
        i, j = int(t.first[k]), int(t.second[k])
        image = " ".join(map(str, t.images[k])) if t.images[k].any() else ""
        rows.append([f"{symbols[i]}{i} {symbols[j]}{j}", image, f"{t.distances[k]:.4f}", f"{item.pairs[k]:+.4f}"])
    return aligned(["strongest pairs", "cell", "r / Å", "R / eV"], rows, left=1)


def as_json(found: list[Explanation], gamma: float | Sequence[float]) -> str:
    """All numbers; ``cell`` of a pair says in which image of the cell its second atom lies."""
    structures = [
        {
            "energy_eV": item.trace.energy, "total_relevance_eV": item.total,
            "ratio": item.total / item.trace.energy if item.trace.energy else None,
            "walks": count_walks(item.trace), "relevance_by_order_eV": item.by_order,
            "relevance_by_atom_eV": item.singles.tolist(),
            "pairs": [
                {"atoms": [int(i), int(j)], "cell": image.tolist(), "distance_A": float(r), "relevance_eV": float(value)}
                for i, j, image, r, value in zip(
                    item.trace.first, item.trace.second, item.trace.images, item.trace.distances, item.pairs, strict=True
                )
            ],
        }
        for item in found
    ]  # fmt: skip
    return to_json({"gamma": gamma if np.isscalar(gamma) else list(gamma), "structures": structures}, indent=1)
