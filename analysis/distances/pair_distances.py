"""Distance distributions of a ring polymer: all pairs, and named groups of pairs such as bonds and cage diameters.

Bonds and diameters are fixed pairs of atoms, found once in the reference structure. This is valid for a molecule whose
atoms keep their neighbours, such as C20 at 300 K; analysis/structure/exchange.py reports exceptions.
C20's diameters join opposite atoms. These are not exactly the ten largest distances: at the distorted minimum one diameter is
shorter than some distances between atoms that are not opposite.

In a periodic universe distances are between nearest images in the frame's own box; one molecule can be kept together instead.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup

from analysis.distances.slow_motion import careful_mean
from analysis.structure.boxes import lattice_of_box
from analysis.structure.cages import diameter_pairs as diameter_pairs  # re-exported by this module
from analysis.structure.exchange import BondWatch
from analysis.structure.molecules import Molecule
from analysis.structure.molecules import bonded_pairs as bonded_pairs
from md.files.trajectory import LARGEST_A
from md.observables.statistics import Mean
from mlcalc.common.errors import InputError
from mlcalc.geometry.minimum_image import joined_beads, minimum_images

N_BLOCKS = 20  # contiguous blocks for the error of a histogram bin; also the smallest number of frames
KINDS = ("beads", "centroid")


@dataclass(frozen=True)
class Histogram:
    """Probability density of a distance, P(r), with its standard error from contiguous blocks of frames.

    Attributes:
        counts: (N_BLOCKS, n_bins + 1) distances counted per block, from 0 Å up; the last bin holds larger distances.
        bin_width: Å.
    """

    counts: np.ndarray
    bin_width: float

    @property
    def r(self) -> np.ndarray:
        """(n_bins,) bin centres in Å."""
        return (np.arange(self.counts.shape[1] - 1) + 0.5) * self.bin_width

    @property
    def density(self) -> np.ndarray:
        """(n_bins,) in Å⁻¹; distances beyond the last bin count in the normalisation."""
        return self.counts[:, :-1].sum(axis=0) / (self.counts.sum() * self.bin_width)

    @property
    def error(self) -> np.ndarray:
        """(n_bins,) standard error of the density in Å⁻¹; the blocks must be longer than the correlation time."""
        densities = self.counts[:, :-1] / (self.counts.sum(axis=1, keepdims=True) * self.bin_width)
        return densities.std(axis=0, ddof=1) / np.sqrt(len(self.counts))

    @property
    def outside(self) -> float:
        """Share of the distances beyond the last bin."""
        return float(self.counts[:, -1].sum() / self.counts.sum())

    def coarsened(self, factor: int) -> "Histogram":
        """The same with ``factor`` bins merged into one; a remainder at the upper end counts as beyond."""
        kept = (self.counts.shape[1] - 1) // factor * factor
        merged = self.counts[:, :kept].reshape(len(self.counts), -1, factor).sum(axis=2)
        beyond = self.counts[:, kept:].sum(axis=1, keepdims=True)
        return Histogram(np.concatenate([merged, beyond], axis=1), self.bin_width * factor)


class Moments(NamedTuple):
    """Mean and standard deviation of a pair's distance in Å, each averaged over the pairs of a group."""

    mean: Mean
    std: Mean


class PairMeans(NamedTuple):
    """Mean distance of each pair of a group and its standard error, (n_pairs,) Å."""

    values: np.ndarray
    errors: np.ndarray


class PairDistances(AnalysisBase):
    """Densities and moments of the pair distances of a ring polymer, beads and centroid, with standard errors.

    Args:
        universe: Beads as segments (analysis.runs.universe.bead_universe): P·N atoms, bead-major. P = 1 is classical MD.
        pairs: Named groups of pairs, each (n_pairs, 2) atom indices below N, such as
            ``{"bonds": bonded_pairs(atoms)}``; moments are computed for these. Must not contain the name ``"all"``.
        r_max: Upper end of the histograms in Å. Larger distances still count in the normalisation.
        bin_width: Å.
        molecule: Keeps the atoms of one molecule together in a periodic universe: distances are then those within it, even if an
            image is nearer. None uses the nearest images.
        watch: Bonds of the start structure whose partners are followed.

    After ``run()``, serially or in parallel (``backend="multiprocessing"``, ``n_workers=…``) with the same numbers:
        results.histograms: ``(group, kind)`` → Histogram, for every group and ``"all"``; kinds "beads" and "centroid".
        results.moments: ``(group, kind)`` → Moments, for every group; results.pair_means: PairMeans likewise.
        results.exchanges: Bonds that did not persist (exchange.Exchange); empty without ``watch``.
        results.shortest: Smallest distance of two atoms in any bead, Å, periodic images included.

    Universes of other programs may be wrapped into their box: each bead is taken at its image nearest to the atom's first bead, so
    that centroids are correct.

    The error of a bin is that of the mean of 20 contiguous blocks, which must be longer than the correlation time. The
    errors of mean and standard deviation come from Flyvbjerg-Petersen blocking, and for long correlation times from the
    autocorrelation (slow_motion.careful_mean).
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """What ``run(backend=…)`` may be."""
        return ("serial", "multiprocessing", "dask")

    def __init__(
        self, universe: Universe, pairs: dict[str, np.ndarray], r_max: float, bin_width: float = 0.01,
        molecule: Molecule | None = None, watch: BondWatch | None = None,
    ):  # fmt: skip
        super().__init__(universe.trajectory)
        self._atoms, self._molecule = universe.atoms, molecule
        self._watch = watch if watch is not None and len(watch.pairs) else None
        self._n_beads = len(universe.segments)
        n_atoms = len(universe.atoms) // self._n_beads
        self._first, self._second = np.triu_indices(n_atoms, 1)
        place = np.zeros((n_atoms, n_atoms), dtype=int)
        place[self._first, self._second] = place[self._second, self._first] = np.arange(len(self._first))
        self._groups = {name: place[group[:, 0], group[:, 1]] for name, group in pairs.items()}
        self._bin_width = bin_width
        self._n_bins = int(np.ceil(r_max / bin_width))

    def _setup_computation_groups(self, *args, **options):
        parts = super()._setup_computation_groups(*args, **options)
        self._total = sum(map(len, parts))
        # Moments are taken about a typical distance to keep digits in ⟨d²⟩ − ⟨d⟩².
        self._trajectory[parts[0][0, 1] if self._total else 0]
        self._origin = self._distances()[0][-1]
        return parts

    def _compute(self, indexed_frames: np.ndarray, *args, **options):
        self._places = indexed_frames[:, 0]  # the frames of this worker
        return super()._compute(indexed_frames, *args, **options)

    def _prepare(self):
        blocks = (len(KINDS), N_BLOCKS, self._n_bins + 1)  # one more bin for distances beyond r_max
        self.results.counts = {name: np.zeros(blocks, dtype=np.int64) for name in ("all", *self._groups)}
        self.results.shortest = np.inf
        self.results.powers = {
            name: np.zeros((len(KINDS), 2, self.n_frames, len(group))) for name, group in self._groups.items()
        }
        n_watched = len(self._watch.pairs) if self._watch else 0
        self.results.codes = np.zeros((self.n_frames, n_watched), dtype=np.int32)
        self.results.beads_away = np.zeros(n_watched)

    def _distances(self) -> tuple[np.ndarray, float]:
        """Distances (P+1, n_pairs) Å of the present frame's beads and centroid, and the shortest of any bead, images included."""
        positions = self._atoms.positions.astype(np.float64).reshape(self._n_beads, -1, 3)
        lattice = lattice_of_box(self._trajectory.ts.dimensions)
        positions = joined_beads(positions, lattice)
        if self._molecule is not None:
            positions = self._molecule.whole(positions, lattice)
        replicas = np.concatenate([positions, positions.mean(axis=0, keepdims=True)])
        vectors = replicas.take(self._first, axis=1) - replicas.take(self._second, axis=1)
        if lattice is None:
            distances = np.linalg.norm(vectors, axis=-1)
            return distances, float(distances[:-1].min())
        images = minimum_images(vectors, lattice)
        nearest = np.linalg.norm(images, axis=-1)
        within = self._molecule is None or images is vectors
        distances = nearest if within else np.linalg.norm(vectors, axis=-1)
        return distances, min(float(nearest[:-1].min()), lattice.shortest)

    def _single_frame(self):
        distances, shortest = self._distances()
        if not ((distances < LARGEST_A).all() and (np.abs(self._ts.positions) < LARGEST_A).all()):
            raise InputError(
                f"frame {self._ts.frame} holds positions that are not finite, or beyond {LARGEST_A:g} Å: expected a healthy "
                "trajectory"
            )
        self.results.shortest = min(self.results.shortest, shortest)
        if self._watch:
            self.results.codes[self._frame_index], away = self._watch.codes(distances)
            self.results.beads_away += away
        bins = np.minimum((distances / self._bin_width).astype(np.intp), self._n_bins)
        block = self._places[self._frame_index] * N_BLOCKS // self._total
        for name, group in {"all": slice(None), **self._groups}.items():
            for kind, which in enumerate((slice(None, -1), slice(-1, None))):
                counts = np.bincount(bins[which, group].ravel(), minlength=self._n_bins + 1)
                self.results.counts[name][kind, block] += counts
                if name != "all":
                    excess = distances[which, group] - self._origin[group]
                    powers = excess.mean(axis=0), (excess**2).mean(axis=0)
                    self.results.powers[name][kind, :, self._frame_index] = powers

    def _get_aggregator(self):
        def summed(parts: list[dict]) -> dict:
            return {name: sum(part[name] for part in parts) for name in parts[0]}

        def joined(parts: list[dict]) -> dict:
            return {name: np.concatenate([part[name] for part in parts], axis=2) for name in parts[0]}

        return ResultsGroup(
            lookup={
                "counts": summed, "shortest": min, "powers": joined, "codes": ResultsGroup.ndarray_vstack,
                "beads_away": ResultsGroup.ndarray_sum,
            }
        )  # fmt: skip

    def _conclude(self):
        self.results.histograms = {
            (name, kind): Histogram(counts[k], self._bin_width)
            for name, counts in self.results.counts.items()
            for k, kind in enumerate(KINDS)
        }
        self.results.moments, self.results.pair_means = {}, {}
        for name, powers in self.results.powers.items():
            for k, kind in enumerate(KINDS):
                origin = self._origin[self._groups[name]]
                means = pair_means(powers[k, 0], origin)
                self.results.pair_means[name, kind] = means
                self.results.moments[name, kind] = pair_moments(*powers[k], origin, means.errors)
        self.results.exchanges = []
        if self._watch:
            shares = self.results.beads_away / (self.n_frames * self._n_beads)
            self.results.exchanges = self._watch.exchanges(self.results.codes, shares)
        for name in ("counts", "powers", "codes", "beads_away"):
            del self.results[name]


def pair_means(first: np.ndarray, origin: np.ndarray) -> PairMeans:
    """Mean distances of pairs with their errors; arguments as in pair_moments."""
    errors = [careful_mean(column).error for column in first.T]
    return PairMeans(origin + first.mean(axis=0), np.array(errors))


def pair_moments(
    first: np.ndarray, second: np.ndarray, origin: np.ndarray, errors: np.ndarray | None = None
) -> Moments:
    """Mean and standard deviation of the distance, averaged over pairs, with the errors of slow_motion.careful_mean.

    Args:
        first, second: (n_frames, n_pairs) bead averages of (d − origin) and (d − origin)² in every frame.
        origin: (n_pairs,) Å.
        errors: (n_pairs,) Å of the pairs' means, if known already.

    The error of the standard deviation is the delta method's: σ_p depends on the trajectory as the mean of
    (d − ⟨d⟩)²/2σ_p does, to first order, and that series is blocked after averaging over pairs, which keeps the pairs'
    correlations. The sample variance is too small by the squared error of the sample mean (Bessel's correction if the
    frames are independent); adding it removes the bias of short runs.
    """
    means = first.mean(axis=0)
    squares = second - 2 * means * first + means**2
    errors = pair_means(first, origin).errors if errors is None else errors
    stds = np.sqrt(squares.mean(axis=0) + errors**2)
    influence = np.divide(squares, 2 * stds, out=np.zeros_like(squares), where=stds > 0)
    return Moments(
        mean=careful_mean((origin + first).mean(axis=1)),
        std=careful_mean(influence.mean(axis=1))._replace(value=float(stds.mean())),
    )
