"""A compiled network as a potential: neighbour lists, scratch memory and threads around the schedules of an architecture."""

import threading
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from mlcalc.architectures.kernels.filter_table import FilterTable
from mlcalc.architectures.kernels.pairs import closest, smallest_place, sum_virials
from mlcalc.architectures.kernels.state import (
    Atoms,
    Constants,
    Readout,
    Result,
    make_atoms,
    make_constants,
    make_pair_work,
    make_readout,
    make_result,
)
from mlcalc.common.errors import InputError
from mlcalc.common.forks import renew_after_fork
from mlcalc.common.threads import check_threads, thread_limits
from mlcalc.geometry.domain import ClosestPair
from mlcalc.geometry.neighbours import NeighbourList, Pairs
from mlcalc.model import Model
from mlcalc.priors import PRIORS, check_atoms

_BLOCK = 32  # most atoms of a block: enough rows for the matrix products, enough blocks to share out
_CACHE = 2 << 20  # bytes of filter tables that a core's own cache holds
_GROUP = 256  # most atoms of a group of replicas, so that their features stay in the cache too
_BLOCK_COST = 1.3  # time of an evaluation by blocks on one thread, where one by replicas takes 1


class System(NamedTuple):
    """What the schedules of an architecture evaluate; ``network`` is its own. No tuple holds another: Numba's threads take none."""

    q: np.ndarray  # (P, N, 3) Å
    atoms: Atoms
    pairs: Pairs
    network: Any
    readout: Readout
    constants: Constants


class KernelPotential(ABC):
    """A network compiled for one composition: a mlcalc.potential.Potential.

    Args:
        model: The model.
        numbers: (N,) atomic numbers.
        precision: Precision of the network, ``"float32"`` or ``"float64"``.
        threads: Numba threads; None for all that Numba was started with.
        cell, pbc: (3, 3) Å and three booleans for a periodic system, None for a molecule.
        skin: Å; neighbour lists are rebuilt when an atom has moved by half of it.
    """

    title: str  # of the architecture, in messages
    with_units = False  # whether the network depends on the directions of pairs
    always_by_atom = False  # whether replicas, too, are evaluated with each pair met from both ends

    def __init__(
        self, model: Model, numbers: np.ndarray, precision: str = "float32", threads: int | None = None, cell=None,
        pbc=None, skin: float = 1.0,
    ):  # fmt: skip
        if unknown := sorted(model.priors.keys() - PRIORS.keys()):
            raise InputError(
                f"prior {unknown[0]!r}: the compiled {self.title} knows {', '.join(PRIORS)}; use backend = 'torch'"
            )
        check_atoms(model.priors, numbers)
        self.model, self.dtype, self.threads = model, np.dtype(precision), check_threads(threads)
        self.cell, self.pbc, self.skin = cell, pbc, skin
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.atoms = make_atoms(model, self.numbers)
        # The nuclear repulsion is in the loop over pairs, other priors follow the network.
        makers = [(PRIORS[name].make_kernel, prior) for name, prior in model.priors.items()]
        self._priors = [make(prior, self.numbers) for make, prior in makers if make]
        self.table = self._tabulate(precision)
        self.network, self.readout = self._make_network(), make_readout(model, self.n_features, self.dtype)
        self.constants = make_constants(model, self.table.spacing)
        self._spacing = self.constants.spacing
        self._neighbours: NeighbourList | None = None
        self._shape = (0, False)
        self._at: Any = None
        self._work: Any = None
        self._n_replicas, self._lock = 0, threading.Lock()
        self._limits, self._widest = np.zeros(0), 0.0
        renew_after_fork(self)

    @abstractmethod
    def _tabulate(self, precision: str) -> FilterTable:
        """The filters of the model."""

    @abstractmethod
    def _make_network(self) -> Any:
        """The weights of the model and the table, as the schedules take them."""

    @abstractmethod
    def _make_workspace(self, n_replicas: int, blocked: bool) -> Any:
        """Scratch memory for the features; by blocks, neighbours read what a thread must not overwrite."""

    @abstractmethod
    def _by_replica(self, threads: int, system: System, n_blocks: int, n_groups: int, *memory) -> None:
        """Evaluate; threads share out groups of replicas. ``memory``: PairWork, workspace, Result."""

    @abstractmethod
    def _by_block(self, threads: int, system: System, n_blocks: int, *memory) -> None:
        """Evaluate; threads share out blocks of atoms. ``memory``: PairWork, workspace, Result."""

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """See Potential."""
        result = self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, with_virials=False)
        return result.energies, result.forces

    def evaluate(self, positions: np.ndarray, cell=None) -> dict[str, np.ndarray]:
        """See Potential."""
        return self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, with_virials=True)._asdict()

    def smallest_distance(self) -> float:
        """See Potential."""
        at = self._at
        return smallest_place(self._n_replicas, self._neighbours.pairs.count, at.knot, at.fraction) * self._spacing

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """See Potential."""
        smallest = self.smallest_distance()
        if not smallest < self._reach(limits):  # no pair is below a limit, and the nearest one is not needed
            return ClosestPair(smallest)
        place = self._n_replicas, self._neighbours.pairs, self._at, self.atoms.species
        distance, limit, *where = closest(*place, limits / self._spacing)
        return ClosestPair(smallest, distance * self._spacing, limit * self._spacing, *where)

    @property
    def n_features(self) -> int:
        """Width of the features in the kernel."""
        return self.model.config.n_features

    @property
    def n_pair_scalars(self) -> int:
        """How many numbers the schedules keep of a pair besides those of PairWork."""
        return 0

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
        groups = (self.network, self.readout, pairs, self._at or (), self._work or ())
        return sum(array.nbytes for group in groups for array in group)

    def renew_after_fork(self) -> None:
        """In a forked child: another thread, which the child does not have, may have been in the middle of an evaluation."""
        if self._lock.locked():
            self._lock, self._neighbours, self._at, self._work = threading.Lock(), None, None, None

    def _run(self, positions: np.ndarray, cell, with_virials: bool) -> Result:
        n_replicas, n_atoms, _ = positions.shape
        n_blocks = -(-n_atoms // _BLOCK)
        blocked = n_blocks > 1 and -(-n_replicas // self.threads) > _BLOCK_COST * n_replicas / self.threads
        by_atom = blocked or self.always_by_atom
        result = make_result(n_replicas, n_atoms)
        with self._lock, thread_limits(self.threads) as threads:  # one caller at a time: the workspace is shared
            if self._neighbours is None or self._neighbours.by_atom != by_atom:
                self._neighbours = NeighbourList(self.model.config.cutoff, by_atom, self.skin)
            pairs = self._neighbours.update(positions, self.cell if cell is None else cell, self.pbc)
            self._n_replicas = n_replicas
            self._fit_memory(n_replicas, int(pairs.count.max(initial=0)), blocked)
            system = System(positions, self.atoms, pairs, self.network, self.readout, self.constants)
            memory = self._at, self._work, result
            if blocked:
                self._by_block(threads, system, n_blocks, *memory)
            else:
                self._by_replica(threads, system, n_blocks, self._count_groups(n_replicas), *memory)
            if with_virials:
                sum_virials(threads, positions, self.atoms, pairs, self.constants, self._at, result.virials)
            for add in self._priors:
                add(threads, positions, pairs, result)
        return result

    def _count_groups(self, n_replicas: int) -> int:
        """Groups of replicas that go through the layers together: a multiple of the threads, or each replica on its own."""
        if self.table.coefficients.nbytes <= _CACHE:
            return n_replicas
        n_atoms = n_replicas * len(self.numbers)
        return min(self.threads * -(-n_atoms // (_GROUP * self.threads)), n_replicas)

    def _fit_memory(self, n_replicas: int, n_pairs: int, blocked: bool) -> None:
        """Reallocate what does not fit; 10 % to spare, since the number of pairs fluctuates."""
        if self._work is None or self._shape != (n_replicas, blocked):
            self._at = self._work = None  # free the old memory before the new is allocated
            self._work, self._shape = self._make_workspace(n_replicas, blocked), (n_replicas, blocked)
        if self._at is None or self._at.knot.shape[1] < n_pairs:
            self._at = None
            n_pairs += n_pairs // 10
            self._at = make_pair_work(n_replicas, n_pairs, self.with_units, self.n_pair_scalars, self.dtype)
