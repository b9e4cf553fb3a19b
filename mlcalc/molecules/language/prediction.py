"""Solubilities of molecules by a fine-tuned network."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.molecules.language.finetuning import predict_inputs
from mlcalc.molecules.language.inputs import check_solvent, solute_numbers, solvent_numbers
from mlcalc.molecules.language.model_file import LanguageModel
from mlcalc.molecules.language.writing import canonical, molecule_of, random_writing


class Prediction(NamedTuple):
    """log10(S / (mol/L)) of a molecule: by its canonical SMILES, and the standard deviation over random writings (NaN if none)."""

    smiles: str
    log_s: float
    spread: float


def predict(
    model: LanguageModel, smiles: Sequence[str], solvent: str, writings: int = 0, seed: int = 1
) -> list[Prediction | InputError]:
    """Predict solubilities; in place of a molecule that cannot be read there is the error that says why.

    Args:
        writings: Random writings of each molecule, whose spread says how much the network depends on the way of writing.

    Raises:
        InputError: A solvent that was not trained.
    """
    check_solvent(solvent, model.solvents)
    second = solvent_numbers(solvent, model.vocabulary)
    room = model.config.window - len(second)
    found: list[Prediction | InputError] = []
    inputs: list[list[list[int]]] = []
    for text in smiles:
        try:
            molecule = molecule_of(text)
            numbers = [solute_numbers(canonical(molecule), model.vocabulary, room)]
            for k in range(writings):
                try:
                    numbers.append(solute_numbers(random_writing(molecule, seed + k), model.vocabulary, room))
                except InputError:  # a token or a length that the canonical writing does without
                    continue
            inputs.append(numbers)
            found.append(Prediction(text, np.nan, np.nan))
        except InputError as error:
            found.append(error)
    flat = [numbers for all_of in inputs for numbers in all_of]
    values = predict_inputs(model.network, flat, [second] * len(flat)) if flat else np.empty(0)
    ends = np.cumsum([len(all_of) for all_of in inputs])
    parts = iter(np.split(values, ends[:-1])) if flat else iter(())
    return [one if isinstance(one, InputError) else _filled(one, next(parts)) for one in found]


def _filled(prediction: Prediction, values: np.ndarray) -> Prediction:
    spread = float(values[1:].std(ddof=1)) if len(values) > 2 else float("nan")
    return prediction._replace(log_s=float(values[0]), spread=spread)
