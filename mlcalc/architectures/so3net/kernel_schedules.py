"""The order of the work of an SO3net in Numba: energies and analytic forces of a batch of replicas q (P, N, 3) Å.

Threads share out replicas, or, where a few replicas of many atoms would leave some idle, blocks of atoms: a step of a block then
reads, of other atoms, what all have finished in the step before. Either way every product has the rows of one block, and every
sum is done by one thread in the order of the pairs: results depend on neither the schedule nor the number of threads.
``degrees`` is (0, …, lmax): see vectors.py.
"""

from numba import prange

from mlcalc.architectures.kernels.pairs import gather_forces, locate, rows, total_energy
from mlcalc.architectures.kernels.readout import read_out
from mlcalc.architectures.so3net.kernel_features import begin_back, embed, update, update_back
from mlcalc.architectures.so3net.kernel_messages import collect, differentiate, exchange, orient, receive, spread, turn
from mlcalc.common.compiled import Threaded, inner


@Threaded
def by_replica(q, atoms, pairs, net, readout, constants, n_blocks, n_groups, degrees, at, work, result):
    """Threads share out groups of replicas, which go through the network layer by layer: see schnet/kernel_schedules.py."""
    for group in prange(n_groups):
        first, end = rows(group, n_groups, len(q))
        last, n_atoms = len(net.m1) - 1, q.shape[1]
        for b in range(first, end):
            for block in range(n_blocks):
                low, high = rows(block, n_blocks, n_atoms)
                _start(q, b, low, high, atoms, pairs, net, constants, at, work, degrees)
        for t in range(last + 1):
            for b in range(first, end):
                if t == 0:
                    exchange(b, t, pairs, at, net.filters[t], work, degrees, (0,))
                else:
                    exchange(b, t, pairs, at, net.filters[t], work, degrees, degrees)
            for b in range(first, end):
                for block in range(n_blocks):
                    low, high = rows(block, n_blocks, n_atoms)
                    _update(b, t, low, high, net, readout, constants, work, result, degrees)
        for t in range(last, -1, -1):
            for b in range(first, end):
                _differentiate(b, t, 0, pairs.count[b], pairs, at, net.filters[t], work, degrees)
                if t > 0:
                    spread(b, t, pairs, at, net.filters[t], work, degrees)
            for b in range(first, end):
                for block in range(n_blocks):
                    low, high = rows(block, n_blocks, n_atoms)
                    if t > 0:
                        update_back(b, t - 1, low, high, net, work, degrees, degrees)
        for b in range(first, end):
            atomic = result.atomic_energies[b]
            gather_forces(q[b], b, 0, n_atoms, atoms, pairs, constants, at, result.forces[b], atomic)
            total_energy(atoms, atomic, result.energies, b)


@Threaded
def by_block(q, atoms, pairs, net, readout, constants, n_blocks, degrees, at, work, result):
    """Threads share out blocks of atoms."""
    n_tasks, n_atoms, last = len(q) * n_blocks, q.shape[1], len(net.m1) - 1
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        _start(q, b, low, high, atoms, pairs, net, constants, at, work, degrees)
    for t in range(last + 1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            if t == 0:
                receive(b, t, low, high, pairs, at, net.filters[t], work, degrees, (0,))
            else:
                receive(b, t, low, high, pairs, at, net.filters[t], work, degrees, degrees)
            _update(b, t, low, high, net, readout, constants, work, result, degrees)
    for t in range(last, -1, -1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            start, stop = pairs.row[b, low], pairs.row[b, high]
            _differentiate(b, t, start, stop, pairs, at, net.filters[t], work, degrees)
            if t > 0:
                collect(b, t, low, high, pairs, at, net.filters[t], work, degrees)
                update_back(b, t - 1, low, high, net, work, degrees, degrees)
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        atomic = result.atomic_energies[b]
        gather_forces(q[b], b, low, high, atoms, pairs, constants, at, result.forces[b], atomic)
    for b in range(len(q)):
        total_energy(atoms, result.atomic_energies[b], result.energies, b)


@inner
def _start(q, b, low, high, atoms, pairs, net, constants, at, work, degrees):
    """Geometry of the pairs of a block, and features of its atoms."""
    start, stop = pairs.row[b, low], pairs.row[b, high]
    locate(q[b], b, start, stop, pairs, constants, net.filters.shape[1], at)
    orient(b, start, stop, at, degrees)
    embed(b, low, high, atoms, net, work)


@inner
def _update(b, t, low, high, net, readout, constants, work, result, degrees):
    """Layer t behind the messages; behind the last, energies and the first adjoint."""
    if t + 1 < len(net.m1):
        update(b, t, low, high, net, work, degrees, degrees)
        return
    update(b, t, low, high, net, work, degrees, (0,))
    hidden, slope = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
    read_out(readout, constants.silu, work.scalars[b, low:high], hidden, slope, result.atomic_energies[b, low:high])
    begin_back(b, low, high, work)
    update_back(b, t, low, high, net, work, degrees, (0,))


@inner
def _differentiate(b, t, start, stop, pairs, at, filters, work, degrees):
    """Derivatives of the pairs [start, stop) in layer t, by their unit vectors behind the first layer, which comes last."""
    if t > 0:
        differentiate(b, t, start, stop, pairs, at, filters, work, degrees, degrees)
    else:
        differentiate(b, t, start, stop, pairs, at, filters, work, degrees, (0,))
        turn(b, start, stop, at, degrees)
