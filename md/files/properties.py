"""The table of properties: comma-separated, one header, complete lines only.

Tables of earlier versions begin with a comment line (#), which readers skip and writers keep.
"""

import os
from pathlib import Path

import numpy as np

from md.files.received import opener
from mlcalc.common.errors import InputError


class PropertiesWriter:
    """Appends lines to a table with the columns step, time_fs and the given ones.

    Args:
        path: The file; columns: Names with units.
        length: None to create the file; a number of bytes to truncate an earlier one to.

    Attributes:
        columns: As given.

    Raises:
        InputError: The earlier file is shorter, or not a regular file.
        OSError: No space is left (``append`` likewise); the table then ends with the line before.
    """

    def __init__(self, path: Path, columns: list[str], length: int | None = None):
        self.columns = columns
        # Unbuffered, so that a line is one write, and no data remain unwritten when the disk is full.
        mode = "xb" if length is None else "r+b"
        self._file = open(path, mode, buffering=0, opener=opener)  # noqa: SIM115 (held for the life of the run)
        if length is None:
            self._length = 0
            self._write(",".join(["step", "time_fs", *columns]) + "\n")
        else:
            if path.stat().st_size < length:
                raise InputError(f"{path}: {path.stat().st_size} bytes, fewer than the {length} of the checkpoint")
            self._length = self._file.truncate(length)
            self._file.seek(length)

    def append(self, step: int, time_fs: float, values: dict[str, float]) -> None:
        """Add a line."""
        numbers = [repr(values[name]) for name in self.columns]
        self._write(",".join([str(step), f"{time_fs:.6g}", *numbers]) + "\n")

    def __len__(self) -> int:
        """Bytes."""
        return self._length

    def sync(self) -> None:
        """Wait until all lines are on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: str) -> None:
        data = line.encode()
        try:
            done = self._file.write(data)
            while done < len(data):
                done += self._file.write(data[done:])
        except OSError:
            self._file.truncate(self._length)
            raise
        self._length += len(data)


def read_table(path: Path) -> dict[str, np.ndarray]:
    """The columns of a table by name, step and time first.

    Raises:
        InputError: Not such a table; two columns of one name; numbers that no run writes: non-finite ones, and steps that are not
            whole numbers.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        header = lines[0].split(",")
        values = np.array([line.split(",") for line in lines[1:]], dtype=float).reshape(-1, len(header))
        if len(values) != len(lines) - 1:
            raise ValueError(f"{len(header)} columns announced, others found")
        if header[:2] != ["step", "time_fs"] or len(set(header)) < len(header):
            raise ValueError(f"columns {','.join(header)[:80]!r}; expected step, time_fs and others, each once")
        _check_numbers(header, values)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not a table of properties ({error})") from error
    return dict(zip(header, values.T, strict=True))


def _check_numbers(header: list[str], values: np.ndarray) -> None:
    """ValueError for the first number that no run writes."""
    allowed = np.isfinite(values)
    allowed[:, 0] &= (values[:, 0] >= 0) & (values[:, 0] == np.floor(values[:, 0]))
    if not allowed.all():
        row, column = np.argwhere(~allowed)[0]
        kind = "a finite number" if column else "a whole number of at least 0"
        raise ValueError(f"{header[column]} of line {row + 1} is {values[row, column]:g}: expected {kind}")
