"""Options and output that the commands of ``python -m analysis`` share."""

import argparse
import sys
from pathlib import Path

from mlcalc.common.errors import InputError


def number(text: str) -> float:
    """An option that is a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from None


def share(text: str) -> float | None:
    """An option that is a share; None for ``auto``."""
    return None if text == "auto" else number(text)


def check_discard(discard: float | None, automatic: bool = False) -> None:
    """Raise InputError unless a share can be left out; None, which is ``auto``, only where that is allowed."""
    if discard is None and automatic:
        return
    if discard is None or not 0 <= discard < 1:
        shown = "auto" if discard is None else discard
        raise InputError(f"--discard {shown}: expected a share of at least 0 and below 1")


def add_discard(command: argparse.ArgumentParser, text: str) -> None:
    """The share that is left out at the start."""
    command.add_argument("--discard", type=share, default=0.1, metavar="SHARE", help=f"{text} (default: 0.1)")


def add_runs(command: argparse.ArgumentParser, what: str, pool: bool = True, automatic: bool = False) -> None:
    """Run folders, and how they are taken.

    Args:
        what: Of which a share is left out, "frames".
        pool: Whether runs can be pooled; automatic: Whether ``--discard auto`` is known.
    """
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of 'rpmd run'")
    auto = "; auto: until the potential energy is stationary" if automatic else ""
    add_discard(command, f"share of the {what} of each run left out at the start, as equilibration{auto}")
    if pool:
        command.add_argument(
            "--pool", action="store_true",
            help="take runs with the same beads, temperature and model as one: pieces, or independent trajectories",
        )  # fmt: skip
    add_json(command)


def add_json(command: argparse.ArgumentParser) -> None:
    """Numbers in place of the table."""
    command.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")


def show(text: str, paths: list[Path], json: bool) -> None:
    """Print a table or JSON, and the files that were written; standard output holds nothing but JSON."""
    print(text)
    for path in paths:
        print(path, file=sys.stderr if json else sys.stdout)
