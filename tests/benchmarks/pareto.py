"""Draws error against cost: the force error of models on test files, over the time of a ring-polymer step.

    python -m tests.benchmarks.pareto c20 c20-large teacher=FILE --test FILE… -o runs/pareto

A model is a name or a path, or LABEL=NAME. Errors: mean absolute error of force components on each file, with its standard error
over independent frames; a model that made the labels of a file has none there, and is drawn as a line. Cost: the complete step of
mlcalc with priors and thermostat, times its threads, per atom and bead: the median of several measurements in turn, and their
range. Writes a table (TXT), numbers (JSON) and a figure (PNG, SVG). Nothing else should run on the machine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
from ase.io import read, write
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from analysis.figures import DASHES, OKABE_ITO, STYLE, write_beside
from mlcalc import load_model
from mlcalc.architectures import ARCHITECTURES, architecture_of, name_of
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.training.evaluation import evaluate
from tests.benchmarks.peer_process import run_peer
from tests.benchmarks.problem import write_problem

EXACT_MEV_PER_A = 0.05  # below this a model made the labels itself: what is left is rounding
MADE_THE_LABELS = "made the labels"
_MARKERS = dict(zip(ARCHITECTURES, "os^Dv", strict=False))


def main() -> int:
    """Evaluate, measure, draw."""
    options = _options()
    models = _named(options.models)
    with tempfile.TemporaryDirectory() as folder:
        tests = [chosen(test, options.where, Path(folder)) for test in options.test]
        rows = [_errors(label, name, tests) for label, name in models.items()]
    for row, cost in zip(rows, _costs(models, options), strict=True):
        row |= cost
    options.output.mkdir(parents=True, exist_ok=True)
    title = f"{Path(options.structure).stem}, P = {options.beads}, {options.threads} thread(s), float32"
    table = as_table(rows)
    print(f"{title}\n{table}")
    figure = draw(rows, title)
    for path in write_beside(options.output / "pareto.png", figure, f"{title}\n{table}", to_json(rows, indent=1)):
        print(path)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="name, path or LABEL=NAME")
    parser.add_argument("--test", nargs="+", type=Path, required=True, metavar="FILE", help="labelled structures")
    parser.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="only structures that say so; texts need to begin so",
    )
    parser.add_argument("--structure", default="inputs/c20/c20.xyz", help="molecule of the timings")
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each model")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/pareto"))
    return parser.parse_args()


def _named(given: list[str]) -> dict[str, str]:
    """Label to name or path; InputError for two models of one label."""
    models: dict[str, str] = {}
    for text in given:
        label, _, name = text.rpartition("=")
        path = Path(name)
        label = label or (path.parent.name if path.stem == "model" else path.stem)
        if label in models:
            raise InputError(f"model {text!r}: another model is called {label!r} too; write LABEL={name}")
        models[label] = name
    return models


def chosen(test: Path, where: list[str], folder: Path) -> Path:
    """A file with those structures of another that have these values in ``info``; InputError if there are none."""
    if not where:
        return test
    pairs = [text.partition("=")[::2] for text in where]
    frames = [atoms for atoms in read(test, ":") if all(_says(atoms.info.get(key), value) for key, value in pairs)]
    if not frames:
        raise InputError(f"{test}: no structure has {' and '.join(where)}")
    write(folder / test.name, frames, format="extxyz")
    return folder / test.name


def _says(found, value: str) -> bool:
    return found.startswith(value) if isinstance(found, str) else str(found) == value


def _errors(label: str, name: str, tests: list[Path]) -> dict:
    """Of one model: its architecture, its size, and its force MAE on each file in meV/Å."""
    config, errors = load_model(name).config, {}
    for test in tests:
        total = evaluate(name, test, group_by=()).total
        errors[test.name] = {
            "force_mae_meV_per_A": 1e3 * total.force_mae_eV_per_A,
            "force_mae_error_meV_per_A": 1e3 * total.force_mae_error_eV_per_A, "frames": total.frames,
        }  # fmt: skip
        print(f"{label} on {test.name}: {1e3 * total.force_mae_eV_per_A:.2f} meV/Å", file=sys.stderr, flush=True)
    return {
        "model": label, "architecture": name_of(config), "title": architecture_of(config).title,
        "features": config.n_features, "interactions": config.n_interactions, "errors": errors,
    }  # fmt: skip


def _costs(models: dict[str, str], options) -> list[dict]:
    """Of each model: µs·core per atom, bead and step; the models take turns, so that slow drifts of the machine meet all."""
    structure, times = read(options.structure), {label: [] for label in models}
    scale = 1e3 * options.threads / (len(structure) * options.beads)
    case = [str(options.beads), str(options.threads), "--seconds", str(options.seconds)]
    with tempfile.TemporaryDirectory() as folder:
        problems = [
            write_problem(load_model(name), structure, Path(folder) / f"{k}.npz", with_priors=True)
            for k, name in enumerate(models.values())
        ]
        for _ in range(options.repeats):
            for label, problem in zip(models, problems, strict=True):
                found = run_peer(label, "mlcalc_rpmd.py", None, None, options.threads, [str(problem), *case])
                if found is None:
                    raise InputError(f"model {label}: cannot be timed; the reason is above")
                times[label].append(scale * found["median_ms"])
                print(f"{label}: {times[label][-1]:.2f} µs·core per atom, bead and step", file=sys.stderr, flush=True)
    return [
        {"cost_us": float(np.median(all_of)), "cost_low_us": min(all_of), "cost_high_us": max(all_of)}
        for all_of in times.values()
    ]


def as_table(rows: list[dict]) -> str:
    """Models from cheap to dear; ± is one standard error."""
    files = list(rows[0]["errors"])
    lines = []
    for row in sorted(rows, key=lambda row: row["cost_us"]):
        errors = [row["errors"][file] for file in files]
        lines.append([
            row["model"], row["title"], f"({row['features']}, {row['interactions']})", f"{row['cost_us']:.2f}",
            f"{row['cost_low_us']:.2f}–{row['cost_high_us']:.2f}",
            *(_error_text(error) for error in errors),
        ])  # fmt: skip
    header = ["model", "architecture", "(F, T)", "µs·core / atom / bead / step", "range"]
    return aligned([*header, *(f"force MAE on {file} / meV/Å" for file in files)], lines, left=3)


def _error_text(error: dict) -> str:
    mae = error["force_mae_meV_per_A"]
    return MADE_THE_LABELS if mae < EXACT_MEV_PER_A else with_error(mae, error["force_mae_error_meV_per_A"])


def front(costs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Indices of the points that no other one beats in cost and error, from cheap to dear."""
    order = np.lexsort((errors, costs))
    best = np.minimum.accumulate(np.concatenate([[np.inf], errors[order]]))[:-1]
    return order[errors[order] < best]


def draw(rows: list[dict], title: str) -> Figure:
    """A panel for each test file; dashed: the front, along which a lower error costs more."""
    files = list(rows[0]["errors"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(files), 3.8), layout="constrained")
        for axes, file in zip(figure.subplots(1, len(files), squeeze=False)[0], files, strict=True):
            _panel(axes, rows, file)
        handles = {
            text: handle for axes in figure.axes for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=max(len(handles), 1))
        figure.suptitle(title)
    return figure


def _panel(axes, rows: list[dict], file: str) -> None:
    titles, costs = list(dict.fromkeys(row["title"] for row in rows)), [row["cost_us"] for row in rows]
    middle, points = np.sqrt(min(costs) * max(costs)), []
    for row in rows:
        color, error = OKABE_ITO[titles.index(row["title"])], row["errors"][file]
        mae, cost = error["force_mae_meV_per_A"], row["cost_us"]
        if mae < EXACT_MEV_PER_A:
            axes.axvline(cost, color=color, linestyle=":", linewidth=1.0)
            axes.annotate(f"{row['model']}: {MADE_THE_LABELS}", (cost, 0.98), xycoords=("data", "axes fraction"),
                          rotation=90, ha="right", va="top", fontsize=8, color=color)  # fmt: skip
            continue
        points.append((cost, mae))
        sides = [[cost - row["cost_low_us"]], [row["cost_high_us"] - cost]]
        axes.errorbar(cost, mae, error["force_mae_error_meV_per_A"], sides, fmt=_MARKERS[row["architecture"]], color=color,
                      capsize=2, markersize=5, label=row["title"])  # fmt: skip
        left = cost > middle
        axes.annotate(f"{row['model']} ({row['features']}, {row['interactions']})", (cost, mae),
                      xytext=(-5 if left else 5, 5), textcoords="offset points", ha="right" if left else "left", fontsize=8,
                      color=color)  # fmt: skip
    axes.set(xlabel="cost / µs·core per atom, bead and step", ylabel="force MAE / meV/Å", title=file)
    if points:
        x, y = np.array(points).T
        best = front(x, y)
        axes.plot(x[best], y[best], linestyle=DASHES, linewidth=1.0, color="0.5", zorder=0)
        axes.set_ylim(y.min() / 1.5, y.max() * 1.5)
    axes.set_xlim(min(costs) / 1.5, max(costs) * 1.5)
    _logarithmic(axes)


def _logarithmic(axes) -> None:
    """Both axes, with numbers that also suit less than a decade."""
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
