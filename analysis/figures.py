"""Style and output of all figures. Colours: Okabe and Ito, distinct for colour-blind readers too."""

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: Any = {  # matplotlib's own type lists every key
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "savefig.dpi": 200,
    "svg.hashsalt": "mlcalc",  # identical figures give identical files
}
DASHES = (0, (4, 2))


def rendered(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a ``"png"`` or ``"svg"`` file."""
    stream = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def write_beside(figure_path: Path, figure: Figure, text: str, json_text: str, **others: bytes) -> list[Path]:
    """Write a figure (PNG, SVG), its table (TXT), its numbers (JSON) and each ``suffix=content`` as files side by side.

    Returns:
        Their paths.

    Raises:
        InputError: A file cannot be written, for example on a full disk.
    """
    contents = {
        ".txt": (text + "\n").encode(), ".png": rendered(figure, "png"), ".svg": rendered(figure, "svg"),
        ".json": json_text.encode(), **{f".{suffix}": data for suffix, data in others.items()},
    }  # fmt: skip
    paths = [figure_path.with_suffix(suffix) for suffix in contents]
    for path, data in zip(paths, contents.values(), strict=True):
        try:
            write_atomically(path, data)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return paths
