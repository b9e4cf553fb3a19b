"""Total charge and spin multiplicity of a structure, from its file to its label and to the model.

Files give them in several ways: keys of the comment line (``charge``, ``total_charge`` …; ``multiplicity``, or ``spin``, by
which OMol25 and MACE mean the multiplicity), or ASE's initial charges and magnetic moments of the atoms. Engines take a structure
that gives neither as neutral and of the lowest multiplicity.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError

_CHARGE = {"charge", "totalcharge", "netcharge", "totcharge", "molecularcharge", "systemcharge", "qtot"}
_MULTIPLICITY = {"multiplicity", "spinmultiplicity", "totalspinmultiplicity", "mult", "spin", "totalspin"}
_UNPAIRED = {"unpairedelectrons", "nunpaired", "numunpairedelectrons", "uhf"}
_NEAR = 0.05  # partial charges and moments of atoms are printed with few digits


class ElectronicState(NamedTuple):
    """Charge and multiplicity of a structure; None for what it does not give.

    Attributes:
        charge: Total charge, e.
        multiplicity: 2S + 1.
    """

    charge: int | None = None
    multiplicity: int | None = None

    @property
    def info(self) -> dict[str, int]:
        """As keys of a structure's comment."""
        return {key: value for key, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        return " and ".join(f"{key} {value}" for key, value in self.info.items()) or "no charge"


def electronic_state(atoms: Atoms, where: str = "the structure") -> ElectronicState:
    """The state that ``info`` and the initial charges and moments of the atoms give.

    Raises:
        InputError: Numbers that are not integers, that contradict each other, or that do not fit the number of electrons.
    """
    charge = _one("charge", _from_info(atoms, _CHARGE) + _sum(atoms, "initial_charges"), where)
    moments = [(f"sum of {name}", abs(value) + 1) for name, value in _sum(atoms, "initial_magmoms")]
    unpaired = [(name, value + 1) for name, value in _from_info(atoms, _UNPAIRED)]
    said = _from_info(atoms, _MULTIPLICITY) + unpaired + moments
    state = ElectronicState(charge, _one("multiplicity", said, where))
    lowest = _lowest(atoms.numbers, charge)
    if said and (state.multiplicity < 1 or (state.multiplicity - lowest) % 2):
        raise InputError(
            f"{where}: {said[0][0]} means a multiplicity (2S + 1) of {state.multiplicity}, which does not fit "
            f"{int(atoms.numbers.sum()) - (charge or 0)} electrons; expected {lowest}, {lowest + 2}, …"
        )
    return state


def state_of_results(results: dict) -> ElectronicState:
    """The state from the charges and the magnetic moment of an earlier calculation, if they add up to integers other than 0."""
    charge = _whole(np.sum(results["charges"])) if "charges" in results else None
    moment = results.get("magmom", np.sum(results["magmoms"]) if "magmoms" in results else None)
    unpaired = None if moment is None else _whole(np.abs(np.sum(moment)))
    return ElectronicState(charge or None, unpaired + 1 if unpaired else None)


def is_ground(atoms: Atoms, state: ElectronicState) -> bool:
    """Whether a state is the default of a structure that gives none: neutral, of the lowest multiplicity."""
    return not state.charge and state.multiplicity in (None, _lowest(atoms.numbers, 0))


def check_state(
    numbers: np.ndarray,
    state: ElectronicState,
    domain: dict,
    where: str = "the structure",
    reason: str = "this model was trained on",
) -> ElectronicState:
    """The state of the energies: that of a structure, or that of the model or engine if the structure gives none.

    Args:
        numbers: (N,) atomic numbers.
        domain: ``charge`` and ``multiplicity`` of a training set or an engine; one that records none stands for neutral structures
            of the lowest multiplicity.
        reason: Text for the message.

    Raises:
        InputError: The structure has another charge or multiplicity.
    """
    charge = domain.get("charge", 0)
    known = domain.get("multiplicity") or _lowest(numbers, charge)
    for what, said, given in (("charge", state.charge, charge), ("multiplicity", state.multiplicity, known)):
        if said is not None and said != given:
            raise InputError(f"{where} has {what} {said}, but {reason} {what} {given}")
    return ElectronicState(charge or state.charge, domain.get("multiplicity") or state.multiplicity)


def _lowest(numbers: np.ndarray, charge: int | None) -> int:
    """The lowest multiplicity."""
    return 1 + (int(numbers.sum()) - (charge or 0)) % 2


def _from_info(atoms: Atoms, names: set[str]) -> list[tuple[str, float]]:
    return [(key, value) for key, value in atoms.info.items() if key.lower().replace("_", "").replace("-", "") in names]


def _sum(atoms: Atoms, name: str) -> list[tuple[str, float]]:
    """The sum of a column; a column of zeros means nothing: many programs write such columns."""
    column = atoms.arrays.get(name, np.zeros(1))
    total = float(column.sum()) if column.ndim == 1 else float(np.linalg.norm(column.sum(axis=0)))
    return [(name, total)] if np.any(column) else []


def _one(what: str, said: list[tuple[str, float]], where: str) -> int | None:
    """The one integer that all sources give."""
    found = {}
    for name, value in said:
        number = None if isinstance(value, bool | np.bool_) else _whole(value)
        if number is None:
            raise InputError(f"{where}: {name} = {value}: expected a whole number ({what})")
        found[name] = number
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} = {value}" for name, value in found.items())
        raise InputError(f"{where}: gives more than one {what}: {listed}")
    return next(iter(found.values()), None)


def _whole(value) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return round(number) if np.isfinite(number) and abs(number - round(number)) < _NEAR else None
