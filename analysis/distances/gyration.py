"""Radii of gyration of every atom's ring polymer, with standard errors."""

import numpy as np
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup

from analysis.structure.boxes import lattice_of_box
from md.observables.statistics import block_average
from mlcalc.geometry.minimum_image import joined_beads


class RingPolymerGyration(AnalysisBase):
    """Radius of gyration of the ring polymer of every atom, r_i² = ⟨(1/P) Σ_j |q_ij − q̄_i|²⟩.

    Args:
        universe: Beads as segments (analysis.runs.universe.bead_universe): P·N atoms, bead-major. In a periodic universe each bead
            is taken at its image nearest to the atom's first bead.

    After ``run()``, serially or in parallel (``backend="multiprocessing"``, ``n_workers=…``):
        results.squared: (n_frames, N) Å², (1/P) Σ_j |q_ij − q̄_i|² of every frame.
        results.radius: (N,) Å, root of its mean; results.error: its standard error by blocking (md.observables.statistics).

    Source: Ceperley, Rev. Mod. Phys. 67, 279 (1995), doi:10.1103/RevModPhys.67.279.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """Allowed values of ``run(backend=…)``."""
        return ("serial", "multiprocessing", "dask")

    def __init__(self, universe: Universe):
        super().__init__(universe.trajectory)
        self._atoms, self._n_beads = universe.atoms, len(universe.segments)

    def _prepare(self):
        self.results.squared = np.zeros((self.n_frames, len(self._atoms) // self._n_beads))

    def _single_frame(self):
        positions = self._atoms.positions.astype(np.float64).reshape(self._n_beads, -1, 3)
        positions = joined_beads(positions, lattice_of_box(self._trajectory.ts.dimensions))
        self.results.squared[self._frame_index] = positions.var(axis=0).sum(axis=1)

    def _get_aggregator(self):
        return ResultsGroup(lookup={"squared": ResultsGroup.ndarray_vstack})

    def _conclude(self):
        means = [block_average(series) for series in self.results.squared.T]
        self.results.radius = np.sqrt([mean.value for mean in means])
        errors = np.array([mean.error for mean in means])
        with np.errstate(invalid="ignore", divide="ignore"):
            self.results.error = np.where(self.results.radius > 0, errors / (2.0 * self.results.radius), 0.0)
