"""What networks give: a row for each output, which data sets, losses, evaluations and calculators read."""

from typing import NamedTuple


class Output(NamedTuple):
    """A row of OUTPUTS.

    Attributes:
        unit: In which it is, in files and in memory.
        per_atom: Whether there is one for each atom, or one for each structure.
        rank: 0 for scalars, 1 for vectors, 2 for (3, 3) tensors: how it turns with the structure.
        ase: Its name among the properties of ASE's calculators, and in extended XYZ.
        evaluated: Its name among the arrays of Potential.evaluate.
    """

    unit: str
    per_atom: bool
    rank: int
    ase: str
    evaluated: str


OUTPUTS = {
    "energy": Output("eV", False, 0, "energy", "energies"),
    "atomic_energies": Output("eV", True, 0, "energies", "atomic_energies"),
    "forces": Output("eV/Å", True, 1, "forces", "forces"),
    "virial": Output("eV", False, 2, "stress", "virials"),  # over the volume, in Voigt order
}
READOUTS = ("energy",)  # what networks have weights for; the others follow from it
