"""Hold out 100 structures of 3BPA that are not trained on: python inputs/bpa/hold_out.py DATASET_FOLDER OUT.xyz

They are chosen from train_mixedT.xyz, structures at 300, 600 and 1200 K of which some are in train_300K.xyz.
"""

import sys
from pathlib import Path

import numpy as np
from ase.io import read, write

folder, output = map(Path, sys.argv[1:])
mixed, trained = (read(folder / name, ":") for name in ("train_mixedT.xyz", "train_300K.xyz"))
known = np.array([atoms.positions for atoms in trained])
others = [atoms for atoms in mixed if np.abs(known - atoms.positions).max(axis=(1, 2)).min() > 1e-4]
write(output, [others[k] for k in np.sort(np.random.default_rng(0).permutation(len(others))[:100])], format="extxyz")
