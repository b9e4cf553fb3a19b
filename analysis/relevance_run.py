"""Relevances along runs: 2-body against distance and 3-body against angle, beside the structure that they make.

Every bead of a frame is explained by itself, as the potential of a ring polymer is a sum over its beads. Means are per pair in a
bin of distance, and per angle at the apex of a triple with both of its sides in the first shell; errors are those of independent
frames.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from ase import Atoms
from MDAnalysis.lib.distances import self_distance_array

from analysis.relevance import Triples
from analysis.relevance_report import explain
from analysis.universe import Run, bead_universe
from mlcalc.errors import InputError
from mlcalc.model_file import Model, load_model

BIN_A, BIN_DEGREES = 0.05, 2.0
_SMOOTH = 3  # bins on either side
_RISE = 0.03  # of the first peak: what ends the search for the minimum behind it
FEWEST_FRAMES = 4


class Binned(NamedTuple):
    """Per frame and bin (n_frames, n_bins): the number of entries and the sum of their values; edges (n_bins + 1,)."""

    edges: np.ndarray
    counts: np.ndarray
    sums: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        """(n_bins,)"""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    @property
    def mean(self) -> np.ndarray:
        """(n_bins,) mean value of an entry; NaN in empty bins."""
        n = self.counts.sum(axis=0)
        return np.divide(self.sums.sum(axis=0), n, out=np.full(len(n), np.nan), where=n > 0)

    @property
    def error(self) -> np.ndarray:
        """(n_bins,) standard error of the mean from the scatter of frames (ratio estimator)."""
        frames, n = len(self.counts), self.counts.sum(axis=0)
        residual = self.sums - np.nan_to_num(self.mean) * self.counts
        spread = np.sqrt((residual**2).sum(axis=0) * frames / (frames - 1))
        return np.divide(spread, n, out=np.full(len(n), np.nan), where=n > 0)


class Density(NamedTuple):
    """A distribution over bins with its standard error: of distances (1/Å), of angles (1/degree), or g(r)."""

    edges: np.ndarray
    value: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class RunRelevance:
    """What was found along a run.

    Attributes:
        run: The run; gamma: γ; frames: how many were explained, all beads of each.
        shell: Å, end of the first shell.
        pairs: Binned 2-body relevance, eV, against distance; triples: 3-body against angle in degrees.
        distances: "beads" and "centroid" → Density of pairs; g(r) where the run is periodic.
        angles: Density of angles of beads.
        orders: Order → (n_frames,) ΣR, eV, mean over beads; energy, total: (n_frames,) eV likewise.
    """

    run: Run
    gamma: float | Sequence[float]
    frames: int
    shell: float
    pairs: Binned
    triples: Binned
    distances: dict[str, Density]
    angles: Density
    orders: dict[str, np.ndarray]
    energy: np.ndarray
    total: np.ndarray

    @property
    def periodic(self) -> bool:
        """Whether distances are g(r)."""
        return bool(self.run.structure.pbc.any())


def analyse(
    run: Run, gamma: float | Sequence[float], frames: int, discard: float, model_name: str | None = None,
    shell: float | None = None, workers: int | None = None, show=lambda done: None,
) -> RunRelevance:  # fmt: skip
    """Explain evenly spaced frames of a run.

    Args:
        frames: How many, at least 4, of those that stay when the share ``discard`` is left out at the start.
        model_name: None for the run's own model.
        shell: Å, end of the first shell; None for the first minimum of the pairs' distribution.
        workers: Processes; None for one per processor.
        show: Called with the number of frames done.

    Raises:
        InputError: Too few frames, a model that does not serve the structure, no shell.
    """
    kept = run.kept(discard)
    if frames < FEWEST_FRAMES or len(kept) < frames:
        raise InputError(
            f"{run}: {frames} frames of {len(kept)} after discarding {discard:.0%}: expected {FEWEST_FRAMES} to {len(kept)}"
        )
    model = load_model(model_name or run.model)
    chosen = kept[np.linspace(0, len(kept) - 1, frames).round().astype(int)]
    beads = _positions(run, chosen)
    structure = Atoms(run.structure.numbers, cell=run.structure.cell, pbc=run.structure.pbc)
    edges = _distance_edges(structure, beads)
    replicas = {"beads": beads} | ({"centroid": beads.mean(axis=1, keepdims=True)} if run.n_beads > 1 else {})
    distances = {kind: _pair_density(structure, positions, edges) for kind, positions in replicas.items()}
    shell = shell or first_minimum(distances["beads"])
    task = _Task(model, structure, gamma, edges, shell)
    parts = []
    for part in _mapped(task, beads, min(workers or os.cpu_count() or 1, frames)):
        parts.append(part)
        show(len(parts))
    stacked = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    angle_edges = task.angle_edges
    weight = stacked["angle_counts"] / max(stacked["angle_counts"].sum(), 1) * frames / BIN_DEGREES
    orders = {name.removeprefix("order "): values for name, values in stacked.items() if name.startswith("order ")}
    return RunRelevance(
        run, gamma, frames, shell, Binned(edges, stacked["pair_counts"], stacked["pair_sums"]),
        Binned(angle_edges, stacked["angle_counts"], stacked["angle_sums"]), distances,
        Density(angle_edges, weight.mean(axis=0), weight.std(axis=0, ddof=1) / np.sqrt(frames)), orders,
        stacked["energy"], stacked["total"],
    )  # fmt: skip


def _mapped(task, beads: np.ndarray, workers: int) -> Iterator[dict[str, np.ndarray]]:
    if workers == 1:
        yield from map(task, beads)
        return
    # Not by fork: torch's threads do not survive it.
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        yield from pool.map(task, beads)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _positions(run: Run, frames: np.ndarray) -> np.ndarray:
    """(n_frames, P, N, 3) Å."""
    universe = bead_universe(run)
    return np.array([
        universe.trajectory[int(frame)].positions.astype(np.float64).reshape(run.n_beads, -1, 3) for frame in frames
    ])  # fmt: skip


def _distance_edges(structure: Atoms, beads: np.ndarray) -> np.ndarray:
    if structure.pbc.any():
        farthest = 0.5 * (structure.get_volume() / _face_areas(structure)).min()
    else:
        extent = beads.reshape(-1, *beads.shape[2:])
        farthest = 1.02 * max(_pair_distances(structure, positions).max(initial=0.0) for positions in extent)
    return np.arange(0.0, farthest + (0.0 if structure.pbc.any() else BIN_A), BIN_A)


def _face_areas(structure: Atoms) -> np.ndarray:
    a, b, c = structure.cell.array
    return np.linalg.norm([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)


def _pair_distances(structure: Atoms, positions: np.ndarray) -> np.ndarray:
    """All distances of a replica, of nearest images where it is periodic."""
    box = structure.cell.cellpar().astype(np.float32) if structure.pbc.any() else None
    return self_distance_array(positions.astype(np.float32), box=box)


def _pair_density(structure: Atoms, positions: np.ndarray, edges: np.ndarray) -> Density:
    """P(r) of a molecule, g(r) of a periodic structure, from positions (n_frames, replicas, N, 3)."""
    counts = np.array([
        sum(np.histogram(_pair_distances(structure, replica), edges)[0] for replica in frame) for frame in positions
    ])  # fmt: skip
    n_atoms = positions.shape[2]
    pairs = positions.shape[1] * n_atoms * (n_atoms - 1) / 2
    if structure.pbc.any():
        volumes = 4.0 / 3.0 * np.pi * np.diff(edges**3)
        density = counts / (pairs * volumes / structure.get_volume())
    else:
        density = counts / (pairs * np.diff(edges))
    return Density(edges, density.mean(axis=0), density.std(axis=0, ddof=1) / np.sqrt(len(density)))


def first_minimum(density: Density) -> float:
    """Å, where the distribution is lowest between its first peak and the next; in the middle of a gap if there is one.

    Raises:
        InputError: There is no minimum; the message says how to set one.
    """
    window = np.ones(2 * _SMOOTH + 1) / (2 * _SMOOTH + 1)
    smooth = np.convolve(density.value, window, mode="same")
    high = smooth > 0.1 * smooth.max()
    start = int(np.argmax(high))
    peak = start
    while peak + 1 < len(smooth) and smooth[peak + 1] >= smooth[peak]:
        peak += 1
    lowest = np.minimum.accumulate(smooth[peak:])
    risen = smooth[peak:] > lowest + _RISE * smooth[peak]
    if not risen.any():
        raise InputError(
            "the pairs' distribution has no minimum behind its first peak: set the end of the first shell by --shell"
        )
    valley = smooth[peak : peak + int(np.argmax(risen)) + 1]
    deep = np.flatnonzero(valley <= valley.min() + 1e-3 * smooth[peak])
    centres = 0.5 * (density.edges[1:] + density.edges[:-1])
    return float(centres[peak + int(round(deep.mean()))])


@dataclass(frozen=True)
class _Task:
    """Explains all beads of a frame; travels to other processes."""

    model: Model
    structure: Atoms
    gamma: float | Sequence[float]
    edges: np.ndarray
    shell: float
    angle_edges: np.ndarray = field(default_factory=lambda: np.arange(0.0, 180.0 + BIN_DEGREES, BIN_DEGREES))

    def __call__(self, beads: np.ndarray) -> dict[str, np.ndarray]:
        """Sums over the beads (P, N, 3); energies and orders as means."""
        parts = [self._explain(positions) for positions in beads]
        summed = ("pair_counts", "pair_sums", "angle_counts", "angle_sums")
        return {
            name: (np.sum if name in summed else np.mean)([part[name] for part in parts], axis=0) for name in parts[0]
        }

    def _explain(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        atoms = self.structure.copy()
        atoms.positions = positions
        item = explain(self.model, atoms, self.gamma)
        t, (rows, angles) = item.trace, shell_angles(atoms, item.sets, self.shell)
        return {
            "pair_counts": np.histogram(t.distances, self.edges)[0],
            "pair_sums": np.histogram(t.distances, self.edges, weights=item.pairs)[0],
            "angle_counts": np.histogram(angles, self.angle_edges)[0],
            "angle_sums": np.histogram(angles, self.angle_edges, weights=item.triples[rows])[0],
            "energy": np.array(t.energy), "total": np.array(item.total),
        } | {f"order {order}": np.array(value) for order, value in item.by_order.items()}  # fmt: skip


def shell_angles(atoms: Atoms, triples: Triples, shell: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles in degrees at every apex whose two sides are shorter than ``shell`` Å, and the row of their triple."""
    nodes = atoms.positions[triples.atoms] + triples.images @ atoms.cell.array
    rows, angles = [], []
    for apex in range(3):
        sides = [nodes[:, other] - nodes[:, apex] for other in range(3) if other != apex]
        lengths = [np.linalg.norm(side, axis=1) for side in sides]
        near = np.flatnonzero((lengths[0] < shell) & (lengths[1] < shell))
        cosine = (sides[0][near] * sides[1][near]).sum(axis=1) / (lengths[0][near] * lengths[1][near])
        rows.append(near)
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return np.concatenate(rows), np.concatenate(angles)
