"""The command ``python -m analysis distances``."""

import argparse
import functools
from pathlib import Path

from analysis.command_options import add_runs, check_discard, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError


def add_distances(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "distances", help="distance distributions of ring-polymer runs", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Distances along runs of one molecule: all pairs, bonds by elements and order (C–H, C=O), the\n"
        "diameters of a cage such as C20, and pairs that you name. Table with standard errors, figure (PNG and SVG),\n"
        "numbers (JSON and NPZ), each with the harmonic reference of the model. Warnings report bonds whose atoms change\n"
        "partners, motions too slow for the run, and equivalent pairs that differ by more than their errors.",
        epilog="examples:\n"
        "  python -m analysis distances runs/c20/P8 runs/c20/P1\n"
        "  python -m analysis distances runs/malonaldehyde --pairs 3-5,4-5\n"
        "  python -m analysis distances runs/malonaldehyde --pairs pairs.toml --only-pairs\n"
        "with pairs.toml, atoms by index from 0:\n"
        '  [groups]\n  "O…H" = [[3, 5], [4, 5]]\n  "O…O" = [[3, 4]]',
    )  # fmt: skip
    command.add_argument(
        "--pairs", metavar="I-J,…|PAIRS.toml",
        help="pairs of atoms to follow besides the automatic groups, by index from 0, one group each: 3-5,4-5; or a TOML file "
        "with named groups of pairs",
    )  # fmt: skip
    command.add_argument("--only-pairs", action="store_true", help="only the pairs of --pairs, no automatic groups")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg, .json and .npz go beside it (default: distances.png in the folder that holds the runs, "
        "or in the run if there is one)",
    )  # fmt: skip
    command.add_argument("--model", help="model of the harmonic reference (default: that of each run's input)")
    add_runs(command, "frames")
    command.set_defaults(command=_distances)


def _distances(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    if options.only_pairs and options.pairs is None:
        raise InputError("--only-pairs without --pairs: expected the pairs")
    figure = figure_path(options.runs, options.output, "distances.png")
    from analysis.distances import report  # MDAnalysis and matplotlib load here, so that --help answers at once

    choose = functools.partial(_choose, options.pairs, options.only_pairs)
    analysed = report.analyse(options.runs, options.discard, options.model, options.pool, choose)
    text = report.as_json(analysed) if options.json else report.as_text(analysed)
    show(text, report.write_files(analysed, figure), options.json)


def _choose(pairs: str | None, only: bool, structure):
    from analysis.distances.pair_lists import read_pairs
    from analysis.distances.run_pairs import automatic_groups, choose_pairs

    own = None if pairs is None else read_pairs(pairs, structure)
    return choose_pairs(structure, own, None if only else automatic_groups)
