"""Round and compress frames of mlcalc coarse-grain: python inputs/ntl9/pack_frames.py RUN/frames.xyz… -o frames.xyz.gz

Positions and forces are rounded to 10⁻⁴ Å and 10⁻⁴ eV/Å, far below their noise. Each trajectory is named after its run's folder.
"""

import argparse
import gzip
import io
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.common.files import write_atomically
from mlcalc.structures.structure_files import read_atoms


def rounded(atoms: Atoms, run: str) -> Atoms:
    """The frame with fewer digits, its trajectory named after the run."""
    forces = atoms.get_forces().round(4)
    atoms.positions = atoms.positions.round(4)
    atoms.info["trajectory"] = f"{run}-{atoms.info['trajectory']}"
    atoms.calc = SinglePointCalculator(atoms, forces=forces)
    return atoms


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="RUN/frames.xyz")
    parser.add_argument("-o", "--output", type=Path, default=Path("frames.xyz.gz"))
    options = parser.parse_args()
    frames = [rounded(atoms, path.resolve().parent.name) for path in options.files for atoms in read_atoms(path)]
    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(options.output, gzip.compress(text.getvalue().encode(), mtime=0))
    number = len({atoms.info["trajectory"] for atoms in frames})
    print(f"{options.output}: {len(frames)} frames of {number} trajectories")


if __name__ == "__main__":
    main()
