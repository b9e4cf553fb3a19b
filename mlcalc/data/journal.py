"""The journal of a labelling run: a line of JSON for each structure, under a first line that names the engine."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place, check_regular
from mlcalc.common.json_text import from_json
from mlcalc.data.engines import engine_fingerprint

JOURNAL_FORMAT = "mlcalc-labels-1"


@contextmanager
def open_journal(output: Path, engine: str, keys: set[str]) -> Iterator[tuple[BinaryIO, dict[str, dict[str, Any]]]]:
    """The journal beside an output, locked and open for appending, and its records by structure key."""
    path = output.with_name(f"{output.name}.journal")
    if os.path.lexists(check_place(path)):
        check_regular(path)
    if os.path.exists(output) and not os.path.exists(path):
        raise InputError(f"{output}: exists without a labelling journal beside it; remove it or choose another output")
    header = {"format": JOURNAL_FORMAT, "engine": engine, "engine_sha256": engine_fingerprint(engine)}
    with open(path, "a+b") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{path}: another labelling run is writing it") from error
        records = _read_journal(journal, path, header)
        if strangers := len(records.keys() - keys):
            raise InputError(
                f"{path}: holds labels of {strangers} structures that the input lacks; an input may grow, but a "
                "different input needs another output"
            )
        if journal.tell() == 0:
            append(journal, header)
        yield journal, records


def _read_journal(journal: BinaryIO, path: Path, header: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Records by structure key; an incomplete last line of a killed run is cut off."""
    journal.seek(0)
    content = journal.read()
    lines = content[: content.rfind(b"\n") + 1]
    journal.truncate(len(lines))
    journal.seek(len(lines))
    if not lines:
        return {}
    try:
        found, *records = [from_json(line) for line in lines.splitlines()]
        by_key = {record["key"]: record for record in records}
        engine, same = found["engine"], found == header
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a labelling journal ({error}); remove it or choose another output") from error
    if not same:
        changed = "a file of that engine has changed since" if engine == header["engine"] else "pass that one"
        raise InputError(f"{path}: belongs to engine {engine!r} ({changed}); expected {header['engine']!r}")
    return by_key


def append(journal: BinaryIO, record: dict[str, Any]) -> None:
    """Add a record; it is on disk when this returns."""
    journal.write(json.dumps(record).encode() + b"\n")
    journal.flush()
    os.fsync(journal.fileno())
