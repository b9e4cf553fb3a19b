"""Write Cα frames of an archive of NumPy arrays as starts of NTL9: python inputs/ntl9/starts.py FRAMES.npz… -o starts.xyz"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from mlcalc.data.coarse_grain.residues import bead_types

SEQUENCE = "MKVIFLKDVKGMGKKGEIKNVADGYANNFLFKQGLAIEA"  # N-terminal domain of L9, K12M


def main() -> None:
    """Read every array of positions, (39, 3) or (n, 39, 3) Å, and write all frames to one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", nargs="+", type=Path, metavar="FRAMES.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("starts.xyz"))
    parser.add_argument("--sequence", default=SEQUENCE)
    parser.add_argument("--part", default="1/1", metavar="K/N", help="each N-th start, from the K-th on (default: all)")
    options = parser.parse_args()
    part, slash, parts = options.part.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        parser.error(f"--part {options.part}: expected K/N with K from 1 to N, such as 1/3")
    types, frames = bead_types(options.sequence), []
    for path in options.archives:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                if array.dtype.kind == "f" and array.shape[-2:] == (len(types), 3):
                    frames += [Atoms(types, positions) for positions in array.reshape(-1, len(types), 3).astype(float)]
    if not frames:
        parser.error(f"{options.archives[0]}: no array of positions of {len(types)} beads")
    frames = frames[int(part) - 1 :: int(parts)]
    write(options.output, frames)
    print(f"{options.output}: {len(frames)} starts")


if __name__ == "__main__":
    main()
