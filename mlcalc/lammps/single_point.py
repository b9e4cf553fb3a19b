"""Energies, forces and virial of a structure by LAMMPS and the plugin."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data

from mlcalc.common.errors import InputError
from mlcalc.lammps.export import as_lammps
from mlcalc.lammps.installation import Lammps
from mlcalc.model import Model

_VACUUM = 1.0  # Å around a molecule: LAMMPS needs a box
MODEL_FILE = "model.mlcalc-lammps"
_BAR_VOLUME = 1.6021765e6  # LAMMPS's own bar Å³ in an eV, units metal


class SinglePoint(NamedTuple):
    """Outputs as a Potential gives them for one replica: eV, eV/Å, Å; ``stresses`` (6,) eV, sum of those of the atoms."""

    energy: float
    atomic_energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    stresses: np.ndarray


def setup(plugin: Path, atoms: Atoms, symbols: list[str]) -> str:
    """Commands of LAMMPS that read a structure and the model beside it, by write_inputs, and load the plugin."""
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    return f"""\
units metal
atom_modify map yes
boundary {boundary}
box tilt large
read_data structure.data
plugin load {plugin}
pair_style mlcalc
pair_coeff * * {MODEL_FILE} {" ".join(symbols)}
neighbor 1.0 bin
"""


def write_inputs(folder: Path, model: Model, atoms: Atoms, symbols: list[str]) -> Prism:
    """Write the model and a structure; returns how LAMMPS has turned the cell. A molecule gets a box around it."""
    boxed = atoms.copy()
    if not atoms.pbc.all():
        boxed.center(vacuum=_VACUUM, axis=np.flatnonzero(~atoms.pbc))
    prism = Prism(boxed.cell.array, pbc=boxed.pbc)
    write_lammps_data(folder / "structure.data", boxed, specorder=symbols, prismobj=prism, masses=True, units="metal")
    (folder / MODEL_FILE).write_bytes(as_lammps(model))
    return prism


def single_point(
    lammps: Lammps, plugin: Path, model: Model, atoms: Atoms, ranks: int = 1, first: str = ""
) -> SinglePoint:
    """Evaluate a structure on so many processes.

    Args:
        first: Commands of LAMMPS before the structure is read, such as ``processors``.

    Raises:
        InputError: LAMMPS stopped, or the plugin does not take the model.
    """
    symbols = sorted(set(atoms.symbols))
    with tempfile.TemporaryDirectory(prefix="mlcalc-lammps-") as name:
        folder = Path(name)
        prism = write_inputs(folder, model, atoms, symbols)
        lammps.run(first + setup(plugin, atoms, symbols) + _EVALUATE, folder, ranks)
        rows = np.loadtxt(folder / "forces.dump", skiprows=9, ndmin=2)
        numbers = np.loadtxt(folder / "totals", ndmin=1)
    if len(rows) != len(atoms):
        raise InputError(f"LAMMPS lost atoms: {len(rows)} of {len(atoms)} are left")
    xx, yy, zz, xy, xz, yz = -numbers[1:7] * numbers[7] / _BAR_VOLUME
    virial = prism.tensor2_to_ase(np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))
    forces = prism.vector_to_ase(rows[:, 1:4])
    return SinglePoint(numbers[0], rows[:, 4], forces, virial, numbers[8:14] / _BAR_VOLUME)


_EVALUATE = """\
compute energies all pe/atom
compute pressure all pressure NULL virial
compute stresses all stress/atom NULL virial
compute sums all reduce sum c_stresses[1] c_stresses[2] c_stresses[3] c_stresses[4] c_stresses[5] c_stresses[6]
thermo_style custom step pe c_pressure[*] vol c_sums[*]
run 0
write_dump all custom forces.dump id fx fy fz c_energies modify sort id format float %.17g
print """ + (
    '"$(pe:%.17g) $(c_pressure[1]:%.17g) $(c_pressure[2]:%.17g) $(c_pressure[3]:%.17g) $(c_pressure[4]:%.17g) '
    "$(c_pressure[5]:%.17g) $(c_pressure[6]:%.17g) $(vol:%.17g) $(c_sums[1]:%.17g) $(c_sums[2]:%.17g) $(c_sums[3]:%.17g) "
    '$(c_sums[4]:%.17g) $(c_sums[5]:%.17g) $(c_sums[6]:%.17g)" file totals\n'
)
