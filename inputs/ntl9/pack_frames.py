"""Round and compress frames of mlcalc coarse-grain: python inputs/ntl9/pack_frames.py RUN/frames.xyz… -o frames.xyz.gz

Positions and forces are rounded to 10⁻⁴ Å and 10⁻⁴ eV/Å, far below their noise. Each trajectory is named after its run's folder.
"""

import argparse
import gzip
import io
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import check_place, write_atomically
from mlcalc.structures.labels import read_labels
from mlcalc.structures.structure_files import read_atoms


def rounded(path: Path) -> list[Atoms]:
    """The frames of a run with fewer digits, trajectories named after the run; InputError for frames of another kind."""
    frames = read_atoms(path)
    forces = read_labels(frames, path).forces
    for number, (atoms, mine) in enumerate(zip(frames, forces, strict=True), 1):
        if "trajectory" not in atoms.info or not np.isfinite(mine).all():
            raise InputError(
                f"{path}: structure {number}: expected forces and a trajectory, as mlcalc coarse-grain writes"
            )
        atoms.positions = atoms.positions.round(4)
        atoms.info["trajectory"] = f"{path.resolve().parent.name}-{atoms.info['trajectory']}"
        atoms.calc = SinglePointCalculator(atoms, forces=mine.round(4))
    return frames


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN/frames.xyz")
    parser.add_argument("-o", "--output", type=Path, default=Path("frames.xyz.gz"))
    options = parser.parse_args()
    sys.exit(run_command("pack_frames.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    names = [path.resolve().parent.name for path in options.files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"folder {twice[0]!r} twice: expected runs of different names, which their trajectories get")
    check_place(options.output)
    frames = [atoms for path in options.files for atoms in rounded(path)]
    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(options.output, gzip.compress(text.getvalue().encode(), mtime=0))
    number = len({atoms.info["trajectory"] for atoms in frames})
    print(f"{options.output}: {len(frames)} frames of {number} trajectories")


if __name__ == "__main__":
    main()
