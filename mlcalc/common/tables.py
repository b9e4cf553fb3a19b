"""Aligned plain-text tables, and numbers with their standard errors."""

import math

from mlcalc.common.errors import one_line


def with_error(value: float, error: float) -> str:
    """``value ± error``, the error with two significant digits and the value with as many decimals."""
    if error <= 1e-12 * abs(value):  # rounding, not scatter
        error = 0.0
    if not error > 0 or math.isinf(error):
        return f"{value:.4f} ± {error:.1g}"
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def aligned(header: list[str], rows: list[list[str]], left: int = 0) -> str:
    """A table with a rule under its header; the first ``left`` columns are left-aligned, the others right-aligned.

    Characters that control a terminal are escaped.
    """
    header, *rows = [[one_line(cell) for cell in cells] for cells in (header, *rows)]
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ).rstrip()
        for cells in (header, *rows)
    ]
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])
