"""The path of a command's figure; its numbers are written beside it."""

import os
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place


def figure_path(runs: list[Path], output: Path | None, name: str) -> Path:
    """The path of the figure; InputError for an unusable one."""
    if output is None:
        parents = {Path(os.path.abspath(run)).parent for run in runs}
        shared = len(runs) > 1 and len(parents) == 1
        return (runs[0].parent if shared else runs[0]) / name
    if output.suffix != ".png":
        raise InputError(f"--output {output}: expected a name that ends in .png")
    return check_place(output)
