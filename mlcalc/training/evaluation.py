"""A model against labelled structures: errors of energies and forces, in total and by kind of structure, with error bars."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mlcalc.common.errors import one_line
from mlcalc.common.tables import aligned, with_error
from mlcalc.model import Model
from mlcalc.model_file import load_model, save_model
from mlcalc.outputs import outputs_with
from mlcalc.potential import build_potential
from mlcalc.priors import check_atoms
from mlcalc.readouts import available
from mlcalc.structures.labels import DEFAULT_NAMES, LabelNames
from mlcalc.torch_potential import network_of
from mlcalc.training.alike_frames import alike_frames
from mlcalc.training.dataset import Batches, Dataset, read_dataset
from mlcalc.training.domain import check_known, corrected_engine
from mlcalc.training.energy_zero import composition
from mlcalc.training.loss import predicted
from mlcalc.training.readout_errors import ReadoutErrors, readout_errors
from mlcalc.training.readout_errors import as_text as readouts_text
from mlcalc.training.validation import in_chunks

_MOST_POTENTIALS, _FEW_FRAMES = 20, 4  # beyond so many molecules in turn, with fewer frames each: PyTorch


@dataclass(frozen=True)
class GroupErrors:
    """Errors of one kind of structures.

    Attributes:
        name: Values of the grouping keys; frames: structures; moments: independent ones (bead snapshots of one moment of a
            ring polymer count once).
        force_mae_eV_per_A, force_rmse_eV_per_A: Of force components.
        force_mae_error_eV_per_A: Standard error of the MAE over independent moments.
        energy_mae_meV_per_atom, energy_rmse_meV_per_atom: Of energies after the mean difference over all structures is
            subtracted, because levels of theory differ by a constant; NaN without energies.
        energy_bias_meV, energy_bias_error_meV: Mean error of the energy per structure after the same subtraction, and its
            standard error over moments: differences between groups are errors of their relative energies.
    """

    name: str
    frames: int
    moments: int
    force_mae_eV_per_A: float
    force_mae_error_eV_per_A: float
    force_rmse_eV_per_A: float
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float
    energy_bias_meV: float
    energy_bias_error_meV: float


@dataclass(frozen=True)
class Evaluation:
    """Errors of everything and of each group, and what they are relative to.

    Attributes:
        energy_offset_eV_per_atom: The mean difference that is subtracted.
        relative_energy_mae_meV: Mean error of the energy difference of two structures of one composition, over all pairs.
        found: What was read, for the user.
        readouts: Errors of the outputs of readouts that the structures are labelled with, in total.
    """

    model: str
    data: str
    total: GroupErrors
    groups: list[GroupErrors]
    energy_offset_eV_per_atom: float
    relative_energy_mae_meV: float
    found: str
    readouts: list[ReadoutErrors]

    def as_dict(self) -> dict:
        """JSON-able."""
        return asdict(self)


def evaluate(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    group_by: tuple[str, ...] = ("sampling", "temperature_K", "beads"),
    plot: str | Path | None = None,
    precision: str = "float32",
    label_names: LabelNames = DEFAULT_NAMES,
) -> Evaluation:
    """Errors of a model on a file of structures with forces and, if it has them, energies.

    Args:
        model: Shipped name or path; data: One file or several, which then are groups on one zero of energy; extended XYZ, or any
            format that ASE reads.
        group_by: Keys of the structures' ``info``; absent ones are left out.
        plot: PNG of the parity plot, or None.
        precision: Arithmetic of the network.
        label_names: Where the labels are.

    Raises:
        InputError: Unusable model or data; an element, charge or multiplicity that the model does not cover; labels in full
            for a correction, or corrections for another model.
    """
    files = [Path(data)] if isinstance(data, str | Path) else [Path(name) for name in data]
    loaded = load_model(model)
    outputs = available(loaded, periodic=False)
    label_names = label_names._replace(scalar=loaded.scalar.key if loaded.scalar else "")
    dataset = read_dataset(files, [label_names] * len(files), energy_only=True, outputs=outputs, required=False)
    check_known(dataset, loaded.config.elements, loaded.domain)
    loaded = loaded.as_correction_to(corrected_engine(dataset))
    energies, forces = predict(loaded, dataset, precision)
    difference = energies - dataset.energies
    compositions = dataset.counts
    offset = float(np.nanmean(difference / compositions)) if np.isfinite(difference).any() else float("nan")
    energy_errors = 1e3 * (difference / compositions - offset)
    names = [_group_name(info, group_by) for info in dataset.info]
    if len(files) > 1:
        names = [f"{files[source].name}: {name}" for source, name in zip(dataset.sources, names, strict=True)]
    groups = [
        _errors(name, np.array([name == other for other in names]), dataset, forces, energy_errors)
        for name in sorted(set(names))
    ]
    everything = np.ones(len(dataset), dtype=bool)
    if plot is not None:
        from mlcalc.training.plots import plot_parity

        known = np.isfinite(dataset.energies)
        centre = np.mean(dataset.energies[known]) if known.any() else 0.0
        pairs = np.stack([dataset.energies - centre, energies - offset * compositions - centre], axis=1)[known]
        labelled = np.isfinite(dataset.forces)
        force_pairs = np.stack([dataset.forces[labelled], forces[labelled]], axis=1)
        plot_parity(pairs, force_pairs, f"{Path(model).stem} on {' and '.join(file.name for file in files)}", plot)
    total = _errors("all", everything, dataset, forces, energy_errors)
    return Evaluation(
        str(model), " and ".join(map(str, files)), total, groups if len(groups) > 1 else [], offset,
        _relative_energy_mae(dataset, difference), "\n".join(map(one_line, dataset.contents)),
        readout_errors(loaded, dataset, precision),
    )  # fmt: skip


def record(evaluation: Evaluation, path: str | Path) -> None:
    """Write the errors to the ``test_errors`` of the model file at ``path``, under the name of the data file."""
    model = load_model(path)
    errors, rows = asdict(evaluation.total), outputs_with(model.scalar)
    for found in evaluation.readouts:
        what, unit = rows[found.output].error or (found.output, "")
        errors |= {f"{what}_mae_{unit}": found.mae, f"{what}_rmse_{unit}": found.rmse}
    tests = model.metadata.get("test_errors", {}) | {Path(evaluation.data).name: errors}
    save_model(replace(model, metadata=model.metadata | {"test_errors": tests}), path)


def predict(model: Model, dataset: Dataset, precision: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Energies (n_frames,) eV and forces (n_atoms, 3) eV/Å of every frame; forces are NaN where the dataset has none at all.

    Successive frames of one molecule form a batch for its potential. Where hardly any follow each other, making potentials would
    take longer than evaluating them, and PyTorch evaluates batches of different molecules.
    """
    alike = list(alike_frames(dataset))
    for frames in alike:
        check_atoms(model.priors, frames.numbers)
    if len(alike) > _MOST_POTENTIALS and len(dataset) < _FEW_FRAMES * len(alike) and not dataset.pbc.any():
        return _predict_in_batches(model, dataset, precision)
    energies, forces, key = np.empty(len(dataset)), np.empty_like(dataset.forces), None
    for frames in alike:
        if frames.key != key:
            key, potential = frames.key, build_potential(model, frames.numbers, precision, pbc=frames.pbc)
        energies[frames.frames], replica_forces = potential(frames.positions, frames.cell)
        forces[frames.atoms] = replica_forces.reshape(-1, 3)
    return energies, forces


def _predict_in_batches(model: Model, dataset: Dataset, precision: str) -> tuple[np.ndarray, np.ndarray]:
    dtype, elements = getattr(torch, precision), model.config.elements
    network = network_of(model, dtype).requires_grad_(False)
    everything = np.arange(len(dataset))
    zeros = composition(dataset, everything, elements) @ network.energy_shift.numpy()
    levels = np.zeros(len(dataset), dtype=int)
    batches = Batches(dataset, elements, model.config.cutoff, levels, np.zeros(len(dataset)), dtype)
    energies, forces = zeros.copy(), np.full_like(dataset.forces, np.nan)
    wanted = ("energy", "forces") if np.isfinite(dataset.forces).any() else ("energy",)
    for frames, batch in in_chunks(batches, everything):
        found = predicted(network, model.priors, dict(network.named_parameters()), batch, wanted)
        energies[frames] += found["energy"].detach().double().numpy()
        if "forces" in wanted:
            rows = np.concatenate([np.arange(dataset.offsets[k], dataset.offsets[k + 1]) for k in frames])
            forces[rows] = found["forces"].detach().double().numpy()
    return energies, forces


def as_text(evaluation: Evaluation) -> str:
    """A table with units; ± is one standard error."""
    header = [
        "structures", "frames", "force MAE / meV/Å", "force RMSE", "energy MAE / meV/atom", "energy RMSE", "energy bias / meV",
    ]  # fmt: skip
    rows = [
        [
            group.name, str(group.frames), _known(1e3 * group.force_mae_eV_per_A, 1e3 * group.force_mae_error_eV_per_A),
            _known(1e3 * group.force_rmse_eV_per_A, digits=1), _known(group.energy_mae_meV_per_atom, digits=2),
            _known(group.energy_rmse_meV_per_atom, digits=2), _known(group.energy_bias_meV, group.energy_bias_error_meV),
        ]
        for group in (*evaluation.groups, evaluation.total)
    ]  # fmt: skip
    offset = evaluation.energy_offset_eV_per_atom
    notes = ["energies: none in the data"]
    if math.isfinite(offset):
        notes = [
            f"energies: the mean difference of {offset:+.4f} eV/atom was subtracted; bias: mean error per structure"
        ]
    if math.isfinite(evaluation.relative_energy_mae_meV):
        notes.append(
            f"energy differences of structures of one composition: MAE {evaluation.relative_energy_mae_meV:.2f} meV"
        )
    table = aligned(header, rows, left=1)
    readouts = [readouts_text(evaluation.readouts)] if evaluation.readouts else []
    return "\n".join([f"{evaluation.model} on {evaluation.data}", table, *notes, *readouts, evaluation.found])


def _known(value: float, error: float | None = None, digits: int = 2) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if error is None or math.isnan(error) else with_error(value, error)


def _relative_energy_mae(dataset: Dataset, difference: np.ndarray) -> float:
    """meV, mean over all pairs of structures of one composition of the error of their energy difference."""
    groups: dict[tuple, list[float]] = {}
    for k in np.flatnonzero(np.isfinite(difference)).tolist():
        groups.setdefault(tuple(np.sort(dataset.numbers[dataset.atoms_of(k)])), []).append(difference[k])
    total, pairs = 0.0, 0
    for errors in groups.values():
        n, ordered = len(errors), np.sort(errors)
        total += float(((2 * np.arange(n) - n + 1) * ordered).sum())  # Σ |x_i − x_j| over pairs of ordered numbers
        pairs += n * (n - 1) // 2
    return 1e3 * total / pairs if pairs else float("nan")


def _group_name(info: dict, keys: tuple[str, ...]) -> str:
    return (
        ", ".join(f"{key} {info[key]}" if key != "sampling" else str(info[key]) for key in keys if key in info) or "all"
    )


def _errors(
    name: str, mine: np.ndarray, dataset: Dataset, forces: np.ndarray, energy_errors: np.ndarray
) -> GroupErrors:
    """Errors of the frames where ``mine`` (n_frames,) is true; energy errors (n_frames,) in meV per atom."""
    frame_of_atom = np.repeat(np.arange(len(dataset)), dataset.counts)
    labelled = mine[frame_of_atom] & np.isfinite(dataset.forces).all(axis=1)
    difference = (forces - dataset.forces)[labelled]
    # Beads of one moment share their centroid: they are not independent.
    moment = np.array([f"{dataset.trajectories[k]} {dataset.info[k].get('step', k)}" for k in range(len(dataset))])
    force_mae, force_error, n_moments = _mean_over(moment[frame_of_atom[labelled]], np.abs(difference).mean(axis=1))
    energies = mine & np.isfinite(energy_errors)
    bias, bias_error, _ = _mean_over(moment[energies], (energy_errors * dataset.counts)[energies])
    energy = energy_errors[energies]
    return GroupErrors(
        name=name,
        frames=int(mine.sum()),
        moments=n_moments or len(np.unique(moment[mine])),
        force_mae_eV_per_A=force_mae,
        force_mae_error_eV_per_A=force_error,
        force_rmse_eV_per_A=float(np.sqrt(np.mean(difference**2))) if len(difference) else float("nan"),
        energy_mae_meV_per_atom=float(np.abs(energy).mean()) if len(energy) else float("nan"),
        energy_rmse_meV_per_atom=float(np.sqrt(np.mean(energy**2))) if len(energy) else float("nan"),
        energy_bias_meV=bias,
        energy_bias_error_meV=bias_error,
    )


def _mean_over(moment: np.ndarray, values: np.ndarray) -> tuple[float, float, int]:
    """Mean of values (n,), its standard error over the moments (n,) that they belong to, and how many there are."""
    if not len(values):
        return float("nan"), float("nan"), 0
    _, index = np.unique(moment, return_inverse=True)
    means = np.bincount(index, values) / np.bincount(index)
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")
    return float(values.mean()), error, len(means)
