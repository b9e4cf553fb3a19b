"""Energies by PySCF at the level of theory of the data set: python inputs/acac/dft.py IN.xyz OUT.xyz

PBE-D3(BJ) with def2-SVP; a minute for a structure, after ``pip install pyscf dftd3``. Grids and density fitting differ from those
of the data set (ORCA): four structures of train_300K.xyz lie 7.05 to 7.67 meV above the energies there.
"""

import sys

from ase import units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from dftd3.pyscf import DFTD3Dispersion
from pyscf import dft, gto


def energy(atoms) -> float:
    """eV; a closed shell."""
    molecule = gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis="def2-svp", verbose=0)
    method = dft.RKS(molecule).density_fit()
    method.xc, method.grids.level, method.conv_tol = "pbe", 4, 1e-9
    total = method.kernel()
    if not method.converged:
        raise SystemExit(f"{atoms.symbols}: the self-consistency did not converge")
    return float(total + DFTD3Dispersion(molecule, xc="pbe", version="d3bj").kernel()[0]) * units.Hartree


frames = read(sys.argv[1], ":")
for frame in frames:
    frame.calc = SinglePointCalculator(frame, energy=energy(frame))
    frame.info["engine"] = "PySCF, PBE-D3(BJ), def2-SVP"
    print(frame.get_potential_energy(), flush=True)
write(sys.argv[2], frames)
