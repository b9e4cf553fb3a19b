"""The SchNet of mlcalc/schnet.py in Numba: energies and analytic forces of a batch of replicas.

Forward, per replica and layer t, with the filters W of filter_table.py (letters as in schnet.py)::

    y = x·W_in     c_i = Σ_j y_j∘W(r_ij)     u = c·W₁ + b₁     x ← x + ssp(u)·W₂ + b₂

Adjoint, with ḡ standing for ∂E/∂g, layers in reverse (ssp′ = σ, the logistic function)::

    ū = (x̄·W₂ᵀ)∘σ(u)     c̄ = ū·W₁ᵀ     ∂E/∂r_ij += Σ_f (c̄_i∘y_j + c̄_j∘y_i)∘W′(r_ij)
    ȳ_i = Σ_j c̄_j∘W(r_ij)     x̄ ← x̄ + ȳ·W_inᵀ

Each half pair serves both directions. Replicas are independent and one thread computes a whole replica, so results do not
depend on the number of threads. Positions, forces and pair geometry are float64; the network is float32 or float64.
"""

import math
import threading
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from numba import njit, prange
from threadpoolctl import ThreadpoolController

from mlcalc.activation import activate
from mlcalc.errors import InputError
from mlcalc.filter_table import tabulate
from mlcalc.model_file import Model
from mlcalc.pairs import half_pairs
from mlcalc.repulsion import zbl_pair


class Network(NamedTuple):
    """Weights as the kernel wants them: stacked by layer, (in, out) for the forward and (out, in) for the adjoint."""

    messages: np.ndarray  # (n_elements, F) A·W_in: the first layer's y depends on the element alone
    embedding: np.ndarray  # (n_elements, F) A
    in2f: np.ndarray  # (T, F, F)
    in2f_adjoint: np.ndarray
    dense: np.ndarray  # (T, 2, F, F) W₁, W₂
    dense_adjoint: np.ndarray
    bias: np.ndarray  # (T, 2, F)
    readout: np.ndarray  # (F, H)
    readout_adjoint: np.ndarray
    readout_bias: np.ndarray  # (H,)
    output: np.ndarray  # (H,) last readout layer times the energy scale
    filters: np.ndarray  # (T, n_knots, 4, F)


class Constants(NamedTuple):
    """Scalars of the model, all float64 or flags."""

    spacing: float  # Å between knots of the filter table
    cutoff: float  # Å; infinite for the dialect that connects all pairs
    repulsion_cutoff: float  # Å; 0 for no repulsion
    silu: bool  # readout activation: silu, else ssp


class Pairs(NamedTuple):
    """Half pairs of all replicas: those of replica b are start[b]:stop[b]."""

    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray
    second: np.ndarray
    shift: np.ndarray  # (n_pairs, 3) Å


class Workspace(NamedTuple):
    """Scratch memory of every replica, allocated once; all (P, …) in the network's precision unless noted."""

    knot: np.ndarray  # (P, n_pairs) int64, −1 beyond the cutoff
    fraction: np.ndarray  # (P, n_pairs) place s within the piece
    slope: np.ndarray  # (P, n_pairs) ∂E/∂r
    x: np.ndarray  # (P, N, F)
    y: np.ndarray  # (P, T, N, F)
    sigma: np.ndarray  # (P, T, N, F) σ(u)
    a: np.ndarray  # (P, N, F)
    b: np.ndarray  # (P, N, F)
    hidden: np.ndarray  # (P, 2, N, H)


class Result(NamedTuple):
    """Outputs, float64."""

    energies: np.ndarray  # (P,) eV
    forces: np.ndarray  # (P, N, 3) eV/Å
    atomic_energies: np.ndarray  # (P, N) eV
    virials: np.ndarray  # (P, 3, 3) eV


@njit(cache=True, error_model="numpy")
def _pair_geometry(q, begin, pairs, constants, n_knots, knot, fraction):
    """Knot and fraction of every pair of one replica."""
    for p in range(len(knot)):
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r2 = 0.0
        for axis in range(3):
            r2 += (q[j, axis] - q[i, axis] + pairs.shift[begin + p, axis]) ** 2
        r = math.sqrt(r2)
        place = r / constants.spacing
        if r >= constants.cutoff:
            knot[p] = -1
        else:
            # An uncut model's filters are constant beyond its last Gaussian, hence the clamp.
            knot[p] = min(int(place), n_knots - 1)
            fraction[p] = min(place - knot[p], 1.0)


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def _convolve(source, begin, pairs, knot, fraction, filters, target):
    """target_i = Σ_j source_j ∘ W(r_ij) over half pairs, both directions; source, target (N, F)."""
    target[:] = 0
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        piece, s = filters[knot[p]], fraction[p]
        for f in range(source.shape[1]):
            w = piece[0, f] + s * (piece[1, f] + s * (piece[2, f] + s * piece[3, f]))
            from_i = source[i, f] * w
            target[i, f] += source[j, f] * w
            target[j, f] += from_i


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def _pair_slopes(adjoint, y, begin, pairs, knot, fraction, filters, slope):
    """slope_p += Σ_f (c̄_i∘y_j + c̄_j∘y_i) ∘ dW/ds of one layer; adjoint c̄ and y are (N, F)."""
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        piece, s = filters[knot[p]], fraction[p]
        three_s = s + s + s
        total = slope[p]
        for f in range(y.shape[1]):
            dw = piece[1, f] + s * (piece[2, f] + piece[2, f] + three_s * piece[3, f])
            total += (adjoint[i, f] * y[j, f] + adjoint[j, f] * y[i, f]) * dw
        slope[p] = total


@njit(cache=True, error_model="numpy")
def _forward(species, begin, pairs, net, constants, knot, fraction, x, y, sigma, a, b):
    """Features x after the last layer; keeps y and σ(u) of every layer for the adjoint."""
    for i in range(len(species)):
        x[i] = net.embedding[species[i]]
        y[0, i] = net.messages[species[i]]
    for t in range(len(net.in2f)):
        if t > 0:
            np.dot(x, net.in2f[t], y[t])
        _convolve(y[t], begin, pairs, knot, fraction, net.filters[t], a)
        np.dot(a, net.dense[t, 0], b)
        activate(b, net.bias[t, 0], False, a, sigma[t])
        np.dot(a, net.dense[t, 1], b)
        for i in range(len(species)):
            for f in range(x.shape[1]):
                x[i, f] += b[i, f] + net.bias[t, 1, f]


@njit(cache=True, error_model="numpy")
def _readout(net, constants, x, hidden, adjoint, atomic):
    """Atom-wise energies (N,) from features x, which are replaced by x̄."""
    np.dot(x, net.readout, adjoint)
    activate(adjoint, net.readout_bias, constants.silu, hidden, adjoint)
    for i in range(len(atomic)):
        energy = 0.0
        for f in range(len(net.output)):
            energy += hidden[i, f] * net.output[f]
            hidden[i, f] = adjoint[i, f] * net.output[f]
        atomic[i] = energy
    np.dot(hidden, net.readout_adjoint, x)


@njit(cache=True, error_model="numpy")
def _backward(begin, pairs, net, knot, fraction, x, y, sigma, a, b, slope):
    """From x̄ of the last layer to ∂E/∂s of every pair (s = r / spacing)."""
    for t in range(len(net.in2f) - 1, -1, -1):
        np.dot(x, net.dense_adjoint[t, 1], a)
        for i in range(len(x)):
            for f in range(x.shape[1]):
                a[i, f] *= sigma[t, i, f]
        np.dot(a, net.dense_adjoint[t, 0], b)
        _pair_slopes(b, y[t], begin, pairs, knot, fraction, net.filters[t], slope)
        if t > 0:  # the embedding does not depend on the positions
            _convolve(b, begin, pairs, knot, fraction, net.filters[t], a)
            np.dot(a, net.in2f_adjoint[t], b)
            for i in range(len(x)):
                for f in range(x.shape[1]):
                    x[i, f] += b[i, f]


@njit(cache=True, error_model="numpy")
def _pair_forces(q, numbers, begin, pairs, constants, slope, knot, forces, atomic, virial):
    """Forces, virial and the nuclear repulsion from ∂E/∂s of every pair, in float64."""
    forces[:] = 0.0
    virial[:] = 0.0
    vector = np.empty(3)
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r2 = 0.0
        for axis in range(3):
            vector[axis] = q[j, axis] - q[i, axis] + pairs.shift[begin + p, axis]
            r2 += vector[axis] ** 2
        r = math.sqrt(r2)
        derivative = slope[p] / constants.spacing
        if r < constants.repulsion_cutoff:
            energy, repulsion = zbl_pair(r, numbers[i], numbers[j], constants.repulsion_cutoff)
            derivative += repulsion
            atomic[i] += 0.5 * energy
            atomic[j] += 0.5 * energy
        for axis in range(3):
            force = derivative * vector[axis] / r
            forces[i, axis] += force
            forces[j, axis] -= force
            for other in range(3):
                virial[axis, other] += force * vector[other]


@njit(cache=True, error_model="numpy")
def _total_energy(species, shift, atomic, energies, b):
    """Add the constant of each atom and sum up into energies[b].

    A function of its own: written inside the prange, Numba takes the sum for a reduction across replicas, and drops a store
    into an array that is reached through a named tuple.
    """
    energy = 0.0
    for i in range(len(species)):
        atomic[i] += shift[species[i]]
        energy += atomic[i]
    energies[b] = energy


@njit(cache=True, parallel=True, error_model="numpy")
def _evaluate(q, species, numbers, shift, pairs, net, constants, work, result):
    """All replicas; q (P, N, 3) Å. Threads share the replicas out among themselves."""
    for b in prange(len(q)):
        begin, n_pairs = pairs.start[b], pairs.stop[b] - pairs.start[b]
        knot, fraction, slope = work.knot[b, :n_pairs], work.fraction[b, :n_pairs], work.slope[b, :n_pairs]
        atomic = result.atomic_energies[b]
        _pair_geometry(q[b], begin, pairs, constants, net.filters.shape[1], knot, fraction)
        _forward(
            species, begin, pairs, net, constants, knot, fraction,
            work.x[b], work.y[b], work.sigma[b], work.a[b], work.b[b],
        )  # fmt: skip
        _readout(net, constants, work.x[b], work.hidden[b, 0], work.hidden[b, 1], atomic)
        slope[:] = 0
        _backward(
            begin, pairs, net, knot, fraction, work.x[b], work.y[b], work.sigma[b], work.a[b], work.b[b], slope
        )  # fmt: skip
        _pair_forces(
            q[b], numbers, begin, pairs, constants, slope, knot, result.forces[b], atomic, result.virials[b]
        )  # fmt: skip
        _total_energy(species, shift, atomic, result.energies, b)


class SchNetKernel:
    """A SchNet compiled for one composition.

    Args:
        model: The model.
        numbers: (N,) atomic numbers.
        dtype: Precision of the network, ``"float32"`` or ``"float64"``.
        threads: Numba threads over replicas; None for all that Numba was started with.
        cell, pbc: (3, 3) Å and three booleans for a periodic system, None for a molecule.
    """

    def __init__(self, model: Model, numbers: np.ndarray, dtype: str = "float32", threads=None, cell=None, pbc=None):
        self.model, self.dtype, self.threads = model, np.dtype(dtype), _check_threads(threads)
        self.cell, self.pbc = cell, pbc
        self.numbers = np.asarray(numbers, dtype=np.int64)
        order = {z: row for row, z in enumerate(model.config.elements)}
        self.species = np.array([order[int(z)] for z in numbers], dtype=np.int64)
        self.table = tabulate(model, dtype)
        self.network = _stack_weights(model, self.table.coefficients, self.dtype)
        last_bias = model.weights["energy_scale"] * np.float64(model.weights["readout.1.bias"][0])
        self.shift = np.asarray(model.weights["energy_shift"], dtype=np.float64) + last_bias
        self.constants = Constants(
            float(self.table.spacing),
            float(model.config.cutoff or np.inf),
            float(model.config.repulsion_cutoff or 0.0),
            model.config.readout_activation == "silu",
        )
        self._pairs, self._work, self._lock = None, None, threading.Lock()

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, N, 3) Å → energies (P,) eV, forces (P, N, 3) eV/Å."""
        result = self._run(np.ascontiguousarray(positions, dtype=np.float64))
        return result.energies, result.forces

    def evaluate(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """As schnet.TorchPotential.evaluate: energies, forces, atomic_energies, virials of (P, N, 3) Å."""
        return self._run(np.ascontiguousarray(positions, dtype=np.float64))._asdict()

    def _run(self, positions: np.ndarray) -> Result:
        n_replicas, n_atoms, _ = positions.shape
        result = Result(
            np.empty(n_replicas),
            np.empty(positions.shape),
            np.empty((n_replicas, n_atoms)),
            np.empty((n_replicas, 3, 3)),
        )
        with self._lock, _thread_limits(self.threads):  # one caller at a time: the workspace is shared
            pairs = self._half_pairs(positions)
            work = self._workspace(n_replicas, int((pairs.stop - pairs.start).max(initial=0)))
            _evaluate(
                positions, self.species, self.numbers, self.shift, pairs, self.network, self.constants, work, result
            )
        return result

    def _half_pairs(self, positions: np.ndarray) -> Pairs:
        """A molecule's list is the same for all replicas and kept; a periodic system's is made anew."""
        n_replicas = len(positions)
        periodic = self.pbc is not None and np.any(self.pbc)
        if not periodic:
            if self._pairs is None or len(self._pairs.start) != n_replicas:
                one = half_pairs(positions[0], self.model.config.cutoff)
                start = np.zeros(n_replicas, dtype=np.int64)
                self._pairs = Pairs(start, start + len(one.first), *one)
            return self._pairs
        lists = [half_pairs(frame, self.model.config.cutoff, self.cell, self.pbc) for frame in positions]
        stop = np.cumsum([len(one.first) for one in lists])
        start = np.concatenate([[0], stop[:-1]])
        return Pairs(start, stop, *(np.concatenate(parts) for parts in zip(*lists, strict=True)))

    def _workspace(self, n_replicas: int, n_pairs: int) -> Workspace:
        work = self._work
        if work is None or work.x.shape[0] != n_replicas or work.knot.shape[1] < n_pairs:
            config, n_atoms = self.model.config, len(self.numbers)
            wide = int(1.1 * n_pairs) if self.pbc is not None else n_pairs  # room for fluctuating lists
            features = (n_replicas, n_atoms, config.n_features)
            layers = (n_replicas, config.n_interactions, n_atoms, config.n_features)
            self._work = work = Workspace(
                np.empty((n_replicas, wide), dtype=np.int64),
                *(np.empty((n_replicas, wide), self.dtype) for _ in range(2)),
                np.empty(features, self.dtype),
                *(np.empty(layers, self.dtype) for _ in range(2)),
                *(np.empty(features, self.dtype) for _ in range(2)),
                np.empty((n_replicas, 2, n_atoms, config.readout_hidden), self.dtype),
            )
        return work


def _stack_weights(model: Model, filters: np.ndarray, dtype: np.dtype) -> Network:
    weights = {name: np.asarray(array, dtype=np.float64) for name, array in model.weights.items()}

    def stack(name):
        return np.array([weights[f"interactions.{t}.{name}"] for t in range(model.config.n_interactions)])

    def ready(array):
        return np.ascontiguousarray(array, dtype=dtype)

    embedding, in2f = weights["embedding.weight"], stack("in2f.weight")
    dense = np.stack([stack("f2out.0.weight"), stack("f2out.1.weight")], axis=1)
    bias = np.stack([stack("f2out.0.bias"), stack("f2out.1.bias")], axis=1)
    return Network(
        ready(embedding @ in2f[0].T), ready(embedding), ready(in2f.transpose(0, 2, 1)), ready(in2f),
        ready(dense.transpose(0, 1, 3, 2)), ready(dense), ready(bias),
        ready(weights["readout.0.weight"].T), ready(weights["readout.0.weight"]), ready(weights["readout.0.bias"]),
        ready(weights["readout.1.weight"][0] * weights["energy_scale"]), ready(filters),
    )  # fmt: skip


def _check_threads(threads: int | None) -> int:
    available = numba.config.NUMBA_NUM_THREADS
    if threads is None:
        return available
    if not 1 <= threads <= available:
        raise InputError(f"threads = {threads}: expected 1 to {available} (set NUMBA_NUM_THREADS for more)")
    return int(threads)


@cache
def _blas_controller() -> ThreadpoolController:
    import scipy.linalg.cython_blas  # noqa: F401  (loads the BLAS behind Numba's np.dot, so that it is found here)

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def single_threaded_blas():
    """BLAS on one thread, whatever the environment says; nearly free where that is so already.

    Every evaluation holds it (changing the limit costs 12 µs). A loop of many evaluations holds it around itself.
    """
    controller = _blas_controller()
    if all(library.num_threads == 1 for library in controller.lib_controllers):
        yield
    else:
        with controller.limit(limits=1):
            yield


@contextmanager
def _thread_limits(threads: int):
    """Numba on so many threads, BLAS on one within each of them."""
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        with single_threaded_blas():
            yield
    finally:
        numba.set_num_threads(before)
