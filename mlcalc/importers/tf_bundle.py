"""Tensors of a TensorFlow V2 checkpoint, read without TensorFlow.

A bundle is an index and data shards. ``PREFIX.index`` is a sorted string table (LevelDB's SSTable): a 48-byte footer points to
an index block, that to data blocks; a block holds key–value records whose keys share prefixes. The value of a tensor's record is
a BundleEntryProto: dtype (field 1), shape (2), shard (3), offset (4) and size (5) in ``PREFIX.data-*``, checksum (6).

Formats: LevelDB ``doc/table_format.md``; TensorFlow ``tensor_bundle.proto``; checksums are masked CRC-32C (RFC 3720).
Every number from the file is checked against the file's own size before it is used.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES, _TRAILER_BYTES = 48, 5
_NO_COMPRESSION = 0
_MAX_DIMENSIONS = 8
_MAX_INDEX_BYTES, _MAX_DATA_BYTES, _MAX_KEY_BYTES = 1 << 20, 1 << 26, 1 << 10  # a SchNet has some kB, some MB, some 60
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
# TensorFlow's numbers of the dtypes that weights and counters have.
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}


@contextmanager
def translation(prefix: Path, network: str) -> Iterator[None]:
    """Turn what goes wrong within it with the tensors of a checkpoint into an InputError that names checkpoint and network."""
    try:
        yield
    except KeyError as error:
        raise InputError(f"{prefix}: tensor {error.args[0]!r} is missing: not a checkpoint of {network}") from error
    except InputError as error:
        raise InputError(f"{prefix}: {error}") from error
    except (IndexError, TypeError, ValueError) as error:  # of shapes that it does not have
        raise InputError(f"{prefix}: not a checkpoint of {network} ({str(error)[:200]})") from error


def read_tf_bundle(prefix: str | Path) -> dict[str, np.ndarray]:
    """All numeric tensors of the bundle ``PREFIX.index`` + ``PREFIX.data-00000-of-00001`` by name.

    Raises:
        InputError: A file is missing, truncated, foreign, compressed, sharded, or fails its checksum.
    """
    index_path, data_path = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    for path, most in ((index_path, _MAX_INDEX_BYTES), (data_path, _MAX_DATA_BYTES)):
        if not os.path.isfile(path):
            raise InputError(f"{path}: no such file; expected both files of a TensorFlow V2 checkpoint")
        if (size := path.stat().st_size) > most:
            raise InputError(f"{path}: {size} bytes are too many for a SchNet (at most {most})")
    try:
        places = {key.decode(): _place(_fields(value)) for key, value in _table(index_path.read_bytes()) if key}
        data = data_path.read_bytes()
        _check_places(list(places.values()), len(data))
        return {key: _tensor(place, data) for key, place in places.items() if place.dtype is not None}
    except (ValueError, IndexError, UnicodeDecodeError) as error:  # InputError is a ValueError: its text is kept
        raise InputError(f"{index_path}: not a readable TensorFlow V2 checkpoint: {str(error)[:200]}") from error


def _table(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key–value records of a sorted string table."""
    footer = file[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise ValueError("the table's closing magic number is missing (truncated, or another kind of file)")
    _, at = _handle(footer, 0)  # the meta-index block, which bundles leave empty
    index_block, _ = _handle(footer, at)
    end, last = 0, b""
    for _, value in _records(_block(file, *index_block)):
        offset, size = _handle(value, 0)[0]
        if offset < end:
            raise ValueError("blocks of the index that overlap")
        end = offset + size
        for key, content in _records(_block(file, offset, size)):
            if key <= last and last:
                raise ValueError(f"a key out of order, {key[:40]!r}")
            last = key
            yield key, content


def _handle(buffer: bytes, at: int) -> tuple[tuple[int, int], int]:
    """(offset, size) of a block, and where the next entry begins."""
    offset, at = _varint(buffer, at)
    size, at = _varint(buffer, at)
    return (offset, size), at


def _block(file: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(file):
        raise ValueError(f"a block ends at byte {end + _TRAILER_BYTES} of a file of {len(file)} (truncated)")
    if file[end] != _NO_COMPRESSION:
        raise ValueError(f"block compression type {file[end]}; only uncompressed tables can be read")
    _check_crc(file[offset : end + 1], int.from_bytes(file[end + 1 : end + 5], "little"), "a block of the index")
    return file[offset:end]


def _records(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    n_restarts = int.from_bytes(block[-4:], "little")
    end, at, key = len(block) - 4 - 4 * n_restarts, 0, b""
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes claims {n_restarts} restart points")
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise ValueError("a record reaches beyond its block")
        if shared + own > _MAX_KEY_BYTES:
            raise ValueError(f"a key of {shared + own} bytes")
        key = key[:shared] + block[at : at + own]
        at += own
        yield key, block[at : at + length]
        at += length


class _Place(NamedTuple):
    """Where the numbers of a tensor lie; a dtype of None for types that are not numbers (strings)."""

    dtype: np.dtype | None
    shape: tuple[int, ...]
    offset: int
    size: int
    checksum: int | None


def _place(entry: dict[int, list]) -> _Place:
    """The place that a BundleEntryProto gives."""
    dimensions = _fields(_message(entry, 2)).get(2, [])
    shape = tuple(_number(_fields(dimension), 1) for dimension in dimensions)
    shard, offset, size = (_number(entry, field) for field in (3, 4, 5))
    if shard:
        raise ValueError("the checkpoint has more than one data file; only unsharded ones can be read")
    return _Place(_DTYPES.get(_number(entry, 1)), shape, offset, size, _number(entry, 6) if 6 in entry else None)


def _check_places(places: list[_Place], available: int) -> None:
    """Raise ValueError unless each tensor has bytes of its own, as many as its shape needs, in a data file of that size."""
    end = 0
    for place in sorted(places, key=lambda place: (place.offset, place.size)):
        if place.offset + place.size > available:
            raise ValueError(
                f"a tensor ends at byte {place.offset + place.size} of a data file of {available} (truncated)"
            )
        if place.offset < end:
            raise ValueError(f"two tensors share byte {place.offset} of the data file")
        end = place.offset + place.size
        # Python's integers: a hostile shape cannot overflow its way past this check.
        count = 0 if place.dtype is None else place.dtype.itemsize
        for length in place.shape[:_MAX_DIMENSIONS]:
            count *= length
        if place.dtype is not None and (
            len(place.shape) > _MAX_DIMENSIONS or count != place.size or max(place.shape, default=0) >> 40
        ):
            shape = ", ".join(map(str, place.shape[:_MAX_DIMENSIONS]))
            raise ValueError(f"a tensor of shape ({shape}) and type {place.dtype} cannot have {place.size} bytes")


def _tensor(place: _Place, data: bytes) -> np.ndarray:
    content = data[place.offset : place.offset + place.size]
    if place.checksum is not None:
        _check_crc(content, place.checksum, "a tensor")
    return np.frombuffer(content, place.dtype).reshape(place.shape).copy()


def _fields(message: bytes) -> dict[int, list]:
    """Field number → values of a protocol-buffer message."""
    fields: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        value: int | bytes
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            if kind == _BYTES:
                length, at = _varint(message, at)
            elif kind in (_FIXED32, _FIXED64):
                length = 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"wire type {kind} in a record")
            if at + length > len(message):
                raise ValueError("a field reaches beyond its record")
            content = message[at : at + length]
            value = content if kind == _BYTES else int.from_bytes(content, "little")
            at += length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(entry: dict[int, list], field: int) -> int:
    value = entry.get(field, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {field} of a record is not a number")
    return value


def _message(entry: dict[int, list], field: int) -> bytes:
    value = entry.get(field, [b""])[0]
    if not isinstance(value, bytes):
        raise ValueError(f"field {field} of a record is not a message")
    return value


def _varint(buffer: bytes, at: int) -> tuple[int, int]:
    """A base-128 number, and where the next entry begins."""
    value = shift = 0
    while True:
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, reflected
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def masked_crc32c(content: bytes) -> int:
    """CRC-32C, rotated and offset as TensorFlow and LevelDB store it."""
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _check_crc(content: bytes, expected: int, what: str) -> None:
    if masked_crc32c(content) != expected:
        raise ValueError(f"the checksum of {what} is wrong (damaged file)")
