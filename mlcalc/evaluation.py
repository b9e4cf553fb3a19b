"""A model against labelled structures: errors of energies and forces, in all and by kind of structure, with error bars."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mlcalc.dataset import Dataset, read_dataset
from mlcalc.labels import DEFAULT_NAMES, LabelNames
from mlcalc.model_file import Model, load_model, save_model
from mlcalc.tables import aligned, with_error
from mlcalc.training_domain import check_known

_REPLICAS = 64  # structures per call of the kernel


@dataclass(frozen=True)
class GroupErrors:
    """Errors of one kind of structures.

    Attributes:
        name: Values of the grouping keys; frames: structures; moments: independent ones (bead snapshots of one moment of a
            ring polymer count once).
        force_mae_eV_per_A, force_rmse_eV_per_A: Of force components.
        force_mae_error_eV_per_A: Standard error of the MAE over independent moments.
        energy_mae_meV_per_atom, energy_rmse_meV_per_atom: Of energies after the mean difference over the whole file was taken
            off, because levels of theory differ by a constant; NaN without energies.
    """

    name: str
    frames: int
    moments: int
    force_mae_eV_per_A: float
    force_mae_error_eV_per_A: float
    force_rmse_eV_per_A: float
    energy_mae_meV_per_atom: float
    energy_rmse_meV_per_atom: float


@dataclass(frozen=True)
class Evaluation:
    """Errors of everything and of each group, the mean energy difference (eV per atom), and what was found in the file."""

    model: str
    data: str
    total: GroupErrors
    groups: list[GroupErrors]
    energy_offset_eV_per_atom: float
    found: str

    def as_dict(self) -> dict:
        """JSON-able."""
        return asdict(self)


def evaluate(
    model: str | Path,
    data: str | Path,
    group_by: tuple[str, ...] = ("sampling", "temperature_K", "beads"),
    plot: str | Path | None = None,
    precision: str = "float32",
    label_names: LabelNames = DEFAULT_NAMES,
) -> Evaluation:
    """Errors of a model on a file of structures with forces and, where it has them, energies.

    Args:
        model: Shipped name or path; data: extended XYZ, or any format that ASE reads; group_by: Keys of the structures' ``info``;
            absent ones are left out.
        plot: PNG of the parity plot, or None.
        precision: Arithmetic of the network.
        label_names: Where the labels are.

    Raises:
        InputError: Unusable model or data; an element, charge or multiplicity that the model does not know.
    """
    loaded, dataset = load_model(model), read_dataset([data], [label_names])
    check_known(dataset, loaded.config.elements, loaded.domain)
    energies, forces = predict(loaded, dataset, precision)
    difference = energies - dataset.energies
    compositions = dataset.counts
    offset = float(np.nanmean(difference / compositions)) if np.isfinite(difference).any() else float("nan")
    energy_errors = 1e3 * (difference / compositions - offset)
    names = [_group_name(info, group_by) for info in dataset.info]
    groups = [
        _errors(name, np.array([name == other for other in names]), dataset, forces, energy_errors)
        for name in sorted(set(names))
    ]
    everything = np.ones(len(dataset), dtype=bool)
    if plot is not None:
        from mlcalc.plots import plot_parity

        known = np.isfinite(dataset.energies)
        centre = np.mean(dataset.energies[known]) if known.any() else 0.0
        pairs = np.stack([dataset.energies - centre, energies - offset * compositions - centre], axis=1)[known]
        force_pairs = np.stack([dataset.forces.ravel(), forces.ravel()], axis=1)
        plot_parity(pairs, force_pairs, f"{Path(model).stem} on {Path(data).name}", plot)
    total = _errors("all", everything, dataset, forces, energy_errors)
    return Evaluation(str(model), str(data), total, groups if len(groups) > 1 else [], offset, str(dataset.contents[0]))


def record(evaluation: Evaluation, path: str | Path) -> None:
    """Put the errors into the ``test_errors`` of the model file at ``path``, under the name of the data file."""
    model = load_model(path)
    tests = model.metadata.get("test_errors", {}) | {Path(evaluation.data).name: asdict(evaluation.total)}
    save_model(Model(model.config, model.weights, model.metadata | {"test_errors": tests}), path)


def predict(model: Model, dataset: Dataset, precision: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Energies (n_frames,) eV and forces (n_atoms, 3) eV/Å of every frame; runs of like molecules go through together."""
    from mlcalc.kernel import SchNetKernel

    energies, forces = np.empty(len(dataset)), np.empty_like(dataset.forces)
    kernel, key, frame = None, None, 0
    while frame < len(dataset):
        numbers = dataset.numbers[dataset.atoms_of(frame)]
        periodic = dataset.pbc[frame].any()
        if (numbers.tobytes(), bool(periodic)) != key:
            kernel, key = SchNetKernel(model, numbers, precision), (numbers.tobytes(), bool(periodic))
        end = frame + 1
        if periodic:
            kernel.cell, kernel.pbc = dataset.cells[frame], dataset.pbc[frame]
        else:
            while end < min(len(dataset), frame + _REPLICAS) and _same_molecule(dataset, frame, end):
                end += 1
        atoms = slice(dataset.offsets[frame], dataset.offsets[end])
        energies[frame:end], replica_forces = kernel(dataset.positions[atoms].reshape(end - frame, -1, 3))
        forces[atoms] = replica_forces.reshape(-1, 3)
        frame = end
    return energies, forces


def as_text(evaluation: Evaluation) -> str:
    """A table with units; ± is one standard error."""
    header = ["structures", "frames", "force MAE / meV/Å", "force RMSE", "energy MAE / meV/atom", "energy RMSE"]
    rows = [
        [
            group.name,
            str(group.frames),
            with_error(1e3 * group.force_mae_eV_per_A, 1e3 * group.force_mae_error_eV_per_A),
            f"{1e3 * group.force_rmse_eV_per_A:.1f}",
            *(
                "–" if math.isnan(error) else f"{error:.2f}"
                for error in (group.energy_mae_meV_per_atom, group.energy_rmse_meV_per_atom)
            ),
        ]
        for group in (*evaluation.groups, evaluation.total)
    ]
    offset = evaluation.energy_offset_eV_per_atom
    note = "energies: none in the data"
    if math.isfinite(offset):
        note = f"energies: the mean difference of {offset:+.4f} eV/atom was taken off"
    return "\n".join(
        [f"{evaluation.model} on {evaluation.data}", aligned(header, rows, left=1), note, evaluation.found]
    )


def _same_molecule(dataset: Dataset, first: int, second: int) -> bool:
    return not dataset.pbc[second].any() and np.array_equal(
        dataset.numbers[dataset.atoms_of(first)], dataset.numbers[dataset.atoms_of(second)]
    )


def _group_name(info: dict, keys: tuple[str, ...]) -> str:
    return (
        ", ".join(f"{key} {info[key]}" if key != "sampling" else str(info[key]) for key in keys if key in info) or "all"
    )


def _errors(
    name: str, mine: np.ndarray, dataset: Dataset, forces: np.ndarray, energy_errors: np.ndarray
) -> GroupErrors:
    """Errors of the frames where ``mine`` (n_frames,) is true."""
    frame_of_atom = np.repeat(np.arange(len(dataset)), dataset.counts)
    difference = (forces - dataset.forces)[mine[frame_of_atom]]
    # Beads of one moment share their centroid: they are no independent evidence.
    moment = [f"{dataset.trajectories[k]} {dataset.info[k].get('step', k)}" for k in np.flatnonzero(mine)]
    _, moment_of_frame = np.unique(moment, return_inverse=True)
    per_atom = np.abs(difference).mean(axis=1)
    moment_of_atom = np.repeat(moment_of_frame, dataset.counts[mine])
    per_moment = np.bincount(moment_of_atom, per_atom) / np.bincount(moment_of_atom)
    n_moments = len(per_moment)
    energy = energy_errors[mine]
    energy = energy[np.isfinite(energy)]
    return GroupErrors(
        name=name,
        frames=int(mine.sum()),
        moments=n_moments,
        force_mae_eV_per_A=float(np.abs(difference).mean()),
        force_mae_error_eV_per_A=float(per_moment.std(ddof=1) / np.sqrt(n_moments)) if n_moments > 1 else float("nan"),
        force_rmse_eV_per_A=float(np.sqrt(np.mean(difference**2))),
        energy_mae_meV_per_atom=float(np.abs(energy).mean()) if len(energy) else float("nan"),
        energy_rmse_meV_per_atom=float(np.sqrt(np.mean(energy**2))) if len(energy) else float("nan"),
    )
