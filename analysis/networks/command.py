"""The command ``python -m analysis networks``."""

import argparse
from pathlib import Path

from analysis.command_options import add_discard, add_json, check_discard, number, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError


def add_networks(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "networks", help="what several networks have learned about the same liquids",
        description="Compare runs of liquids with different networks: g(r), 2-body relevance over distance and 3-body over angle, "
        "a row for each network and a column for each liquid, and sums by order for every γ. What all networks and γ agree on is "
        "listed below the table.",
        epilog="example:\n  python -m analysis networks water=runs/water-cg water=runs/water-painn \\\n"
        "    --atoms water=inputs/water/reference/liquid.json -o networks.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "runs", nargs="+", type=_named, metavar="LIQUID=RUN", help="run folders with the liquid's name"
    )
    command.add_argument(
        "--atoms", action="append", type=_named, default=[], metavar="LIQUID=liquid.json",
        help="structure of the liquid in atoms, written by 'python -m analysis liquid'",
    )  # fmt: skip
    command.add_argument(
        "--gamma", type=number, nargs="+", default=[0.0, 0.1, 0.5], metavar="γ", help="default: 0 0.1 0.5"
    )
    command.add_argument("--frames", type=int, default=40, help="number of frames of each run to explain (default: 40)")
    command.add_argument("--workers", type=int, help="number of processes (default: one per processor)")
    add_discard(command, "share left out at the start")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png",
        help="figure of pairs; that of triples, OUT.triples.png, and the numbers go beside it",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(command=_networks)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected LIQUID=PATH, such as water=runs/water-cg")
    return name, Path(path)


def _networks(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    liquids, known = [name for name, _ in options.runs], [name for name, _ in options.atoms]
    for name in known:
        if name not in liquids or known.count(name) > 1:
            raise InputError(
                f"--atoms {name}=…: expected one for a liquid of the runs: {', '.join(dict.fromkeys(liquids))}"
            )
    path = figure_path([run for _, run in options.runs], options.output, "networks.png")
    from analysis.networks import comparison, report

    atoms = {name: comparison.read_structure(file) for name, file in options.atoms}
    found = comparison.compare(
        options.runs, atoms, options.gamma, frames=options.frames, discard=options.discard, workers=options.workers
    )
    show(
        report.as_json(found) if options.json else report.as_text(found),
        report.write_files(found, atoms, path),
        options.json,
    )
