"""Options and output that the commands of ``python -m analysis`` share."""

import argparse
import sys
from pathlib import Path

from mlcalc.common.errors import InputError


def number(text: str) -> float:
    """Parse a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from None


def share(text: str) -> float | None:
    """Parse a share; None for ``auto``."""
    return None if text == "auto" else number(text)


def check_discard(discard: float | None, automatic: bool = False) -> None:
    """Raise InputError unless this share can be discarded; None, for ``auto``, only if allowed."""
    if discard is None and automatic:
        return
    if discard is None or not 0 <= discard < 1:
        shown = "auto" if discard is None else discard
        raise InputError(f"--discard {shown}: expected a share of at least 0 and below 1")


def add_discard(command: argparse.ArgumentParser, text: str) -> None:
    """Add the option for the share discarded at the start."""
    command.add_argument("--discard", type=share, default=0.1, metavar="SHARE", help=f"{text} (default: 0.1)")


def add_runs(command: argparse.ArgumentParser, what: str, pool: bool = True, automatic: bool = False) -> None:
    """Add run folders and the options for reading them.

    Args:
        what: The records of which a share is discarded, such as "frames".
        pool: Whether runs can be pooled; automatic: Whether ``--discard auto`` is allowed.
    """
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of 'rpmd run'")
    auto = "; auto: until the potential energy is stationary" if automatic else ""
    add_discard(command, f"share of the {what} of each run left out at the start, as equilibration{auto}")
    if pool:
        command.add_argument(
            "--pool", action="store_true",
            help="combine runs with the same beads, temperature and model: consecutive pieces, or independent trajectories",
        )  # fmt: skip
    add_json(command)


def add_json(command: argparse.ArgumentParser) -> None:
    """Add the option for numbers in place of the table."""
    command.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")


def show(text: str, paths: list[Path], json: bool) -> None:
    """Print a table and the written files; with JSON, standard output holds only the JSON."""
    print(text)
    for path in paths:
        print(path, file=sys.stderr if json else sys.stdout)
