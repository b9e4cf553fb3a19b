"""The coordinate of a proton transfer along a trajectory of beads."""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from MDAnalysis import Universe
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup

from analysis.structure.boxes import lattice_of_box
from analysis.structure.molecules import bonded_pairs
from analysis.transfer.site import Site
from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import BOND_FACTOR, BROKEN_FACTOR
from mlcalc.geometry.minimum_image import joined_beads, minimum_images


class ProtonTransfer(AnalysisBase):
    """δ = r(donor–H) − r(acceptor–H) and the distance of donor and acceptor, of every bead and of the centroid.

    Args:
        universe: Beads as segments (analysis.runs.universe.bead_universe): P·N atoms, bead-major. In a periodic universe distances
            are those of nearest images.
        site: The three atoms.
        structure: Reference structure, N atoms; its bonds say which hydrogens belong to donor and acceptor.

    After ``run()``, serially or in parallel (``backend="multiprocessing"``, ``n_workers=…``):
        results.delta: (n_frames, P + 1) Å, beads and then centroid; negative where the proton is on the donor.
        results.apart: (n_frames, P + 1) Å, distance of donor and acceptor.

    Raises:
        InputError: The centroid of the proton is bonded to neither (beyond 1.75 times the sum of the covalent radii), or that of
            another hydrogen bonds to one of them (below 1.25 times): δ does not describe such an exchange.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """Allowed values of ``run(backend=…)``."""
        return ("serial", "multiprocessing", "dask")

    def __init__(self, universe: Universe, site: Site, structure: Atoms):
        super().__init__(universe.trajectory)
        self._atoms, self._n_beads, self._site = universe.atoms, len(universe.segments), site
        self._symbols = structure.get_chemical_symbols()
        ends, hydrogens = [site.donor, site.acceptor], np.flatnonzero(structure.numbers == 1)
        bonded = {frozenset(pair) for pair in bonded_pairs(structure).tolist()}
        self._others = hydrogens[hydrogens != site.proton]
        own = [[frozenset((int(other), end)) in bonded for end in ends] for other in self._others]
        sums = covalent_radii[structure.numbers[ends]] + covalent_radii[1]
        self._lost = BROKEN_FACTOR * sums
        self._taken = np.where(np.array(own).reshape(-1, 2), 0.0, BOND_FACTOR * sums)

    def _prepare(self):
        shape = (self.n_frames, self._n_beads + 1)
        self.results.delta, self.results.apart = np.zeros(shape), np.zeros(shape)

    def _single_frame(self):
        donor, proton, acceptor = self._site
        positions = self._atoms.positions.astype(np.float64).reshape(self._n_beads, -1, 3)
        lattice = lattice_of_box(self._trajectory.ts.dimensions)
        positions = joined_beads(positions, lattice)
        replicas = np.concatenate([positions, positions.mean(axis=0, keepdims=True)])

        def distances(vectors: np.ndarray) -> np.ndarray:
            return np.linalg.norm(vectors if lattice is None else minimum_images(vectors, lattice), axis=-1)

        ends = replicas[:, [donor, acceptor]]
        held = distances(replicas[:, proton, None] - ends)
        self._check(held[-1], distances(replicas[-1, self._others, None] - ends[-1]))
        self.results.delta[self._frame_index] = held[:, 0] - held[:, 1]
        self.results.apart[self._frame_index] = distances(ends[:, 0] - ends[:, 1])

    def _check(self, held: np.ndarray, others: np.ndarray) -> None:
        """Raise InputError unless the proton (2,) is on donor or acceptor, and the other hydrogens (n, 2) are where they were."""
        donor, proton, acceptor = (f"{self._symbols[atom]}{atom}" for atom in self._site)
        where = f"frame {self._ts.frame}: the centroid of"
        if not (held < self._lost).any():
            raise InputError(
                f"{where} {proton} is {held[0]:.2f} Å from {donor} and {held[1]:.2f} Å from {acceptor}, bonded to neither: "
                "expected a proton that stays between the two"
            )
        if (others < self._taken).any():
            place, end = np.argwhere(others < self._taken)[0].tolist()
            raise InputError(
                f"{where} H{self._others[place]} is bonded to {(donor, acceptor)[end]} ({others[place, end]:.2f} Å): expected no "
                f"hydrogen but {proton} to move between {donor} and {acceptor}"
            )

    def _get_aggregator(self):
        return ResultsGroup(lookup={name: ResultsGroup.ndarray_vstack for name in ("delta", "apart")})
