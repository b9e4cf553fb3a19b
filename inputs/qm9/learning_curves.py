"""Learning curves of QM9: networks of several architectures learn U0 from 1000 to 25 000 molecules; errors are on 10 000 others.

    mlcalc data qm9 -o inputs/qm9/data/qm9.xyz --number 40000
    python inputs/qm9/learning_curves.py split
    python inputs/qm9/learning_curves.py train --networks schnet-3 painn --sizes 1000 5000
    python inputs/qm9/learning_curves.py report

All networks see the same sets, each within the next larger one. Give an interrupted command again: it resumes the training and
skips those that are finished. Two commands with other --networks can run side by side. The networks stay in data/networks,
their errors go to reference/errors, from where the report draws.
"""

import argparse
import json
import math
from pathlib import Path

import matplotlib
import numpy as np
from ase import units
from ase.io import iread, write
from matplotlib.figure import Figure

from analysis.figures import STYLE, write_beside
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.model_file import load_model
from mlcalc.structures.labels import DEFAULT_NAMES
from mlcalc.training.dataset import read_dataset
from mlcalc.training.evaluation import predict
from mlcalc.training.start import train
from mlcalc.training.trainer import MODEL_FILE, STATE_FILE

HERE = Path(__file__).parent
DATA, ERRORS = HERE / "data", HERE / "reference" / "errors"
TEST_MOLECULES, VALIDATION = 10_000, 0.1  # molecules for validation per molecule to train on
STEPS = {1_000: 4_000, 5_000: 10_000, 10_000: 15_000, 25_000: 25_000}  # of training, by molecules to train on
_TICKS = (5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500)  # meV
CHEMICAL_ACCURACY = 1e3 * units.kcal / units.mol  # meV


def _schnet(n_interactions: int) -> dict:
    return {"architecture": "schnet", "n_interactions": n_interactions}


# Name → label and colour in the figure, and keys that replace those of train.toml.
NETWORKS = {
    "wacsf": ("wACSF", "#999999", {"architecture": "wacsf", "n_rbf": 22, "n_angular": 5, "readout_hidden": 64}),
    "dtnn-3": ("DTNN, T = 3", "#D55E00", {"architecture": "dtnn", "n_factors": 64, "n_interactions": 3}),
    "schnet-1": ("SchNet, T = 1", "#9ecae1", _schnet(1)),
    "schnet-2": ("SchNet, T = 2", "#6baed6", _schnet(2)),
    "schnet-3": ("SchNet, T = 3", "#2171b5", _schnet(3)),
    "schnet-6": ("SchNet, T = 6", "#08306b", _schnet(6)),
    "painn-3": ("PaiNN, T = 3", "#009E73", {"architecture": "painn", "n_rbf": 20, "n_interactions": 3}),
}


def split(data: Path, seed: int = 1) -> None:
    """Write the molecules to test on, and nested sets to train on and to validate, from data/qm9.xyz."""
    molecules = list(iread(data / "qm9.xyz"))
    order = np.random.default_rng(seed).permutation(len(molecules))
    largest = round((1.0 + VALIDATION) * max(STEPS))
    if len(molecules) < TEST_MOLECULES + largest:
        raise InputError(f"{data / 'qm9.xyz'}: {len(molecules)} molecules, expected {TEST_MOLECULES + largest} or more")
    parts = {"test": order[:TEST_MOLECULES]}
    for size in STEPS:
        parts[f"train_{size}"] = order[TEST_MOLECULES:][: round((1.0 + VALIDATION) * size)]
    for name, chosen in parts.items():
        write(data / f"{name}.xyz", [molecules[k] for k in chosen])
        print(f"{data / f'{name}.xyz'}: {len(chosen)} molecules")


def train_and_test(name: str, size: int, data: Path, errors: Path, **settings) -> None:
    """Train a network of the table on this number of molecules, or resume its training, and write its errors.

    Args:
        data: Folder of the sets, where the network goes to; errors: Folder of the file to write.
        settings: Keys that replace those of train.toml and of the table.
    """
    result, output = errors / f"{name}_{size}.json", data / "networks" / f"{name}_{size}"
    if result.is_file():
        print(f"{name}, {size} molecules: done, {result}")
        return
    keys = {
        "data": [str((data / f"train_{size}.xyz").resolve())],
        "steps": STEPS[size],
        **NETWORKS[name][2],
        **settings,
    }
    train(HERE / "train.toml", output, None, (output / STATE_FILE).is_file(), keys)
    model, tested = (
        load_model(output / MODEL_FILE),
        read_dataset([data / "test.xyz"], [DEFAULT_NAMES], energy_only=True),
    )
    deviations = 1e3 * np.abs(predict(model, tested)[0] - tested.energies)
    found = {
        "network": name, "molecules": size, "steps": keys["steps"], "test_molecules": len(tested),
        "mae_meV": float(deviations.mean()), "mae_error_meV": float(deviations.std(ddof=1) / math.sqrt(len(tested))),
        "rmse_meV": float(np.sqrt(np.square(deviations).mean())), "median_meV": float(np.median(deviations)),
    }  # fmt: skip
    errors.mkdir(parents=True, exist_ok=True)
    write_atomically(result, to_json(found, indent=1).encode() + b"\n")
    print(f"{name}, {size} molecules: MAE {with_error(found['mae_meV'], found['mae_error_meV'])} meV")


def report(errors: Path, figure_path: Path) -> str:
    """Draw the figure beside its table and numbers, and return the table.

    Raises:
        InputError: No errors yet.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(errors.glob("*.json"))]
    if not found:
        raise InputError(f"{errors}: no errors yet; train a network first")
    of = {(row["network"], row["molecules"]): row for row in found}
    sizes = sorted({size for _, size in of})
    shown = [name for name in NETWORKS if any(name == other for other, _ in of)]
    rows = [[NETWORKS[name][0], *(_error_text(of.get((name, size))) for size in sizes)] for name in shown]
    notes = [
        f"MAE of U0 in meV on {found[0]['test_molecules']} other molecules, ± one standard error over these; one training each",
        f"chemical accuracy, 1 kcal/mol: {CHEMICAL_ACCURACY:.1f} meV",
    ]
    text = "\n".join([aligned(["network", *(f"{size} molecules" for size in sizes)], rows, left=1), *notes])
    write_beside(figure_path, _figure(of, shown), text, to_json(found, indent=1))
    return text


def _error_text(row: dict | None) -> str:
    return with_error(row["mae_meV"], row["mae_error_meV"]) if row else ""


def _figure(of: dict, shown: list[str]) -> Figure:
    ticks = sorted({size for _, size in of})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for name in shown:
            label, colour, _ = NETWORKS[name]
            rows = [row for (other, _), row in sorted(of.items()) if other == name]
            sizes, maes = [row["molecules"] for row in rows], [row["mae_meV"] for row in rows]
            axes.errorbar(
                sizes, maes, yerr=[2 * row["mae_error_meV"] for row in rows], color=colour, marker="o", markersize=4,
                capsize=2, label=label,
            )  # fmt: skip
        axes.axhline(CHEMICAL_ACCURACY, color="black", linestyle=":", linewidth=1)
        axes.annotate(
            "1 kcal/mol",
            (0.01, CHEMICAL_ACCURACY),
            xycoords=("axes fraction", "data"),
            ha="left",
            va="bottom",
            fontsize=8,
        )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="molecules to train on",
            ylabel="MAE of U0 / meV (bars: 2 standard errors)",
        )
        axes.set_xticks(ticks, [f"{size:,}".replace(",", " ") for size in ticks])
        axes.set_yticks([y for y in _TICKS if axes.get_ylim()[0] <= y <= axes.get_ylim()[1]])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.legend(fontsize=8)
    return figure


def main() -> None:
    """Split, train or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("split", "train", "report"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=STEPS, default=list(STEPS))
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of the sets and networks (default: inputs/qm9/data)"
    )
    options = parser.parse_args()
    if options.what == "split":
        split(options.data)
    elif options.what == "train":
        for size in options.sizes:
            for name in options.networks:
                train_and_test(name, size, options.data, ERRORS)
    else:
        print(report(ERRORS, HERE / "reference" / "learning_curves"))


if __name__ == "__main__":
    main()
