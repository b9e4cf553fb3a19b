"""A molecule in a solvent as a network of solubilities reads it."""

from typing import NamedTuple

import numpy as np
import torch

from mlcalc.molecules.language.finetuning import predict_inputs
from mlcalc.molecules.language.inputs import (
    FIRST,
    MASK_NUMBER,
    batch_of,
    check_solvent,
    solute_numbers,
    solvent_numbers,
)
from mlcalc.molecules.language.model_file import LanguageModel
from mlcalc.molecules.language.network import Batch, SolubilityNetwork
from mlcalc.molecules.language.writing import Writing


class Question(NamedTuple):
    """A network, the writing of a molecule, and the token numbers of solute and solvent.

    ``places`` (n_atoms,): where among the inputs the atoms are, by the index of the atom in the molecule.
    """

    network: SolubilityNetwork
    writing: Writing
    solute: list[int]
    solvent: list[int]
    places: np.ndarray

    def batch(self) -> Batch:
        """The input, of one molecule."""
        return batch_of([self.solute], [self.solvent])

    def masked(self, kept: np.ndarray) -> np.ndarray:
        """Solubilities (m,) log10(mol/L) where atoms are hidden behind <MASK> unless ``kept`` (m, n_atoms) is true."""
        solutes = np.tile(self.solute, (len(kept), 1))
        rows, atoms = np.nonzero(~np.asarray(kept, dtype=bool))
        solutes[rows, self.places[atoms]] = MASK_NUMBER
        return predict_inputs(self.network, list(solutes), [self.solvent] * len(solutes))

    def prediction(self) -> float:
        """Solubility, log10(mol/L)."""
        with torch.no_grad():
            return float(self.network(self.batch())[0])


def question(model: LanguageModel, writing: Writing, solvent: str) -> Question:
    """A question about a writing.

    Raises:
        InputError: A solvent that was not trained, a token never seen, more tokens than the window.
    """
    check_solvent(solvent, model.solvents)
    second = solvent_numbers(solvent, model.vocabulary)
    solute = solute_numbers(writing, model.vocabulary, model.config.window - len(second))
    places = np.empty(len(writing.atoms), dtype=int)
    places[writing.atoms] = np.array(writing.atom_places) + FIRST
    return Question(model.network, writing, solute, second, places)
