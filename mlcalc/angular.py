"""The angular prior of Stillinger and Weber: what a triple of atoms adds to the energy for the angle that it makes.

A SchNet sees distances; of triangles it learns only what densities, and densities of densities, tell of them. Where directions
make the structure, as hydrogen bonds make that of water, this term gives the angle at hand, and the network the rest. As the
repulsion (mlcalc/repulsion.py) it is part of the energy while training.

=====================================================  ==========================================================
E = λ Σ_i Σ_{j<k} h_ij h_ik (cos θ_jik − c)²           λ strength, eV; c cosine of the angle that costs nothing
h(r) = exp(γ/(r − a)) for r < a, else 0                γ decay, a cutoff, Å; smooth to all orders at a
E_i = ½λ (Q:Q − 2c V·V + c² S² − (1 − c)² Σ_j h_ij²)   the same without triples, û from i to j:
S = Σ_j h_ij, V = Σ_j h_ij û_ij, Q = Σ_j h_ij û_ij⊗û_ij
=====================================================  ==========================================================

Source: Stillinger and Weber, Phys. Rev. B 31, 5262 (1985), doi:10.1103/PhysRevB.31.5262; for water in one bead Molinero and Moore,
J. Phys. Chem. B 113, 4008 (2009), doi:10.1021/jp805227c.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from mlcalc.compiled import njit

_MOMENTS = 13  # S, V, Q of an atom


class AngularPrior(NamedTuple):
    """λ eV, c, γ Å, a Å."""

    strength: float
    cosine: float
    decay: float
    cutoff: float


def triple_energies(one: np.ndarray, two: np.ndarray, prior: AngularPrior) -> np.ndarray:
    """(n,) eV of angles between vectors (n, 3) Å from their apex: the definition, for those who want triples one by one."""
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    cosine = (one * two).sum(axis=1) / (lengths[0] * lengths[1])
    near = [np.minimum(r, prior.cutoff - 1e-3 * prior.decay) for r in lengths]  # where h is zero to the last bit
    weight = np.exp(sum(prior.decay / (r - prior.cutoff) for r in near))
    return prior.strength * weight * (cosine - prior.cosine) ** 2


@njit(cache=True, parallel=True, error_model="numpy")
def add_angular(q, pairs, prior, energies, forces, atomic, virials):
    """Add energies (P,) eV, forces (P, N, 3) eV/Å, atomic energies (P, N) and virials (P, 3, 3) of replicas q (P, N, 3) Å."""
    for b in prange(len(q)):
        energies[b] += _add_to_replica(
            q[b], pairs.offset[b], pairs.count[b], pairs, prior, forces[b], atomic[b], virials[b]
        )


@njit(cache=True, error_model="numpy")
def _add_to_replica(q, begin, count, pairs, prior, forces, atomic, virial):
    """As add_angular, for one replica; returns its energy."""
    vectors, weights, near = np.empty((count, 3)), np.empty(count), np.empty(count, dtype=np.int64)
    moments, n_near = np.zeros((len(q), _MOMENTS)), 0
    for p in range(begin, begin + count):
        i, j = pairs.first[p], pairs.second[p]
        r2 = 0.0
        for axis in range(3):
            vectors[n_near, axis] = q[j, axis] - q[i, axis] + pairs.shift[p, axis]
            r2 += vectors[n_near, axis] ** 2
        if r2 < prior.cutoff**2:
            near[n_near] = p
            weights[n_near] = math.exp(prior.decay / (math.sqrt(r2) - prior.cutoff))
            _add_moments(moments[i], moments[j], vectors[n_near] / math.sqrt(r2), weights[n_near])
            atomic[i] -= _of_one_neighbour(prior, weights[n_near])
            atomic[j] -= _of_one_neighbour(prior, weights[n_near])
            n_near += 1
    energy = 0.0
    for k in range(n_near):
        i, j = pairs.first[near[k]], pairs.second[near[k]]
        gradient = _gradient(moments[i], moments[j], vectors[k], weights[k], prior)
        for axis in range(3):
            forces[i, axis] += gradient[axis]
            forces[j, axis] -= gradient[axis]
            for other in range(3):
                virial[axis, other] += vectors[k, axis] * gradient[other]
        energy -= 2.0 * _of_one_neighbour(prior, weights[k])
    for i in range(len(q)):
        of_atom = _of_moments(moments[i], prior)
        atomic[i] += of_atom
        energy += of_atom
    return energy


@njit(cache=True, error_model="numpy")
def _of_one_neighbour(prior, h):
    """What a neighbour makes with itself, and no triple does."""
    return 0.5 * prior.strength * (1.0 - prior.cosine) ** 2 * h * h


@njit(cache=True, error_model="numpy")
def _of_moments(moment, prior):
    """½λ (Q:Q − 2c V·V + c² S²)."""
    s, v, tensor = moment[0], moment[1:4], moment[4:]
    return 0.5 * prior.strength * ((tensor**2).sum() - 2.0 * prior.cosine * (v**2).sum() + (prior.cosine * s) ** 2)


@njit(cache=True, error_model="numpy")
def _add_moments(of_first, of_second, unit, h):
    """Count a pair with both its atoms, whose moments are (13,)."""
    for moment, sign in ((of_first, 1.0), (of_second, -1.0)):
        moment[0] += h
        for a in range(3):
            moment[1 + a] += sign * h * unit[a]
            for b in range(3):
                moment[4 + 3 * a + b] += h * unit[a] * unit[b]


@njit(cache=True, error_model="numpy")
def _gradient(of_first, of_second, vector, h, prior):
    """∂E/∂vector (3,) of a pair, which takes part in the triples of both its atoms.

    For û from an atom to the other, ∂E_i/∂h = λ (û·Qû − 2c û·V + c² S − (1 − c)² h) and ∂E_i/∂û = 2λh (Qû − c V).
    """
    r = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    by_weight, by_unit = -2.0 * (1.0 - prior.cosine) ** 2 * h, np.zeros(3)
    for moment, sign in ((of_first, 1.0), (of_second, -1.0)):
        by_weight += prior.cosine**2 * moment[0]
        for a in range(3):
            turned = -prior.cosine * sign * moment[1 + a]
            by_weight += vector[a] / r * turned
            for b in range(3):
                turned += moment[4 + 3 * a + b] * vector[b] / r
            by_weight += vector[a] / r * turned
            by_unit[a] += 2.0 * h * turned
    slope = -h * prior.decay / (r - prior.cutoff) ** 2
    along = (by_unit[0] * vector[0] + by_unit[1] * vector[1] + by_unit[2] * vector[2]) / r
    gradient = np.empty(3)
    for a in range(3):
        gradient[a] = prior.strength * (by_weight * slope * vector[a] / r + (by_unit[a] - along * vector[a] / r) / r)
    return gradient
