"""Entries of a model file's header besides the architecture: each by name, of one type, within bounds.

``domain``, ``scalar``, ``validation_errors``, ``test_errors`` and ``provenance`` may come from foreign files. They are checked when
a file is read and when it is written, so code that uses them need not check them.
"""

import difflib
import math
from dataclasses import dataclass
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings, check_range
from mlcalc.outputs import scalar_of

HEAVIEST = len(chemical_symbols) - 1  # atomic number
_LONGEST = 8000  # characters of an architecture, or of a domain without its distances by pair
_FARTHEST_A, _HEAVIEST_U, _MOST_CHARGE = 1e4, 1e6, 1000


def check_atomic_numbers(name: str, numbers) -> tuple[int, ...]:
    """Distinct atomic numbers of known elements, as a tuple of int; InputError for anything else."""
    if isinstance(numbers, str) or any(isinstance(z, bool) or not hasattr(z, "__index__") for z in numbers):
        raise InputError(f"{name} = {str(numbers)[:60]}: expected a list of whole numbers")
    found = tuple(z.__index__() for z in numbers)
    if len(set(found)) < len(found) or not all(1 <= z <= HEAVIEST for z in found):
        raise InputError(f"{name} = {str(list(found))[:60]}: expected distinct atomic numbers from 1 to {HEAVIEST}")
    return found


@dataclass(frozen=True)
class Domain:
    """The training domain, see mlcalc/training/domain.py: distances in Å, also by pair ("C-H"), masses in u, the engine that
    the network corrects; None: not recorded."""

    elements: tuple[int, ...] | None = None
    lone_elements: tuple[int, ...] | None = None
    free_elements: tuple[int, ...] | None = None
    min_distances_A: dict | None = None
    min_distance_A: float | None = None
    max_nearest_distance_A: float | None = None
    max_distance_A: float | None = None
    charge: int | None = None
    multiplicity: int | None = None
    bead_masses_u: dict | None = None
    correction_to: str | None = None

    def __post_init__(self):
        if self.correction_to is not None and not (self.correction_to and self.correction_to.isprintable()):
            raise InputError(f"correction_to = {self.correction_to[:60]!r}: expected the name of an engine")
        for name in ("elements", "lone_elements", "free_elements"):
            check_atomic_numbers(name, getattr(self, name) or ())
        distances = [self.min_distance_A, self.max_nearest_distance_A, self.max_distance_A]
        known = [distance for distance in distances if distance is not None]
        if known != sorted(known) or not all(0 < distance <= _FARTHEST_A for distance in known):
            raise InputError(f"distances in training {known}: expected more than 0 Å, from the shortest to the longest")
        check_range("charge", self.charge or 0, -_MOST_CHARGE, _MOST_CHARGE)
        check_range("multiplicity", 1 if self.multiplicity is None else self.multiplicity, 1, _MOST_CHARGE)
        for symbol, mass in (self.bead_masses_u or {}).items():
            if not _is_element(symbol) or not (_is_number(mass) and 0 < mass <= _HEAVIEST_U):
                raise InputError(f"bead_masses_u: {symbol[:20]!r} = {str(mass)[:40]}: expected masses in u by symbol")
        for pair, distance in (self.min_distances_A or {}).items():
            symbols = pair.split("-")
            of_pair = len(symbols) == 2 and all(map(_is_element, symbols))
            if not of_pair or not (_is_number(distance) and 0 < distance <= _FARTHEST_A):
                raise InputError(
                    f"min_distances_A: {pair[:20]!r} = {str(distance)[:40]}: expected distances in Å by pair, as C-H"
                )


def check_metadata(metadata: dict[str, Any], source: str) -> None:
    """Raise InputError unless every entry is a known one, and of its type."""
    for name, entry in metadata.items():
        if name not in _ENTRIES:
            near = difflib.get_close_matches(name, _ENTRIES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known entries: {', '.join(_ENTRIES)}"
            raise InputError(f"{source}: unknown entry {name[:40]!r} of the header; {hint}")
        check_table(name, _without_pairs(entry), source, _LONGEST if name == "domain" else 1 << 32)
        try:
            _ENTRIES[name](entry)
        except InputError as error:
            raise InputError(f"{source}: unreadable {name}: {error}") from error


def check_table(name: str, entry: Any, source: str, most: int = _LONGEST) -> None:
    """Raise InputError unless an entry is a table whose text has at most ``most`` characters: messages quote it."""
    if not isinstance(entry, dict):
        raise InputError(f"{source}: {name} = {str(entry)[:60]!r}: expected a table")
    if len(text := str(entry)) > most:
        raise InputError(
            f"{source}: {name} = {text[:60]!r}…: a table of {len(text)} characters, expected at most {most}"
        )


def _without_pairs(entry: Any) -> Any:
    """An entry without its distances by pair: no message quotes them, and 100 elements have thousands."""
    if not isinstance(entry, dict) or not isinstance(entry.get("min_distances_A"), dict):
        return entry
    return {key: value for key, value in entry.items() if key != "min_distances_A"}


def _check_domain(domain: dict[str, Any]) -> None:
    if absent := [key for key, value in domain.items() if value is None]:
        raise InputError(f"{absent[0]} = null: expected a value, or no such key")
    build_settings(Domain, domain, "domain")


def _check_errors(errors: dict[str, Any]) -> None:
    """One table of errors: a name, counts, and numbers that are at least 0 (except biases) or null."""
    for key, value in errors.items():
        if key == "name":
            fits = isinstance(value, str)
        elif key in ("frames", "moments"):
            fits = type(value) is int and value >= 0
        else:
            fits = value is None or (_is_number(value) and (value >= 0 or "bias" in key))
        if not fits:
            raise InputError(f"{key[:40]} = {str(value)[:60]!r}: expected a number of at least 0 or null")


def _check_tests(tests: dict[str, Any]) -> None:
    for data, errors in tests.items():
        if not isinstance(errors, dict):
            raise InputError(f"{data[:40]!r} = {str(errors)[:60]!r}: expected a table")
        _check_errors(errors)


def _check_provenance(provenance: dict[str, Any]) -> None:
    """Known keys have their types; other keys are free."""
    for key, kind in _ORIGIN.items():
        if key in provenance and (isinstance(provenance[key], bool) or not isinstance(provenance[key], kind)):
            raise InputError(f"{key} = {str(provenance[key])[:60]!r}: expected {_KINDS[kind]}")


def _is_element(symbol: str) -> bool:
    return symbol in atomic_numbers and symbol != "X"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_scalar(scalar: dict[str, Any]) -> None:
    """Name and unit, of which the key of its labels consists."""
    texts = set(scalar) == {"name", "unit"} and all(isinstance(text, str) for text in scalar.values())
    if not texts or scalar_of(f"{scalar['name']}_{scalar['unit']}")._asdict() != scalar:
        raise InputError(f"{str(scalar)[:60]}: expected its name and its unit, as {{'name': 'ZPVE', 'unit': 'eV'}}")


_ENTRIES = {
    "domain": _check_domain,
    "scalar": _check_scalar,
    "validation_errors": _check_errors,
    "test_errors": _check_tests,
    "provenance": _check_provenance,
}
_ORIGIN = {
    "imported_from": str, "checkpoint": str, "energy": str, "energy_unit": str, "length_unit": str, "torch": str,
    "training_files_sha256": dict, "training_data": list, "training_frames": int, "steps": int, "settings": dict,
}  # fmt: skip
_KINDS = {str: "text", dict: "a table", list: "a list", int: "a whole number"}
