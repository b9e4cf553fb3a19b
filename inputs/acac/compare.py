"""Energies along transfer and torsion by PySCF and by a network: python inputs/acac/compare.py [MODEL]"""

import sys
from pathlib import Path

from ase.io import read

from mlcalc import NetworkCalculator

frames = read(Path(__file__).with_name("paths.xyz"), ":")
calculator = NetworkCalculator(sys.argv[1] if len(sys.argv) > 1 else "acac")
energies = [(frame.get_potential_energy(), calculator.get_potential_energy(frame)) for frame in frames]
print("path      place   PySCF   network / meV")
for frame, (dft, network) in zip(frames, energies, strict=True):
    differences = f"{1e3 * (dft - energies[0][0]):7.1f} {1e3 * (network - energies[0][1]):9.1f}"
    print(f"{frame.info['path']:9} {frame.info['place']:5.1f} {differences}")
