"""Weave networks of molecular graphs: errors against the number of molecules, and which types of features they lean on.

    python inputs/graphs/graph_networks.py train --targets zpve alpha --sizes 10000
    python inputs/graphs/graph_networks.py train --targets zpve --sizes 10000 --networks code
    python inputs/graphs/graph_networks.py explain --targets zpve alpha --sizes 50000
    python inputs/graphs/graph_networks.py report

The second last line computes errors and relevances of trained networks anew. Errors are on 5000 molecules that no training sees.
Give an interrupted command again: it resumes. The networks stay in data/networks, the numbers go to reference/numbers, from where
the report draws; it copies the best network of each target to reference.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from data_sets import ALPHA, BETA, DATA, GRAPHS, HYPER, ZPVE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.molecules.feature_relevance import RULES, TYPES, feature_relevance, permuted_errors
from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.molecules.graphs.dataset import Batches, read_graphs
from mlcalc.molecules.graphs.training import MODEL_FILE, GraphSettings, GraphTrainer, load_weave, predictions

HERE = Path(__file__).parent
NUMBERS = HERE / "reference" / "numbers"
STEPS = {
    1000: 5000,
    5000: 10_000,
    10_000: 20_000,
    16_000: 25_000,
    50_000: 60_000,
}  # of training, by molecules to train on
SHIPPED = {"zpve": 50_000, "alpha": 50_000, "beta": 16_000}  # molecules that the networks of the repository learnt
TESTED, EXPLAINED = 5000, 500  # molecules; of the tested ones, those whose relevances are computed
_BETA_TESTED = 2000


_PRINTED = {"a0^3": "a$_0^3$", "e^3": "e$^3$", "Eh^-2": "E$_h^{-2}$"}  # in figures


class Target(NamedTuple):
    """A target: its name in the data set, that file, the published error at 117 000 molecules, and how many to test on."""

    name: str
    file: str
    published: float | None
    tested: int = TESTED


TARGETS = {
    "zpve": Target(ZPVE, GRAPHS, 0.00975),
    "alpha": Target(ALPHA, GRAPHS, 0.227),
    "beta": Target(HYPER, BETA, None, _BETA_TESTED),
}
GROUPS = {
    "geometric": ("chirality", "ring sizes", "graph distance", "same ring", "distance"),
    "electronic": ("formal charge", "Gasteiger charge", "hybridisation", "hydrogen bonds", "aromatic", "bond type"),
    "element": ("element",),
}  # of types of features
NETWORKS = {"features": ("weave", {}), "code": ("weave behind an autoencoder", {"code": 16})}


class Case(NamedTuple):
    """A network of the table: a key of TARGETS, one of NETWORKS, molecules to train on, and where its weights are."""

    target: str
    network: str
    size: int
    output: Path

    def __str__(self) -> str:
        return f"{self.target}, {self.network}, {self.size} molecules"

    def numbers(self, folder: Path) -> Path:
        """The file of its errors and relevances."""
        return folder / f"{self.target}_{self.network}_{self.size}.json"


def cases(targets: list[str], networks: list[str], sizes: list[int], data: Path) -> list[Case]:
    """All combinations."""
    folder = data / "networks"
    return [Case(t, n, s, folder / f"{t}_{n}_{s}") for t in targets for n in networks for s in sizes]


def train(case: Case, data: Path, steps: int | None = None) -> None:
    """Train a network, or resume that."""
    row, (_, keys) = TARGETS[case.target], NETWORKS[case.network]
    graphs = read_graphs(data / row.file)
    n_validation = max(1, case.size // 20)
    if len(graphs) < row.tested + case.size + n_validation:
        raise InputError(
            f"{data / row.file}: {len(graphs)} molecules, expected {row.tested + case.size + n_validation} or more"
        )
    others = np.arange(row.tested, len(graphs))
    settings = GraphSettings(row.name, steps=steps or STEPS[case.size], **keys)
    GraphTrainer(settings, graphs, others[: case.size], others[case.size :][:n_validation]).run(case.output)


def explain(case: Case, data: Path, numbers: Path) -> None:
    """Write errors and relevances of a trained network; of one that is not in ``data``, that of the repository.

    Raises:
        InputError: Neither is there.
    """
    row, path = TARGETS[case.target], case.output / MODEL_FILE
    if not path.is_file() and (case.network, case.size) == ("features", SHIPPED[case.target]):
        path = HERE / "reference" / f"{case.target}.safetensors"
    trained, graphs = load_weave(path)[0], read_graphs(data / row.file)
    batches, tested, values = Batches(graphs), np.arange(row.tested), graphs.targets[row.name][: row.tested]
    errors = np.abs(predictions(trained, batches, tested) - values)
    mae, error = float(errors.mean()), _standard_error(errors)
    found = {
        "target": case.target, "name": row.name, "network": case.network, "molecules": case.size, "tested": len(tested),
        "mae": mae, "mae_error": error, "spread": float(values.std()),
        "relevance": _relevances(trained, batches, tested[:EXPLAINED]),
        "permuted": _permuted(trained, batches, tested, values, errors),
    }  # fmt: skip
    make_folder(numbers)
    write_atomically(case.numbers(numbers), to_json(found, indent=1).encode() + b"\n")
    print(f"{case}: MAE {with_error(mae, error)} {row.name}", flush=True)


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _relevances(network, batches: Batches, molecules: np.ndarray) -> dict:
    """Of both rules: mean |R| of each type, covariances of these means, their spread over molecules, and the largest leak."""
    found = {}
    for name, rule in RULES.items():
        relevance = feature_relevance(network, batches, molecules, rule())
        size = np.abs(relevance.types)
        found[name] = {
            **_means(size.T), "spread": size.std(axis=0, ddof=1).tolist(), "signed": relevance.types.mean(axis=0).tolist(),
            "biases": float(relevance.biases.mean()), "leak": float(np.abs(relevance.leak).max()),
            "code": np.abs(relevance.code).mean(axis=0).tolist(),
        }  # fmt: skip
    return found


def _permuted(network, batches: Batches, tested: np.ndarray, values: np.ndarray, errors: np.ndarray) -> dict:
    """How much the error grows where a type of feature is exchanged among molecules."""
    parts = [
        permuted_errors(network, batches, part, values[part], np.random.default_rng(k)) - errors[part]
        for k, part in enumerate(np.array_split(tested, max(1, len(tested) // 500)))
    ]
    return _means(np.concatenate(parts, axis=1))


def _means(values: np.ndarray) -> dict:
    """Mean of each type of features (T, molecules), its standard error, and covariances of the means."""
    covariance = np.cov(values) / values.shape[1]
    return {
        "mean": values.mean(axis=1).tolist(), "error": np.sqrt(np.diag(covariance)).tolist(), "covariance": covariance.tolist(),
    }  # fmt: skip


def report(numbers: Path, networks: Path, figure_path: Path) -> str:
    """Draw errors and importances beside their table, numbers and best networks, and return the table.

    Raises:
        InputError: No numbers yet.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(numbers.glob("*.json"))]
    if not found:
        raise InputError(f"{numbers}: no numbers yet; train a network first")
    rows = [
        [row["name"], NETWORKS[row["network"]][0], str(row["molecules"]), with_error(row["mae"], row["mae_error"]),
         f"{row['spread']:.3g}", _published(row["target"])]
        for row in sorted(found, key=lambda row: (row["name"], row["network"], row["molecules"]))
    ]  # fmt: skip
    header = ["target", "network", "molecules", "MAE", "spread of the target", "published"]
    parts = [aligned(header, rows, left=2)]
    for row in _largest(found):
        parts += [f"\n{row['name']}, {NETWORKS[row['network']][0]}, {row['molecules']} molecules", _importances(row)]
    parts.append(f"\nshares of the importance\n{_hypothesis(_largest(found))}")
    text = "\n".join(parts)
    write_beside(figure_path, _figure(found), text, to_json(found, indent=1))
    for row in _largest(found):
        trained = networks / f"{row['target']}_features_{row['molecules']}" / MODEL_FILE
        if trained.is_file():
            write_atomically(figure_path.with_name(f"{row['target']}.safetensors"), trained.read_bytes())
    return text


def _published(target: str) -> str:
    published = TARGETS[target].published
    return "–" if published is None else f"{published:g}"


def _largest(found: list[dict]) -> list[dict]:
    """Of each target, the network of features that learnt most molecules."""
    of = {}
    for row in sorted((row for row in found if row["network"] == "features"), key=lambda row: row["molecules"]):
        of[row["target"]] = row
    return [of[target] for target in TARGETS if target in of]


def _importances(row: dict) -> str:
    columns = _measures(row).values()
    rows = [
        [kind, *(with_error(column["mean"][k], column["error"][k]) for column in columns)]
        for k, kind in enumerate(TYPES)
    ]
    header = ["type of feature", *(f"mean |R|, {rule} rule" for rule in RULES), "error grows by, exchanged"]
    return aligned(header, rows, left=1)


def _measures(row: dict) -> dict[str, dict]:
    """Mean and error of the importance of each type of TYPES, by measure."""
    return {**{f"{rule} rule": row["relevance"][rule] for rule in RULES}, "exchanged": row["permuted"]}


def _hypothesis(found: list[dict]) -> str:
    """What each target leans on: shares of groups of types, with errors by the covariances over molecules."""
    rows = []
    for row in found:
        for measure, part in _measures(row).items():
            signs, mean, covariance = np.sign(part["mean"]), np.abs(part["mean"]), np.array(part["covariance"])
            cells = []
            for types in GROUPS.values():
                member = np.isin(TYPES, types)
                share = mean[member].sum() / mean.sum()
                slopes = signs * (member - share) / mean.sum()  # of the share by each mean
                cells.append(with_error(100 * share, 100 * float(np.sqrt(slopes @ covariance @ slopes))))
            rows.append([row["name"], measure, *cells])
    return aligned(["target", "measure", *(f"{group} / %" for group in GROUPS)], rows, left=2)


def _figure(found: list[dict]) -> Figure:
    """Of each target, errors against molecules, and below shares of the importance by measure."""
    shown = _largest(found)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(shown) + 1.0, 6.4), layout="constrained")
        panels = figure.subplots(2, len(shown), squeeze=False, height_ratios=(1.0, 1.8))
        for column, row in enumerate(shown):
            _draw_errors(panels[0, column], [item for item in found if item["target"] == row["target"]])
            _draw_shares(panels[1, column], row, labelled=column == 0)
        panels[0, 0].legend(fontsize=7, loc="lower left")
        figure.legend(
            *panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(_measures(shown[0]))
        )
    return figure


def _draw_errors(axes: Axes, rows: list[dict]) -> None:
    for (network, (name, _)), color in zip(NETWORKS.items(), OKABE_ITO, strict=False):
        mine = sorted((row for row in rows if row["network"] == network), key=lambda row: row["molecules"])
        columns = [[row[key] for row in mine] for key in ("molecules", "mae", "mae_error")]
        axes.errorbar(*columns, fmt="o-", ms=4, lw=1, capsize=2, color=color, label=name)
    if published := TARGETS[rows[0]["target"]].published:
        axes.axhline(published, color="0.4", lw=1, ls="--", label="published, 117 000")
    title, unit = rows[0]["name"].split(" / ")
    for plain, printed in _PRINTED.items():
        unit = unit.replace(plain, printed)
    axes.set(xscale="log", yscale="log", xlabel="molecules to train on", ylabel=f"MAE / {unit}", title=title)


def _draw_shares(axes: Axes, row: dict, labelled: bool) -> None:
    places = np.arange(len(TYPES))[::-1]
    for k, (label, part) in enumerate(_measures(row).items()):
        total = sum(np.abs(part["mean"]))
        share, error = np.array(part["mean"]) / total, np.array(part["error"]) / total
        axes.barh(places + 0.27 * (1 - k), share, xerr=error, height=0.25, color=OKABE_ITO[k], label=label)
    axes.set_yticks(places, TYPES if labelled else [""] * len(TYPES))
    axes.set(xlabel=f"share of the importance, {row['molecules']} molecules")


def main() -> None:
    """Train, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "explain", "report"))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=["zpve", "alpha"])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=["features"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=STEPS, default=[1000, 5000, 10_000, 50_000])
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of sets and networks (default: inputs/graphs/data)"
    )
    options = parser.parse_args()
    sys.exit(run_command("graph_networks.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    if options.what == "report":
        print(report(NUMBERS, options.data / "networks", HERE / "reference" / "graph_networks"))
        return
    torch.set_num_threads(1)
    for case in cases(options.targets, options.networks, options.sizes, options.data):
        if options.what == "train":
            if case.numbers(NUMBERS).is_file():
                print(f"{case}: done, {case.numbers(NUMBERS)}")
                continue
            train(case, options.data)
        explain(case, options.data, NUMBERS)


if __name__ == "__main__":
    main()
