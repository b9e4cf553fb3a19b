"""The command ``python -m analysis spectrum``."""

import argparse
from pathlib import Path

from analysis.command_options import add_json, show
from analysis.figure_path import figure_path


def add_spectrum(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "spectrum",
        help="vibrational densities of states and infrared absorption",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compute densities of states from the Kubo-transformed velocity autocorrelation of 'rpmd real-time' runs of\n"
        "one molecule, with standard errors over trajectories and the harmonic vibrations of the model. --by and --atoms add the\n"
        "parts of elements and atoms, whose sum is the total. --infrared computes molar absorption instead, from dipoles\n"
        "(dipoles = true in the input of 'rpmd real-time'), with the intensities of the harmonic vibrations.",
        epilog="examples:\n"
        "  python -m analysis spectrum runs/spectrum/P8 runs/spectrum/P1\n"
        "  python -m analysis spectrum runs/spectrum/P8 --by element\n"
        "  python -m analysis spectrum runs/infrared/P8 runs/infrared/P1 --infrared\n"
        "  python -m analysis spectrum runs/spectrum/P8 --atoms 0,1,2 --atoms 5   (indices from 0; the others form a part too)",
    )  # fmt: skip
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of 'rpmd real-time'")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: spectrum.png or infrared.png in the folder that holds the runs)",
    )  # fmt: skip
    parts = command.add_mutually_exclusive_group()
    parts.add_argument("--by", choices=("element",), help="add the part of each element")
    parts.add_argument(
        "--atoms",
        action="append",
        metavar="I,J,…",
        help="add the part of these atoms (indices from 0); may be repeated",
    )
    parts.add_argument("--infrared", action="store_true", help="infrared absorption instead, from recorded dipoles")
    command.add_argument("--window", choices=("hann", "blackman", "none"), default="hann")
    command.add_argument(
        "--correlation-fs", type=float, metavar="L",
        help="longest lag: lines are 1/cL wide, 33 cm⁻¹ for 1000 fs (default: half of a trajectory)",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(command=_spectrum)


def _spectrum(options: argparse.Namespace) -> None:
    figure = figure_path(options.runs, options.output, "infrared.png" if options.infrared else "spectrum.png")
    from analysis.spectrum import figure as spectrum_figure
    from analysis.spectrum import parts as spectrum_parts
    from analysis.spectrum import report as spectrum_report

    choose = None
    if options.by:
        choose = spectrum_parts.by_element
    elif options.atoms:

        def choose(structure):
            return spectrum_parts.by_atoms(options.atoms, structure)

    result = spectrum_report.analyse(options.runs, options.window, options.correlation_fs, choose, options.infrared)
    text = spectrum_report.as_json(result) if options.json else spectrum_report.as_text(result)
    show(text, spectrum_figure.write_files(result, figure), options.json)
