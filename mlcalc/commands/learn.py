"""The command ``mlcalc learn``."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlcalc.commands.engine_help import ENGINES
from mlcalc.common.errors import EXIT_INTERRUPTED, InputError, say

EXIT_NOT_CONVERGED = 3
DEFAULT_FOLDER = "learned"


def add_learn(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    learn = commands.add_parser(
        "learn", help="learn a molecule by itself, from its geometry to a committee for ring polymers",
        formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False,
        description="Label, train, explore with ring polymers and label again, until the error on structures that training never\n"
        "saw is small. Stopped at any time, the same command resumes it. Exit code 3: a budget ended before that.",
        epilog=f"{ENGINES}\n\nexample:\n  mlcalc learn malonaldehyde.xyz --engine tblite:GFN2-xTB -o learned\n"
        "  mlcalc learn --status\n  rpmd run learned/rpmd.toml\n"
        "  mlcalc learn learned --refine cp2k:pbe0.inp --labels 200 -o refined",
    )  # fmt: skip
    learn.add_argument("-h", "--help", action=_HelpWithKeys, help="show this help message and exit")
    learn.add_argument(
        "input",
        metavar="MOLECULE.xyz | learn.toml | FOLDER",
        nargs="?",
        help="a structure, a plan, or what to --refine",
    )
    learn.add_argument("--engine", help="level of theory, see below")
    learn.add_argument(
        "--refine",
        metavar="ENGINE",
        help="compute --labels structures of a finished FOLDER at this better level, and learn it",
    )
    learn.add_argument(
        "-o",
        "--output",
        metavar="FOLDER",
        help=f"default: {DEFAULT_FOLDER}, FOLDER-refined, or the folder that holds learn.toml",
    )
    learn.add_argument("--temperature", type=float, metavar="K", dest="temperature_K", help="default: 300")
    learn.add_argument("--beads", type=int, metavar="P", help="default: what the vibrations need")
    learn.add_argument(
        "--labels",
        type=int,
        metavar="N",
        help="most calculations with the engine (default: 100 per atom, up to 500 where they are cheap)",
    )
    learn.add_argument("--hours", type=float, metavar="H", help="most wall time (default: 2)")
    learn.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any key")
    learn.add_argument(
        "--status",
        metavar="FOLDER",
        nargs="?",
        const="",
        help="show how far a folder (default: that of -o) has come, and do nothing",
    )
    learn.set_defaults(command=_learn)


class _HelpWithKeys(argparse._HelpAction):
    """Help with the keys of learn.toml."""

    def __call__(self, parser, namespace, values, option_string=None):
        from mlcalc.common.settings import describe_keys
        from mlcalc.learn.settings import LearnSettings

        parser.epilog += f"\n\nkeys of learn.toml (not set: chosen from the molecule):\n{describe_keys(LearnSettings)}"
        super().__call__(parser, namespace, values, option_string)


def _learn(options) -> int:
    if options.status is not None:
        from mlcalc.learn.status import status

        print(status(Path(options.status or options.output or DEFAULT_FOLDER)))
        return 0
    if options.input is None:
        raise InputError("expected MOLECULE.xyz or learn.toml, or --status FOLDER")
    _check_refinement(options)
    from mlcalc.common.settings import parse_assignment
    from mlcalc.learn.loop import learn
    from mlcalc.learn.result import CARD, lower_minimum_text
    from mlcalc.learn.settings import PLAN_FILE
    from mlcalc.learn.start import MINIMUM

    path, default = Path(options.input), DEFAULT_FOLDER
    named = ("engine", "temperature_K", "beads", "labels", "hours")
    values = dict(parse_assignment(text) for text in options.assignments)
    values |= {key: getattr(options, key) for key in named if getattr(options, key) is not None}
    if options.refine is not None:
        values |= {"engine": options.refine, "refines": str(path)}
        path, default = path / MINIMUM, os.path.relpath(f"{path.resolve()}-refined")
    folder = Path(options.output or (path.parent if path.name == PLAN_FILE else default))
    words = ["mlcalc", *(sys.argv[1:] if sys.argv[1:2] == ["learn"] else ["learn", options.input])]
    try:
        with _ended_by_signals():
            result = learn(path, values, folder, shlex.join(words))
    except KeyboardInterrupt as error:
        say(f"mlcalc: interrupted; give the same command again to resume in {folder}")
        return error.args[0] if error.args else EXIT_INTERRUPTED
    for reason in result["reasons"]:
        print(f"not converged: {reason}")
    if lower := lower_minimum_text(result, folder):
        print(lower)
    print(
        f"{'converged' if result['converged'] else 'not converged'}: {folder / CARD}; next: rpmd run {folder / 'rpmd.toml'}"
    )
    return 0 if result["converged"] else EXIT_NOT_CONVERGED


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Treat SIGTERM, which queues send, as Ctrl-C, with the exit code 143."""

    def end(number, _frame):
        raise KeyboardInterrupt(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_refinement(options) -> None:
    """Raise InputError for a folder without --refine, and the other way round."""
    is_folder = Path(options.input).is_dir()
    if options.refine is not None and options.engine is not None:
        raise InputError(
            f"--engine {options.engine} beside --refine {options.refine}: the folder has the first level already"
        )
    if options.refine is not None and not is_folder:
        raise InputError(f"{options.input}: --refine expects the folder of an earlier 'mlcalc learn'")
    if is_folder and options.refine is None:
        raise InputError(
            f"{options.input}: a folder; expected {Path(options.input) / 'learn.toml'} to resume there, or --refine ENGINE"
        )
