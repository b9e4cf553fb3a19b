"""The order of the work of a PaiNN in Numba: energies and analytic forces of a batch of replicas q (P, N, 3) Å.

Threads share out replicas, or, where a few replicas of many atoms would leave some idle, blocks of atoms: a step of a block then
reads, of other atoms, what all have finished in the step before. Either way every product has the rows of one block, and every
sum is done by one thread in the order of the pairs: results depend on neither the schedule nor the number of threads.
"""

from numba import prange

from mlcalc.architectures.kernels.pairs import gather_forces, locate, rows, total_energy
from mlcalc.architectures.kernels.readout import read_out
from mlcalc.architectures.painn.kernel_features import embed, mix, mix_back, prepare, prepare_back
from mlcalc.architectures.painn.kernel_messages import collect, conclude, differentiate, exchange, receive
from mlcalc.common.compiled import Threaded, inner


@Threaded
def by_replica(q, atoms, pairs, net, readout, constants, n_blocks, n_groups, at, work, result):
    """Threads share out groups of replicas, which go through the network layer by layer: see schnet/kernel_schedules.py."""
    for group in prange(n_groups):
        first, end = rows(group, n_groups, len(q))
        last, n_atoms = len(net.m) - 1, q.shape[1]
        for b in range(first, end):
            for block in range(n_blocks):
                low, high = rows(block, n_blocks, n_atoms)
                _start(q, b, low, high, atoms, pairs, net, constants, at, work)
        for t in range(last + 1):
            for b in range(first, end):
                exchange(b, t, pairs, at, net.filters[t], work)
            for b in range(first, end):
                for block in range(n_blocks):
                    low, high = rows(block, n_blocks, n_atoms)
                    _update(b, t, low, high, net, readout, constants, work, result)
        for t in range(last, -1, -1):
            for b in range(first, end):
                differentiate(b, t, 0, pairs.count[b], pairs, at, net.filters[t], work, t > 0)
            for b in range(first, end):
                for block in range(n_blocks):
                    low, high = rows(block, n_blocks, n_atoms)
                    _update_back(b, t, low, high, net, work)
        for b in range(first, end):
            atomic = result.atomic_energies[b]
            gather_forces(q[b], b, 0, n_atoms, atoms, pairs, constants, at, result.forces[b], atomic)
            total_energy(atoms, atomic, result.energies, b)


@Threaded
def by_block(q, atoms, pairs, net, readout, constants, n_blocks, at, work, result):
    """Threads share out blocks of atoms."""
    n_tasks, n_atoms, last = len(q) * n_blocks, q.shape[1], len(net.m) - 1
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        _start(q, b, low, high, atoms, pairs, net, constants, at, work)
    for t in range(last + 1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            receive(b, t, low, high, pairs, at, net.filters[t], work)
            _update(b, t, low, high, net, readout, constants, work, result)
    for t in range(last, -1, -1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            start, stop = pairs.row[b, low], pairs.row[b, high]
            differentiate(b, t, start, stop, pairs, at, net.filters[t], work, False)
            if t > 0:
                collect(b, t, low, high, pairs, at, net.filters[t], work)
            _update_back(b, t, low, high, net, work)
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        atomic = result.atomic_energies[b]
        gather_forces(q[b], b, low, high, atoms, pairs, constants, at, result.forces[b], atomic)
    for b in range(len(q)):
        total_energy(atoms, result.atomic_energies[b], result.energies, b)


@inner
def _start(q, b, low, high, atoms, pairs, net, constants, at, work):
    """Geometry of the pairs of a block, and features of its atoms."""
    start, stop = pairs.row[b, low], pairs.row[b, high]
    locate(q[b], b, start, stop, pairs, constants, net.filters.shape[1], at)
    embed(b, low, high, atoms, net, work)


@inner
def _update(b, t, low, high, net, readout, constants, work, result):
    """Layer t behind the messages, and what atoms send in the next one; behind the last, energies and the first adjoint."""
    mix(b, t, low, high, net, work)
    if t + 1 < len(net.m):
        prepare(b, t + 1, low, high, net, work)
        return
    hidden, slope = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
    read_out(readout, constants.silu, work.q[b, low:high], hidden, slope, result.atomic_energies[b, low:high])
    mix_back(b, t, low, high, net, work)


@inner
def _update_back(b, t, low, high, net, work):
    """Adjoint of _update in the layer before t; the embedding, before the first, does not depend on the positions."""
    if t > 0:
        conclude(b, t, low, high, work)
        prepare_back(b, t, low, high, net, work)
        mix_back(b, t - 1, low, high, net, work)
