"""The ``properties`` command: means of the estimators that runs have recorded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.universe import Run, open_run, pool
from md.progress import property_rows
from md.statistics import Mean, block_average
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.tables import aligned


@dataclass(frozen=True)
class Properties:
    """One run, or several pooled.

    Attributes:
        run: The run.
        series: Name in properties.csv (the unit is its end) → (n,) values after those left out.
    """

    run: Run
    series: dict[str, np.ndarray]

    @property
    def means(self) -> dict[str, Mean]:
        """Means with standard errors by blocking; pooled runs are joined end to end."""
        return {name: block_average(values) for name, values in self.series.items()}


def read_runs(folders: list[Path], discard: float, pooled: bool) -> list[Properties]:
    """Read properties; most beads first.

    Args:
        folders: Run folders.
        discard: Share of the lines of each run left out at the start, in [0, 1).
        pooled: Take runs of the same kind as one (universe.pool).

    Raises:
        InputError: What open_run refuses; properties.csv missing or malformed, or no line left.
    """
    runs = sorted((open_run(folder) for folder in folders), key=lambda run: -run.n_beads)
    result = []
    for run in pool(runs) if pooled else runs:
        parts = [_read(folder / "properties.csv", discard) for folder in run.folders]
        columns = [name for name in parts[0] if all(name in part for part in parts)]
        result.append(Properties(run, {name: np.concatenate([part[name] for part in parts]) for name in columns}))
    return result


def _read(path: Path, discard: float) -> dict[str, np.ndarray]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        header, values = lines[0].split(","), np.array([line.split(",") for line in lines[1:]], dtype=float)
        if values.ndim != 2 or values.shape[1] != len(header):
            raise ValueError(f"{len(header)} columns announced, an array of shape {values.shape} found")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a table of properties ({error})") from error
    kept = values[round(discard * len(values)) :]
    return {name: column for name, column in zip(header, kept.T, strict=True) if name not in ("step", "time_fs")}


def as_text(runs: list[Properties]) -> str:
    """A column per run."""
    rows = property_rows([item.means for item in runs])
    rows.append(["lines of properties.csv", *(str(len(next(iter(item.series.values())))) for item in runs)])
    lines = [aligned(["", *(f"P = {item.run.n_beads}" for item in runs)], rows, left=1), "±: one standard error."]
    return "\n".join(lines + [f"P = {item.run.n_beads}: {item.run}" for item in runs])


def as_json(runs: list[Properties]) -> str:
    """Means, errors and effective numbers of samples; keys carry their unit."""
    return to_json(
        [
            {
                "folders": [str(folder) for folder in item.run.folders], "beads": item.run.n_beads,
                "temperature_K": item.run.temperature_K,
                "properties": {name: mean._asdict() for name, mean in item.means.items()},
            }
            for item in runs
        ],
        indent=1,
    )  # fmt: skip
