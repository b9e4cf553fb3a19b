"""Deviations of a network from labelled frames: mean errors of each output, and the score that decides which weights are kept."""

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
from torch import Tensor

from mlcalc.outputs import OUTPUTS, Output
from mlcalc.training.dataset import Batch, Batches
from mlcalc.training.loss import Term

_FRAMES, _ATOMS = 50, 2000  # of a batch, at most: more atoms are slower, and need GB where there are many neighbours


class Deviations:
    """Predicted minus reference, float64, of the rows that have labels, and weights of these rows, by output.

    Args:
        predict: A batch to outputs by name, energies without the reference that ``batches`` subtracts.
        batches: Makes the batches; frames: indices; outputs: names of those to compare.
    """

    def __init__(
        self, predict: Callable[[Batch], dict[str, Tensor]], batches: Batches, frames: np.ndarray, outputs: Collection[str]
    ):  # fmt: skip
        of: dict[str, list[Tensor]] = {name: [] for name in outputs}
        weights: dict[str, list[Tensor]] = {name: [] for name in outputs}
        for _, batch in in_chunks(batches, frames):
            with torch.no_grad():
                found = predict(batch)
            for name in outputs:
                deviation = (found[name] - batch.labels[name]).cpu()
                known = ~deviation.reshape(len(deviation), -1).isnan().any(1)
                of[name].append(deviation[known].double())
                weight = torch.ones(len(known)) if batch.shares is None else batch.shares[name].cpu() * len(known)
                weights[name].append(weight[known].double())
        self.of = {name: torch.cat([torch.zeros(0), *parts]) for name, parts in of.items()}
        self.weights = {name: torch.cat([torch.zeros(0), *parts]) for name, parts in weights.items()}

    def errors(self, rows: dict[str, Output] = OUTPUTS) -> dict[str, float]:
        """Mean absolute (``…_mae_…``) and root-mean-square (``…_rmse_…``) errors, unweighted; NaN without labels.

        Args:
            rows: OUTPUTS, or those with the scalar of a training.
        """
        errors = {}
        for name in dict.fromkeys(("energy", "forces", *self.of)):
            known = self.of.get(name, torch.zeros(0))
            what, unit = rows[name].error or (name, "")
            errors[f"{what}_mae_{unit}"] = float(known.abs().mean()) if known.numel() else math.nan
            errors[f"{what}_rmse_{unit}"] = float(known.square().mean().sqrt()) if known.numel() else math.nan
        return errors

    def score(self, terms: dict[str, Term]) -> float:
        """The loss, each output as a mean over the rows that have labels; outputs without any do not count."""
        score = 0.0
        for name, term in terms.items():
            if name in self.of and self.of[name].numel():
                rows = term.of_rows(self.of[name], OUTPUTS[name].rank)
                score += term.weight * float((self.weights[name] * rows).mean())
        return score


def in_chunks(batches: Batches, frames: np.ndarray) -> Iterator[tuple[np.ndarray, Batch]]:
    """Frames to evaluate, in batches that fit into memory: their indices, and the batch."""
    if len(frames):
        size = max(1, min(_FRAMES, _ATOMS // int(batches.dataset.counts[frames].max())))
        for chunk in np.array_split(frames, math.ceil(len(frames) / size)):
            yield chunk, batches.make(chunk)
