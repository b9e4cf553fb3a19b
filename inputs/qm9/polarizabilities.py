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
    print(f"{output}: {len(done)} molecules")


def main() -> None:
    """Label a set to train on and one to test on, as far as they are not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (default: inputs/qm9/data)")
    options = parser.parse_args()
    for name, (source, number) in SETS.items():
        output = options.data / f"polarizability_{name}.xyz"
        if output.is_file():
            print(f"{output}: done")
        else:
            label(options.data / f"{source}.xyz", number, output)


if __name__ == "__main__":
    main()
