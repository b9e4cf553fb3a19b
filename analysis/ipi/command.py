"""The command ``python -m analysis from-ipi``."""

import argparse
from pathlib import Path


def add_from_ipi(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "from-ipi", help="a run folder from what i-PI has written",
        description="Turn positions and properties that i-PI wrote beside its input into a run folder for the other commands.",
        epilog="example:  python -m analysis from-ipi inputs/ipi/pimd-socket.xml -o runs/ipi --model c20",
    )  # fmt: skip
    command.add_argument("input", type=Path, metavar="INPUT.xml")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder to be made")
    command.add_argument("--model", default="none", help="model of the harmonic reference (default: none)")
    command.add_argument(
        "--pbc", action=argparse.BooleanOptionalAction, default=None,
        help="whether i-PI's cell is a period, or the mere box of a molecule (default: found out, or asked for)",
    )  # fmt: skip
    command.set_defaults(command=_from_ipi)


def _from_ipi(options: argparse.Namespace) -> None:
    from analysis.ipi.output import convert

    print(convert(options.input, options.output, options.model, options.pbc))
