"""The commands of ``rpmd`` that look at runs and write nothing."""

from pathlib import Path

from mlcalc.common.errors import one_line


def add_inspection_commands(commands, raw) -> None:
    """Add check and info; ``raw`` is the formatter of help texts."""
    check = commands.add_parser(
        "check", help="check a run folder for damage",
        description="Check every file of a run, or of all runs in a folder; report damage and how to recover. Changes nothing; "
        "the exit code is 1 if any file is damaged.",
        epilog="example:\n  rpmd check runs/c20", formatter_class=raw,
    )  # fmt: skip
    check.add_argument("run", metavar="RUN", type=Path)
    check.set_defaults(command=_check)
    info = commands.add_parser(
        "info", help="summary of a run on one screen",
        description="Show the settings, the progress and the recorded means of a run, or of every run in a folder.",
        epilog="example:\n  rpmd info runs/c20/P8\n  rpmd info runs/c20 --json | jq .[0].means", formatter_class=raw,
    )  # fmt: skip
    info.add_argument("run", metavar="RUN", type=Path)
    info.add_argument("--json", action="store_true", help="print a JSON list with one object per run")
    info.set_defaults(command=_info)


def _check(options) -> int:
    from md.runs.inspection import inspect
    from md.runs.start import runs_in
    from mlcalc.common.tables import aligned

    good = True
    for folder in runs_in(options.run):
        findings, advice = inspect(folder)
        good = good and all(finding.good for finding in findings)
        rows = [[part, "ok" if fine else "WRONG", text] for part, fine, text, _ in findings]
        print(aligned([str(folder), "", ""], rows, left=3))
        print(f"{one_line(advice)}\n")
    return 0 if good else 1


def _info(options) -> int:
    from md.runs.overview import as_text, overview
    from md.runs.start import runs_in
    from mlcalc.common.json_text import to_json

    found = [overview(folder) for folder in runs_in(options.run)]
    print(to_json(found, indent=1) if options.json else "\n\n".join(map(as_text, found)))
    return 0
