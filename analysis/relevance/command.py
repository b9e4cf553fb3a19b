"""The command ``python -m analysis relevance``."""

import argparse
import itertools
import os
from pathlib import Path

from analysis.command_options import add_discard, add_json, check_discard, number, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.common.options import refuse_unused

_GAMMA = 0.1
# Options that apply to only one kind of source, with their defaults.
_OF_RUNS = {"output": None, "shell": None, "rdf": False, "workers": None, "frames": 40, "discard": 0.1}
_OF_FILES = {"no_triples": False, "walks": 0}


def add_relevance(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "relevance", help="contributions of atoms, pairs and triples to an energy",
        description="Split a network's energy of structures into relevances of single atoms, pairs and triples (GNN-LRP "
        "with the generalised γ rule). Along runs: 2-body relevance against distance and 3-body against angle, with the "
        "distributions of distances and angles. Relevances depend on γ, and biases absorb a share: both are reported.",
        epilog="examples:\n  python -m analysis relevance inputs/c20/c20.xyz --model c20 --gamma 0.1\n"
        "  python -m analysis relevance runs/c20/P8 runs/c20/P1 --frames 40",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "sources", nargs="+", type=Path, metavar="STRUCTURES.xyz|RUN",
        help="a file that ASE reads, or run folders of 'rpmd run'",
    )  # fmt: skip
    command.add_argument("--model", help="shipped model name or model file (default: that of the run, or c20)")
    command.add_argument(
        "--gamma", type=_numbers, action="append", metavar="γ[,γ…]",
        help=f"one for all layers, or one for each interaction block and one for the readout (default: {_GAMMA}); for runs, repeat "
        "it to compare",
    )  # fmt: skip
    command.add_argument(
        "--rule", help="how relevance passes products of features: conserving, gradient or published, as far as the architecture "
        "has them (default: conserving)",
    )  # fmt: skip
    _add_of_files(command)
    _add_of_runs(command)
    add_json(command)
    command.set_defaults(command=_relevance)


def _add_of_files(command: argparse.ArgumentParser) -> None:
    command.add_argument("--no-triples", action="store_true", help="for a file: leave out triples")
    command.add_argument("--walks", type=int, default=0, metavar="N", help="for a file: list the N strongest walks")


def _add_of_runs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--frames", type=int, default=40, help="for a run: number of frames to explain (default: 40)")
    add_discard(command, "for a run: share left out at the start")
    command.add_argument(
        "--shell", type=float, metavar="Å", help="for a run: end of the first shell (default: first minimum)"
    )
    command.add_argument("--rdf", action="store_true", help="for a run: require g(r), refuse runs without a cell")
    command.add_argument("--workers", type=int, help="for a run: number of processes (default: one per processor)")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="for a run: figure; its numbers go beside it"
    )


def _numbers(text: str) -> float | list[float]:
    values = [number(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _relevance(options: argparse.Namespace) -> None:
    check_discard(options.discard)
    if all(os.path.isdir(source) for source in options.sources):
        return _of_runs(options)
    if len(options.sources) > 1:
        raise InputError(f"{options.sources[1]}: expected run folders, or only one file of structures")
    check_regular(options.sources[0])
    refuse_unused(options, _OF_RUNS, "for runs only")
    if len(options.gamma or []) > 1:
        raise InputError(f"--gamma: {len(options.gamma)} times for a file of structures: expected once")
    from analysis.relevance.explain import as_json, as_text, explain_file

    (gamma,) = options.gamma or [_GAMMA]
    found = explain_file(
        options.sources[0], options.model or "c20", gamma, not options.no_triples, options.walks, options.rule
    )
    print((as_json if options.json else as_text)(found, gamma))


def _of_runs(options: argparse.Namespace) -> None:
    refuse_unused(options, _OF_FILES, "for files of structures only")
    path = figure_path(options.sources, options.output, "relevance.png")
    from tqdm import tqdm

    from analysis.relevance import figure
    from analysis.relevance.along_run import analyse
    from analysis.runs.universe import open_run

    runs, found = [open_run(folder) for folder in options.sources], []
    for run, gamma in itertools.product(runs, options.gamma or [_GAMMA]):
        with tqdm(total=options.frames, unit="frame", desc=f"P = {run.n_beads}", disable=None) as bar:
            found.append(
                analyse(
                    run, gamma, options.frames, options.discard, options.model, options.shell, options.workers,
                    options.rdf, lambda done, bar=bar: bar.update(done - bar.n), options.rule,
                )
            )  # fmt: skip
    text = figure.as_json(found) if options.json else figure.as_text(found)
    show(text, figure.write_files(found, path), options.json)
