"""``python -m analysis``: numbers and figures from run folders."""

import argparse
import itertools
import sys
from pathlib import Path

from analysis.distances.command import add_distances
from analysis.figure_path import figure_path
from analysis.spectrum.command import add_spectrum
from mlcalc.common.errors import InputError, run_command

_GAMMA = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 after bad input)."""
    options = _parser().parse_args(arguments)
    return run_command("python -m analysis", lambda: _checked(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Numbers and figures from run folders.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    distances = add_distances(commands)
    properties = commands.add_parser(
        "properties",
        help="means of a run's properties",
        description="Means of the estimators in properties.csv with standard errors, a column per run.",
        epilog="example:  python -m analysis properties runs/c20/P8 runs/c20/P1",
    )
    properties.add_argument(
        "--per-atom", action="store_true", help="a row per atom instead (runs with per_atom = true)"
    )
    properties.set_defaults(command=_properties)
    convergence = commands.add_parser(
        "convergence",
        help="energies, bond widths and heat capacities against the number of beads",
        description="Compare runs that differ in their number of beads with the harmonic approximation of their model.",
        epilog="example:  python -m analysis convergence runs/c20/P*   (rpmd converge makes such runs)",
    )
    convergence.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png",
        help="figure; .txt, .svg and .json go beside it (default: convergence.png in the folder that holds the runs)",
    )  # fmt: skip
    convergence.set_defaults(command=_convergence, pool=True)
    add_spectrum(commands)
    relevance = commands.add_parser(
        "relevance",
        help="what atoms, pairs and triples add to an energy",
        description="Split the energy that a SchNet gives structures into relevances of single atoms, pairs and triples (GNN-LRP "
        "with the generalised γ rule). Along runs: 2-body relevance against distance and 3-body against angle, over the "
        "distributions of distances and angles. Relevances depend on γ, and biases take a share of their own: both are told.",
        epilog="examples:\n  python -m analysis relevance inputs/c20/c20.xyz --model c20 --gamma 0.1\n"
        "  python -m analysis relevance runs/c20/P8 runs/c20/P1 --frames 40",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    relevance.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="STRUCTURES.xyz|RUN",
        help="a file that ASE reads, or run folders of 'rpmd run'",
    )
    relevance.add_argument("--model", help="shipped model name or model file (default: that of the run, or c20)")
    relevance.add_argument(
        "--gamma", type=_numbers, action="append", metavar="γ[,γ…]",
        help=f"one for all layers, or one for each interaction block and one for the readout (default: {_GAMMA}); of runs, give it "
        "several times to compare",
    )  # fmt: skip
    relevance.add_argument("--no-triples", action="store_true", help="of a file: leave the sets of three out")
    relevance.add_argument(
        "--walks", type=int, default=0, metavar="N", help="of a file: the N strongest walks, one by one"
    )
    relevance.add_argument("--frames", type=int, default=40, help="of a run: how many to explain (default: 40)")
    relevance.add_argument(
        "--discard", type=_share, default=0.1, metavar="SHARE", help="of a run: share left out at the start"
    )
    relevance.add_argument(
        "--shell", type=float, metavar="Å", help="of a run: end of the first shell (default: first minimum)"
    )
    relevance.add_argument("--rdf", action="store_true", help="of a run: insist on g(r), refuse what has no cell")
    relevance.add_argument("--workers", type=int, help="of a run: processes (default: one per processor)")
    relevance.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="of a run: figure; its numbers go beside it"
    )
    relevance.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")
    relevance.set_defaults(command=_relevance)
    liquid = commands.add_parser(
        "liquid",
        help="g(r) and angles between neighbours of liquids",
        description="g(r) and the angles between neighbours of periodic runs and of frames in files, with standard errors; the "
        "first is what the others are compared with.",
        epilog="example:  python -m analysis liquid inputs/methane/data/frames.xyz runs/methane-cg -o methane.png",
    )
    liquid.add_argument("sources", nargs="+", type=Path, metavar="FRAMES.xyz|RUN")
    liquid.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="figure; its numbers go beside it"
    )
    liquid.add_argument(
        "--discard", type=_share, default=0.1, metavar="SHARE", help="left out at the start (default: 0.1)"
    )
    liquid.add_argument(
        "--shell", type=float, metavar="Å", help="what makes a neighbour (default: first minimum of the first)"
    )
    liquid.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")
    liquid.set_defaults(command=_liquid)
    from_ipi = commands.add_parser(
        "from-ipi",
        help="a run folder from what i-PI has written",
        description="Turn positions and properties that i-PI wrote beside its input into a run folder for the other commands.",
        epilog="example:  python -m analysis from-ipi inputs/ipi/pimd-socket.xml -o runs/ipi --model c20",
    )
    from_ipi.add_argument("input", type=Path, metavar="INPUT.xml")
    from_ipi.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="folder to be made")
    from_ipi.add_argument("--model", default="none", help="model of the harmonic reference (default: none)")
    from_ipi.add_argument(
        "--pbc", action=argparse.BooleanOptionalAction, default=None,
        help="whether i-PI's cell is a period, or the mere box of a molecule (default: found out, or asked for)",
    )  # fmt: skip
    from_ipi.set_defaults(command=_from_ipi, discard=0.0)
    for command, what in ((distances, "frames"), (properties, "lines"), (convergence, "frames")):
        command.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of 'rpmd run'")
        command.add_argument(
            "--discard", type=_share, default=0.1, metavar="SHARE",
            help=f"share of the {what} of each run left out at the start, as equilibration (default: 0.1)"
            + ("; auto: until the potential energy is stationary" if command is properties else ""),
        )  # fmt: skip
        if command is not convergence:
            command.add_argument(
                "--pool", action="store_true",
                help="take runs with the same beads, temperature and model as one: pieces, or independent trajectories",
            )  # fmt: skip
        command.add_argument("--json", action="store_true", help="print the numbers as JSON instead of the table")
    return parser


def _share(text: str) -> float | None:
    return None if text == "auto" else _number(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from None


def _numbers(text: str) -> float | list[float]:
    values = [_number(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _checked(options: argparse.Namespace) -> None:
    wrong = options.discard is None and options.command is not _properties
    if wrong or (options.discard is not None and not 0 <= options.discard < 1):
        raise InputError(f"--discard {options.discard or 'auto'}: expected a share of at least 0 and below 1")
    options.command(options)


def _properties(options: argparse.Namespace) -> None:
    from analysis.runs import per_atom, properties
    from analysis.runs.universe import open_run, pool

    if options.per_atom:
        if options.discard is None:
            raise InputError("--discard auto with --per-atom: expected a share")
        opened = [open_run(folder) for folder in options.runs]
        found = [(run, per_atom.atom_means(run, options.discard)) for run in (pool(opened) if options.pool else opened)]
        print(per_atom.as_json(found) if options.json else "\n\n".join(per_atom.as_text(*entry) for entry in found))
        return
    runs = properties.read_runs(options.runs, options.discard, options.pool)
    print(properties.as_json(runs) if options.json else properties.as_text(runs))


def _convergence(options: argparse.Namespace) -> None:
    figure = figure_path(options.runs, options.output, "convergence.png")
    from analysis import convergence

    result = convergence.converge(options.runs, options.discard)
    print(convergence.as_json(result) if options.json else convergence.as_text(result))
    for path in convergence.write_files(result, figure):
        print(path, file=sys.stderr if options.json else sys.stdout)


def _relevance(options: argparse.Namespace) -> None:
    if all(source.is_dir() for source in options.sources):
        return _relevance_of_runs(options)
    if len(options.sources) > 1:
        raise InputError(f"{options.sources[1]}: expected run folders, or one file of structures alone")
    if len(options.gamma or []) > 1:
        raise InputError(f"--gamma: {len(options.gamma)} times for a file of structures: expected once")
    from analysis.relevance import explain as relevance_report

    (gamma,) = options.gamma or [_GAMMA]
    model = options.model or "c20"
    found = relevance_report.explain_file(options.sources[0], model, gamma, not options.no_triples, options.walks)
    write = relevance_report.as_json if options.json else relevance_report.as_text
    print(write(found, gamma))


def _relevance_of_runs(options: argparse.Namespace) -> None:
    figure = figure_path(options.sources, options.output, "relevance.png")
    from tqdm import tqdm

    from analysis.relevance import along_run as relevance_run
    from analysis.relevance import figure as relevance_figure
    from analysis.runs.universe import open_run

    runs, found = [open_run(folder) for folder in options.sources], []
    for run, gamma in itertools.product(runs, options.gamma or [_GAMMA]):
        with tqdm(total=options.frames, unit="frame", desc=f"P = {run.n_beads}", disable=None) as bar:
            found.append(
                relevance_run.analyse(
                    run, gamma, options.frames, options.discard, options.model, options.shell, options.workers,
                    options.rdf, lambda done, bar=bar: bar.update(done - bar.n),
                )
            )  # fmt: skip
    print(relevance_figure.as_json(found) if options.json else relevance_figure.as_text(found))
    for path in relevance_figure.write_files(found, figure):
        print(path, file=sys.stderr if options.json else sys.stdout)


def _liquid(options: argparse.Namespace) -> None:
    figure = figure_path(options.sources, options.output, "liquid.png")
    from analysis.liquid import report as liquid_report
    from analysis.liquid import structure as liquid_structure

    liquids = [liquid_structure.read_liquid(source, options.discard) for source in options.sources]
    found = liquid_structure.analyse(liquids, options.shell)
    print(liquid_report.as_json(found) if options.json else liquid_report.as_text(found))
    for path in liquid_report.write_files(found, figure):
        print(path, file=sys.stderr if options.json else sys.stdout)


def _from_ipi(options: argparse.Namespace) -> None:
    from analysis.ipi.output import convert

    print(convert(options.input, options.output, options.model, options.pbc))


if __name__ == "__main__":
    sys.exit(main())
