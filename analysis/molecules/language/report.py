"""Relevances of atoms as tables and numbers."""

from typing import Any, NamedTuple

import numpy as np

from analysis.molecules.language.methods import METHODS, Relevance
from analysis.molecules.language.question import question
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.molecules.language.model_file import LanguageModel
from mlcalc.molecules.language.writing import canonical, molecule_of


class Explained(NamedTuple):
    """A molecule as the user wrote it, its RDKit molecule, the prediction log10(mol/L), and the relevances of its atoms."""

    smiles: str
    molecule: Any
    prediction: float
    relevance: Relevance
    method: str

    @property
    def symbols(self) -> list[str]:
        """Of the atoms, in the order of the SMILES string."""
        return [atom.GetSymbol() for atom in self.molecule.GetAtoms()]


def explain(model: LanguageModel, smiles: str, solvent: str, method: str, seed: int) -> Explained:
    """Explain the prediction for the canonical writing of a molecule; atoms are numbered as in ``smiles``.

    Raises:
        InputError: A molecule, solvent or token that the network cannot read.
    """
    molecule = molecule_of(smiles)
    asked = question(model, canonical(molecule), solvent)
    return Explained(smiles, molecule, asked.prediction(), METHODS[method].explain(asked, seed), method)


def as_text(found: list[Explained], solvent: str) -> str:
    """For each molecule a table of its atoms, and the sum of the parts against the prediction."""
    return "\n\n".join(_table(one, solvent) for one in found)


def _table(one: Explained, solvent: str) -> str:
    method, values = METHODS[one.method], one.relevance.atoms
    share = np.abs(values).sum() or 1.0
    rows = [
        [str(k + 1), symbol, f"{value:+.4f}" if method.signed else f"{value:.4f}", f"{100 * abs(value) / share:.1f} %"]
        for k, (symbol, value) in enumerate(zip(one.symbols, values, strict=True))
    ]
    head = f"{one.smiles} in {solvent}: log10 S = {one.prediction:.3f} (S in mol/L), {method.title}"
    return f"{head}\n{aligned(['atom', 'element', 'relevance', 'share'], rows)}\n{_sum(one)}"


def _sum(one: Explained) -> str:
    relevance, method = one.relevance, METHODS[one.method]
    if not method.signed:
        return f"sum of atoms {relevance.atoms.sum():.4f}: without sign, and no part of the prediction"
    parts = f"atoms {relevance.atoms.sum():+.4f}, other tokens {relevance.others:+.4f}"
    if not method.rest:
        first_order = relevance.atoms.sum() + relevance.others
        return f"{parts}: sum {first_order:.4f}, of first order; prediction {one.prediction:.4f}"
    return f"{parts}, {method.rest} {relevance.rest:+.4f}: sum {relevance.total():.4f}, prediction {one.prediction:.4f}"


def as_json(found: list[Explained], solvent: str) -> str:
    """The numbers of the tables."""
    return to_json([
        {
            "smiles": one.smiles, "solvent": solvent, "method": one.method, "signed": METHODS[one.method].signed,
            "log_s": one.prediction, "elements": one.symbols, "atoms": one.relevance.atoms.tolist(),
            "others": one.relevance.others, "rest": one.relevance.rest,
        }
        for one in found
    ], indent=1)  # fmt: skip
