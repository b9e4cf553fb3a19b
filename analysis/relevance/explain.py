"""The ``relevance`` command: contributions of atoms, pairs and triples to the energies of structures."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.relevance.nbody import (
    Triples,
    pair_relevances,
    single_relevances,
    total_relevance,
    triple_relevances,
    triple_sets,
)  # fmt: skip
from analysis.relevance.trace import Rules, Trace, trace
from analysis.relevance.walks import Walks, count_walks, walk_relevances
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.model import Model
from mlcalc.model_file import load_model
from mlcalc.structures.structure_files import read_atoms

WITHOUT_PRIORS = "network without priors"  # in reports of models some of whose priors are not explained
_SETS_SHOWN = 10


class Explanation(NamedTuple):
    """One structure, energies in eV.

    Attributes:
        atoms: The structure; trace: the network's forward pass on it.
        total: ΣR over all walks; singles: (N,) by atom; pairs: (n_pairs,) by half pair of the trace.
        sets, triples: All sets of three and the relevance (n_sets,) of each; None if not requested.
        walks: The strongest walks in descending order; None if not requested.
        rule: As in Rules.
    """

    atoms: Atoms
    trace: Trace
    total: float
    singles: np.ndarray
    pairs: np.ndarray
    sets: Triples | None
    triples: np.ndarray | None
    walks: Walks | None
    rule: str | None

    @property
    def by_order(self) -> dict[str, float]:
        """ΣR of walks by the number of atoms on them; the last entry holds the rest, if longer walks exist."""
        found = {"1": float(self.singles.sum()), "2": float(self.pairs.sum())}
        if self.triples is not None:
            found["3"] = float(self.triples.sum())
        if len(self.trace.blocks) + 1 > len(found):
            found[f"more than {len(found)}"] = self.total - sum(found.values())
        return found


def explain(
    model: Model, atoms: Atoms, gamma: float | Sequence[float], with_triples: bool = True, walks: int = 0,
    rule: str | None = None,
) -> Explanation:  # fmt: skip
    """n-body relevances of a structure, and its strongest walks; γ and rule as in Rules; InputError as in trace and walks."""
    rules = Rules(trace(model, atoms), gamma, rule)
    sets = triple_sets(rules.trace) if with_triples else None
    triples = None if sets is None else triple_relevances(rules, sets)
    total, singles, pairs = total_relevance(rules), single_relevances(rules), pair_relevances(rules)
    strongest = walk_relevances(rules).strongest(walks) if walks else None
    return Explanation(atoms, rules.trace, total, singles, pairs, sets, triples, strongest, rules.rule)


def explain_file(
    path: Path, model_name: str, gamma: float | Sequence[float], with_triples: bool, walks: int, rule: str | None = None
) -> list[Explanation]:
    """All structures of a file; InputError names the one that the model does not support."""
    if walks < 0:
        raise InputError(f"--walks {walks}: expected a number of at least 0")
    model, found = load_model(model_name), []
    for number, atoms in enumerate(read_atoms(path), start=1):
        try:
            if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
                raise InputError("it has no atoms, or a position that is not a finite number")
            found.append(explain(model, atoms, gamma, with_triples, walks, rule))
        except InputError as error:
            raise InputError(f"{path}, structure {number}: {error}") from error
    return found


def as_text(found: list[Explanation], gamma: float | Sequence[float]) -> str:
    """One row per structure; for a single structure also the strongest pairs."""
    orders = list(found[0].by_order)
    header = ["structure", "E / eV", "ΣR / eV", "ΣR/E", *(f"order {order} / eV" for order in orders), "walks"]
    header += [f"{name} / eV" for name in found[0].trace.apart]
    rows = []
    for number, item in enumerate(found, start=1):
        sums = (f"{value:.4f}" for value in item.by_order.values())
        name = f"{number} {item.atoms.get_chemical_formula()}"
        rows.append([
            name, f"{item.trace.energy:.4f}", f"{item.total:.4f}", _ratio(item), *sums, f"{count_walks(item.trace):.3g}",
            *(f"{value:.4f}" for value in item.trace.apart.values()),
        ])  # fmt: skip
    lines = [aligned(header, rows, left=1)]
    lines.append(
        f"γ = {gamma_text(gamma, found[0].rule)}. E: without the constants of the elements. "
        "ΣR: all relevances; biases take the rest."
    )
    if found[0].trace.apart:
        lines.append(f"E and R: {WITHOUT_PRIORS}, whose energies ({', '.join(found[0].trace.apart)}) stand beside.")
    if len(found) == 1:
        lines += [f"\n{table}" for table in _strongest(found[0])]
    return "\n".join(lines)


def _ratio(item: Explanation) -> str:
    return f"{item.total / item.trace.energy:.3f}" if item.trace.energy else "–"


def gamma_text(gamma: float | Sequence[float], rule: str | None = None) -> str:
    """One number, or one for each layer, and the name of the rule where there are several."""
    numbers = ", ".join(f"{value:g}" for value in gamma) if isinstance(gamma, Sequence) else f"{gamma:g}"
    return numbers if rule is None else f"{numbers}, rule {rule}"


def explained_text(apart: Collection[str]) -> str:
    """What the energies and relevances of a report belong to, given the names of the priors apart."""
    return WITHOUT_PRIORS if apart else "network with its priors"


def _strongest(item: Explanation) -> list[str]:
    """Tables of the pairs, triples and walks with the largest relevances, if there are any."""
    t, tables = item.trace, []
    nodes, images = _pair_nodes(item)
    rows = [
        [_path(item, nodes[k], images[k]), f"{t.distances[k]:.4f}", f"{item.pairs[k]:+.4f}"]
        for k in np.argsort(-np.abs(item.pairs))[:_SETS_SHOWN]
    ]
    tables.append((["strongest pairs", "r / Å", "R / eV"], rows))
    if item.triples is not None:
        strongest = np.argsort(-np.abs(item.triples))[:_SETS_SHOWN]
        rows = [[_path(item, item.sets.atoms[k], item.sets.images[k]), f"{item.triples[k]:+.4f}"] for k in strongest]
        tables.append((["strongest triples", "R / eV"], rows))
    if item.walks is not None:
        walks = zip(item.walks.atoms, item.walks.images, item.walks.relevance, strict=True)
        rows = [[_path(item, nodes, images), f"{value:+.3e}"] for nodes, images, value in walks]
        tables.append((["strongest walks", "R / eV"], rows))
    return [aligned(header, rows, left=1) for header, rows in tables if rows]


def _pair_nodes(item: Explanation) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (n_pairs, 2) and images (n_pairs, 2, 3) of the half pairs."""
    t = item.trace
    return np.stack([t.first, t.second], axis=1), np.stack([np.zeros_like(t.images), t.images], axis=1)


def _path(item: Explanation, nodes: np.ndarray, images: np.ndarray) -> str:
    """Text such as ``C0 C3 C3[0 0 1]``, with the cell of images in brackets."""
    symbols = item.atoms.get_chemical_symbols()
    return " ".join(
        f"{symbols[i]}{i}" + (f"[{' '.join(map(str, image))}]" if image.any() else "")
        for i, image in zip(nodes, images, strict=True)
    )


def as_json(found: list[Explanation], gamma: float | Sequence[float]) -> str:
    """All numbers; ``cells`` give the image of the cell for each atom."""
    structures = []
    for item in found:
        nodes, images = _pair_nodes(item)
        pairs = _sets_as_json(nodes, images, item.pairs)
        structures.append({
            "energy_eV": item.trace.energy, "prior_energies_eV": item.trace.apart, "total_relevance_eV": item.total,
            "ratio": item.total / item.trace.energy if item.trace.energy else None,
            "walks": count_walks(item.trace), "relevance_by_order_eV": item.by_order,
            "relevance_by_atom_eV": item.singles.tolist(),
            "pairs": [pair | {"distance_A": r} for pair, r in zip(pairs, item.trace.distances.tolist(), strict=True)],
            "triples": item.sets and _sets_as_json(item.sets.atoms, item.sets.images, item.triples),
            "strongest_walks": item.walks and _sets_as_json(*item.walks),
        })  # fmt: skip
    gammas = list(gamma) if isinstance(gamma, Sequence) else gamma
    explained = explained_text(found[0].trace.apart)
    return to_json({"explained": explained, "gamma": gammas, "rule": found[0].rule, "structures": structures}, indent=1)


def _sets_as_json(nodes: np.ndarray, images: np.ndarray, relevances: np.ndarray) -> list[dict]:
    return [
        {"atoms": atoms, "cells": cells, "relevance_eV": value}
        for atoms, cells, value in zip(nodes.tolist(), images.tolist(), relevances.tolist(), strict=True)
    ]
