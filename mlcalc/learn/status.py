"""``mlcalc learn --status``: how far a folder has come, on one screen; changes nothing."""

from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.json_text import from_json
from mlcalc.common.locks import is_running
from mlcalc.common.tables import aligned, with_error
from mlcalc.learn.labels import count_labels
from mlcalc.learn.progress import read_progress
from mlcalc.learn.result import lower_minimum_text, read_result
from mlcalc.learn.rounds import RECORD
from mlcalc.learn.settings import PLAN_FILE, read_plan


def status(folder: Path) -> str:
    """Text on the state of learning in a folder.

    Raises:
        InputError: Not a folder of ``mlcalc learn``.
    """
    if not (folder / PLAN_FILE).is_file():
        raise InputError(
            f"{folder}: holds no {PLAN_FILE}: not a folder of 'mlcalc learn', or stopped before its plan was made"
        )
    settings, now, result = read_plan(folder / PLAN_FILE), read_progress(folder), read_result(folder)
    state = "running" if is_running(folder) else "stopped; the same command resumes it"
    if result is not None and not is_running(folder):
        state = "converged" if result["converged"] else "not converged"
    rows = []
    for path in sorted(folder.glob(f"round-*/{RECORD}"), key=lambda path: int(path.parent.name.split("-")[1])):
        record = from_json(path.read_bytes())
        errors = "; ".join(f"{g['kind']}: {with_error(g['mae'], g['mae_error'] or 0.0)}" for g in record["errors"])
        guards = sum(run["guard"] is not None for run in record["runs"])
        minutes = sum(record["seconds"].values()) / 60
        rows.append(
            [
                str(record["round"]),
                str(record["labels"]),
                errors or "–",
                f"{guards} of {len(record['runs'])}",
                f"{minutes:.1f}",
            ]
        )
    lines = [
        f"{folder}: {state}; {count_labels(folder)} of at most {settings.labels} labels, {now.get('seconds', 0.0) / 60:.0f} min",
        f"last: {now.get('stage', 'nothing yet')}",
    ]
    if "seconds_left" in now and result is None:
        lines.append(f"at most {now['seconds_left'] / 60:.0f} min left")
    if rows:
        lines.append(aligned(["round", "labels", "force error / meV/Å", "stopped by guards", "min"], rows))
    if result is not None:
        lines += [f"not converged: {reason}" for reason in result["reasons"]]
        lines += [lower] if (lower := lower_minimum_text(result, folder)) else []
    return "\n".join(lines)
