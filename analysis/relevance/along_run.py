"""Relevances along runs: 2-body against distance and 3-body against angle, with distributions of distances and angles.

Every bead of a frame is explained separately, since the potential of a ring polymer is a sum over its beads. Means are per pair in
a bin of distance, and per angle at the apex of a triple whose two sides are in the first shell; errors assume independent frames.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from scipy.sparse.csgraph import shortest_path

from analysis.distances.pair_distances import bonded_pairs
from analysis.liquid.pair_density import Density, distance_edges, first_minimum, pair_density, with_scatter
from analysis.liquid.wedges import ANGLE_EDGES, BIN_DEGREES, angles_between
from analysis.relevance.explain import Explanation, explain
from analysis.relevance.nbody import Triples, angular_energies
from analysis.relevance.trace import Rules, trace
from analysis.runs.run import Run
from analysis.runs.run_files import check_frames
from analysis.runs.universe import bead_frames
from mlcalc.common.errors import InputError
from mlcalc.common.pools import spawn_pool
from mlcalc.common.settings import check_range
from mlcalc.model import Model
from mlcalc.model_file import load_model

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


class Shells(NamedTuple):
    """Pairs of a molecule by the smallest number of bonds between their atoms (n_shells,).

    Attributes:
        bonds: The number of bonds; 0 for unconnected atoms.
        pairs: Number of pairs.
        distance, spread: Mean and standard deviation of their distances, Å, over beads and frames.
        relevance: (n_frames, n_shells) eV, 2-body relevance of a pair.
    """

    bonds: np.ndarray
    pairs: np.ndarray
    distance: np.ndarray
    spread: np.ndarray
    relevance: np.ndarray


@dataclass(frozen=True)
class RunRelevance:
    """The relevances along a run.

    Attributes:
        run: The run; gamma: γ; rule: as in Rules; frames: number of explained frames, with all beads.
        shell: Å, end of the first shell.
        shells: Pairs by bonds between them; None if any direction is periodic.
        pairs: Binned 2-body relevance, eV, against distance; triples: 3-body against angle in degrees.
        prior: The angular prior's part of the triples' relevance; None if the model has no such prior.
        distances: "beads" and "centroid" → Density of pairs; g(r) if the run is periodic in all directions.
        angles: Density of angles of beads.
        orders: Order → (n_frames,) ΣR, eV, mean over beads; energy, total: (n_frames,) eV likewise; angular: of the prior.
        apart: Prior that is not explained → (n_frames,) eV, likewise; see trace.py.
    """

    run: Run
    gamma: float | Sequence[float]
    rule: str | None
    frames: int
    shell: float
    shells: Shells | None
    pairs: Binned
    triples: Binned
    prior: Binned | None
    distances: dict[str, Density]
    angles: Density
    orders: dict[str, np.ndarray]
    energy: np.ndarray
    total: np.ndarray
    angular: np.ndarray
    apart: dict[str, np.ndarray]

    @property
    def periodic(self) -> bool:
        """Whether distances are g(r)."""
        return bool(self.run.structure.pbc.all())


def analyse(
    run: Run, gamma: float | Sequence[float], frames: int, discard: float, model_name: str | None = None,
    shell: float | None = None, workers: int | None = None, rdf: bool = False, show=lambda done: None,
    rule: str | None = None,
) -> RunRelevance:  # fmt: skip
    """Explain evenly spaced frames of a run.

    Args:
        frames: Number of frames, at least 4, chosen after the share ``discard`` at the start.
        model_name: None for the run's own model.
        shell: Å, end of the first shell; None for the first minimum of the pairs' distribution. At most the model's cutoff.
        workers: Number of processes; None for one per processor.
        rdf: Whether g(r) is required; molecules without a cell have only the density of pair distances.
        show: Called with the number of frames done.
        rule: As in Rules.

    Raises:
        InputError: Too few frames, a model that does not support the structure, no shell, or no cell although g(r) is required.
    """
    if rdf and not run.structure.pbc.all():
        raise InputError(f"{run}: g(r) needs a cell that is periodic in all directions, and this run has none")
    check_frames(run)
    kept = run.kept(discard)
    if frames < FEWEST_FRAMES or len(kept) < frames:
        raise InputError(
            f"{run}: {frames} frames of {len(kept)} after discarding {discard:.0%}: expected {FEWEST_FRAMES} to {len(kept)}"
        )
    for name, value, least in (("--shell", shell, 0.0), ("--workers", workers, 1)):
        if value is not None:
            check_range(name, value, least, open_low=least == 0.0)
    model = load_model(model_name or run.model)
    try:
        rule = Rules(trace(model, run.structure), gamma, rule).rule
    except InputError as error:
        raise InputError(f"{run} with the model {model_name or run.model}: {error}") from error
    chosen = kept[np.linspace(0, len(kept) - 1, frames).round().astype(int)]
    beads, cells = bead_frames(run, chosen)
    structure = Atoms(run.structure.numbers, cell=run.structure.cell, pbc=run.structure.pbc)
    of_frames = np.broadcast_to(structure.cell.array, (frames, 3, 3)) if cells is None else cells
    of_beads = np.broadcast_to(of_frames[:, None], (*beads.shape[:2], 3, 3))
    edges = distance_edges(structure, beads, of_beads)
    replicas = {"beads": beads} | ({"centroid": beads.mean(axis=1, keepdims=True)} if run.n_beads > 1 else {})
    distances = {
        kind: pair_density(structure, positions, edges, of_beads[:, : positions.shape[1]])
        for kind, positions in replicas.items()
    }
    # A network has no edges, and so no sides of angles, beyond its cutoff.
    shell = min(shell or first_minimum(distances["beads"]), model.config.cutoff or np.inf)
    separation = None if structure.pbc.any() else separations(model, run.structure)
    task = _Task(model, structure, gamma, edges, shell, separation, rule)
    parts = []
    for part in _mapped(task, beads, of_frames, min(workers or os.cpu_count() or 1, frames)):
        parts.append(part)
        show(len(parts))
    stacked = {name: np.array([part[name] for part in parts]) for name in parts[0]}
    angles = stacked["angle_counts"] / max(stacked["angle_counts"].sum(), 1) * frames / BIN_DEGREES
    orders, apart = (
        {name.removeprefix(kind): values for name, values in stacked.items() if name.startswith(kind)}
        for kind in ("order ", "apart ")
    )
    pairs = Binned(edges, stacked["pair_counts"], stacked["pair_sums"])
    triples = Binned(ANGLE_EDGES, stacked["angle_counts"], stacked["angle_sums"])
    prior = triples._replace(sums=stacked["prior_sums"]) if "prior_sums" in stacked else None
    return RunRelevance(
        run, gamma, rule, frames, shell, _shells(stacked, run.n_beads), pairs, triples, prior, distances,
        with_scatter(ANGLE_EDGES, angles), orders, stacked["energy"], stacked["total"], stacked["angular"], apart,
    )  # fmt: skip


def separations(model: Model, atoms: Atoms) -> np.ndarray:
    """(N, N) bonds between atoms, 0 if they are not connected: of a chain of beads those along it, which no distance tells."""
    lengths = [prior.n_beads for prior in model.priors.values() if hasattr(prior, "n_beads")]
    if not lengths:
        return bonds_between(atoms)
    place = np.arange(len(atoms))
    one_chain = np.equal.outer(place // lengths[0], place // lengths[0])
    return np.where(one_chain, np.abs(np.subtract.outer(place, place)), 0)


def bonds_between(atoms: Atoms) -> np.ndarray:
    """(N, N) smallest number of bonds between atoms; 0 if they are not connected."""
    adjacent = np.zeros((len(atoms), len(atoms)))
    first, second = bonded_pairs(atoms).T
    adjacent[first, second] = 1
    steps = shortest_path(adjacent, directed=False, unweighted=True)
    return np.where(np.isfinite(steps), steps, 0).astype(int)


def _shells(stacked: dict[str, np.ndarray], n_beads: int) -> Shells | None:
    if "shell_counts" not in stacked:
        return None
    counts = stacked["shell_counts"]
    bonds = np.flatnonzero(counts.sum(axis=0))
    n = counts.sum(axis=0)[bonds]
    mean = stacked["shell_distances"].sum(axis=0)[bonds] / n
    square = stacked["shell_squares"].sum(axis=0)[bonds] / n
    relevance = stacked["shell_relevances"][:, bonds] / counts[:, bonds].clip(1)
    return Shells(bonds, n / (len(counts) * n_beads), mean, np.sqrt(np.maximum(square - mean**2, 0.0)), relevance)


def _mapped(task, beads: np.ndarray, cells: np.ndarray, workers: int) -> Iterator[dict[str, np.ndarray]]:
    if workers == 1:
        yield from map(task, beads, cells)
        return
    with spawn_pool(workers, _one_thread) as pool:
        yield from pool.map(task, beads, cells)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True)
class _Task:
    """Explains all beads of a frame, in this process or another."""

    model: Model
    structure: Atoms
    gamma: float | Sequence[float]
    edges: np.ndarray
    shell: float
    separation: np.ndarray | None
    rule: str | None

    def __call__(self, beads: np.ndarray, cell: np.ndarray) -> dict[str, np.ndarray]:
        """Sums over the beads (P, N, 3) of a frame with this cell (3, 3); energies and orders as means."""
        parts = [self._explain(positions, cell) for positions in beads]
        return {
            name: (np.mean if values.ndim == 0 else np.sum)([part[name] for part in parts], axis=0)
            for name, values in parts[0].items()
        }

    def _explain(self, positions: np.ndarray, cell: np.ndarray) -> dict[str, np.ndarray]:
        atoms = self.structure.copy()
        atoms.set_cell(cell)
        atoms.positions = positions
        item = explain(self.model, atoms, self.gamma, rule=self.rule)
        t, (rows, angles) = item.trace, shell_angles(atoms, item.sets, self.shell)
        of_prior = {} if t.prior is None else {
            "prior_sums": np.histogram(angles, ANGLE_EDGES, weights=angular_energies(t, item.sets)[rows])[0]
        }  # fmt: skip
        return {
            "pair_counts": np.histogram(t.distances, self.edges)[0],
            "pair_sums": np.histogram(t.distances, self.edges, weights=item.pairs)[0],
            "angle_counts": np.histogram(angles, ANGLE_EDGES)[0],
            "angle_sums": np.histogram(angles, ANGLE_EDGES, weights=item.triples[rows])[0],
            "energy": np.array(t.energy), "total": np.array(item.total), "angular": np.array(t.angular),
            **{f"order {order}": np.array(value) for order, value in item.by_order.items()},
            **{f"apart {name}": np.array(value) for name, value in t.apart.items()}, **self._by_bonds(item), **of_prior,
        }  # fmt: skip

    def _by_bonds(self, item: Explanation) -> dict[str, np.ndarray]:
        """Sums over the pairs of each shell."""
        if self.separation is None:
            return {}
        t, shells = item.trace, int(self.separation.max()) + 1
        shell = self.separation[t.first, t.second]
        weights = {"counts": None, "distances": t.distances, "squares": t.distances**2, "relevances": item.pairs}
        return {f"shell_{name}": np.bincount(shell, weight, shells) for name, weight in weights.items()}


def shell_angles(atoms: Atoms, triples: Triples, shell: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles in degrees at every apex with both sides shorter than ``shell`` Å, and the row of their triple."""
    nodes = atoms.positions[triples.atoms] + triples.images @ atoms.cell.array
    rows, angles = [], []
    for apex in range(3):
        sides = [nodes[:, other] - nodes[:, apex] for other in range(3) if other != apex]
        near = np.flatnonzero(np.all([np.linalg.norm(side, axis=1) < shell for side in sides], axis=0))
        rows.append(near)
        angles.append(angles_between(*(side[near] for side in sides)))
    return np.concatenate(rows), np.concatenate(angles)
