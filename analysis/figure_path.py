"""Where a command's figure goes, with its numbers beside it."""

import os
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place


def figure_path(runs: list[Path], output: Path | None, name: str) -> Path:
    """Where the figure goes; InputError for a place that cannot be."""
    if output is None:
        parents = {Path(os.path.abspath(run)).parent for run in runs}
        shared = len(runs) > 1 and len(parents) == 1
        return (runs[0].parent if shared else runs[0]) / name
    if output.suffix != ".png":
        raise InputError(f"--output {output}: expected a name that ends in .png")
    return check_place(output)
