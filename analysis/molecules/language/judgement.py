"""Which explanation to trust: hiding atoms in the order of their relevance, signs against Crippen's contributions, and stability.

Measures of one molecule; their means and standard errors are over molecules.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from analysis.molecules.language.methods import METHODS, Relevance
from analysis.molecules.language.question import Question, question
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.molecules.language.inputs import check_solvent
from mlcalc.molecules.language.model_file import LanguageModel
from mlcalc.molecules.language.writing import canonical, molecule_of, random_writing
from mlcalc.molecules.toolkit import rdkit

RANDOM = "random"  # relevances drawn at random: what chance reaches
_LEAST_ATOMS = 4


class Measures(NamedTuple):
    """Of one molecule; NaN where a method has no sign or no order. Changes of predictions in log10(mol/L).

    ``change``: mean |y − y(all)| while the half of the atoms with the largest |relevance| is hidden, one by one.
    ``deletion``: mean fall y(all) − y while all atoms are hidden, those first that are to raise the prediction most.
    ``insertion``: mean rise y − y(none) while all atoms are uncovered, in the same order.
    ``signs``: share of atoms whose relevance has the sign of minus the contribution to Crippen's logP. ``ranks``: Spearman's
    correlation of the two. ``stability``: Pearson's correlation of the relevances of two random writings, mean over pairs.
    """

    change: float
    deletion: float
    insertion: float
    signs: float
    ranks: float
    stability: float


_KEY = """Change: of the prediction,
log10(mol/L), while the half of the atoms with the largest relevances is hidden. Deletion, insertion: its fall or rise
while atoms are hidden or uncovered, those first that are to raise it. Signs, ranks: agreement with minus Crippen's
contributions to logP. Stability: correlation over random writings."""
_TITLES = ("change", "deletion", "insertion", "signs", "ranks", "stability")


def random_relevance(asked: Question, seed: int) -> Relevance:
    """Standard normal numbers, of each writing of each molecule its own."""
    rng = np.random.default_rng([seed, zlib.crc32(asked.writing.smiles.encode())])
    return Relevance(rng.standard_normal(len(asked.places)), np.nan, np.nan)


def curves(asked: Question, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions over the number of atoms hidden, and uncovered, in this order (n,): deletion and insertion (n + 1,) each."""
    n = len(order)
    rank = np.empty(n, dtype=int)
    rank[order] = np.arange(n)
    steps = np.arange(n + 1)[:, None]
    found = asked.masked(np.vstack([rank >= steps, rank < steps]))
    return found[: n + 1], found[n + 1 :]


def _changes(asked: Question, values: np.ndarray, signed: bool) -> tuple[float, float, float]:
    """Change, deletion and insertion, see Measures."""
    by_size, _ = curves(asked, np.argsort(-np.abs(values), kind="stable"))
    half = by_size[1 : 1 + -(-len(values) // 2)]
    change = float(np.abs(half - by_size[0]).mean())
    if not signed:
        return change, float("nan"), float("nan")
    deletion, insertion = curves(asked, np.argsort(-values, kind="stable"))
    return change, float((deletion[0] - deletion).mean()), float((insertion - insertion[0]).mean())


def crippen(molecule: Any) -> np.ndarray:
    """Contributions to logP of the heavy atoms (n,), hydrogens added to theirs; their sum is Crippen's logP.

    Wildman, Crippen, J. Chem. Inf. Comput. Sci. 39, 868 (1999), doi:10.1021/ci990307l.
    """
    Chem = rdkit()
    from rdkit.Chem import rdMolDescriptors

    whole = Chem.AddHs(molecule)
    contributions = np.array([logp for logp, _ in rdMolDescriptors._CalcCrippenContribs(whole)])
    n = molecule.GetNumAtoms()  # hydrogens that are added come behind
    found = contributions[:n].copy()
    for atom in range(n, whole.GetNumAtoms()):
        (neighbour,) = whole.GetAtomWithIdx(atom).GetNeighbors()
        found[neighbour.GetIdx()] += contributions[atom]
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")


def judge_one(model: LanguageModel, smiles: str, solvent: str, method: str, writings: int, seed: int) -> Measures:
    """Measures of a method (a key of METHODS, or RANDOM) for one molecule."""
    from scipy.stats import rankdata

    explain: Callable[..., Relevance] = random_relevance if method == RANDOM else METHODS[method].explain
    molecule = molecule_of(smiles)
    asked = question(model, canonical(molecule), solvent)
    values = explain(asked, seed).atoms
    signed = method == RANDOM or METHODS[method].signed
    changes = _changes(asked, values, signed)
    signs = ranks = float("nan")
    if signed:
        expected = -crippen(molecule)
        signs = float((np.sign(values) == np.sign(expected)).mean())
        ranks = _correlation(rankdata(values), rankdata(expected))
    found: dict[tuple, np.ndarray] = {}  # small molecules have few writings: each counts once
    for k in range(writings):
        try:
            other = question(model, random_writing(molecule, seed + k), solvent)
        except InputError:  # a token or a length that the canonical writing does without
            continue
        found[other.writing.smiles, *other.writing.atoms] = explain(other, seed + k).atoms
    others = list(found.values())
    pairs = [_correlation(one, other) for k, one in enumerate(others) for other in others[:k]]
    return Measures(*changes, signs, ranks, float(np.mean(pairs)) if pairs else float("nan"))


class Judgement(NamedTuple):
    """By method (those of METHODS, and RANDOM) the measures of molecules (n, 6); the molecules, and how many were refused."""

    measures: dict[str, np.ndarray]
    smiles: list[str]
    refused: int


def judge(
    model: LanguageModel, smiles: Sequence[str], solvent: str, number: int, writings: int, seed: int
) -> Judgement:
    """Judge all methods on molecules chosen at random.

    Args:
        smiles: Molecules; those that cannot be read, or of less than 4 atoms, are refused.
        number: How many to take; writings: Random ones of each, for the stability.

    Raises:
        InputError: A solvent that was not trained; not enough molecules that can be read.
    """
    check_solvent(solvent, model.solvents)
    chosen: list[str] = []
    refused = 0
    for k in np.random.default_rng(seed).permutation(len(smiles)):
        if len(chosen) == number:
            break
        try:
            molecule = molecule_of(smiles[k])
            question(model, canonical(molecule), solvent)
        except InputError:
            refused += 1
            continue
        if molecule.GetNumAtoms() < _LEAST_ATOMS:
            refused += 1
            continue
        chosen.append(smiles[k])
    if len(chosen) < 2:
        raise InputError(f"{len(chosen)} molecules that the network can read, {refused} refused: expected at least 2")
    names = (*METHODS, RANDOM)
    with tqdm(total=len(names) * len(chosen), unit="molecule", disable=None, desc="judging") as bar:
        measures = {}
        for name in names:
            rows = []
            for one in chosen:
                rows.append(judge_one(model, one, solvent, name, writings, seed))
                bar.update()
            measures[name] = np.array(rows)
    return Judgement(measures, chosen, refused)


def as_text(found: Judgement) -> str:
    """One table: a row for each method, and one for chance."""
    rows = [[_title(name), *(_mean(column) for column in values.T)] for name, values in found.measures.items()]
    return (
        aligned(["method", *_TITLES], rows, left=1)
        + f"\nMeans and standard errors over {len(found.smiles)} molecules, {found.refused} refused; more is better. {_KEY}"
    )


def _title(name: str) -> str:
    return "chance" if name == RANDOM else METHODS[name].title


def _mean(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return with_error(float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known)))) if len(known) > 1 else "–"


def as_json(found: Judgement) -> str:
    """Measures of every molecule."""
    return to_json({
        "smiles": found.smiles, "refused": found.refused,
        "methods": {
            name: {key: column.tolist() for key, column in zip(Measures._fields, values.T, strict=True)}
            for name, values in found.measures.items()
        },
    }, indent=1)  # fmt: skip
