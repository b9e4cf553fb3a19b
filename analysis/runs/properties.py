"""The ``properties`` command: means of the estimators recorded by runs."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.runs.run import Run, pool
from analysis.runs.run_files import first_kept
from analysis.runs.universe import open_run
from md.dynamics.clamped import Clamped
from md.files.layout import PROPERTIES
from md.files.properties import read_table
from md.observables.averages import Ensemble, means
from md.observables.statistics import Mean, autocorrelation_time, equilibrated_from
from md.runs.progress import property_rows
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error

_PLACE = ("step", "time_fs")


@dataclass(frozen=True)
class Properties:
    """One run, or several pooled.

    Attributes:
        run: The run.
        series: Name in properties.csv (ends in the unit) → (n,) values after the discarded ones.
        interval_ps: Time between lines.
    """

    run: Run
    series: dict[str, np.ndarray]
    interval_ps: float

    @property
    def means(self) -> dict[str, Mean]:
        """Means with standard errors (md.observables.averages.means); pooled runs are joined end to end."""
        n_moving = len(Clamped.of(self.run.structure).moving)
        return means(self.series, Ensemble(self.run.n_beads, n_moving, self.run.temperature_K))

    @property
    def times(self) -> dict[str, Mean]:
        """Integrated autocorrelation times in ps with standard errors."""
        found = {name: autocorrelation_time(values) for name, values in self.series.items()}
        return {
            name: Mean(time.value * self.interval_ps, time.error * self.interval_ps, time.n_effective)
            for name, time in found.items()
        }


def read_runs(folders: list[Path], discard: float | None, pooled: bool) -> list[Properties]:
    """Read properties, sorted by decreasing number of beads.

    Args:
        folders: Run folders.
        discard: Share of the lines of each run left out at the start, in [0, 1); None discards until the potential
            energy of each run is stationary.
        pooled: Combine runs of the same kind (run.pool).

    Raises:
        InputError: Any error of open_run; properties.csv missing or malformed, or no lines left.
    """
    runs = sorted((open_run(folder) for folder in folders), key=lambda run: -run.rank)
    result = []
    for run in pool(runs) if pooled else runs:
        parts = [_read(folder / PROPERTIES, discard) for folder in run.folders]
        columns = [name for name in parts[0] if name not in _PLACE and all(name in part for part in parts)]
        series = {name: np.concatenate([part[name] for part in parts]) for name in columns}
        time = parts[0]["time_fs"]
        result.append(Properties(run, series, 1e-3 * float(time[1] - time[0]) if len(time) > 1 else 0.0))
    return result


def _read(path: Path, discard: float | None) -> dict[str, np.ndarray]:
    if not os.path.isfile(path) or not path.stat().st_size:
        raise InputError(f"{path}: missing or empty: the run was stopped before its first line of properties")
    table = read_table(path)
    if discard is None:
        start = equilibrated_from(table["potential_eV"]) if "potential_eV" in table else 0
    else:
        start = first_kept(len(next(iter(table.values()))), discard)
    kept = {name: values[start:] for name, values in table.items()}
    if not len(next(iter(kept.values()))):
        raise InputError(f"{path}: not a table of properties (no lines left)")
    return kept


def as_text(runs: list[Properties]) -> str:
    """One column per run."""
    rows = property_rows([item.means for item in runs])
    rows.append(["autocorrelation of V / ps", *(with_error(*item.times["potential_eV"][:2]) for item in runs)])
    rows.append(["lines of properties.csv", *(str(len(next(iter(item.series.values())))) for item in runs)])
    lines = [aligned(["", *(item.run.title for item in runs)], rows, left=1), "±: one standard error."]
    return "\n".join(lines + [f"{item.run.title}: {item.run}" for item in runs])


def as_json(runs: list[Properties]) -> str:
    """Means, errors and effective numbers of samples; keys carry their unit."""
    return to_json(
        [
            {
                "folders": [str(folder) for folder in item.run.folders], "beads": item.run.n_beads,
                "temperature_K": item.run.temperature_K,
                "properties": {
                    name: mean._asdict()
                    | ({"autocorrelation_time_ps": item.times[name].value} if name in item.series else {})
                    for name, mean in item.means.items()
                },
            }
            for item in runs
        ],
        indent=1,
    )  # fmt: skip
