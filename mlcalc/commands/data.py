"""The command ``mlcalc data``."""

import argparse
from pathlib import Path

_EXAMPLE = "pip install qm9pack && mlcalc data qm9 -o qm9.xyz --number 35000"


def add_data(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    data = commands.add_parser(
        "data", help="published data sets as files to train on", epilog=f"example:\n  {_EXAMPLE}",
        description="Write published data sets as files to train on.", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sets = data.add_subparsers(required=True, metavar="NAME")
    qm9 = sets.add_parser(
        "qm9", help="QM9, from the PyPI package qm9pack",
        description="Write molecules of QM9 as extended XYZ: U0 as energy, and 14 other properties (mlcalc/data/qm9.py).",
        epilog=f"example:\n  {_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    qm9.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.xyz")
    qm9.add_argument("--number", type=int, metavar="N", help="so many, chosen at random (default: all 130 831)")
    qm9.add_argument("--seed", type=int, default=1, help="of the choice (default: 1)")
    qm9.add_argument("--folder", type=Path, help="of the tables (default: that of the installed package)")
    qm9.set_defaults(command=_qm9)


def _qm9(options) -> int:
    from tqdm import tqdm

    from mlcalc.common.files import check_place
    from mlcalc.data.labelling import write_frames
    from mlcalc.data.qm9 import MOLECULES, find_qm9, read_qm9

    output = check_place(options.output)
    molecules = read_qm9(options.folder or find_qm9(), options.number, options.seed)
    frames = list(tqdm(molecules, total=options.number or MOLECULES, unit="molecule", disable=None))
    write_frames(frames, output)
    print(f"{output}: {len(frames)} molecules")
    return 0
