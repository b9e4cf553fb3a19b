"""Pairs of atoms in compiled code: their place in a filter table, and forces and virials from the derivatives of the energy.

Functions take a replica b, and a range of its pairs or atoms; ``work`` is a PairWork, ``pairs`` a neighbours.Pairs.
"""

import math

import numpy as np
from numba import prange

from mlcalc.common.compiled import Threaded, inner, njit
from mlcalc.priors.repulsion import zbl_pair


@njit(cache=True)
def rows(block, n_blocks, n_atoms):
    """Atoms [low, high) of a block, or replicas of a group: sizes as equal as possible."""
    return block * n_atoms // n_blocks, (block + 1) * n_atoms // n_blocks


@inner
def locate(q, b, start, stop, pairs, constants, n_knots, work):
    """Knot, fraction and unit vector of the pairs [start, stop) of replica b at q (N, 3) Å; their derivatives are set to zero."""
    begin, knot, fraction, slope = pairs.offset[b], work.knot[b], work.fraction[b], work.slope[b]
    unit, turn = work.unit[b], work.turn[b]
    with_units = len(unit) > 0
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
        if with_units:
            for axis in range(3):
                unit[p, axis] = (q[j, axis] - q[i, axis] + pairs.shift[begin + p, axis]) / r
                turn[p, axis] = 0


@inner
def _vector(q, i, j, sign, shift, vector):
    """r_j − r_i (3,) of a pair with its shift (3,), for which the list may have the other sign; returns the squared length."""
    r2 = 0.0
    for axis in range(3):
        vector[axis] = q[j, axis] - q[i, axis] + sign * shift[axis]
        r2 += vector[axis] ** 2
    return r2


@inner
def _by_distance(r, slope, first_number, second_number, constants):
    """∂E/∂r / r of a pair, nuclear repulsion included, and its repulsion energy, in float64."""
    derivative, energy = slope / constants.spacing, 0.0
    if r < constants.repulsion_cutoff:
        energy, repulsion = zbl_pair(r, first_number, second_number, constants.repulsion_cutoff)
        derivative += repulsion
    return derivative / r, energy


@inner
def _gradient(q, i, j, sign, shift, slope, turn, numbers, constants, vector, gradient):
    """Fills r_j − r_i of a pair (3,) and ∂E/∂(r_j − r_i); returns the energy of the nuclear repulsion.

    ``turn`` is ∂E/∂u (3,) of the unit vector u, whose derivative by the vector is (1 − u⊗u)/r; or empty.
    """
    r2 = _vector(q, i, j, sign, shift, vector)
    r = math.sqrt(r2)
    along, energy = _by_distance(r, slope, numbers[i], numbers[j], constants)
    for axis in range(len(turn)):
        along -= sign * turn[axis] * vector[axis] / (r2 * r)
    for axis in range(3):
        gradient[axis] = along * vector[axis]
    for axis in range(len(turn)):
        gradient[axis] += sign * turn[axis] / r
    return energy


@inner
def scatter_forces(q, b, atoms, pairs, constants, work, forces, atomic):
    """Forces (N, 3) of replica b, to whose atomic energies (N,) the nuclear repulsion is added; of a network of distances alone."""
    forces[:] = 0.0
    begin, vector, knot, slope = pairs.offset[b], np.empty(3), work.knot[b], work.slope[b]
    for p in range(pairs.count[b]):
        if knot[p] < 0:
            continue
        i, j = pairs.first[begin + p], pairs.second[begin + p]
        r = math.sqrt(_vector(q, i, j, 1.0, pairs.shift[begin + p], vector))
        along, energy = _by_distance(r, slope[p], atoms.numbers[i], atoms.numbers[j], constants)
        atomic[i] += 0.5 * energy
        atomic[j] += 0.5 * energy
        for axis in range(3):
            force = along * vector[axis]
            forces[i, axis] += force
            forces[j, axis] -= force


@inner
def gather_forces(q, b, low, high, atoms, pairs, constants, work, forces, atomic):
    """As scatter_forces for the atoms [low, high), of any network: every pair is met from both sides, no other row is written."""
    begin, vector, gradient = pairs.offset[b], np.empty(3), np.empty(3)
    knot, slope = work.knot[b], work.slope[b]
    for i in range(low, high):
        forces[i] = 0.0
        for entry in range(2 * begin + pairs.around[b, i], 2 * begin + pairs.around[b, i + 1]):
            p, j, sign = other_atom(pairs, begin, entry)
            if knot[p] < 0:
                continue
            shift, turn = pairs.shift[begin + p], _turn(work, b, p)
            energy = _gradient(q, i, j, sign, shift, slope[p], turn, atoms.numbers, constants, vector, gradient)
            atomic[i] += 0.5 * energy
            for axis in range(3):
                forces[i, axis] += gradient[axis]


@inner
def _turn(work, b, p):
    """∂E/∂u (3,) of pair p of replica b; empty for a network of distances alone."""
    if work.turn.shape[1] > 0:
        return work.turn[b, p]
    return work.turn[b].reshape(-1)


@njit(cache=True)
def other_atom(pairs, begin, entry):
    """Pair, other atom, and 1 if the list has the pair as seen from this atom, else −1, of an entry of pairs.link."""
    link = pairs.link[entry]
    if link >= 0:
        return link, pairs.second[begin + link], 1.0
    return -link - 1, pairs.first[begin - link - 1], -1.0


@Threaded
def sum_virials(q, atoms, pairs, constants, work, virials):
    """Σ over pairs of vector and force, the virials (P, 3, 3) eV of the replicas q (P, N, 3) Å evaluated last."""
    for b in prange(len(q)):
        _sum_virial(q[b], b, atoms, pairs, constants, work, virials[b])


@inner
def _sum_virial(q, b, atoms, pairs, constants, work, virial):
    virial[:] = 0.0
    begin, vector, gradient = pairs.offset[b], np.empty(3), np.empty(3)
    for p in range(pairs.count[b]):
        if work.knot[b, p] < 0:
            continue
        i, j, shift = pairs.first[begin + p], pairs.second[begin + p], pairs.shift[begin + p]
        slope, turn = work.slope[b, p], _turn(work, b, p)
        _gradient(q, i, j, 1.0, shift, slope, turn, atoms.numbers, constants, vector, gradient)
        for axis in range(3):
            for other in range(3):
                virial[axis, other] += vector[axis] * gradient[other]


@inner
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


@njit(cache=True)
def smallest_place(n_replicas, count, knot, fraction):
    """The smallest distance within the cutoff in units of the spacing of knots; infinite without one."""
    smallest = np.inf
    for b in range(n_replicas):
        for p in range(count[b]):
            if knot[b, p] >= 0:
                smallest = min(smallest, knot[b, p] + fraction[b, p])
    return smallest


@njit(cache=True)
def closest(n_replicas, pairs, work, species, limits):
    """The pair with the smallest place (in units of the spacing of knots) over its limit (n_elements, n_elements)."""
    lowest, distance, limit, replica, i, j = np.inf, np.inf, 0.0, 0, 0, 0
    for b in range(n_replicas):
        for p in range(pairs.count[b]):
            if work.knot[b, p] >= 0:
                a, c = pairs.first[pairs.offset[b] + p], pairs.second[pairs.offset[b] + p]
                place, allowed = work.knot[b, p] + work.fraction[b, p], limits[species[a], species[c]]
                if place < lowest * allowed:
                    lowest, distance, limit, replica, i, j = place / allowed, place, allowed, b, a, c
    return distance, limit, replica, i, j
