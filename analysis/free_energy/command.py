"""The command ``python -m analysis free-energy``."""

import argparse
from pathlib import Path

from analysis.command_options import add_runs, check_discard, number, show
from analysis.figure_path import figure_path
from md.bias.settings import VARIABLE_KINDS, WAY_NAMES


def add_free_energy(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "free-energy", help="free energy along a variable, from runs with a bias",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Free energy along a variable from runs with [[bias]] tables, with standard errors: umbrella windows and\n"
        "walls are joined by MBAR (pymbar), runs of metadynamics weighted by their hills. By default along the variable of\n"
        "the first bias, of centroids, means or beads as it acts; --on bead gives the distribution of positions from any bias.",
        epilog="examples:\n"
        "  python -m analysis free-energy runs/window-*\n"
        "  python -m analysis free-energy runs/hills --on bead --divide 0\n"
        "  python -m analysis free-energy runs/hills --variable distance --atoms 4,0",
    )  # fmt: skip
    command.add_argument(
        "--variable", choices=[name for name, kind in VARIABLE_KINDS.items() if kind.n_atoms],
        help="another variable than that of the first bias; with --atoms",
    )  # fmt: skip
    command.add_argument("--atoms", metavar="I,J,…", help="its atoms, indices from 0")
    command.add_argument("--on", choices=WAY_NAMES, help="of centroids, of means over beads, or of beads")
    command.add_argument(
        "--bins", type=int, default=50, help="bins between the least and the largest value (default: 50)"
    )
    command.add_argument(
        "--divide", type=number, metavar="VALUE", help="a place between two basins: print how their free energies differ"
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of the resampling that gives the errors (default: 0)")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: free-energy.png in the folder that holds the runs, or in the "
        "run if there is one)",
    )  # fmt: skip
    add_runs(command, "frames", pool=False)
    command.set_defaults(command=_free_energy)


def _free_energy(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    figure = figure_path(options.runs, options.output, "free-energy.png")
    from analysis.free_energy import report

    wanted = report.Wanted(options.variable, options.atoms, options.on, options.bins, options.divide, options.seed)
    analysed = report.analyse(options.runs, options.discard, wanted)
    text = report.as_json(analysed) if options.json else report.as_text(analysed)
    show(text, report.write_files(analysed, figure), options.json)
