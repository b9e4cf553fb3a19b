"""The command ``mlcalc label``."""

import argparse
from pathlib import Path

from mlcalc.commands.engine_help import ENGINES
from mlcalc.common.errors import one_line


def add_label(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    label = commands.add_parser(
        "label", help="energies and forces of structures from an engine", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Label structures; run the same command again to continue or to retry failures.",
        epilog=f"{ENGINES}\n\nexample:\n  mlcalc label frames.xyz --engine tblite:GFN2-xTB -j 2 -o labels.xyz\n"
        "a correction:\n  mlcalc label dft.xyz --engine tblite:GFN2-xTB --subtract -o correction.xyz\n"
        "  mlcalc train correction.toml -o correction\n"
        "  mlcalc label frames.xyz --engine 'tblite:GFN2-xTB + schnet:correction/model.safetensors' -o labels.xyz",
    )  # fmt: skip
    label.add_argument("structures", metavar="STRUCTURES.xyz")
    label.add_argument("--engine", required=True)
    label.add_argument(
        "--subtract", action="store_true",
        help="write the file's own labels minus those of the engine, for a network that corrects it",
    )  # fmt: skip
    label.add_argument("-j", "--jobs", type=int, default=1, help="worker processes (default: 1)")
    label.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    label.set_defaults(command=_label)


def _label(options) -> int:
    from mlcalc.data.labelling import label_file

    report = label_file(Path(options.structures), options.engine, Path(options.output), options.jobs, options.subtract)
    print(
        f"{report.labelled} of {report.total} structures labelled ({report.resumed} by earlier runs): {report.output}"
    )
    if report.failures:
        index, reason = next(iter(report.failures.items()))
        failed = f"{len(report.failures)} failed, written to {report.failed_output}"
        print(one_line(f"{failed}; structure {index + 1}: {reason}"))
        return 1
    return 0
