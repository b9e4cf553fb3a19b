"""Units by the names in use: foreign labels and checkpoints are converted to eV and Å with them."""

import re
from collections.abc import Iterator

from ase import units

from mlcalc.common.errors import InputError

ENERGY_UNITS = {
    "eV": 1.0, "meV": 1e-3, "Hartree": units.Hartree, "kcal/mol": units.kcal / units.mol, "kJ/mol": units.kJ / units.mol,
}  # fmt: skip
LENGTH_UNITS = {"Ang": 1.0, "Bohr": units.Bohr, "nm": units.nm}
_SPELLINGS = {name.lower(): name for name in (*ENERGY_UNITS, *LENGTH_UNITS)} | {
    "electronvolt": "eV", "metal": "eV", "ha": "Hartree", "eh": "Hartree", "kcal": "kcal/mol", "kcalmol-1": "kcal/mol",
    "kjmol-1": "kJ/mol", "å": "Ang", "a": "Ang", "angstrom": "Ang", "angstroms": "Ang", "ångström": "Ang", "a0": "Bohr",
}  # fmt: skip
_KEY = re.compile(r"(^|_)units?$", re.IGNORECASE)


def stated_energy_unit(info: dict, where: str) -> str | None:
    """The unit of energy that a structure's ``info`` states, a key of ENERGY_UNITS; None where it states none.

    It is text under keys such as ``energy_unit``, ``forces_unit``, ``r_unit`` and ``units``, or a table of such texts; forces
    have the unit of the energy per Å.

    Raises:
        InputError: A unit of length other than Å, an unknown one, or two that contradict each other.
    """
    found = set()
    for key, text in _statements(info):
        energy, _, length = (text, "", "Ang") if _name(text) else text.rpartition("/")
        names = _name(energy), _name(length)
        if names == ("Ang", "Ang"):
            continue
        if names[0] not in ENERGY_UNITS or names[1] != "Ang":
            raise InputError(
                f"{where}: {key} = {text}: expected Å for lengths and one of {', '.join(ENERGY_UNITS)} for energies"
            )
        found.add(names[0])
    if len(found) > 1:
        raise InputError(
            f"{where}: states the units {' and '.join(sorted(found))}: expected one for energies and forces"
        )
    return found.pop() if found else None


def _statements(info: dict) -> Iterator[tuple[str, str]]:
    for key, value in info.items():
        if _KEY.search(key):
            yield from (
                (key, text)
                for text in (value.values() if isinstance(value, dict) else [value])
                if isinstance(text, str)
            )


def is_statement(key: str) -> bool:
    """Whether a key of ``info`` states a unit."""
    return bool(_KEY.search(key))


def _name(text: str) -> str | None:
    return _SPELLINGS.get(re.sub(r"[\s^*]", "", text.lower()))
