"""Files that are whole or not there."""

import errno
import os
import tempfile
from pathlib import Path

from mlcalc.errors import InputError


def check_regular(path: str | Path) -> Path:
    """A path to a regular file, which ends and does not make its reader wait; InputError for folders, pipes and devices too."""
    path = Path(path)
    try:
        if path.is_file():
            return path
        found = path.exists()
    except (OSError, ValueError) as error:  # a loop of links, no right to look, a name too long or with NUL
        raise InputError(f"{str(path)[:200]!r}: cannot be read: {error}") from error
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: expected a name without NUL")
    raise InputError(f"{path}: not a regular file" if found else f"{path}: no such file")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file that is either the old one or the whole new one: temporary file, fsync, rename, fsync of the folder.

    Raises:
        InputError: No such folder, or no right to write there.
        OSError: No space left; the old file is untouched.
    """
    path = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; expected an existing folder of yours"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    """Wait until the names in a folder are on disk: without it a rename may be lost when the power goes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
