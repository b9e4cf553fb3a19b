"""The exception for faulty input, how a command line reports it, and notes on input that is used all the same."""

import errno
import os
import re
import sys
from collections.abc import Callable

EXIT_BAD_INPUT = 2
EXIT_DISK = 8
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_DISK = (*DISK_FULL, errno.EROFS)
# Control characters, marks that change the direction of text, line separators and surrogates: a line of a log or a terminal
# cannot hold them unescaped.
STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class InputError(ValueError):
    """What the user passed cannot be used; the message quotes it and says what is allowed."""


def run_command(program: str, command: Callable[[], int | None]) -> int:
    """Run a command-line program's body and turn its outcome into an exit code.

    Returns the body's own code (None counts as 0); with one line on stderr 2 after an :class:`InputError`, 8 when a disk is
    full or cannot be written, 130 after Ctrl-C; without one 141 when the reader has closed the pipe. Any other exception is
    a bug and propagates.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot encode ± must not end a run
            stream.reconfigure(errors="replace")
    try:
        code = command() or 0
        if sys.stdout:
            sys.stdout.flush()
        return code
    except InputError as error:
        say(f"{program}: error: {error}")
        return EXIT_BAD_INPUT
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        _drop_unwritten()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _DISK:
            raise
        say(f"{program}: error: {disk_message(error)}")
        _drop_unwritten()
        return EXIT_DISK
    except KeyboardInterrupt as error:
        say(f"{program}: interrupted")
        return error.args[0] if error.args else EXIT_INTERRUPTED


def _drop_unwritten() -> None:
    """Output that cannot be written is lost, since Python would try again at exit, with a message and a code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Print on stderr what the user should know about an input that is used all the same."""
    say(f"note: {text}")


def say(text: str) -> None:
    """Print one line on stderr, whatever characters a file put into its text."""
    print(one_line(text), file=sys.stderr, flush=True)


def one_line(text: object) -> str:
    """Text for a line of a log or a terminal: characters that would control it, or end the line, are escaped."""
    return STEERING.sub(lambda found: ascii(found[0])[1:-1], str(text))


def disk_message(error: OSError) -> str:
    """The message for a file that could not be written."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}; no incomplete file was left: make room and start the same command again"
