"""Files of priors, for training: JSON with the table ``priors`` of a model file, and where they come from.

::

    {"format": "mlcalc-priors", "format_version": 1, "units": {"energy": "eV", "length": "Ang"},
     "origin": "…", "priors": {"bonds": {…}}}     keys as in mlcalc/priors

Bonds, angles and dihedral angles have the types of the beads of their chain, ``chain_types``; files of older releases lack them.
"""

from pathlib import Path
from typing import Any

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.priors import as_tables, build_priors

_HEAD = {"format": "mlcalc-priors", "format_version": 1, "units": {"energy": "eV", "length": "Ang"}}
_LARGEST = 1 << 24  # bytes


def write_priors(priors: dict[str, Any], origin: str, path: str | Path) -> None:
    """Write priors by name (atomically); origin: words that say where they come from."""
    write_atomically(path, to_json({**_HEAD, "origin": origin, "priors": as_tables(priors)}, indent=1).encode())


def read_priors(path: str | Path) -> dict[str, Any]:
    """Priors by name; InputError for a file that write_priors did not write, or numbers that are none of a prior."""
    path = check_regular(path)
    if (size := path.stat().st_size) > _LARGEST:
        raise InputError(f"{path}: {size} bytes: expected a file of priors of at most {_LARGEST}")
    try:
        found = from_json(path.read_bytes())
    except InputError as error:
        raise InputError(f"{path}: not a file of priors: {error}") from error
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in _HEAD.items()):
        raise InputError(f"{path}: not a file of priors: expected {to_json(_HEAD)}")
    if not isinstance(found.get("priors"), dict):
        raise InputError(f"{path}: priors = {str(found.get('priors'))[:60]!r}: expected a table")
    return build_priors(found["priors"], str(path))
