"""Zip archives: foreign ones, opened after a check of the sizes that they declare, and our own of arrays."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlcalc.common.errors import InputError

# The record that ends an archive; some have a record with wider numbers (56 bytes) and its locator (20) before it.
_END, _END_BYTES, _LOCATOR64, _END64_BYTES = b"PK\5\6", 22, b"PK\6\7", 76
_MOST_DIRECTORY_BYTES = 1 << 20  # some ten thousand members


def npz_bytes(arrays: Mapping[str, Any], write: Callable = np.savez_compressed) -> bytes:
    """An NPZ file of arrays by name, for files that are written atomically; ``write``: np.savez leaves them uncompressed."""
    stream = io.BytesIO()
    write(stream, **arrays)
    return stream.getvalue()


def open_zip(path: Path, most: int) -> zipfile.ZipFile:
    """An open archive of at most ``most`` bytes and with distinct names; the caller closes it.

    Raises:
        InputError: Not a zip archive, a damaged one, a larger one, or one with an outsized table of contents.
    """
    size = path.stat().st_size
    if size > most:
        raise InputError(f"{size} bytes: expected at most {most}")
    if _directory_bytes(path, size) > _MOST_DIRECTORY_BYTES:
        raise InputError("a zip archive with an outsized table of contents")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise InputError(f"not a readable zip archive: {error}") from error
    names = archive.namelist()
    if len(set(names)) < len(names):
        archive.close()
        raise InputError("a zip archive that holds two members of the same name")
    return archive


def _directory_bytes(path: Path, size: int) -> int:
    """Size of the table of contents, located as zipfile does, which reads it on opening."""
    with path.open("rb") as stream:
        stream.seek(max(size - (1 << 16) - _END_BYTES - _END64_BYTES, 0))
        tail = stream.read()
    at = len(tail) - _END_BYTES
    if not (tail[at : at + 4] == _END and tail.endswith(b"\0\0")):
        at = tail.rfind(_END)
    if at < 0:
        raise InputError("not a zip archive")
    found = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(at - 20, 0) : at].startswith(_LOCATOR64):
        at -= _END64_BYTES
        found = int.from_bytes(tail[at + 40 : at + 48], "little")
    return found
