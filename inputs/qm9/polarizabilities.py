"""Polarizability tensors by GFN2-xTB for molecules of QM9, whose own tensors are in another orientation than its geometries.

python inputs/qm9/learning_curves.py split
python inputs/qm9/polarizabilities.py
"""

import argparse
from pathlib import Path

import numpy as np
from ase.io import iread
from tqdm import tqdm

from mlcalc.common.errors import InputError, note
from mlcalc.common.tables import with_error
from mlcalc.data.finite_field import polarizability
from mlcalc.data.labelling import write_frames
from mlcalc.outputs import OUTPUTS

DATA = Path(__file__).parent / "data"
SETS = {"train": ("train_5000", 3300), "test": ("test", 1000)}  # name → set of learning_curves.py, molecules


def label(source: Path, number: int, output: Path) -> None:
    """Write the first molecules of a file with their tensors; those that do not converge are named and left out."""
    done, key = [], OUTPUTS["polarizability"].label
    for atoms in tqdm(iread(source, f":{number}"), total=number, unit="molecule", disable=None):
        try:
            tensor = polarizability(atoms)
        except InputError as error:
            note(f"molecule {atoms.info['qm9']} of QM9 is left out: {error}")
            continue
        atoms.info[key] = tensor[np.tril_indices(3)]
        atoms.info["polarizability_engine"] = "tblite:GFN2-xTB"
        done.append(atoms)
    write_frames(done, output)


def summary(path: Path) -> str:
    """How many molecules a labelled file has, and their isotropic polarizabilities relative to those of QM9."""
    key = OUTPUTS["polarizability"].label
    ratios = [atoms.info[key][[0, 2, 5]].mean() / atoms.info["polarizability_A3"] for atoms in iread(path, ":")]
    mean = with_error(float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(len(ratios))))
    return f"{path}: {len(ratios)} molecules, GFN2-xTB / QM9 {mean} (spread {np.std(ratios, ddof=1):.3f})"


def main() -> None:
    """Label a set to train on and one to test on, as far as they are not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (default: inputs/qm9/data)")
    options = parser.parse_args()
    for name, (source, number) in SETS.items():
        output = options.data / f"polarizability_{name}.xyz"
        if not output.is_file():
            label(options.data / f"{source}.xyz", number, output)
        print(summary(output))


if __name__ == "__main__":
    main()
