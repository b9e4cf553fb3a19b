"""Outputs of networks: a row for each, which model files, data sets, losses, trainings and calculators read."""

from typing import NamedTuple


class Output(NamedTuple):
    """A row of OUTPUTS.

    Attributes:
        unit: Unit in files and in memory.
        per_atom: Whether there is one for each atom, or one for each structure.
        rank: 0 for scalars, 1 for vectors, 2 for (3, 3) tensors: how it rotates with the structure.
        ase: Its name among the properties of ASE's calculators; None where ASE has none.
        evaluated: Its name among the arrays of Potential.evaluate, or of torch_readouts.Readouts.
        error: Prefix of the names of its errors, and their unit, if structures can be labelled with it; otherwise None.
        label: Its name in files of structures, of outputs of readouts (mlcalc/readouts); None for those of every network.
        periodic: Whether it has a meaning in periodic structures.
    """

    unit: str
    per_atom: bool
    rank: int
    ase: str | None
    evaluated: str
    error: tuple[str, str] | None = None
    label: str | None = None
    periodic: bool = True


OUTPUTS = {
    "energy": Output("eV", False, 0, "energy", "energies", error=("energy", "eV")),
    "forces": Output("eV/Å", True, 1, "forces", "forces", error=("force", "eV_per_A")),
    "atomic_energies": Output("eV", True, 0, "energies", "atomic_energies"),
    "virial": Output("eV", False, 2, "stress", "virials"),  # for ASE over the volume, in Voigt order
    "charges": Output("e", True, 0, "charges", "charges", ("charge", "e"), "charges"),
    "dipole": Output("eÅ", False, 1, "dipole", "dipoles", ("dipole", "eA"), "dipole", False),
    "dipole_moment": Output("eÅ", False, 0, None, "dipole_moments", ("dipole_moment", "eA"), "dipole_moment_eA", False),
    "polarizability": Output(
        "Å³", False, 2, None, "polarizabilities", ("polarizability", "A3"), "polarizability_xx_xy_yy_xz_yz_zz_A3", False
    ),
}
OF_EVERY_NETWORK = tuple(name for name, row in OUTPUTS.items() if row.label is None)
OF_READOUTS = tuple(name for name, row in OUTPUTS.items() if row.label is not None)
