"""Write Cα frames of an archive of NumPy arrays as starts of NTL9: python inputs/ntl9/starts.py FRAMES.npz… -o starts.xyz"""

import argparse
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import check_place, check_regular
from mlcalc.data.coarse_grain.protein import check_distances
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.data.labelling import write_frames

SEQUENCE = "MKVIFLKDVKGMGKKGEIKNVADGYANNFLFKQGLAIEA"  # N-terminal domain of L9, K12M
_OTHERS = re.compile("forces?|vel|velocit|mom", re.IGNORECASE)  # arrays of the same shape that are no positions


def frames_of(path: Path, types: np.ndarray) -> list[Atoms]:
    """Every array of positions of an archive, (39, 3) or (n, 39, 3) Å; InputError for a file that is none."""
    if not zipfile.is_zipfile(check_regular(path)):
        raise InputError(f"{path}: not an archive of NumPy arrays: expected a .npz file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [archive[name] for name in archive.files if not _OTHERS.match(name)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: a damaged archive, or one with other things than arrays of numbers: {error}"
        ) from error
    shape = (len(types), 3)
    positions = [x.reshape(-1, *shape) for x in arrays if x.dtype.kind == "f" and x.shape[-2:] == shape]
    if not positions:
        raise InputError(f"{path}: no array of positions of {len(types)} beads")
    return [Atoms(types, frame.astype(float)) for part in positions for frame in part]


def main() -> None:
    """Write the frames of all archives, or a part of them, to one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", nargs="+", type=Path, metavar="FRAMES.npz")
    parser.add_argument("-o", "--output", type=Path, default=Path("starts.xyz"))
    parser.add_argument("--sequence", default=SEQUENCE)
    parser.add_argument("--part", default="1/1", metavar="K/N", help="each N-th start, from the K-th on (default: all)")
    options = parser.parse_args()
    sys.exit(run_command("starts.py", lambda: _main(options)))


def _main(options: argparse.Namespace) -> None:
    part, slash, parts = options.part.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise InputError(f"--part {options.part}: expected K/N with K from 1 to N, such as 1/3")
    types = bead_types(options.sequence)
    frames = [atoms for path in options.archives for atoms in frames_of(path, types)][int(part) - 1 :: int(parts)]
    if not frames:
        raise InputError(f"--part {options.part}: no start is left")
    for number, atoms in enumerate(frames, 1):
        check_distances(atoms.positions, f"start {number}")
    write_frames(frames, check_place(options.output))
    print(f"{options.output}: {len(frames)} starts")


if __name__ == "__main__":
    main()
