"""Errors of a model's readouts on labelled structures."""

from dataclasses import dataclass

import numpy as np

from mlcalc.common.tables import aligned, with_error
from mlcalc.model import Model
from mlcalc.outputs import OF_READOUTS, OUTPUTS, Output, outputs_with
from mlcalc.torch_readouts import Readouts
from mlcalc.training.alike_frames import alike_frames
from mlcalc.training.dataset import Dataset


@dataclass(frozen=True)
class ReadoutErrors:
    """Errors of one output, of components of vectors and tensors.

    Attributes:
        output: Its name; title: that of a scalar, or the same; unit: of the numbers; frames: structures with a label.
        mae, rmse: Mean absolute and root-mean-square error; mae_error: standard error of the first over structures.
        spread: Root-mean-square deviation of the labels from their mean: what a constant would reach.
    """

    output: str
    title: str
    unit: str
    frames: int
    mae: float
    mae_error: float
    rmse: float
    spread: float


def readout_errors(model: Model, dataset: Dataset, precision: str = "float32") -> list[ReadoutErrors]:
    """Errors of each output that has labels, in the order of the dataset's labels."""
    wanted = [name for name, labels in dataset.labels.items() if name in OF_READOUTS and np.isfinite(labels).any()]
    if not wanted:
        return []
    predicted: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    readouts = Readouts(model, precision)
    for alike in alike_frames(dataset):
        found = readouts(alike.numbers, alike.positions, alike.cell, alike.pbc)
        for name in wanted:
            predicted[name] += list(found[OUTPUTS[name].evaluated])
    rows = outputs_with(model.scalar)
    return [_errors(name, rows[name], predicted[name], dataset) for name in wanted]


def _errors(name: str, row: Output, predicted: list[np.ndarray], dataset: Dataset) -> ReadoutErrors:
    of_frames, labels, deviations = [], [], []
    for frame, value in enumerate(predicted):
        label = dataset.labels[name][dataset.atoms_of(frame) if row.per_atom else frame]
        if np.isfinite(label).all():
            labels.append(np.atleast_1d(label))
            deviations.append(np.atleast_1d(value - label))
            of_frames.append(np.abs(deviations[-1]).mean())
    everything, all_labels = (np.concatenate([x.ravel() for x in parts]) for parts in (deviations, labels))
    n = len(of_frames)
    return ReadoutErrors(
        name, row.title(name), row.unit, n, float(np.abs(everything).mean()),
        float(np.std(of_frames, ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
        float(np.sqrt(np.mean(everything**2))), float(all_labels.std()),
    )  # fmt: skip


def as_text(errors: list[ReadoutErrors]) -> str:
    """A table; ± is one standard error."""
    header = ["output", "structures", "MAE", "RMSE", "spread of the labels", "unit"]
    rows = [
        [e.title, str(e.frames), with_error(e.mae, e.mae_error) if e.frames > 1 else f"{e.mae:.4g}",
         f"{e.rmse:.4g}", f"{e.spread:.4g}", e.unit]
        for e in errors
    ]  # fmt: skip
    return aligned(header, rows, left=1)
