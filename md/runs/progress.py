"""The output of a run: a progress bar on a terminal, lines elsewhere, and a table of means at the end."""

import math
import time

from md.bias.settings import is_bias_column
from md.observables.averages import DERIVED, means
from md.observables.estimators import ESTIMATORS
from md.observables.statistics import Mean
from md.runs.config import RunSettings
from md.runs.run_folder import RunFolder
from md.runs.verdict import as_line
from mlcalc.common.tables import aligned, with_error

_LOG_INTERVAL_S = 10.0

_CENTROID_VIRIAL, _VIRIAL = "kinetic_virial_eV", "kinetic_virial_com_eV"  # the second only without the first
# Columns of properties.csv and derived quantities that appear as rows of the table.
_ROWS = (
    "temperature_K", "potential_eV", _CENTROID_VIRIAL, _VIRIAL, "kinetic_primitive_eV", "gyration_radius_A", "pressure_GPa",
    "volume_A3", "disagreement_eV_A",
    "heat_capacity_kB", "heat_capacity_fluctuation_kB",
)  # fmt: skip


class Progress:
    """Follows one run and keeps its status.json up to date.

    Args:
        settings: RunSettings with one number of beads.
        record: The RunFolder for log lines and status.
        copies: Number of trajectories that a step moves; step: The first step.
    """

    def __init__(self, settings: RunSettings, record: RunFolder, copies: int = 1, step: int = 0):
        from tqdm import tqdm

        self.step, self.ns_per_day = step, 0.0
        self._settings, self._record, self._copies = settings, record, copies
        self._total = settings.steps + settings.equilibration_steps
        self._bar = tqdm(total=self._total, unit="step", disable=None, desc=f"P = {settings.beads}", mininterval=0.5)
        self._began: float | None = None

    def show(self, step: int) -> None:
        """Record the step of production; negative steps are equilibration."""
        now, done = time.monotonic(), step + self._settings.equilibration_steps
        if not self._bar.disable:
            self._bar.update(done - self._bar.n)
        self.step = step
        if self._began is None:  # the first call comes after compilation, which must not count
            self._began, self._logged, self._first = now, now, done
            return
        steps_per_second = (done - self._first) / max(now - self._began, 1e-9)
        self.ns_per_day = steps_per_second * self._copies * self._settings.timestep_fs * 1e-6 * 86400
        left = (self._total - done) / steps_per_second if steps_per_second > 0 else float("nan")
        self._bar.set_postfix_str(f"{self.ns_per_day:.1f} ns/day", refresh=False)
        self._record.set_status(step=step, ns_per_day=round(self.ns_per_day, 3), seconds_left=round(left, 1))
        if now - self._logged > _LOG_INTERVAL_S:
            self._logged = now
            line = f"step {step} of {self._settings.steps}, {self.ns_per_day:.2f} ns/day, {left:.0f} s left"
            self._record.log(line)
            if self._bar.disable:
                print(f"P = {self._settings.beads}: {line}", flush=True)

    def close(self) -> None:
        """Close the bar."""
        self._bar.close()


def summary(results: list[dict]) -> str:
    """A table of means with standard errors, one column per run, and a line for each run that has a verdict.

    Args:
        results: One dict per run: ``beads``, ``ns_per_day``, and, where properties were recorded, ``ensemble`` and ``series``,
            property name → (n,) values; ``verdict``: sentences of verdict.verdict.
    """
    rows = property_rows([means(result["series"], result["ensemble"]) for result in results if "series" in result])
    rows.append(["speed / ns/day", *(f"{result['ns_per_day']:.2f}" for result in results)])
    table = aligned(["", *(f"P = {result['beads']}" for result in results)], rows, left=1)
    verdicts = [(result["beads"], result["verdict"]) for result in results if result.get("verdict")]
    return "\n".join([table, *(f"verdict on P = {beads}: {as_line(texts)}" for beads, texts in verdicts)])


def property_rows(columns: list[dict[str, Mean]]) -> list[list[str]]:
    """Rows of a table with a column for each dict of property name → mean: a label, then value ± error."""
    if not columns:
        return []
    names = [*_ROWS, *filter(is_bias_column, columns[0])]
    known = [key for key in names if all(key in column for column in columns)]
    if _CENTROID_VIRIAL in known:
        known = [key for key in known if key != _VIRIAL]
    return [[_label(key), *(_cell(key, column[key]) for column in columns)] for key in known]


def _label(key: str) -> str:
    row = (ESTIMATORS | DERIVED).get(key)
    return f"{row.label} / {row.unit}" if row else " / ".join(key.rsplit("_", 1))


def _cell(key: str, mean: Mean) -> str:
    return "too few samples" if key in DERIVED and math.isnan(mean.value) else with_error(*mean[:2])
