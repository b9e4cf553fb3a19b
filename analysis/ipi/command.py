"""The command ``python -m analysis from-ipi``."""

import argparse
from pathlib import Path


def add_from_ipi(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "from-ipi", help="make a run folder from the output of i-PI",
        description="Convert positions and properties that i-PI wrote beside its input into a run folder for the other commands.",
        epilog="example:  python -m analysis from-ipi inputs/ipi/pimd-socket.xml -o runs/ipi --model c20",
    )  # fmt: skip
    command.add_argument("input", type=Path, metavar="INPUT.xml")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder to create")
    command.add_argument("--model", default="none", help="model of the harmonic reference (default: none)")
    command.add_argument(
        "--pbc", action=argparse.BooleanOptionalAction, default=None,
        help="whether i-PI's cell is periodic, or only the box of a molecule (default: found from the input and its files)",
    )  # fmt: skip
    command.set_defaults(command=_from_ipi)


def _from_ipi(options: argparse.Namespace) -> None:
    from analysis.ipi.output import convert

    print(convert(options.input, options.output, options.model, options.pbc))
