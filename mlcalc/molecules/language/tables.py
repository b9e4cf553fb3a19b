"""Files of molecules: CSV (also .gz) with a column of SMILES, and one of solubilities. A row that cannot be used is listed."""

import csv
import gzip
import io
import math
import zlib
from pathlib import Path
from typing import NamedTuple

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.molecules.language.writing import SOLVENTS, Writing, canonical, molecule_of
from mlcalc.molecules.toolkit import rdkit

_LARGEST = 1 << 30  # bytes of a file, unpacked
_LOG_S = -20.0, 5.0  # log10 of mol/L: beyond it, another quantity or unit
_ROOM_C = 10.0, 40.0  # of rows that state a temperature
_TEMPERATURE = "T"  # °C; NA where the source has none
# Columns of solubilities as log10 of mol/L: AqSolDB, ESOL, the sets of solvents. Columns of predictions are none of them.
_VALUES = ("Solubility", "measured log solubility in mols per litre", "LogS")
_NOT_STATED = ("", "NA", "nan")


class Refusal(NamedTuple):
    """A row that is not used: file, line, and why, with the SMILES quoted."""

    file: str
    line: int
    reason: str


class Solubility(NamedTuple):
    """A molecule, its solubility log10(S / (mol/L)), the solvent, and its place: file and line."""

    writing: Writing
    log_s: float
    solvent: str
    place: str


class Table(NamedTuple):
    """What a file of solubilities holds: molecules, rows refused, and repeated molecules, whose values are averaged."""

    molecules: list[Solubility]
    refused: list[Refusal]
    repeated: int


def read_smiles(path: str | Path) -> list[tuple[int, str]]:
    """Line and SMILES of every row of a file.

    Raises:
        InputError: Not a CSV file with one column named SMILES, in any case; no rows.
    """
    columns, rows = _rows(path)
    column = _column(columns, "", _smiles(columns), f"{path}: SMILES", "name one of them SMILES")
    return [(line, row[column].strip()) for line, row in rows]


def read_solubilities(path: str | Path, solvent: str, smiles_key: str = "", value_key: str = "") -> Table:
    """Solubilities of a file in log10 of mol/L, each molecule once, by its canonical SMILES.

    Rows are refused for SMILES that cannot be used, values that are no solubility, and stated temperatures outside 10 to 40 °C.

    Args:
        solvent: A key of SOLVENTS.
        value_key: The column of solubilities, if it is none of those of AqSolDB, ESOL and the sets of solvents.

    Raises:
        InputError: An unknown solvent; no column, or several, of SMILES or solubilities; no row, or none that can be used.
    """
    if solvent not in SOLVENTS:
        raise InputError(f"solvent {solvent[:40]!r}: expected one of {', '.join(SOLVENTS)}")
    rdkit()  # missing, it is not the fault of a row
    found: dict[str, list[Solubility]] = {}
    refused = []
    columns, rows = _rows(path)
    key = _column(columns, smiles_key, _smiles(columns), f"{path}: SMILES", "set smiles_key to one of them")
    known = [column for column in columns if column in _VALUES]
    quantity = _column(columns, value_key, known, f"{path}: solubilities", "set value_key to one of them")
    for line, row in rows:
        smiles = row[key].strip()
        try:
            value = _log_s(smiles, row[quantity], row.get(_TEMPERATURE, ""))
            entry = Solubility(canonical(molecule_of(smiles)), value, solvent, f"{path}: line {line}")
        except InputError as error:
            refused.append(Refusal(str(path), line, str(error)))
            continue
        found.setdefault(entry.writing.smiles, []).append(entry)
    if not found:
        why = f", the first because of {refused[0].reason}" if refused else ""
        raise InputError(f"{path}: none of {len(refused)} rows can be used{why}")
    molecules = [rows[0]._replace(log_s=sum(r.log_s for r in rows) / len(rows)) for rows in found.values()]
    return Table(molecules, refused, sum(len(rows) for rows in found.values()) - len(found))


def refusals_as_csv(refused: list[Refusal]) -> bytes:
    """The list of refused rows as a CSV file."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(Refusal._fields)
    writer.writerows(refused)
    return stream.getvalue().encode()


def _log_s(smiles: str, text: str, temperature: str) -> float:
    value, celsius = _number(text), _number(temperature)
    if math.isnan(value) or not _LOG_S[0] <= value <= _LOG_S[1]:
        raise InputError(
            f"{smiles!r}: solubility {text[:40]!r}: expected log10 of mol/L, {_LOG_S[0]:g} to {_LOG_S[1]:g}"
        )
    if temperature.strip() not in _NOT_STATED and not _ROOM_C[0] <= celsius <= _ROOM_C[1]:
        raise InputError(
            f"{smiles!r}: temperature {temperature[:40]!r}: expected {_ROOM_C[0]:g} to {_ROOM_C[1]:g} °C, or none"
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _rows(path: str | Path) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Columns of a CSV file, and line and content of its rows, of which there is at least one."""
    path = check_regular(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path}: more than {_LARGEST} bytes: expected a smaller table")
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        columns = tuple(reader.fieldnames or ())
        if len(set(columns)) < len(columns):
            raise InputError(f"{path}: a column twice: expected columns of different names")
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}: line {reader.line_num}: expected {len(columns)} columns, as in the first line"
                )
            rows.append((reader.line_num, row))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file: {error}") from error

    if not rows:
        raise InputError(f"{path}: no rows: expected a line of column names, and a line for each molecule")
    return columns, rows


def _smiles(columns: tuple[str, ...]) -> list[str]:
    return [column for column in columns if column.lower() == "smiles"]


def _column(columns: tuple[str, ...], key: str, known: list[str], what: str, advice: str) -> str:
    found = [c for c in columns if c == key] if key else known
    if len(found) != 1:
        asked = f"column {key!r}" if key else f"{len(found)} columns of a known name"
        raise InputError(f"{what}: {asked} among {', '.join(columns)[:200]}: {advice}")
    return found[0]
