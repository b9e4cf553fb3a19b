"""Outputs of networks: a row for each, which model files, data sets, losses, trainings and calculators read."""

from typing import NamedTuple


class Output(NamedTuple):
    """A row of OUTPUTS.

    Attributes:
        unit: Unit in files and in memory.
        per_atom: Whether there is one for each atom, or one for each structure.
        rank: 0 for scalars, 1 for vectors, 2 for (3, 3) tensors: how it rotates with the structure.
        ase: Its name among the properties of ASE's calculators.
        evaluated: Its name among the arrays of Potential.evaluate.
        readout: Whether networks have weights for it; other outputs are derived from those that do.
        error: Prefix of the names of its errors, and their unit, if structures can be labelled with it; otherwise None.
    """

    unit: str
    per_atom: bool
    rank: int
    ase: str
    evaluated: str
    readout: bool = False
    error: tuple[str, str] | None = None


OUTPUTS = {
    "energy": Output("eV", False, 0, "energy", "energies", readout=True, error=("energy", "eV")),
    "forces": Output("eV/Å", True, 1, "forces", "forces", error=("force", "eV_per_A")),
    "atomic_energies": Output("eV", True, 0, "energies", "atomic_energies"),
    "virial": Output("eV", False, 2, "stress", "virials"),  # for ASE over the volume, in Voigt order
}
READOUTS = tuple(name for name, row in OUTPUTS.items() if row.readout)
LABELS = tuple(name for name, row in OUTPUTS.items() if row.error)
