"""``properties --per-atom``: means of the estimators with one value per atom."""

import numpy as np

from analysis.runs.run import Run
from analysis.runs.run_files import check_frames
from md.files.closed_h5 import open_h5
from md.observables.estimators import ESTIMATORS, PER_ATOM
from md.observables.statistics import Mean, block_average
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_ROWS = {name: row for name, row in ESTIMATORS.items() if row.needs == PER_ATOM}


def atom_series(run: Run, discard: float) -> dict[str, np.ndarray]:
    """Estimator → (n, N) values in the frames of all folders, without the first share ``discard`` of each.

    Raises:
        InputError: The run did not record them.
    """
    check_frames(run)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in _ROWS}
    for path, count in zip(run.trajectories, run.frames, strict=True):
        with open_h5(path, "H5MD trajectory of a ring polymer") as file:
            for name, found in parts.items():
                place = f"observables/trajectory/{name}/value"
                if place not in file:
                    raise InputError(f"{path}: nothing recorded per atom; run with per_atom = true")
                found.append(np.asarray(file[place][:count], dtype=np.float64))
    kept = run.kept(discard)
    return {name: np.concatenate(found)[kept] for name, found in parts.items()}


def atom_means(run: Run, discard: float) -> dict[str, list[Mean]]:
    """Estimator → N means with standard errors of what atom_series returns; raises what it raises."""
    series = atom_series(run, discard)
    return {name: [block_average(values) for values in columns.T] for name, columns in series.items()}


def as_text(run: Run, means: dict[str, list[Mean]]) -> str:
    """One row per atom."""
    header = ["atom", "", *(f"{_ROWS[name].label} / {_ROWS[name].unit}" for name in means)]
    rows = [
        [str(index), symbol, *(with_error(*column[index][:2]) for column in means.values())]
        for index, symbol in enumerate(run.structure.get_chemical_symbols())
    ]
    return "\n".join([f"P = {run.n_beads}: {run}", aligned(header, rows), "±: one standard error."])


def as_json(runs: list[tuple[Run, dict[str, list[Mean]]]]) -> str:
    """The same as JSON; keys carry their unit."""
    return to_json(
        [
            {
                "folders": [str(folder) for folder in run.folders], "beads": run.n_beads, "temperature_K": run.temperature_K,
                "elements": run.structure.get_chemical_symbols(),
                "properties": {name: [mean._asdict() for mean in column] for name, column in means.items()},
            }
            for run, means in runs
        ],
        indent=1,
    )  # fmt: skip
