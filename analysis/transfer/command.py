"""The command ``python -m analysis transfer``."""

import argparse
from pathlib import Path

from analysis.command_options import add_runs, check_discard, show
from analysis.figure_path import figure_path


def add_transfer(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "transfer", help="proton transfer: free energy along its coordinate", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Proton transfer between two atoms along runs of one molecule: distribution of\n"
        "δ = r(donor–H) − r(acceptor–H), free energy along it, its barrier, and the distance of donor and acceptor, with\n"
        "standard errors (the beads of a frame are one sample). Runs side by side (beads, isotopes) share a table and a figure\n"
        "(PNG and SVG, numbers as JSON) and are compared. Distributions of a molecule with equivalent ends are averaged with\n"
        "their mirror image.",
        epilog="examples:\n"
        "  python -m analysis transfer runs/acac/P32 runs/acac/P1 runs/acac-d\n"
        "  python -m analysis transfer runs/malonaldehyde --atoms 4,5,0",
    )  # fmt: skip
    command.add_argument(
        "--atoms", metavar="DONOR,H,ACCEPTOR",
        help="indices from 0 (default: the only hydrogen on N, O, F or S with a second such atom within 2.5 Å in the mean "
        "over the first run)",
    )  # fmt: skip
    command.add_argument(
        "--symmetry", choices=("auto", "yes", "no"), default="auto",
        help="average distributions with their mirror image: auto, if a permutation of identical nuclei exchanges donor and "
        "acceptor (default)",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: transfer.png in the folder that holds the runs, or in the "
        "run if there is one)",
    )  # fmt: skip
    add_runs(command, "frames")
    command.set_defaults(command=_transfer)


def _transfer(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    figure = figure_path(options.runs, options.output, "transfer.png")
    from analysis.transfer import report, site

    def choose(run):
        return site.find_site(run) if options.atoms is None else site.read_site(options.atoms, run.structure)

    analysed = report.analyse(options.runs, options.discard, options.pool, options.symmetry, choose)
    text = report.as_json(analysed) if options.json else report.as_text(analysed)
    show(text, report.write_files(analysed, figure), options.json)
