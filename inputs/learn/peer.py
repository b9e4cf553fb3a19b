"""The network of another package, apax, on the labels that mlcalc learn chose, and its error on beads that neither has seen.

    python -m venv peer && peer/bin/pip install apax
    python inputs/learn/peer.py inputs/learn/data/malonaldehyde --python peer/bin/python

The folder is one of ten_molecules.py. apax (Gaussian moments, JAX; doi:10.1021/acs.jctc.1c00527) has its own settings, those of
'apax template train'; only the number of epochs is chosen here. Both networks see the same labels and are measured on the same
newly labelled beads of ring polymers that mlcalc's network moved; how apax would choose labels is not part of the comparison.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.io import read

from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.data.labelling import write_frames
from mlcalc.learn.result import learnt_labels
from mlcalc.training.evaluation import evaluate

HERE = Path(__file__).parent
_VALIDATION = 0.05  # as in mlcalc learn
_CONFIG = """n_epochs: {epochs}
data:
  directory: models
  experiment: apax
  train_data_path: train.extxyz
  val_data_path: val.extxyz
  batch_size: 4
  valid_batch_size: {n_valid}
metrics:
- name: energy
  reductions: [mae]
- name: forces
  reductions: [mae, mse]
loss:
- name: energy
- name: forces
  weight: 4.0
"""
_PREDICT = """
import numpy as np
from ase.io import read
from apax.md import ASECalculator
calculator = ASECalculator("models/apax")
forces = []
for atoms in read("fresh.extxyz", ":"):
    atoms.calc = calculator
    forces.append(atoms.get_forces())
np.save("forces.npy", forces)
"""


def compare(case: Path, python: Path, epochs: int, seed: int = 0) -> dict:
    """Train apax on the labels of a molecule, and return errors and minutes of both.

    Args:
        case: Folder of ten_molecules.py with ``learned`` and ``fresh-labels.xyz``; python: that of an environment with apax.

    Raises:
        InputError: A file is missing, or apax failed.
    """
    fresh, folder = case / "fresh-labels.xyz", case / "apax"
    frames = learnt_labels(case / "learned")
    if not fresh.is_file():
        raise InputError(f"{fresh}: missing; run inputs/learn/ten_molecules.py first")
    make_folder(folder)
    result = json.loads((case / "learned" / "result.json").read_text(encoding="utf-8"))
    reference = read(fresh, ":")
    order = np.random.default_rng(seed).permutation(len(frames))
    n_valid = round(_VALIDATION * len(frames))
    parts = {"val": order[:n_valid], "train": order[n_valid:]}
    for name, chosen in parts.items():
        write_frames([frames[k] for k in chosen], folder / f"{name}.extxyz")
    write_frames(reference, folder / "fresh.extxyz")
    write_atomically(folder / "train.yaml", _CONFIG.format(epochs=epochs, n_valid=n_valid).encode())
    began = time.monotonic()
    _run([str(python), "-c", "from apax.cli.apax_app import app; app()", "train", "train.yaml"], folder)
    minutes = (time.monotonic() - began) / 60
    _run([str(python), "-c", _PREDICT], folder)
    errors = np.abs(np.load(folder / "forces.npy") - [atoms.get_forces() for atoms in reference]).mean(axis=(1, 2))
    ours = evaluate(case / "learned" / "models" / "model-1.safetensors", fresh).total
    return {
        "molecule": case.name, "labels": len(frames), "beads": len(reference), "epochs": epochs,
        "apax_minutes": minutes, "apax_mae_meV_A": 1e3 * errors.mean(),
        "apax_error_meV_A": 1e3 * errors.std(ddof=1) / np.sqrt(len(errors)),
        "mlcalc_minutes": result["seconds"] / 60, "mlcalc_mae_meV_A": 1e3 * ours.force_mae_eV_per_A,
        "mlcalc_error_meV_A": 1e3 * ours.force_mae_error_eV_per_A,
    }  # fmt: skip


def _run(words: list[str], folder: Path) -> None:
    with open(folder / "apax.log", "ab") as log:
        code = subprocess.run(words, cwd=folder, stdout=log, stderr=log, check=False).returncode
    if code:
        raise InputError(f"apax ended with code {code}; see {folder / 'apax.log'}")


def as_text(found: list[dict]) -> str:
    """The table."""
    rows = [
        [
            row["molecule"], str(row["labels"]), *(
                cell for name in ("mlcalc", "apax")
                for cell in (f"{row[f'{name}_minutes']:.0f}", with_error(row[f"{name}_mae_meV_A"], row[f"{name}_error_meV_A"]))
            ),
        ]
        for row in found
    ]  # fmt: skip
    header = [
        "molecule",
        "labels",
        "mlcalc learn: minutes",
        "force MAE / meV/Å",
        "apax: minutes of training",
        "force MAE / meV/Å",
    ]
    return aligned(header, rows, left=1)


def main() -> None:
    """Compare, and keep the numbers beside those of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--python", type=Path, required=True, help="python of an environment with apax")
    parser.add_argument("--epochs", type=int, default=100, help="of apax (default: 100)")
    options = parser.parse_args()
    sys.exit(run_command("peer.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    found = [compare(case, options.python.absolute(), options.epochs) for case in options.cases]
    print(as_text(found))
    write_atomically(HERE / "reference" / "peer.json", to_json(found, indent=1).encode() + b"\n")
    write_atomically(HERE / "reference" / "peer.txt", as_text(found).encode() + b"\n")


if __name__ == "__main__":
    main()
