"""What the width of PaiNN's norms, norm_epsilon, does to vibrations and forces of a symmetric molecule.

    python inputs/learn/norm_epsilon.py inputs/learn/data/carbon_dioxide

The folder is one of ten_molecules.py. One network for each width learns the same labels, those of the folder that its own committee
learnt, from the same random weights. Where symmetry makes a vector of PaiNN vanish, its norm √(|V|² + ε) has curvature 1/√ε:
a narrow norm bends the energy of a symmetric minimum, which shows in frequencies before it shows in forces.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read

import mlcalc.cli
from mlcalc.calculator import NetworkCalculator
from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.settings import as_toml
from mlcalc.common.tables import aligned, with_error
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.labelling import write_frames
from mlcalc.data.workers import discard
from mlcalc.learn.committee import training_settings
from mlcalc.learn.result import learnt_labels
from mlcalc.learn.settings import PLAN_FILE, read_plan
from mlcalc.modes import modes_by
from mlcalc.training.evaluation import evaluate

HERE = Path(__file__).parent
WIDTHS = (1e-8, 1e-2)  # SchNetPack's, and that of mlcalc learn


class Case(NamedTuple):
    """A folder of ten_molecules.py: its labels that were learnt, its fresh ones, the minimum and the engine's vibrations, cm⁻¹."""

    folder: Path
    labels: Path
    fresh: Path
    minimum: Atoms
    wavenumbers: np.ndarray


def read_case(folder: Path) -> Case:
    """Read a folder, and compute the vibrations of its engine.

    Raises:
        InputError: Learning has not ended, or no fresh labels.
    """
    learned, fresh = folder / "learned", folder / "fresh-labels.xyz"
    learnt = learnt_labels(learned)
    if not fresh.is_file():
        raise InputError(f"{fresh}: missing; run inputs/learn/ten_molecules.py first")
    minimum, engine = read(learned / "minimum.xyz"), read_plan(learned / PLAN_FILE).engine
    calculator = make_calculator(engine)
    try:
        set_state(engine, calculator, minimum)
        wavenumbers = modes_by(calculator, minimum).wavenumbers
    finally:
        discard(calculator)
    make_folder(folder / "norms")
    labels = folder / "norms" / "labels.xyz"
    write_frames(learnt, labels)
    return Case(folder, labels, fresh, minimum, wavenumbers)


def measure(case: Case, width: float, steps: int | None = None) -> dict:
    """Train a network with norms of this width, or resume that; its errors of frequencies and forces.

    Args:
        steps: Of the training; by default those of a first round.
    """
    settings = read_plan(case.folder / "learned" / PLAN_FILE)
    plan = replace(settings, steps=steps or settings.steps)
    training = replace(training_settings(plan, (case.labels.name,), plan.seed, first=True), norm_epsilon=width)
    config, output = case.folder / "norms" / f"{width:g}.toml", case.folder / "norms" / f"{width:g}"
    write_atomically(config, as_toml(training).encode())
    model = output / "model.safetensors"
    if not model.is_file():
        again = ["--resume"] if (output / "state.safetensors").is_file() else []
        if code := mlcalc.cli.main(["train", str(config), "-o", str(output), *again]):
            raise InputError(f"the training ended with code {code}")
    found = modes_by(NetworkCalculator(str(model), precision="float64", threads=1), case.minimum).wavenumbers
    if len(found) != len(case.wavenumbers):
        raise InputError(f"{model}: {len(found)} vibrations, {len(case.wavenumbers)} of the engine")
    apart, total = np.abs(found - case.wavenumbers), evaluate(model, case.fresh).total
    return {
        "molecule": case.folder.name, "norm_epsilon": width, "mean_cm-1": float(apart.mean()), "largest_cm-1": float(apart.max()),
        "mae_meV_A": 1e3 * total.force_mae_eV_per_A, "mae_error_meV_A": 1e3 * total.force_mae_error_eV_per_A,
    }  # fmt: skip


def as_text(found: list[dict]) -> str:
    """The table."""
    rows = [
        [
            row["molecule"], f"{row['norm_epsilon']:g}", f"{row['mean_cm-1']:.1f}", f"{row['largest_cm-1']:.1f}",
            with_error(row["mae_meV_A"], row["mae_error_meV_A"]),
        ]
        for row in found
    ]  # fmt: skip
    return aligned(["molecule", "norm_epsilon", "Δν̃ mean / cm⁻¹", "most", "force MAE / meV/Å"], rows, left=1)


def main() -> None:
    """Train and measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--widths", nargs="+", type=float, default=WIDTHS, help="default: 1e-8 1e-2")
    options = parser.parse_args()
    sys.exit(run_command("norm_epsilon.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    found = [measure(case, width) for case in map(read_case, options.cases) for width in options.widths]
    print(as_text(found))
    make_folder(HERE / "reference")
    write_atomically(HERE / "reference" / "norm_epsilon.json", to_json(found, indent=1).encode() + b"\n")
    write_atomically(HERE / "reference" / "norm_epsilon.txt", as_text(found).encode() + b"\n")


if __name__ == "__main__":
    main()
