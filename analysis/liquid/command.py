"""The command ``python -m analysis liquid``."""

import argparse
from pathlib import Path

from analysis.command_options import add_discard, add_json, check_discard, show
from analysis.figure_path import figure_path


def add_liquid(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "liquid", help="g(r) and angles between neighbours of liquids",
        description="Compute g(r) and the angles between neighbours of periodic runs and of frames in files, with standard errors; "
        "compare all with the first.",
        epilog="example:  python -m analysis liquid inputs/methane/data/frames.xyz runs/methane-cg -o methane.png",
    )  # fmt: skip
    command.add_argument("sources", nargs="+", type=Path, metavar="FRAMES.xyz|RUN")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="figure; its numbers go beside it"
    )
    add_discard(command, "share left out at the start")
    command.add_argument(
        "--shell",
        type=float,
        metavar="Å",
        help="largest distance of neighbours (default: first minimum of the first g(r))",
    )
    add_json(command)
    command.set_defaults(command=_liquid)


def _liquid(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    figure = figure_path(options.sources, options.output, "liquid.png")
    from analysis.liquid import report, structure

    liquids = [structure.read_liquid(source, options.discard) for source in options.sources]
    found = structure.analyse(liquids, options.shell)
    text = report.as_json(found) if options.json else report.as_text(found)
    show(text, report.write_files(found, figure), options.json)
