"""The command ``python -m analysis isotopes``."""

import argparse
from pathlib import Path

from analysis.command_options import add_runs, check_discard, number, show
from analysis.figure_path import figure_path


def add_isotopes(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "isotopes", help="isotope effects on equilibria, from ring polymers", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Reduced partition function ratios β of isotopes, with standard errors, beside those of harmonic vibrations,\n"
        "and the constants α = β/β′ of their exchange. Runs of one mass: the rings of their frames are scaled to another mass and\n"
        "weighted, with the run's own potential (direct scaled coordinates). Runs of several masses, with per_atom = true:\n"
        "integration of the kinetic energy over the mass of the atoms that differ, beside the scaled rings of both ends.",
        epilog="examples:\n"
        "  python -m analysis isotopes runs/acac-isotopes/H --atoms 11,7,8/9/10\n"
        "  python -m analysis isotopes runs/acac-isotopes/H --atoms H --mass 3.016\n"
        "  python -m analysis isotopes runs/acac-isotopes/H runs/acac-isotopes/D\n"
        "  python -m analysis isotopes runs/acac-isotopes/H --atoms 11 --against runs/water --against-atoms 1/2",
    )  # fmt: skip
    command.add_argument(
        "--atoms", metavar="SITES",
        help="what is replaced: indices from 0 between commas, each alone; I+J together, I/J/K any one of equivalents; or an "
        "element, each of its atoms alone",
    )  # fmt: skip
    command.add_argument("--mass", type=number, metavar="U", help="the new mass in u (default: deuterium for hydrogen)")
    command.add_argument(
        "--against", nargs="+", type=Path, metavar="RUN", help="runs of another molecule, to exchange with"
    )
    command.add_argument("--against-atoms", metavar="SITES", help="what is replaced there")
    command.add_argument(
        "--frames", type=int, default=2000, metavar="N", help="evaluate at most N frames of runs of one mass (default: 2000)"
    )  # fmt: skip
    command.add_argument("--engine", help="repeat the engine of a run, if it runs code")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: isotopes.png in the folder that holds the runs, or in the run "
        "if there is one)",
    )  # fmt: skip
    add_runs(command, "frames", pool=False)
    command.set_defaults(command=_isotopes)


def _isotopes(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    figure = figure_path(options.runs, options.output, "isotopes.png")
    from tqdm import tqdm

    from analysis.isotopes import report

    wanted = report.Wanted(options.atoms, options.mass, options.frames, options.engine)
    with tqdm(unit="frame", disable=None) as bar:
        analysed = report.analyse(
            options.runs, options.discard, wanted, options.against, options.against_atoms, show=bar.update
        )
    text = report.as_json(analysed) if options.json else report.as_text(analysed)
    show(text, report.write_files(analysed, figure), options.json)
