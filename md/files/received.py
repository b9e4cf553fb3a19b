"""Files of run folders from other people: only regular files are opened, and no link is followed.

A received folder may contain, in place of a file, a symbolic link that leads out of it or a named pipe that blocks forever. Hard
links cannot be distinguished from files.
"""

import errno
import os
import stat
from pathlib import Path

from mlcalc.common.errors import STEERING, InputError

_KINDS = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_HINT = "expected a regular file; replace it by a copy of its target, or remove it"


def open_regular(path: str | Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """Descriptor of a regular file, as from os.open.

    Raises:
        InputError: It is a symbolic link, a named pipe, a folder or a device.
        OSError: Any other error of os.open.
    """
    try:
        # Without O_NONBLOCK a named pipe would wait for its other end; for regular files it has no effect.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            check_regular(path)
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise InputError(f"{path} is {_KINDS.get(kind, 'no file')}: {_HINT}")
    return descriptor


def opener(path: str, flags: int) -> int:
    """open_regular, for the ``opener`` of ``open``."""
    return open_regular(path, flags)


def check_regular(path: str | Path, largest: int | None = None) -> None:
    """Raise InputError for anything but a regular file of at most ``largest`` bytes; a missing file is allowed."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise InputError(f"{path} is {_KINDS.get(kind, 'no file')}: {_HINT}")
    if largest is not None and found.st_size > largest:
        raise InputError(f"{path}: {found.st_size} bytes: expected at most {largest}")


def read_regular(path: str | Path, largest: int) -> bytes:
    """The content of a regular file.

    Raises:
        InputError: Not a regular file, or larger than ``largest`` bytes. OSError: It cannot be read.
    """
    with open(path, "rb", opener=opener) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > largest:
            raise InputError(f"{path}: {size} bytes: expected at most {largest}")
        return stream.read(largest)


def check_name(folder: str | Path) -> None:
    """Raise InputError for a name that a line of a log or of TOML cannot hold: control characters, bytes that are not UTF-8."""
    if bad := STEERING.search(str(folder)):
        name = ascii(str(folder))
        name = name if len(name) <= 100 else name[:100] + "…"
        raise InputError(
            f"output {name}: {ascii(bad[0])} in its name: expected printable characters; choose another name"
        )
