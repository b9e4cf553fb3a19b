"""The command ``mlcalc relax``."""

import argparse
from pathlib import Path

from mlcalc.commands.engine_help import ENGINES


def add_relax(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    relax = commands.add_parser(
        "relax", help="relax a structure to a minimum", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Relax a structure with any engine and write the minimum with its energy and forces; the cell is fixed.",
        epilog=f"{ENGINES}\n\nexample:\n  mlcalc relax molecule.xyz --engine tblite:GFN2-xTB -o minimum.xyz",
    )  # fmt: skip
    relax.add_argument("structure", metavar="STRUCTURE.xyz")
    relax.add_argument("--engine", required=True)
    relax.add_argument(
        "--max-force", type=float, default=1e-3, metavar="eV/Å", help="largest force at the minimum (default: 0.001)"
    )
    relax.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    relax.set_defaults(command=_relax)


def _relax(options) -> int:
    from mlcalc.common.settings import check_range
    from mlcalc.data.relaxation import relax_file

    check_range("--max-force", options.max_force, 0, open_low=True)
    print(relax_file(Path(options.structure), options.engine, Path(options.output), options.max_force))
    return 0
