"""Structure files, read by ASE, after a look that keeps a broken one from taking all time or memory."""

import re
from pathlib import Path

from mlcalc.errors import InputError

_LARGEST = 1 << 31  # bytes
_MOST_COLUMNS = 10_000


def read_atoms(path: str | Path, format: str | None = None) -> list:
    """All structures of a file in a format that ASE reads, as ase.Atoms.

    Args:
        format: ASE's name of the format; None to tell it by the name of the file.

    Raises:
        InputError: Missing, larger than 2 GiB, malformed, or without structures.
    """
    import ase.io

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes, more than the {_LARGEST} that are read; split it")
    if format == "extxyz" or path.suffix in (".xyz", ".extxyz"):
        _check_counts(path)
    try:
        frames = list(ase.io.iread(path, index=":", format=format))
    except Exception as error:  # ASE's readers raise whatever a malformed file makes them trip over
        raise InputError(f"{path}: not a readable structure: {type(error).__name__}: {error}") from error
    if not frames:
        raise InputError(f"{path}: no structures in this file")
    return frames


def _check_counts(path: Path) -> None:
    """Raise InputError when an xyz file announces more atoms or columns than it has; ASE would look for them till doomsday."""
    lines = path.read_bytes().splitlines()
    at = 0
    while at < len(lines) and lines[at].strip():
        try:
            count = int(lines[at].split()[0])
        except ValueError:
            return  # ASE says what is wrong
        if not 0 <= count <= len(lines) - at - 2:
            raise InputError(
                f"{path}: not a readable structure: line {at + 1} announces {count} atoms, {len(lines) - at - 2} lines follow"
            )
        _check_columns(f"{path}: not a readable structure: line {at + 2}", lines[at + 1])
        at += 2 + count
        while at < len(lines) and lines[at].startswith(b"VEC"):
            at += 1


def _check_columns(where: str, comment: bytes) -> None:
    """The same for the columns: ``Properties=species:S:1:pos:R:3`` names each with its kind and its width."""
    found = re.search(rb"Properties\s*=\s*(\S+)", comment, re.IGNORECASE)
    for width in found.group(1).split(b":")[2::3] if found else ():
        try:
            columns = int(width.strip(b"\"'"))
        except ValueError:
            continue  # ASE says what is wrong
        if columns > _MOST_COLUMNS:
            raise InputError(f"{where} announces {columns} columns, more than {_MOST_COLUMNS}")
