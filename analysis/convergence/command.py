"""The command ``python -m analysis convergence``."""

import argparse
from pathlib import Path

from analysis.command_options import add_runs, check_discard, show
from analysis.figure_path import figure_path


def add_convergence(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "convergence", help="energies, bond widths and heat capacities against the number of beads",
        description="Compare runs that differ in their number of beads with the harmonic approximation of their model.",
        epilog="example:  python -m analysis convergence runs/c20/P*   (rpmd converge makes such runs)",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: convergence.png in the folder that holds the runs)",
    )  # fmt: skip
    add_runs(command, "frames", pool=False)
    command.set_defaults(command=_convergence)


def _convergence(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    figure = figure_path(options.runs, options.output, "convergence.png")
    from analysis.convergence import report

    result = report.converge(options.runs, options.discard)
    text = report.as_json(result) if options.json else report.as_text(result)
    show(text, report.write_files(result, figure), options.json)
