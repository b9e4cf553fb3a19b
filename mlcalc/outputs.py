"""Outputs of networks: a row for each, which model files, data sets, losses, trainings and calculators read."""

from typing import NamedTuple

from mlcalc.common.errors import InputError

# Words of which the end of a key that states its unit consists: ZPVE_eV, Cv_eV_K, R2_A2.
_UNIT_WORDS = (
    "eV", "meV", "Hartree", "kcal", "cal", "kJ", "J", "mol", "K", "e", "eA", "D", "A", "A2", "A3", "nm", "Bohr", "Bohr2", "Bohr3",
    "u", "cm", "GHz", "THz", "fs", "ps", "per", "1",
)  # fmt: skip
_LONGEST_KEY = 60  # characters
_PREFIXED = ("eV", "eV/Å", "e", "eÅ", "Å³")  # units that take a prefix


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

    Name, unit and label of the scalar are decided by a training: see outputs_with.
    """

    unit: str
    per_atom: bool
    rank: int
    ase: str | None
    evaluated: str
    error: tuple[str, str] | None = None
    label: str | None = None
    periodic: bool = True

    def title(self, name: str) -> str:
        """The output of this name in OUTPUTS for tables; of a scalar its own name."""
        return self.error[0].replace("_", " ") if name == "scalar" and self.error else name.replace("_", " ")

    def thousandth(self) -> str:
        """A thousandth of its unit, for tables and axes."""
        return f"m{self.unit}" if self.unit in _PREFIXED else f"10⁻³ {self.unit}"


class Scalar(NamedTuple):
    """What the scalar of a training or of a model is: ``ZPVE`` in ``eV``, labels under the key ``ZPVE_eV``."""

    name: str
    unit: str

    @property
    def key(self) -> str:
        """Its label in files of structures."""
        return f"{self.name}_{self.unit}"


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
    "scalar": Output("", False, 0, None, "scalars", ("scalar", ""), ""),
}
OF_EVERY_NETWORK = tuple(name for name, row in OUTPUTS.items() if row.label is None)
OF_READOUTS = tuple(name for name, row in OUTPUTS.items() if row.label is not None)


def scalar_of(key: str) -> Scalar:
    """The scalar whose labels are under this key; its unit is the end of the key, as it is written there.

    Raises:
        InputError: A key that does not end in a unit.
    """
    words = key.split("_")
    size = next((n for n, word in enumerate(reversed(words)) if word not in _UNIT_WORDS), len(words))
    scalar = Scalar("_".join(words[: len(words) - size]), "_".join(words[len(words) - size :]))
    if not (scalar.name and scalar.unit and len(key) <= _LONGEST_KEY and key.isprintable() and " " not in key):
        raise InputError(
            f"scalar {key[:_LONGEST_KEY]!r}: expected a name that ends in its unit, as ZPVE_eV or Cv_eV_K (_1 for a pure number); "
            f"known are {' '.join(_UNIT_WORDS)}"
        )
    return scalar


def outputs_with(scalar: Scalar | None) -> dict[str, Output]:
    """OUTPUTS, in which the scalar has the name, the unit and the label of this one."""
    if scalar is None:
        return OUTPUTS
    row = OUTPUTS["scalar"]._replace(unit=scalar.unit, error=(f"scalar_{scalar.name}", scalar.unit), label=scalar.key)
    return OUTPUTS | {"scalar": row}
