"""The one exception that means "the input is at fault", and how a command line reports it."""

import sys
from collections.abc import Callable

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class InputError(ValueError):
    """What the user passed cannot be used; the message quotes it and says what is allowed."""


def run_command(program: str, command: Callable[[], int | None]) -> int:
    """Run a command-line program's body and turn its outcome into an exit code.

    Returns the body's own code (None counts as 0), 2 with one line on stderr after an
    :class:`InputError`, 130 after Ctrl-C. Every other exception is a fault of ours and propagates.
    """
    try:
        return command() or 0
    except InputError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
