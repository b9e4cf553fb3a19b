"""Structure of liquids: compare g(r) and the angles between neighbours of runs and of frames in files.

Successive frames are not independent: standard errors come from blocks of frames, those of derived numbers from the jackknife.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.liquid.pair_density import Density, distance_edges, first_minimum, pair_densities, with_scatter
from analysis.liquid.wedges import ANGLE_EDGES, angles_between, wedges
from analysis.runs.run_files import check_frames, check_used, first_kept
from analysis.runs.universe import bead_frames, open_run
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.geometry.minimum_image import lattice_of
from mlcalc.geometry.pairs import half_pairs
from mlcalc.structures.structure_files import read_atoms

BLOCKS = 20
_PARABOLA_A = 0.15  # on either side of an extremum


@dataclass(frozen=True)
class Liquid:
    """Positions of a periodic liquid.

    Attributes:
        name: Its label; structure: elements and cell; positions: (n_blocks, frames and beads, N, 3) Å; frames: their number.
        cells: (n_blocks, frames and beads, 3, 3) Å, if the cell changes; None if it is the structure's.
    """

    name: str
    structure: Atoms
    positions: np.ndarray
    frames: int
    cells: np.ndarray | None = None

    @property
    def volumes(self) -> np.ndarray:
        """Volumes of all frames, Å³."""
        return np.abs(np.linalg.det(self._all_cells)).ravel()

    @property
    def lengths(self) -> np.ndarray:
        """(frames and beads, 3) Å, lengths of the cell vectors of all frames."""
        return np.linalg.norm(self._all_cells, axis=-1).reshape(-1, 3)

    @property
    def _all_cells(self) -> np.ndarray:
        return self.structure.cell.array[None] if self.cells is None else self.cells


@dataclass(frozen=True)
class LiquidStructure:
    """The structure of a liquid, by blocks.

    Attributes:
        liquid: The liquid; shell: Å, the largest distance of neighbours that form angles.
        edges: Å; rdf: (n_blocks, n_bins) g(r).
        angles: (n_blocks, n_bins) density of angles at a bead between two of its neighbours, 1/degree, in bins ANGLE_EDGES.
    """

    liquid: Liquid
    shell: float
    edges: np.ndarray
    rdf: np.ndarray
    angles: np.ndarray

    @property
    def g(self) -> Density:
        """g(r)."""
        return with_scatter(self.edges, self.rdf)

    @property
    def angle_density(self) -> Density:
        """Density of angles."""
        return with_scatter(ANGLE_EDGES, self.angles)


def read_liquid(source: Path, discard: float) -> Liquid:
    """Read a run folder or a file of frames; InputError without a cell, with too few frames, or with different liquids.

    Args:
        discard: Share of the frames left out at the start.
    """
    structure, positions, cells = (
        _run_frames(source, discard) if os.path.isdir(source) else _file_frames(source, discard)
    )
    if not np.isfinite(positions).all():
        raise InputError(f"{source}: a position is not a finite number: expected healthy frames")
    per_block = len(positions) // BLOCKS
    if not per_block:
        raise InputError(f"{source}: {len(positions)} frames are left: expected at least {BLOCKS}, one for each block")
    kept, own = (array[len(positions) - per_block * BLOCKS :] for array in (positions, cells))
    blocks = kept.reshape(BLOCKS, -1, *kept.shape[2:])
    if np.allclose(own, structure.cell.array, rtol=0.0, atol=1e-9):
        return Liquid(str(source), structure, blocks, len(kept))
    of_beads = np.repeat(own[:, None], kept.shape[1], axis=1).reshape(BLOCKS, -1, 3, 3)
    return Liquid(str(source), structure, blocks, len(kept), of_beads)


def _run_frames(folder: Path, discard: float) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """Structure, positions (n_frames, P, N, 3) and cells (n_frames, 3, 3) of a run."""
    run = open_run(folder)
    check_frames(run)
    _check_periodic(folder, run.structure)
    return run.structure, *bead_frames(run, run.kept(discard))


def _file_frames(path: Path, discard: float) -> tuple[Atoms, np.ndarray, np.ndarray]:
    """The same for the structures in a file, P = 1."""
    frames = read_atoms(path)
    structure = frames[0]
    for number, atoms in enumerate(frames, start=1):
        if not np.array_equal(atoms.numbers, structure.numbers):
            raise InputError(
                f"{path}: the atoms of structure {number} differ from those of the first: expected frames of one liquid"
            )
        _check_periodic(path if number == 1 else f"{path}, structure {number}", atoms)
    kept = frames[first_kept(len(frames), discard) :]
    check_used(str(path), len(frames), len(kept), discard)
    return (
        structure,
        np.array([atoms.positions[None] for atoms in kept]),
        np.array([atoms.cell.array for atoms in kept]),
    )


def _check_periodic(place: Path | str, atoms: Atoms) -> None:
    if not atoms.pbc.all():
        kind = "has none" if not atoms.pbc.any() else f"has pbc {atoms.pbc.tolist()}"
        raise InputError(f"{place}: g(r) needs a cell that is periodic in all directions, and this {kind}")
    try:
        lattice_of(atoms.cell.array)
    except InputError as error:
        raise InputError(f"{place}: {error}") from error


def analyse(liquids: list[Liquid], shell: float | None = None) -> list[LiquidStructure]:
    """Analyse all liquids on the same bins; neighbours are within ``shell`` Å, or the first minimum of the first liquid's g(r).

    Raises:
        InputError: No first minimum, or an invalid shell.
    """
    if shell is not None:
        check_range("--shell", shell, 0.0, open_low=True)
    edges = min((distance_edges(liquid.structure, liquid.positions, liquid.cells) for liquid in liquids), key=len)
    rdfs = [pair_densities(liquid.structure, liquid.positions, edges, liquid.cells) for liquid in liquids]
    shell = shell or first_minimum(with_scatter(edges, rdfs[0]))
    return [
        LiquidStructure(liquid, shell, edges, rdf, _angles(liquid, shell))
        for liquid, rdf in zip(liquids, rdfs, strict=True)
    ]


def _angles(liquid: Liquid, shell: float) -> np.ndarray:
    own, pbc = liquid.structure.cell.array, liquid.structure.pbc
    cells = np.broadcast_to(own, (*liquid.positions.shape[:2], 3, 3)) if liquid.cells is None else liquid.cells
    counts = np.array([
        sum(np.histogram(neighbour_angles(positions, shell, cell, pbc), ANGLE_EDGES)[0]
            for positions, cell in zip(block, of_block, strict=True))
        for block, of_block in zip(liquid.positions, cells, strict=True)
    ])  # fmt: skip
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) / np.diff(ANGLE_EDGES)


def neighbour_angles(positions: np.ndarray, shell: float, cell: np.ndarray, pbc) -> np.ndarray:
    """Angles (n,) in degrees at every atom between every two of its neighbours within ``shell`` Å."""
    pairs = half_pairs(positions, shell, cell, pbc)
    vectors = positions[pairs.second] - positions[pairs.first] + pairs.shift
    near = np.linalg.norm(vectors, axis=1) < shell
    one, two = wedges(np.concatenate([pairs.first[near], pairs.second[near]]))
    sides = np.concatenate([vectors[near], -vectors[near]])
    return angles_between(sides[one], sides[two])


def jackknife(numbers: Callable[[np.ndarray], np.ndarray], blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers derived from the mean of blocks (n_blocks, n_bins), and their standard errors."""
    n = len(blocks)
    total = blocks.sum(axis=0)
    left_out = np.array([numbers((total - block) / (n - 1)) for block in blocks])
    return numbers(total / n), np.sqrt((n - 1) / n * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))


def landmarks(structure: LiquidStructure) -> tuple[np.ndarray, np.ndarray]:
    """Places (Å) and heights of the first maximum, the first minimum and the second maximum of g(r), (6,), and standard errors."""
    centres = 0.5 * (structure.edges[1:] + structure.edges[:-1])
    mean = structure.rdf.mean(axis=0)
    first = int(np.argmax(mean))
    trough = int(np.argmin(np.abs(centres - first_minimum(structure.g))))
    second = trough + int(np.argmax(mean[trough:]))

    def numbers(g: np.ndarray) -> np.ndarray:
        return np.array([number for place in (first, trough, second) for number in _vertex(centres, g, place)])

    return jackknife(numbers, structure.rdf)


def _vertex(x: np.ndarray, y: np.ndarray, place: int) -> tuple[float, float]:
    """Position and height of an extremum, from a parabola through its neighbourhood, which is less noisy than a bin."""
    reach = max(2, round(_PARABOLA_A / (x[1] - x[0])))
    near = slice(max(0, place - reach), place + reach + 1)
    c, b, a = np.polynomial.polynomial.polyfit(x[near] - x[place], y[near], 2)
    if a == 0.0 or abs(b / (2.0 * a)) > reach * (x[1] - x[0]):
        return float(x[place]), float(y[place])
    return float(x[place] - b / (2.0 * a)), float(c - b * b / (4.0 * a))


def overlaps(one: LiquidStructure, other: LiquidStructure) -> tuple[np.ndarray, np.ndarray]:
    """Overlaps of two liquids in the pairs within the common range and in the angles, (2,) in [0, 1], and standard errors.

    The overlap of two densities p and q is ∫ min(p, q); of pairs p(r) ∝ r² g(r).
    """
    weight = np.diff(one.edges**3)
    found = []
    for mine, theirs, weights in ((one.rdf, other.rdf, weight), (one.angles, other.angles, 1.0)):

        def shared(p: np.ndarray, q: np.ndarray, weights=weights) -> np.ndarray:
            return np.minimum(p * weights / (p * weights).sum(), q * weights / (q * weights).sum()).sum()

        value, error = jackknife(partial(shared, q=theirs.mean(axis=0)), mine)
        _, error_of_theirs = jackknife(partial(shared, mine.mean(axis=0)), theirs)
        found.append((value, np.hypot(error, error_of_theirs)))
    values, errors = np.array(found).T
    return values, errors
