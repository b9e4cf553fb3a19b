"""Token numbers of molecules as a network reads them: ``<REG>`` solute, and for solubilities ``<SEP>`` solvent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlcalc.common.errors import InputError
from mlcalc.molecules.language.network import Batch
from mlcalc.molecules.language.tokens import MASK, PAD, REG, SEP, SPECIAL, Vocabulary, tokenize
from mlcalc.molecules.language.writing import SOLVENTS, Writing

PAD_NUMBER, REG_NUMBER, SEP_NUMBER, MASK_NUMBER = (SPECIAL.index(token) for token in (PAD, REG, SEP, MASK))
FIRST = 1  # place of the first token of the solute


def solute_numbers(writing: Writing, vocabulary: Vocabulary, window: int) -> list[int]:
    """``<REG>`` and the tokens of a molecule.

    Raises:
        InputError: A token that was never seen; more tokens than the window holds.
    """
    shown = repr(writing.smiles if len(writing.smiles) <= 80 else writing.smiles[:77] + "…")
    if len(writing.tokens) > window - 1:
        raise InputError(
            f"{shown}: {len(writing.tokens)} tokens: expected at most {window - 1}, the window of the network"
        )
    return [REG_NUMBER, *vocabulary.numbers(writing.tokens, writing.smiles)]


def solvent_numbers(solvent: str, vocabulary: Vocabulary) -> list[int]:
    """``<SEP>`` and the tokens of a solvent of SOLVENTS, the second segment."""
    return [SEP_NUMBER, *vocabulary.numbers(tokenize(SOLVENTS[solvent]), SOLVENTS[solvent])]


def check_solvent(solvent: str, trained: Sequence[str]) -> None:
    """Raise InputError unless a network was trained on a solvent."""
    if solvent not in trained:
        raise InputError(f"solvent {solvent[:40]!r}: not trained; this network knows {', '.join(trained)}")


def batch_of(solutes: Sequence[Any], solvents: Sequence[Any] | None = None) -> Batch:
    """Inputs (B, L) of molecules, and their solvents if there are any, padded to the longest.

    Each is a list or an array of token numbers.
    """
    second = solvents or [()] * len(solutes)
    length = max(len(one) + len(other) for one, other in zip(solutes, second, strict=True))
    tokens = np.full((len(solutes), length), PAD_NUMBER, dtype=np.int64)
    segments = np.zeros_like(tokens)
    for row, (one, other) in enumerate(zip(solutes, second, strict=True)):
        tokens[row, : len(one)] = one
        tokens[row, len(one) : len(one) + len(other)] = other
        segments[row, len(one) : len(one) + len(other)] = 1
    return Batch(torch.from_numpy(tokens), torch.from_numpy(segments), torch.from_numpy(tokens != PAD_NUMBER))


def hide(batch: Batch, share: float, vocabulary_size: int, rng: np.random.Generator) -> tuple[Batch, Tensor]:
    """Hide a share of the tokens: 80 % of them behind <MASK>, 10 % behind a random token, 10 % not at all (Devlin et al.).

    Returns:
        The batch, and where tokens are to be found (B, L).
    """
    tokens = batch.tokens.numpy().copy()
    chosen = (rng.random(tokens.shape) < share) & (tokens >= len(SPECIAL))
    how = rng.random(tokens.shape)
    others = rng.integers(len(SPECIAL), vocabulary_size, tokens.shape)
    tokens[chosen & (how < 0.8)] = MASK_NUMBER
    swapped = chosen & (how >= 0.8) & (how < 0.9)
    tokens[swapped] = others[swapped]
    return batch._replace(tokens=torch.from_numpy(tokens)), torch.from_numpy(chosen)
