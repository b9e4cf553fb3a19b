"""One ``[[bias]]`` table of a run's input: strict keys with units. It loads fast, for ``--help``; terms.py does the rest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range


class Kind(NamedTuple):
    """What keys need to know of a variable.

    Attributes:
        n_atoms: Number of its atoms; 0: any, and others beside them.
        unit: "A", "deg" or "1", as keys and columns end.
        period: 360 for a dihedral; 0 for none.
    """

    n_atoms: int
    unit: str
    period: float = 0.0


# The functions are in variables.VARIABLES.
VARIABLE_KINDS = {
    "distance": Kind(2, "A"),
    "difference": Kind(3, "A"),
    "angle": Kind(3, "deg"),
    "dihedral": Kind(4, "deg", 360.0),
    "coordination": Kind(0, "1"),
}
WAY_NAMES = ("centroid", "mean", "bead")
# Endings of keys by unit of the variable; what each kind needs.
_ENDINGS = {
    "A": {"at": "at_A", "force_constant": "force_constant_eV_A2", "width": "width_A"},
    "deg": {"at": "at_deg", "force_constant": "force_constant_eV_deg2", "width": "width_deg"},
    "1": {"at": "at_1", "force_constant": "force_constant_eV", "width": "width_1"},
}
_HILLS = ("height_eV", "width", "every_steps", "bias_factor")
KINDS = {
    "harmonic": ("at", "force_constant"),
    "lower": ("at", "force_constant"),
    "upper": ("at", "force_constant"),
    "metadynamics": _HILLS,
}
_WIDEST = 1.0 / 12.0  # of a period: beyond, a Gaussian hill is not 0 half a period away


@dataclass(frozen=True)
class BiasSettings:
    """Keys of a ``[[bias]]`` table; those that its kind and variable do not use must be absent.

    Attributes:
        variable: A name of VARIABLE_KINDS.
        atoms: Indices in the structure, from 0; of a coordination number the atoms whose neighbours count.
        on: centroid, mean or bead (md/bias/biased.py).
        kind: harmonic, ½k(ξ − at)²; lower or upper, a wall that is harmonic beyond ``at``; metadynamics, well-tempered.
        at_A, at_deg, at_1: Where the harmonic well or wall is, in the unit of the variable.
        force_constant_eV_A2, force_constant_eV_deg2, force_constant_eV: k.
        to_atoms, radius_A, exponent: Of a coordination number: the neighbours, r₀ and n (6) of 1/(1 + (r/r₀)ⁿ).
        height_eV, width_A, width_deg, width_1: Of hills before tempering.
        every_steps: Steps of production between hills.
        bias_factor: γ of well-tempered metadynamics.
    """

    variable: str
    atoms: tuple[int, ...]
    on: str
    kind: str
    at_A: float | None = None
    at_deg: float | None = None
    at_1: float | None = None
    force_constant_eV_A2: float | None = None
    force_constant_eV_deg2: float | None = None
    force_constant_eV: float | None = None
    to_atoms: tuple[int, ...] = ()
    radius_A: float | None = None
    exponent: int | None = None
    height_eV: float | None = None
    width_A: float | None = None
    width_deg: float | None = None
    width_1: float | None = None
    every_steps: int | None = None
    bias_factor: float | None = None

    def __post_init__(self):
        for name in (f.name for f in fields(self)):
            if hasattr(value := getattr(self, name), "item"):  # a number of NumPy, from Python
                object.__setattr__(self, name, value.item())
        check_choice("variable", self.variable, tuple(VARIABLE_KINDS))
        check_choice("on", self.on, WAY_NAMES)
        check_choice("kind", self.kind, tuple(KINDS))
        self._check_keys()
        self._check_numbers()
        if self.row.period and self.kind in ("lower", "upper"):
            raise InputError(f"kind = {self.kind!r} on a {self.variable}, which is periodic: expected harmonic")
        if self.on == "bead" and self.kind == "metadynamics":
            raise InputError(
                "kind = 'metadynamics' on = 'bead': hills of beads that share a ring do not tend to a free energy; expected "
                "on = 'centroid' or 'mean', whose weights give the distribution of beads too"
            )

    def _check_keys(self) -> None:
        """Raise InputError for a key that is missing, or that kind and variable do not use."""
        needed = [_ENDINGS[self.row.unit].get(name, name) for name in KINDS[self.kind]]
        if not self.row.n_atoms:
            needed += ["to_atoms", "radius_A"]
        given = {f.name for f in fields(self) if getattr(self, f.name) not in (None, ())}
        what = f"kind = {self.kind!r} on a {self.variable}"
        for name in needed:
            if name not in given:
                raise InputError(f"{what}: missing key {name!r}")
        allowed = {"variable", "atoms", "on", "kind", *needed} | ({"exponent"} if not self.row.n_atoms else set())
        if others := sorted(given - allowed):
            raise InputError(f"{what} has no {others[0]!r}: expected {', '.join(needed)}")

    def _check_numbers(self) -> None:
        ends = _ENDINGS[self.row.unit]
        for name in (ends["force_constant"], ends["width"], "height_eV", "radius_A"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0, open_low=True)
        if self.bias_factor is not None:
            check_range("bias_factor", self.bias_factor, 1, open_low=True)
        for name, least, most in (("every_steps", 1, float("inf")), ("exponent", 2, 60)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), least, most)
        if self.width is not None and self.row.period:
            check_range(ends["width"], self.width, 0, self.row.period * _WIDEST)
        n, found = self.row.n_atoms, len(self.atoms)
        if (n and found != n) or not found:
            raise InputError(f"atoms = {list(self.atoms)}: a {self.variable} has {n or 'at least 1'} atoms")
        indices = [*self.atoms, *self.to_atoms]
        if twice := [index for index in indices if indices.count(index) > 1]:
            raise InputError(f"atoms {indices}: atom {twice[0]} is named twice")

    def __str__(self) -> str:
        to = f" to {', '.join(map(str, self.to_atoms))}" if self.to_atoms else ""
        return f"{self.kind} on the {self.variable} of atoms {', '.join(map(str, self.atoms))}{to} ({self.on})"

    @property
    def row(self) -> Kind:
        """The row of the variable."""
        return VARIABLE_KINDS[self.variable]

    @property
    def at(self) -> float | None:
        """Å, degrees or 1."""
        return getattr(self, _ENDINGS[self.row.unit]["at"])

    @property
    def force_constant(self) -> float | None:
        """eV by the squared unit of the variable."""
        return getattr(self, _ENDINGS[self.row.unit]["force_constant"])

    @property
    def width(self) -> float | None:
        """Å, degrees or 1."""
        return getattr(self, _ENDINGS[self.row.unit]["width"])


def hills_of(biases: Sequence[BiasSettings]) -> BiasSettings | None:
    """The metadynamics among biases; InputError if there are several."""
    growing = [bias for bias in biases if bias.kind == "metadynamics"]
    if len(growing) > 1:
        raise InputError(f"{len(growing)} biases of kind 'metadynamics': expected at most one")
    return growing[0] if growing else None


def columns_of(biases: Sequence[BiasSettings]) -> list[str]:
    """Columns of properties.csv: for every bias its variable, and the energy of the bias."""
    names = ((f"{bias.variable}_{n}_{bias.row.unit}", f"bias_{n}_eV") for n, bias in enumerate(biases))
    return [name for pair in names for name in pair]


def is_bias_column(name: str) -> bool:
    """Whether a column of properties.csv is one of columns_of."""
    return re.fullmatch(rf"bias_\d+_eV|({'|'.join(VARIABLE_KINDS)})_\d+_(A|deg|1)", name) is not None
