"""Matrix products in compiled code."""

import numpy as np

from mlcalc.common.compiled import inner

_SMALL = 1_000_000  # multiplications up to which OpenBLAS does without copies of its operands, a third faster


@inner
def multiply(rows, weight, out):
    """out = rows·weight, as many rows at a time as make a small product."""
    n_parts = len(rows) * weight.size // _SMALL + 1
    for part in range(n_parts):
        low, high = part * len(rows) // n_parts, (part + 1) * len(rows) // n_parts
        np.dot(rows[low:high], weight, out[low:high])
