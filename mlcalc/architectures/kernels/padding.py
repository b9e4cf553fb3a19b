"""Features padded with zeros to full vectors of a processor (kernels/lanes.py); the additional ones have no effect."""

import numpy as np

from mlcalc.architectures.kernels.lanes import lane_count


def padded(n_features: int, precision: str | np.dtype) -> int:
    """The width of so many features in the kernel."""
    lanes = lane_count(precision)
    return -(-n_features // lanes) * lanes


def pad(weight: np.ndarray, n_features: int, width: int, parts: tuple[int, ...]) -> np.ndarray:
    """Pad every part of n_features along an axis to ``width``; ``parts`` says how many there are along each axis, 0 for none."""
    for axis, n_parts in enumerate(parts):
        if n_parts:
            shape = list(weight.shape)
            split = weight.reshape(*shape[:axis], n_parts, n_features, *shape[axis + 1 :])
            widths = [(0, 0)] * split.ndim
            widths[axis + 1] = (0, width - n_features)
            shape[axis] = n_parts * width
            weight = np.pad(split, widths).reshape(shape)
    return weight
