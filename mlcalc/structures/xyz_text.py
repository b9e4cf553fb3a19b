"""Conversion of XYZ files as editors and other programs write them to text that ASE's reader accepts.

ASE stops at an empty line and silently drops the rest; it supports neither byte order marks nor D and T, and ignores i-PI's comment
lines. This module changes the form of a file and never its meaning; malformed files are refused.
"""

import re
from typing import NamedTuple

from mlcalc.common.errors import InputError

ISOTOPES = {"D": 2.01410177784, "T": 3.01604928132}  # u, masses of the atoms; https://physics.nist.gov/Comp
_MOST_COLUMNS = 10_000
_BOM = b"\xef\xbb\xbf"
_MAYBE_ISOTOPE = re.compile(rb"(?m)^\s*[DTdt]\s")
_PROPERTIES = re.compile(rb"Properties\s*=\s*(\S+)", re.IGNORECASE)


class XyzText(NamedTuple):
    """Text for ASE, and what was taken out of it.

    Attributes:
        text: Extended XYZ without empty lines between structures.
        masses: For each structure the masses (u) of its atoms that the file calls D or T, by index.
        comments: The comment line of each structure.
    """

    text: str
    masses: list[dict[int, float]]
    comments: list[str]


def tidy(content: bytes, path) -> XyzText:
    """The structures of an XYZ file.

    Raises:
        InputError: A line that is not a number of atoms where one is expected, or that announces more atoms or columns than there
            are (ASE would never stop counting); an empty line within a structure.
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16", errors="replace").encode()
    lines = content.splitlines()
    kept: list[bytes] = []
    masses: list[dict[int, float]] = []
    comments: list[str] = []
    at = 0
    while (at := _next_written(lines, at)) < len(lines):
        count = _count(lines, at, len(masses) + 1, path)
        end = at + 2 + count
        frame = [lines[at].lstrip(_BOM), *lines[at + 1 : end]]
        for offset, line in enumerate(frame[2:], start=at + 3):
            if not line.strip():
                raise InputError(f"{path}: not a readable structure: line {offset} is empty, within a structure")
        _check_columns(f"{path}: not a readable structure: line {at + 2}", frame[1])
        masses.append(_replace_isotopes(frame))
        comments.append(frame[1].decode("utf-8", errors="replace"))
        while end < len(lines) and lines[end].lstrip().startswith(b"VEC"):
            frame.append(lines[end])
            end += 1
        kept += frame
        at = end
    return XyzText(_decoded(b"\n".join([*kept, b""])), masses, comments)


def _next_written(lines: list[bytes], at: int) -> int:
    """The next line that is not empty."""
    while at < len(lines) and not lines[at].lstrip(_BOM).strip():
        at += 1
    return at


def _count(lines: list[bytes], at: int, number: int, path) -> int:
    first = lines[at].lstrip(_BOM)
    try:
        count = int(first)
    except ValueError as error:
        raise InputError(
            f"{path}: not a readable structure: line {at + 1} is {first.decode(errors='replace').strip()[:40]!r}; expected the "
            f"number of atoms of structure {number}"
        ) from error
    if not 0 <= count <= len(lines) - at - 2:
        raise InputError(
            f"{path}: not a readable structure: line {at + 1} announces {count} atoms, {len(lines) - at - 2} lines follow"
        )
    return count


def _check_columns(where: str, comment: bytes) -> None:
    """``Properties=species:S:1:pos:R:3`` names each column with its kind and its width."""
    found = _PROPERTIES.search(comment)
    for width in found.group(1).split(b":")[2::3] if found else ():
        try:
            columns = int(width.strip(b"\"'"))
        except ValueError:
            continue  # ASE reports the fault
        if columns > _MOST_COLUMNS:
            raise InputError(f"{where} announces {columns} columns, more than {_MOST_COLUMNS}")


def _replace_isotopes(frame: list[bytes]) -> dict[int, float]:
    """Write H for D and T in the lines of a structure, in place; returns their masses by atom."""
    column = _species_column(frame[1])
    if column is None or (column == 0 and not _MAYBE_ISOTOPE.search(b"\n".join(frame[2:]))):
        return {}
    masses = {}
    for k, line in enumerate(frame[2:]):
        words = line.split()
        symbol = words[column].decode(errors="replace").upper() if column < len(words) else ""
        if symbol in ISOTOPES:
            words[column] = b"H"
            frame[2 + k] = b" ".join(words)
            masses[k] = ISOTOPES[symbol]
    return masses


def _species_column(comment: bytes) -> int | None:
    """The column of the element symbols; None if there is none (only atomic numbers)."""
    found = _PROPERTIES.search(comment)
    if not found:
        return 0
    parts, column = found.group(1).strip(b"\"'").split(b":"), 0
    for name, width in zip(parts[::3], parts[2::3], strict=False):
        if name == b"species":
            return column
        column += int(width) if width.isdigit() else 1
    return None


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # an Å of an old editor in a comment
