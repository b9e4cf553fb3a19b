"""Collect the frames of runs of mlcalc coarse-grain, finished or not: python inputs/ntl9/pack_frames.py RUN… -o frames.xyz.gz

Positions and forces are rounded to 10⁻⁴ Å and 10⁻⁴ eV/Å, far below their noise, so that the compressed file is small. Each
trajectory is named after its run.
"""

import argparse
import gzip
import io
from pathlib import Path

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from starts import SEQUENCE

from mlcalc.common.files import write_atomically
from mlcalc.data.coarse_grain.all_atom import blocks_of, read_block
from mlcalc.data.coarse_grain.residues import bead_types

TEMPERATURE_K = 350.0  # of all_atom.toml
CARBON_U, HYDROGEN_U = 12.01078, 1.007947  # OpenMM's; Cα has one hydrogen atom, that of glycine two


def frames_of(folder: Path) -> list[Atoms]:
    """Beads, forces and trajectories of all blocks in a folder."""
    types, found = bead_types(SEQUENCE), []
    masses = [CARBON_U + HYDROGEN_U * (2 if letter == "G" else 1) for letter in SEQUENCE]
    for path in blocks_of(folder):
        block, trajectory = read_block(path, len(types)), path.name.split("-")[1]
        for positions, forces in zip(block["positions"].round(4), block["forces"].round(4), strict=True):
            info = {
                "trajectory": f"{folder.name}-{trajectory}",
                "temperature_K": TEMPERATURE_K,
                "sequence": SEQUENCE,
            }
            atoms = Atoms(types, positions, masses=masses, info=info)
            atoms.calc = SinglePointCalculator(atoms, forces=forces)
            found.append(atoms)
    return found


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of mlcalc coarse-grain")
    parser.add_argument("-o", "--output", type=Path, default=Path("frames.xyz.gz"))
    options = parser.parse_args()
    frames = [atoms for folder in options.runs for atoms in frames_of(folder)]
    if not frames:
        parser.error(f"{options.runs[0]}: holds no blocks of frames")
    text = io.StringIO()
    write(text, frames, format="extxyz")
    write_atomically(options.output, gzip.compress(text.getvalue().encode(), mtime=0))
    print(
        f"{options.output}: {len(frames)} frames of {len({atoms.info['trajectory'] for atoms in frames})} trajectories"
    )


if __name__ == "__main__":
    main()
