"""The order of the work of a SchNet in Numba: energies and analytic forces of a batch of replicas, from kernel_stages.py.

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

import numpy as np
from numba import prange

from mlcalc.architectures.kernels.pairs import gather_forces, locate, rows, scatter_forces, total_energy
from mlcalc.architectures.kernels.readout import read_out
from mlcalc.architectures.schnet import kernel_stages as stages
from mlcalc.common.compiled import Threaded, njit


@Threaded
def by_replica(q, atoms, pairs, net, readout, constants, n_blocks, n_groups, at, work, result):
    """Evaluate replicas q (P, N, 3) Å; threads share out groups of them.

    A group goes through the network layer by layer: its replicas, which resemble one another, look up the same part of a
    layer's table one after the other. This pays where the tables of all layers do not fit the cache.
    """
    for group in prange(n_groups):
        low, high = rows(group, n_groups, len(q))
        for b in range(low, high):
            locate(q[b], b, 0, pairs.count[b], pairs, constants, net.filters.shape[1], at)
            stages.embed(atoms.species, net, work.x[b], work.y[b, 0])
        for t in range(len(net.in2f)):
            for b in range(low, high):
                _forward(b, t, pairs, net, n_blocks, at, work)
        for b in range(low, high):
            _read_out(b, readout, constants, n_blocks, work, result)
        for t in range(len(net.in2f) - 1, -1, -1):
            for b in range(low, high):
                _backward(b, t, pairs, net, n_blocks, at, work)
        for b in range(low, high):
            atomic = result.atomic_energies[b]
            scatter_forces(q[b], b, atoms, pairs, constants, at, result.forces[b], atomic)
            total_energy(atoms, atomic, result.energies, b)


@njit(cache=True, error_model="numpy")
def _forward(b, t, pairs, net, n_blocks, at, work):
    """Layer t of replica b, and the messages of the next one."""
    n_pairs, n_atoms = pairs.count[b], work.x.shape[1]
    knot, fraction, x, c = at.knot[b, :n_pairs], at.fraction[b, :n_pairs], work.x[b], work.convolved[b]
    stages.convolve(work.y[b, t], pairs.offset[b], pairs, knot, fraction, net.filters[t], c)
    for block in range(n_blocks):
        low, high = rows(block, n_blocks, n_atoms)
        stages.update_features(t, net, x[low:high], c[low:high], work.scratch[b, low:high], work.sigma[b, t, low:high])
        if t + 1 < len(net.in2f):
            np.dot(x[low:high], net.in2f[t + 1], work.y[b, t + 1, low:high])


@njit(cache=True, error_model="numpy")
def _read_out(b, readout, constants, n_blocks, work, result):
    """Atom-wise energies of replica b and x̄ of its last layer."""
    for block in range(n_blocks):
        low, high = rows(block, n_blocks, work.x.shape[1])
        hidden, gradient = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
        read_out(readout, constants.silu, work.x[b, low:high], hidden, gradient, result.atomic_energies[b, low:high])


@njit(cache=True, error_model="numpy")
def _backward(b, t, pairs, net, n_blocks, at, work):
    """Adjoint of layer t of replica b: its share of the slopes, and x̄ of the layer before."""
    n_pairs, n_atoms = pairs.count[b], work.x.shape[1]
    knot, fraction, x, c, adjoint = (
        at.knot[b, :n_pairs],
        at.fraction[b, :n_pairs],
        work.x[b],
        work.convolved[b],
        work.scratch[b],
    )
    for block in range(n_blocks):
        low, high = rows(block, n_blocks, n_atoms)
        stages.adjoint_of_update(t, net, x[low:high], work.sigma[b, t, low:high], c[low:high], adjoint[low:high])
    stages.add_slopes(
        adjoint, work.y[b, t], pairs.offset[b], pairs, 0, n_pairs, knot, fraction, net.filters[t], at.slope[b]
    )
    if t > 0:  # the embedding does not depend on the positions
        stages.convolve(adjoint, pairs.offset[b], pairs, knot, fraction, net.filters[t], c)
        for block in range(n_blocks):
            low, high = rows(block, n_blocks, n_atoms)
            stages.add_adjoint_of_messages(t, net, x[low:high], c[low:high], adjoint[low:high])


@Threaded
def by_block(q, atoms, pairs, net, readout, constants, n_blocks, at, work, result):
    """Evaluate replicas q (P, N, 3) Å; threads share out blocks of atoms and meet after every convolution."""
    n_tasks, n_atoms, last = len(q) * n_blocks, q.shape[1], len(net.in2f) - 1
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        locate(q[b], b, pairs.row[b, low], pairs.row[b, high], pairs, constants, net.filters.shape[1], at)
        stages.embed(atoms.species[low:high], net, work.x[b, low:high], work.y[b, 0, low:high])
    for t in range(last + 1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            x, c = work.x[b, low:high], work.convolved[b, low:high]
            stages.gather(
                work.y[b, t], pairs, b, low, high, at.knot[b], at.fraction[b], net.filters[t],
                work.convolved[b],
            )  # fmt: skip
            stages.update_features(t, net, x, c, work.scratch[b, low:high], work.sigma[b, t, low:high])
            if t < last:
                np.dot(x, net.in2f[t + 1], work.y[b, t + 1, low:high])
            else:
                hidden, gradient = work.hidden[b, 0, low:high], work.hidden[b, 1, low:high]
                read_out(readout, constants.silu, x, hidden, gradient, result.atomic_energies[b, low:high])
                stages.adjoint_of_update(t, net, x, work.sigma[b, t, low:high], c, work.adjoint[t % 2, b, low:high])
    for t in range(last, -1, -1):
        for task in prange(n_tasks):
            b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
            x, c = work.x[b, low:high], work.convolved[b, low:high]
            stages.add_slopes(
                work.adjoint[t % 2, b], work.y[b, t], pairs.offset[b], pairs, pairs.row[b, low], pairs.row[b, high],
                at.knot[b], at.fraction[b], net.filters[t], at.slope[b],
            )  # fmt: skip
            if t > 0:  # other threads still read this layer's adjoint: the next one goes to the other half
                stages.gather(
                    work.adjoint[t % 2, b], pairs, b, low, high, at.knot[b], at.fraction[b],
                    net.filters[t], work.convolved[b],
                )  # fmt: skip
                stages.add_adjoint_of_messages(t, net, x, c, work.scratch[b, low:high])
                stages.adjoint_of_update(
                    t - 1, net, x, work.sigma[b, t - 1, low:high], c, work.adjoint[(t - 1) % 2, b, low:high]
                )
    for task in prange(n_tasks):
        b, (low, high) = task // n_blocks, rows(task % n_blocks, n_blocks, n_atoms)
        atomic = result.atomic_energies[b]
        gather_forces(q[b], b, low, high, atoms, pairs, constants, at, result.forces[b], atomic)
    for b in range(len(q)):
        total_energy(atoms, result.atomic_energies[b], result.energies, b)
