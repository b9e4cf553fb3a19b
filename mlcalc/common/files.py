"""Files that are either complete or absent."""

import errno
import os
import secrets
import stat
from pathlib import Path

from mlcalc.common.errors import DISK_FULL, InputError

_REFUSED = (
    errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG,
    errno.ELOOP,
)  # fmt: skip


def check_regular(path: str | Path) -> Path:
    """A path to a regular file, which has an end and never blocks its reader; InputError for folders, pipes and devices too."""
    path = Path(path)
    try:
        if path.is_file():
            return path
        found = path.exists()
    except (OSError, ValueError) as error:  # a loop of links, no permission, a name too long or with NUL
        raise InputError(f"{str(path)[:200]!r}: cannot be read: {error}") from error
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: expected a name without NUL")
    raise InputError(f"{path}: not a regular file" if found else f"{path}: no such file")


def check_place(path: str | Path) -> Path:
    """A path where a file can be written; InputError for a missing folder, and a name that no file can have."""
    path = Path(path)
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name too long, a loop of links, NUL or a lone surrogate in it
        raise InputError(f"{str(path)[:200]!r}: cannot be written: {error}") from error
    if not os.path.isdir(path.parent):
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    return path


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents; InputError where a file is in the way, or permission is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_FULL:
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(folder)[:200]}: cannot be created: {reason}; choose another --output") from error


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file that is either the old one or the complete new one: temporary file, fsync, rename, fsync of the folder.

    A symbolic link at the path is replaced; its target is left unchanged. The file gets the permissions of the one that it
    replaces, or those that the umask leaves if there was none.

    Raises:
        InputError: No such folder, no permission to write there, a name too long, or something there that is not a file.
        OSError: No space left; the old file is untouched.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}"
    try:
        old = _mode(path)
        descriptor = _create(temporary, 0o666 if old is None else old)
    except (OSError, ValueError) as error:  # ValueError: NUL, or a lone surrogate
        if isinstance(error, OSError) and error.errno not in _REFUSED:
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot be written: {reason}; expected a file in an existing folder that you can write"
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if old is not None:
                os.fchmod(descriptor, old)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _create(path: Path, mode: int) -> int:
    """Descriptor of a new file; an existing entry of that name, even a link, is an error."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def _mode(path: Path) -> int | None:
    """Permissions of the file at a path; None for a link or a missing file."""
    try:
        found = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, "a folder has this name", str(path))
    if not stat.S_ISREG(found) and not stat.S_ISLNK(found):
        raise FileExistsError(errno.EEXIST, "a device, pipe or socket has this name", str(path))
    return stat.S_IMODE(found) if stat.S_ISREG(found) else None


def sync_folder(folder: str | Path) -> None:
    """Wait until the names in a folder are on disk: without it a rename may be lost when the power goes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
