"""The SchNet of network.py in Numba, as a potential; kernel_schedules.py has the formulas and the order of the work."""

import threading

import numpy as np

from mlcalc.architectures.schnet.filter_table import tabulate
from mlcalc.architectures.schnet.kernel_schedules import by_block, by_replica, virials
from mlcalc.architectures.schnet.kernel_state import (
    Constants,
    Result,
    Workspace,
    make_atoms,
    make_network,
    make_result,
    make_workspace,
)
from mlcalc.common.compiled import njit
from mlcalc.common.errors import InputError
from mlcalc.common.forks import renew_after_fork
from mlcalc.common.threads import check_threads, thread_limits
from mlcalc.geometry.domain import ClosestPair
from mlcalc.geometry.neighbours import NeighbourList
from mlcalc.model import Model
from mlcalc.priors.angular import add_angular

_BLOCK = 32  # most atoms of a block: enough rows for the matrix products, enough blocks to share out
_CACHE = 2 << 20  # bytes of filter tables that a core's own cache holds
_GROUP = 256  # most atoms of a group of replicas, so that their features stay in the cache too
_PRIORS = ("repulsion", "angular")  # the one in the loop over pairs, the other behind the network
_BLOCK_COST = 1.3  # time of an evaluation by blocks on one thread, where one by replicas takes 1


@njit(cache=True)
def _smallest_place(n_replicas, count, knot, fraction):
    """The smallest distance within the cutoff in units of the spacing of knots; infinite without one."""
    smallest = np.inf
    for b in range(n_replicas):
        for p in range(count[b]):
            if knot[b, p] >= 0:
                smallest = min(smallest, knot[b, p] + fraction[b, p])
    return smallest


@njit(cache=True)
def _closest(n_replicas, offset, count, first, second, knot, fraction, species, limits):
    """The pair with the smallest place (in units of the spacing of knots) over its limit (n_elements, n_elements)."""
    lowest, distance, limit, replica, i, j = np.inf, np.inf, 0.0, 0, 0, 0
    for b in range(n_replicas):
        for p in range(count[b]):
            if knot[b, p] >= 0:
                a, c = first[offset[b] + p], second[offset[b] + p]
                place, allowed = knot[b, p] + fraction[b, p], limits[species[a], species[c]]
                if place < lowest * allowed:
                    lowest, distance, limit, replica, i, j = place / allowed, place, allowed, b, a, c
    return distance, limit, replica, i, j


class SchNetKernel:
    """A SchNet compiled for one composition: a mlcalc.potential.Potential.

    Args:
        model: The model.
        numbers: (N,) atomic numbers.
        precision: Precision of the network, ``"float32"`` or ``"float64"``.
        threads: Numba threads; None for all that Numba was started with.
        cell, pbc: (3, 3) Å and three booleans for a periodic system, None for a molecule.
        skin: Å; neighbour lists are rebuilt when an atom has moved by half of it.
    """

    def __init__(
        self, model: Model, numbers: np.ndarray, precision: str = "float32", threads: int | None = None, cell=None,
        pbc=None, skin: float = 1.0,
    ):  # fmt: skip
        if unknown := sorted(model.priors.keys() - _PRIORS):
            raise InputError(
                f"prior {unknown[0]!r}: the compiled SchNet knows {', '.join(_PRIORS)}; use backend = 'torch'"
            )
        self.model, self.dtype, self.threads = model, np.dtype(precision), check_threads(threads)
        self.cell, self.pbc, self.skin = cell, pbc, skin
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.atoms = make_atoms(model, self.numbers)
        self.table = tabulate(model, precision)
        self.network = make_network(model, self.table.coefficients, self.dtype)
        self.constants = Constants(
            float(self.table.spacing),
            float(model.config.cutoff or np.inf),
            model.priors["repulsion"].cutoff if "repulsion" in model.priors else 0.0,
            model.config.readout_activation == "silu",
        )
        self._spacing = self.constants.spacing
        self._neighbours: NeighbourList | None = None
        self._work: Workspace | None = None
        self._n_replicas, self._lock = 0, threading.Lock()
        self._limits, self._widest = np.zeros(0), 0.0
        renew_after_fork(self)

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """See Potential."""
        result = self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, with_virials=False)
        return result.energies, result.forces

    def evaluate(self, positions: np.ndarray, cell=None) -> dict[str, np.ndarray]:
        """See Potential."""
        return self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, with_virials=True)._asdict()

    def smallest_distance(self) -> float:
        """See Potential."""
        work = self._work
        return _smallest_place(self._n_replicas, self._neighbours.pairs.count, work.knot, work.fraction) * self._spacing

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """See Potential."""
        smallest = self.smallest_distance()
        if not smallest < self._reach(limits):  # no pair is below a limit, and the nearest one is not needed
            return ClosestPair(smallest)
        pairs, work = self._neighbours.pairs, self._work
        place = self._n_replicas, pairs.offset, pairs.count, pairs.first, pairs.second, work.knot, work.fraction
        distance, limit, *where = _closest(*place, self.atoms.species, limits / self._spacing)
        return ClosestPair(smallest, distance * self._spacing, limit * self._spacing, *where)

    def _reach(self, limits: np.ndarray) -> float:
        """Å, the largest limit for the elements present."""
        if self._limits is not limits:
            self._limits, present = limits, np.unique(self.atoms.species)
            self._widest = float(limits[np.ix_(present, present)].max())
        return self._widest

    @property
    def memory(self) -> int:
        """Bytes of weights, filter tables, neighbour lists and scratch held now."""
        pairs = self._neighbours.pairs if self._neighbours else ()
        return sum(array.nbytes for group in (self.network, pairs, self._work or ()) for array in group)

    def renew_after_fork(self) -> None:
        """In a forked child: another thread, which the child does not have, may have been in the middle of an evaluation."""
        if self._lock.locked():
            self._lock, self._neighbours, self._work = threading.Lock(), None, None

    def _run(self, positions: np.ndarray, cell, with_virials: bool) -> Result:
        n_replicas, n_atoms, _ = positions.shape
        n_blocks = -(-n_atoms // _BLOCK)
        blocked = n_blocks > 1 and -(-n_replicas // self.threads) > _BLOCK_COST * n_replicas / self.threads
        result = make_result(n_replicas, n_atoms)
        with self._lock, thread_limits(self.threads) as threads:  # one caller at a time: the workspace is shared
            if self._neighbours is None or self._neighbours.by_atom != blocked:
                self._neighbours = NeighbourList(self.model.config.cutoff, blocked, self.skin)
            pairs = self._neighbours.update(positions, self.cell if cell is None else cell, self.pbc)
            self._n_replicas = n_replicas
            work = self._fitting_workspace(n_replicas, int(pairs.count.max(initial=0)), blocked)
            system = positions, self.atoms, pairs, self.network, self.constants, n_blocks
            if blocked:
                by_block(threads, *system, work, result)
            else:
                by_replica(threads, *system, self._count_groups(n_replicas), work, result)
            if with_virials:
                virials(threads, positions, self.atoms, pairs, self.constants, work, result)
            if "angular" in self.model.priors:
                add_angular(threads, positions, pairs, self.model.priors["angular"], result)
        return result

    def _count_groups(self, n_replicas: int) -> int:
        """Groups of replicas that go through the layers together: a multiple of the threads, or each replica on its own."""
        if self.table.coefficients.nbytes <= _CACHE:
            return n_replicas
        n_atoms = n_replicas * len(self.numbers)
        return min(self.threads * -(-n_atoms // (_GROUP * self.threads)), n_replicas)

    def _fitting_workspace(self, n_replicas: int, n_pairs: int, by_block: bool) -> Workspace:
        """Scratch memory, reallocated when the present one does not fit; 10 % to spare, since the number of pairs fluctuates."""
        work = self._work
        if (
            work is None
            or len(work.x) != n_replicas
            or work.knot.shape[1] < n_pairs
            or (work.adjoint.size > 0) != by_block
        ):
            self._work = work = None  # free the old memory before the new is allocated
            sizes = (n_replicas, len(self.numbers), n_pairs + n_pairs // 10)
            self._work = work = make_workspace(self.model, sizes, by_block, self.dtype)
        return work
