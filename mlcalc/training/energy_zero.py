"""Zeros of energy and shifts of scalars by element. Zeros: one for each level of theory in a training set, not one for each file.

Energies of two levels differ by a constant or, where compositions differ, by one for each element. A superfluous free
constant would absorb energy differences between conformers, which the forces do not determine.
"""

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from mlcalc.common.errors import InputError, one_line
from mlcalc.training.dataset import Dataset

_LEAST_REST = 1e-6
_FRAMES = 500  # of each level, spread over all, are enough to fit a constant


class Levels(NamedTuple):
    """Which frames share a zero of energy.

    Attributes:
        of_frame: (n_frames,) level of each frame; 0 is that of the first frame, whose zero becomes the network's.
        names: What each level is called.
    """

    of_frame: np.ndarray
    names: list[str]


def energy_levels(dataset: Dataset, zeros: str, files: tuple[str, ...]) -> Levels:
    """Levels as the key ``energy_zeros`` asks for them.

    Args:
        zeros: "one": of all frames, refused if they name more than one ``engine``; "shared": of all, whatever they name; "engine":
            one for each engine; "file": one for each file.
        files: Their names.

    Raises:
        InputError: More than one engine for one zero.
    """
    if zeros == "file":
        return Levels(dataset.sources, list(files))
    if zeros == "shared":
        return Levels(np.zeros(len(dataset), dtype=int), ["all frames"])
    engines = [str(info.get("engine", "no engine")) for info in dataset.info]
    names = list(dict.fromkeys(engines))
    if zeros == "one" and len(names) > 1:
        counts = ", ".join(f"{name} in {engines.count(name)}" for name in names)
        raise InputError(
            f'energies of more than one engine ({counts} structures): set energy_zeros = "engine" to fit a constant for each, or '
            '"shared" where they are one level of theory'
        )
    return Levels(np.array([names.index(engine) for engine in engines]), names)


def fit_zeros(
    dataset: Dataset, levels: Levels, frames: np.ndarray, elements, predict, weights: np.ndarray | None = None
) -> np.ndarray:
    """Energies of free atoms, (n_levels, n_elements) eV, with which a network fits each level on average.

    Args:
        frames: Frames to fit; elements: atomic numbers, in the order of the columns.
        predict: Frame indices to the network's energies without any zero, eV.
        weights: (n_frames,) of the squared deviations; None for equal ones.

    The first level fits all elements; the others fit the smallest change from it that explains them (least squares of least norm),
    which for molecules of one composition is a constant.
    """
    zeros = np.zeros((len(levels.names), len(elements)))
    for level in range(len(levels.names)):
        zeros[level] = zeros[0]
        mine = frames[(levels.of_frame[frames] == level) & np.isfinite(dataset.energies[frames])]
        mine = mine[:: max(1, len(mine) // _FRAMES)][:_FRAMES]
        if not len(mine):
            continue
        counts = composition(dataset, mine, elements)
        residual = dataset.energies[mine] - predict(mine) - counts @ zeros[0]
        zeros[level] += _least_squares(counts, residual, None if weights is None else weights[mine])
    return zeros


def fit_shifts(
    dataset: Dataset, frames: np.ndarray, elements, weights: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Shifts of the scalar, (n_elements,) in its unit, that its labels have on average, and the scale of the rest per atom.

    The scale is the root-mean-square of what the shifts leave of a structure over √N of its atoms: independent contributions of one
    unit each would add up to it.

    Args:
        frames, elements, weights: As for fit_zeros.

    """
    counts, labels = composition(dataset, frames, elements), dataset.labels["scalar"][frames]
    its = None if weights is None else weights[frames]
    shifts = _least_squares(counts, labels, its)
    rest = np.average(np.square(labels - counts @ shifts) / counts.sum(axis=1), weights=its)
    least = _LEAST_REST * np.sqrt(np.mean(labels**2))  # an exact fit leaves the rounding of numbers
    return shifts, float(max(np.sqrt(rest), least) or 1.0)


def _least_squares(counts: np.ndarray, values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    root = np.ones(len(values)) if weights is None else np.sqrt(weights)
    return np.linalg.lstsq(root[:, None] * counts, root * values, rcond=None)[0]


def composition(dataset: Dataset, frames: np.ndarray, elements) -> np.ndarray:
    """(n_frames, n_elements) atoms of each element."""
    return np.array([[np.sum(dataset.numbers[dataset.atoms_of(k)] == z) for z in elements] for k in frames])


def describe(levels: Levels, zeros: np.ndarray, elements) -> str:
    """The fitted zeros, a line for each level."""
    lines = []
    for level, name in enumerate(levels.names):
        shifts = zeros[level] - (zeros[0] if level else 0.0)
        listed = ", ".join(f"{chemical_symbols[z]} {shift:+.4f}" for z, shift in zip(elements, shifts, strict=True))
        of = f"{np.sum(levels.of_frame == level)} frames of {name}"
        lines.append(one_line(f"zero of energy: {listed} eV per atom{' relative to the first' if level else ''}, {of}"))
    return "\n".join(lines)
