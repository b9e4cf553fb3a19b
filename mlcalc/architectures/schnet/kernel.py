"""The SchNet of network.py in Numba: energies and analytic forces of a batch of replicas.

Forward, per replica and layer t, with the filters W of filter_table.py (symbols as in network.py)::

    y = x·W_in     c_i = Σ_j y_j∘W(r_ij)     u = c·W₁ + b₁     x ← x + ssp(u)·W₂ + b₂

Adjoint, with ḡ standing for ∂E/∂g, layers in reverse (ssp′ = σ, the logistic function)::

    ū = (x̄·W₂ᵀ)∘σ(u)     c̄ = ū·W₁ᵀ     ∂E/∂r_ij += Σ_f (c̄_i∘y_j + c̄_j∘y_i)∘W′(r_ij)
    ȳ_i = Σ_j c̄_j∘W(r_ij)     x̄ ← x̄ + ȳ·W_inᵀ

Threads share out replicas, or, where a few replicas of many atoms would leave some idle, blocks of atoms: each half pair is then
visited from both ends. Either way every product has the rows of one block, and every sum is done by one thread in the order of
the pairs: results do not depend on the number of threads. Positions, forces and pair geometry are float64; the network is
float32 or float64.
"""

import threading

import numpy as np
from numba import prange

from mlcalc.architectures.schnet import kernel_stages as stages
from mlcalc.architectures.schnet.filter_table import tabulate
from mlcalc.architectures.schnet.kernel_state import (
    Constants,
    Result,
    Workspace,
    make_atoms,
    make_network,
    make_result,
    make_workspace,
)
from mlcalc.common.compiled import Threaded, njit
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


@Threaded
def _by_replica(q, atoms, pairs, net, constants, n_blocks, n_groups, work, result):
    """Evaluate replicas q (P, N, 3) Å; threads share out groups of them.

    A group goes through the network layer by layer: its replicas, which resemble one another, look up the same part of a
    layer's table one after the other. This pays where the tables of all layers do not fit the cache.
    """
    for group in prange(n_groups):
        low, high = _rows(group, n_groups, len(q))
        for b in range(low, high):
            stages.locate(
                q[b], pairs.offset[b], pairs, 0, pairs.count[b], constants, net.filters.shape[1],
                work.knot[b], work.fraction[b], work.slope[b],
            )  # fmt: skip
            stages.embed(atoms.species, net, work.x[b], work.y[b, 0])
        for t in range(len(net.in2f)):
            for b in range(low, high):
                _forward(b, t, pairs, net, n_blocks, work)
        for b in range(low, high):
            _read_out(b, net, constants, n_blocks, work, result)
        for t in range(len(net.in2f) - 1, -1, -1):
            for b in range(low, high):
                _backward(b, t, pairs, net, n_blocks, work)
        for b in range(low, high):
            atomic = result.atomic_energies[b]
            knot, slope = work.knot[b, : pairs.count[b]], work.slope[b, : pairs.count[b]]
            stages.scatter_forces(
                q[b], atoms.numbers, pairs.offset[b], pairs, constants, slope, knot, result.forces[b], atomic
            )
            stages.total_energy(atoms, atomic, result.energies, b)


@njit(cache=True, error_model="numpy")
def _forward(b, t, pairs, net, n_blocks, work):
    """Layer t of replica b, and the messages of the next one."""
    n_pairs, n_atoms = pairs.count[b], work.x.shape[1]
    knot, fraction, x, c = work.knot[b, :n_pairs], work.fraction[b, :n_pairs], work.x[b], work.convolved[b]
    stages.convolve(work.y[b, t], pairs.offset[b], pairs, knot, fraction, net.filters[t], c)
    for block in range(n_blocks):
        low, high = _rows(block, n_blocks, n_atoms)
        stages.update_features(t, net, x[low:high], c[low:high], work.scratch[b, low:high], work.sigma[b, t, low:high])
        if t + 1 < len(net.in2f):
            np.dot(x[low:high], net.in2f[t + 1], work.y[b, t + 1, low:high])


@njit(cache=True, error_model="numpy")
def _read_out(b, net, constants, n_blocks, work, result):
    """Atom-wise energies of replica b and x̄ of its last layer."""
    for block in range(n_blocks):
        low, high = _rows(block, n_blocks, work.x.shape[1])
        hidden, gradient = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
        stages.read_out(net, constants, work.x[b, low:high], hidden, gradient, result.atomic_energies[b, low:high])


@njit(cache=True, error_model="numpy")
def _backward(b, t, pairs, net, n_blocks, work):
    """Adjoint of layer t of replica b: its share of the slopes, and x̄ of the layer before."""
    n_pairs, n_atoms = pairs.count[b], work.x.shape[1]
    knot, fraction, x, c, adjoint = (
        work.knot[b, :n_pairs],
        work.fraction[b, :n_pairs],
        work.x[b],
        work.convolved[b],
        work.scratch[b],
    )
    for block in range(n_blocks):
        low, high = _rows(block, n_blocks, n_atoms)
        stages.adjoint_of_update(t, net, x[low:high], work.sigma[b, t, low:high], c[low:high], adjoint[low:high])
    stages.add_slopes(
        adjoint, work.y[b, t], pairs.offset[b], pairs, 0, n_pairs, knot, fraction, net.filters[t], work.slope[b]
    )
    if t > 0:  # the embedding does not depend on the positions
        stages.convolve(adjoint, pairs.offset[b], pairs, knot, fraction, net.filters[t], c)
        for block in range(n_blocks):
            low, high = _rows(block, n_blocks, n_atoms)
            stages.add_adjoint_of_messages(t, net, x[low:high], c[low:high], adjoint[low:high])


@Threaded
def _by_block(q, atoms, pairs, net, constants, n_blocks, work, result):
    """Evaluate replicas q (P, N, 3) Å; threads share out blocks of atoms and meet after every convolution."""
    n_tasks, n_atoms, last = len(q) * n_blocks, q.shape[1], len(net.in2f) - 1
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, _rows(task % n_blocks, n_blocks, n_atoms)
        stages.locate(
            q[b], pairs.offset[b], pairs, pairs.row[b, low], pairs.row[b, high], constants, net.filters.shape[1],
            work.knot[b], work.fraction[b], work.slope[b],
        )  # fmt: skip
        stages.embed(atoms.species[low:high], net, work.x[b, low:high], work.y[b, 0, low:high])
    for t in range(last + 1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, _rows(task % n_blocks, n_blocks, n_atoms)
            x, c = work.x[b, low:high], work.convolved[b, low:high]
            stages.gather(
                work.y[b, t], pairs, b, low, high, work.knot[b], work.fraction[b], net.filters[t],
                work.convolved[b],
            )  # fmt: skip
            stages.update_features(t, net, x, c, work.scratch[b, low:high], work.sigma[b, t, low:high])
            if t < last:
                np.dot(x, net.in2f[t + 1], work.y[b, t + 1, low:high])
            else:
                hidden, gradient = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
                stages.read_out(net, constants, x, hidden, gradient, result.atomic_energies[b, low:high])
                stages.adjoint_of_update(t, net, x, work.sigma[b, t, low:high], c, work.adjoint[t % 2, b, low:high])
    for t in range(last, -1, -1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, _rows(task % n_blocks, n_blocks, n_atoms)
            x, c = work.x[b, low:high], work.convolved[b, low:high]
            stages.add_slopes(
                work.adjoint[t % 2, b], work.y[b, t], pairs.offset[b], pairs, pairs.row[b, low], pairs.row[b, high],
                work.knot[b], work.fraction[b], net.filters[t], work.slope[b],
            )  # fmt: skip
            if t > 0:  # other threads still read this layer's adjoint: the next one goes to the other half
                stages.gather(
                    work.adjoint[t % 2, b], pairs, b, low, high, work.knot[b], work.fraction[b],
                    net.filters[t], work.convolved[b],
                )  # fmt: skip
                stages.add_adjoint_of_messages(t, net, x, c, work.scratch[b, low:high])
                stages.adjoint_of_update(
                    t - 1, net, x, work.sigma[b, t - 1, low:high], c, work.adjoint[(t - 1) % 2, b, low:high]
                )
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, _rows(task % n_blocks, n_blocks, n_atoms)
        stages.gather_forces(
            q[b], atoms.numbers, pairs, b, low, high, constants, work.slope[b], work.knot[b],
            result.forces[b], result.atomic_energies[b],
        )  # fmt: skip
    for b in range(len(q)):
        stages.total_energy(atoms, result.atomic_energies[b], result.energies, b)


@njit(cache=True)
def _rows(block, n_blocks, n_atoms):
    """Atoms [low, high) of a block, or replicas of a group: sizes as equal as possible."""
    return block * n_atoms // n_blocks, (block + 1) * n_atoms // n_blocks


@Threaded
def _virials(q, atoms, pairs, constants, work, result):
    """Virials of the replicas evaluated last."""
    for b in prange(len(q)):
        knot, slope = work.knot[b, : pairs.count[b]], work.slope[b, : pairs.count[b]]
        stages.sum_virial(q[b], atoms.numbers, pairs.offset[b], pairs, constants, slope, knot, result.virials[b])


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
        result = self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, virials=False)
        return result.energies, result.forces

    def evaluate(self, positions: np.ndarray, cell=None) -> dict[str, np.ndarray]:
        """See Potential."""
        return self._run(np.ascontiguousarray(positions, dtype=np.float64), cell, virials=True)._asdict()

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

    def _run(self, positions: np.ndarray, cell, virials: bool) -> Result:
        n_replicas, n_atoms, _ = positions.shape
        n_blocks = -(-n_atoms // _BLOCK)
        by_block = n_blocks > 1 and -(-n_replicas // self.threads) > _BLOCK_COST * n_replicas / self.threads
        result = make_result(n_replicas, n_atoms)
        with self._lock, thread_limits(self.threads) as threads:  # one caller at a time: the workspace is shared
            if self._neighbours is None or self._neighbours.by_atom != by_block:
                self._neighbours = NeighbourList(self.model.config.cutoff, by_block, self.skin)
            pairs = self._neighbours.update(positions, self.cell if cell is None else cell, self.pbc)
            self._n_replicas = n_replicas
            work = self._fitting_workspace(n_replicas, int(pairs.count.max(initial=0)), by_block)
            system = positions, self.atoms, pairs, self.network, self.constants, n_blocks
            if by_block:
                _by_block(threads, *system, work, result)
            else:
                _by_replica(threads, *system, self._count_groups(n_replicas), work, result)
            if virials:
                _virials(threads, positions, self.atoms, pairs, self.constants, work, result)
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
