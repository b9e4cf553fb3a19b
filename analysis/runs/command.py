"""The command ``python -m analysis properties``."""

import argparse

from analysis.command_options import add_runs, check_discard
from mlcalc.common.errors import InputError


def add_properties(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "properties", help="means of a run's properties",
        description="Print means of the estimators in properties.csv with standard errors, one column per run.",
        epilog="example:  python -m analysis properties runs/c20/P8 runs/c20/P1",
    )  # fmt: skip
    command.add_argument(
        "--per-atom", action="store_true", help="print one row per atom instead (runs with per_atom = true)"
    )
    add_runs(command, "lines", automatic=True)
    command.set_defaults(command=_properties)


def _properties(options: argparse.Namespace) -> None:
    check_discard(options.discard, automatic=True)
    from analysis.runs import per_atom, properties
    from analysis.runs.run import pool
    from analysis.runs.universe import open_run

    if not options.per_atom:
        runs = properties.read_runs(options.runs, options.discard, options.pool)
        print(properties.as_json(runs) if options.json else properties.as_text(runs))
        return
    if options.discard is None:
        raise InputError("--discard auto with --per-atom: expected a share")
    opened = [open_run(folder) for folder in options.runs]
    found = [(run, per_atom.atom_means(run, options.discard)) for run in (pool(opened) if options.pool else opened)]
    print(per_atom.as_json(found) if options.json else "\n\n".join(per_atom.as_text(*entry) for entry in found))
