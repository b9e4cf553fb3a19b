"""The pieces of a SchNet evaluation for one replica, or for a block of its atoms: loops over pairs and rows of atoms.

Pair loops take the half pairs begin … begin + len(knot) of the flat arrays, or a range [start, stop) of a replica's own; row
functions take (rows, F) views, so that the same code serves a replica and a block of its atoms. Symbols as in kernel_schedules.py.
"""

import math

import numpy as np

from mlcalc.architectures.schnet.activation import activate
from mlcalc.common.compiled import njit
from mlcalc.priors.repulsion import zbl_pair


@njit(cache=True, error_model="numpy")
def locate(q, begin, pairs, start, stop, constants, n_knots, knot, fraction, slope):
    """Knot and fraction of the pairs [start, stop) of one replica with positions q (N, 3); their slopes are set to zero."""
    for p in range(start, stop):
        slope[p] = 0
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r2 = 0.0
        for axis in range(3):
            r2 += (q[j, axis] - q[i, axis] + pairs.shift[begin + p, axis]) ** 2
        r = math.sqrt(r2)
        place = r / constants.spacing
        if r >= constants.cutoff:
            knot[p] = -1
        elif r < constants.cutoff:
            # An uncut model's filters are constant beyond its last Gaussian, hence the clamp.
            knot[p] = min(int(place), n_knots - 1)
            fraction[p] = min(place - knot[p], 1.0)
        else:  # NaN: let it show in the energy
            knot[p], fraction[p] = 0, np.nan


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def convolve(source, begin, pairs, knot, fraction, filters, target):
    """target_i = Σ_j source_j ∘ W(r_ij) over the half pairs of a replica, both directions; source, target (N, F)."""
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


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})
def gather(source, pairs, b, low, high, knot, fraction, filters, target):
    """As convolve for the atoms [low, high) of replica b: every pair is met from both sides, no other row is written."""
    begin = pairs.offset[b]
    for i in range(low, high):
        target[i] = 0
        for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
            link = pairs.link[entry]
            if link >= 0:
                p, j = link, pairs.second[begin + link]
            else:
                p = -link - 1
                j = pairs.first[begin + p]
            if knot[p] < 0:
                continue
            piece, s = filters[knot[p]], fraction[p]
            for f in range(source.shape[1]):
                w = piece[0, f] + s * (piece[1, f] + s * (piece[2, f] + s * piece[3, f]))
                target[i, f] += source[j, f] * w


@njit(cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def add_slopes(adjoint, y, begin, pairs, start, stop, knot, fraction, filters, slope):
    """slope_p += Σ_f (c̄_i∘y_j + c̄_j∘y_i) ∘ dW/ds of one layer for the pairs [start, stop); adjoint c̄ and y are (N, F)."""
    for p in range(start, stop):
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
def embed(species, net, x, y):
    """Features and messages of the first layer, which depend only on the element; rows of x, y (rows, F)."""
    for i in range(len(species)):
        x[i] = net.embedding[species[i]]
        y[i] = net.messages[species[i]]


@njit(cache=True, error_model="numpy")
def update_features(t, net, x, c, scratch, sigma):
    """x ← x + ssp(c·W₁ + b₁)·W₂ + b₂; c is overwritten, as is scratch; keeps σ(u); all (rows, F)."""
    np.dot(c, net.dense[t, 0], scratch)
    activate(scratch, net.bias[t, 0], False, c, sigma)
    np.dot(c, net.dense[t, 1], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            x[i, f] += scratch[i, f] + net.bias[t, 1, f]


@njit(cache=True, error_model="numpy")
def read_out(net, constants, x, hidden, adjoint, atomic):
    """Atom-wise energies (rows,) from features x (rows, F), which are replaced by x̄; hidden and adjoint are (rows, H) scratch."""
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
def adjoint_of_update(t, net, x, sigma, scratch, adjoint):
    """c̄ = ((x̄·W₂ᵀ)∘σ(u))·W₁ᵀ into ``adjoint``; all (rows, F)."""
    np.dot(x, net.dense_adjoint[t, 1], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            scratch[i, f] *= sigma[i, f]
    np.dot(scratch, net.dense_adjoint[t, 0], adjoint)


@njit(cache=True, error_model="numpy")
def add_adjoint_of_messages(t, net, x, y, scratch):
    """x̄ ← x̄ + ȳ·W_inᵀ; all (rows, F)."""
    np.dot(y, net.in2f_adjoint[t], scratch)
    for i in range(x.shape[0]):
        for f in range(x.shape[1]):
            x[i, f] += scratch[i, f]


@njit(cache=True, error_model="numpy")
def pair_vector(q, i, j, sign, shift, vector):
    """r_j − r_i of a pair with its shift (3,), for which the list may have the other sign; returns the squared length."""
    r2 = 0.0
    for axis in range(3):
        vector[axis] = q[j, axis] - q[i, axis] + sign * shift[axis]
        r2 += vector[axis] ** 2
    return r2


@njit(cache=True, error_model="numpy")
def pair_derivative(r, slope, first_number, second_number, constants):
    """∂E/∂r / r of a pair, nuclear repulsion included, and its repulsion energy, in float64."""
    derivative, energy = slope / constants.spacing, 0.0
    if r < constants.repulsion_cutoff:
        energy, repulsion = zbl_pair(r, first_number, second_number, constants.repulsion_cutoff)
        derivative += repulsion
    return derivative / r, energy


@njit(cache=True, error_model="numpy")
def scatter_forces(q, numbers, begin, pairs, constants, slope, knot, forces, atomic):
    """Forces and the energy of the nuclear repulsion from ∂E/∂s of every pair of a replica."""
    forces[:] = 0.0
    vector = np.empty(3)
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r2 = pair_vector(q, i, j, 1.0, pairs.shift[begin + p], vector)
        derivative, energy = pair_derivative(math.sqrt(r2), slope[p], numbers[i], numbers[j], constants)
        atomic[i] += 0.5 * energy
        atomic[j] += 0.5 * energy
        for axis in range(3):
            force = derivative * vector[axis]
            forces[i, axis] += force
            forces[j, axis] -= force


@njit(cache=True, error_model="numpy")
def gather_forces(q, numbers, pairs, b, low, high, constants, slope, knot, forces, atomic):
    """As scatter_forces for the atoms [low, high) of replica b."""
    begin = pairs.offset[b]
    vector = np.empty(3)
    for i in range(low, high):
        forces[i] = 0.0
        for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
            link = pairs.link[entry]
            p, sign = (link, 1.0) if link >= 0 else (-link - 1, -1.0)
            if knot[p] < 0:
                continue
            j = pairs.second[begin + p] if link >= 0 else pairs.first[begin + p]
            r2 = pair_vector(q, i, j, sign, pairs.shift[begin + p], vector)
            derivative, energy = pair_derivative(math.sqrt(r2), slope[p], numbers[i], numbers[j], constants)
            atomic[i] += 0.5 * energy
            for axis in range(3):
                forces[i, axis] += derivative * vector[axis]


@njit(cache=True, error_model="numpy")
def sum_virial(q, numbers, begin, pairs, constants, slope, knot, virial):
    """Σ over pairs of force times vector, the virial (3, 3) of a replica, from ∂E/∂s."""
    virial[:] = 0.0
    vector = np.empty(3)
    for p in range(len(knot)):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r2 = pair_vector(q, i, j, 1.0, pairs.shift[begin + p], vector)
        derivative, _ = pair_derivative(math.sqrt(r2), slope[p], numbers[i], numbers[j], constants)
        for axis in range(3):
            for other in range(3):
                virial[axis, other] += derivative * vector[axis] * vector[other]


@njit(cache=True, error_model="numpy")
def total_energy(atoms, atomic, energies, b):
    """Add the constant of each atom and store the sum in energies[b].

    A separate function: inside a prange, Numba takes the sum for a reduction across replicas, and drops a store into an
    array that is reached through a named tuple.
    """
    energy = 0.0
    for i in range(len(atomic)):
        atomic[i] += atoms.shift[atoms.species[i]]
        energy += atomic[i]
    energies[b] = energy
