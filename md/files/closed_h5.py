"""Read HDF5 files of run folders, and only files that contain all their data themselves.

HDF5 supports links to other files, data in other files, and datasets assembled from those of others, and follows all of them
silently; it also accepts datasets that claim more entries than any disk holds. Files of mlcalc contain none of these.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from md.files.received import opener
from mlcalc.common.errors import InputError

_LARGEST_COUNT = 10_000  # of groups and datasets
_DENSEST = 1032  # bytes that one byte of a deflated chunk can expand to
_HEAP, _HEADER = b"GCOL", struct.Struct("<HHIQ")  # index, references, nothing, size of an object
_HEADS = 1 << 16  # bytes at the beginning of a file, which hold the texts of attributes
_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError, OverflowError)


@contextmanager
def open_h5(path: str | Path, what: str, locking: bool | None = None) -> Iterator[h5py.File]:
    """Open a self-contained file for reading; another process may write to it meanwhile.

    Args:
        path: The file; what: What it is expected to be, for messages.
        locking: As in h5py: a file that this process has open already must be opened the same way.

    Raises:
        InputError: Not a regular file, not HDF5, links, data in other files, more data announced than the file holds; also any
            error of h5py inside the context, for something missing or of another kind.
    """
    try:
        with open(path, "rb", opener=opener) as stream:
            check_heaps(stream.read(_HEADS))
        with h5py.File(path, "r", locking=locking) as file:
            check_closed(file)
            yield file
    except InputError as error:
        text = str(error)
        raise (error if text.startswith(str(path)) else InputError(f"{path}: {text}")) from error
    except _ERRORS as error:
        raise InputError(
            f"{path}: not a readable {what} ({damage(error)}): use an undamaged copy, or repeat the run"
        ) from error


def damage(error: Exception) -> str:
    """Why an HDF5 file cannot be read, without the library's own wording."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]}" if " " not in str(error.args[0]) else "parts of it are missing"
    if isinstance(error, PermissionError):
        return "no permission"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return "cut off, damaged, or no HDF5"


def check_heaps(head: bytes) -> None:
    """Raise InputError for a damaged collection of texts: HDF5 2.0 loops endlessly over an object without size.

    Files of mlcalc hold them at the beginning. Further on, only the headers of all objects, read as HDF5 does, distinguish them
    from numbers: a malicious file can still make HDF5 loop endlessly.

    Format: HDF5 File Format Specification 3.0, section III.E.
    """
    begin = head.find(_HEAP)
    while begin >= 0:
        place, end = begin + 16, begin + int.from_bytes(head[begin + 8 : begin + 16], "little")
        while place + 16 <= min(end, len(head)):
            index, _, _, size = _HEADER.unpack_from(head, place)
            step = 16 + (size + 7) // 8 * 8 if index else size
            if not 16 <= step <= end - place:
                raise InputError(f"texts of attributes are damaged at byte {place}")
            place += step
        begin = head.find(_HEAP, begin + 1)


def check_closed(file: h5py.File) -> None:
    """Raise InputError for links, data outside the file, or more announced data than the file holds."""
    size = file.id.get_filesize()
    seen, waiting = {_address(file["/"])}, [file["/"]]
    while waiting:
        group = waiting.pop()
        for name in group:
            if group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type != h5py.h5l.TYPE_HARD:
                raise InputError(f"{group.name.rstrip('/')}/{name} is a link: expected data in the file itself")
            child = group[name]
            address = _address(child)
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _LARGEST_COUNT:
                raise InputError(f"more than {_LARGEST_COUNT} groups and datasets")
            if isinstance(child, h5py.Group):
                waiting.append(child)
            elif isinstance(child, h5py.Dataset):
                _check_dataset(child, size)


def _address(thing) -> int:
    return h5py.h5o.get_info(thing.id).addr


def _check_dataset(dataset: h5py.Dataset, size: int) -> None:
    creation = dataset.id.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
        raise InputError(f"the data of {dataset.name} lies in another file: expected it in the file itself")
    announced = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
    # An index gives the position of each chunk, and may give one position many times.
    held = min(dataset.id.get_storage_size(), size) * (_DENSEST if creation.get_nfilters() else 1)
    if announced > held and creation.get_layout() != h5py.h5d.COMPACT:
        raise InputError(f"{dataset.name} announces {announced} bytes, and the file holds {held} of them")
