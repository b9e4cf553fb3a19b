"""The angular prior of Stillinger and Weber: the energy of a triple of atoms as a function of its angle.

SchNet represents angles only indirectly, through repeated sums over neighbours. Where directions determine the structure, as
hydrogen bonds do in water, this term gives the angle directly, and the network the rest. Like the repulsion
(mlcalc/priors/repulsion.py) it is part of the energy during training::

    E = λ Σ_i Σ_{j<k} h_ij h_ik (cos θ_jik − c)²     λ strength, eV; c cosine of the angle that costs nothing
    h(r) = exp(γ/(r − a)) for r < a, else 0          γ decay, a cutoff, Å; smooth to all orders at a

The same without triples, for atom i with unit vectors û to its neighbours::

    E_i = ½λ (Q:Q − 2c V·V + c² S² − (1 − c)² Σ_j h_ij²)
    S = Σ_j h_ij,   V = Σ_j h_ij û_ij,   Q = Σ_j h_ij û_ij⊗û_ij

Source: Stillinger and Weber, Phys. Rev. B 31, 5262 (1985), doi:10.1103/PhysRevB.31.5262; for water in one bead Molinero and Moore,
J. Phys. Chem. B 113, 4008 (2009), doi:10.1021/jp805227c.
"""

import math
from dataclasses import astuple, dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numba import prange

from mlcalc.common.compiled import Threaded, njit
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_distance

_MOMENTS = 13  # S, V, Q of an atom


@dataclass(frozen=True)
class AngularPrior:
    """λ eV, c, γ Å, a Å; raises InputError for one that is out of bounds."""

    strength: float
    cosine: float
    decay: float
    cutoff: float

    def __post_init__(self):
        check_distance("angular: decay", self.decay, 0.0)
        check_distance("angular: cutoff", self.cutoff)
        if not 0 < self.strength < np.inf or not -1 <= self.cosine <= 1:
            raise InputError(
                f"angular: strength = {self.strength!r} eV, cosine = {self.cosine!r}: expected a strength above 0 and a cosine "
                "from -1 to 1"
            )

    def __str__(self) -> str:
        angle = math.degrees(math.acos(self.cosine))
        return f"angular prior of {self.strength:g} eV towards {angle:.0f}° below {self.cutoff:g} Å"


class _Numbers(NamedTuple):
    """An AngularPrior as Numba accepts it."""

    strength: float
    cosine: float
    decay: float
    cutoff: float


def triple_energies(one: np.ndarray, two: np.ndarray, prior: AngularPrior) -> np.ndarray:
    """(n,) eV of angles between vectors (n, 3) Å from their apex: the definition, for callers that need single triples."""
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    cosine = (one * two).sum(axis=1) / (lengths[0] * lengths[1])
    near = [np.minimum(r, prior.cutoff - 1e-3 * prior.decay) for r in lengths]  # where h underflows to zero
    weight = np.exp(sum(prior.decay / (r - prior.cutoff) for r in near))
    return prior.strength * weight * (cosine - prior.cosine) ** 2


def make_angular_kernel(prior: AngularPrior, numbers: np.ndarray):
    """The compiled form, see Prior.make_kernel."""
    return partial(_add, _Numbers(*astuple(prior)))


def _add(prior, threads, q, pairs, result):
    _add_to_replicas(threads, q, pairs, prior, result.energies, result.forces, result.atomic_energies, result.virials)


@Threaded
def _add_to_replicas(q, pairs, prior, energies, forces, atomic, virials):
    """Add energies (P,) eV, forces (P, N, 3) eV/Å, atomic energies (P, N) and virials (P, 3, 3) of replicas q (P, N, 3) Å."""
    for b in prange(len(q)):
        energies[b] += _add_to_replica(
            q[b], pairs.offset[b], pairs.count[b], pairs, prior, forces[b], atomic[b], virials[b]
        )


@njit(cache=True, error_model="numpy")
def _add_to_replica(q, begin, count, pairs, prior, forces, atomic, virial):
    """As _add_to_replicas, for one replica; returns its energy."""
    near, distances, weights = np.empty(count, dtype=np.int64), np.empty(count), np.empty(count)
    units, moments, n_near = np.empty((count, 3)), np.zeros((len(q), _MOMENTS)), 0
    for p in range(begin, begin + count):
        i, j = pairs.first[p], pairs.second[p]
        r2 = 0.0
        for axis in range(3):
            units[n_near, axis] = q[j, axis] - q[i, axis] + pairs.shift[p, axis]
            r2 += units[n_near, axis] ** 2
        r = math.sqrt(r2)
        if r < prior.cutoff:
            near[n_near], distances[n_near], weights[n_near] = p, r, math.exp(prior.decay / (r - prior.cutoff))
            for axis in range(3):
                units[n_near, axis] /= r
            n_near += 1
    for k in range(n_near):
        _add_moments(moments, pairs.first[near[k]], 1.0, units, k, weights[k])
        _add_moments(moments, pairs.second[near[k]], -1.0, units, k, weights[k])
    gradient, energy = np.empty(3), 0.0
    for k in range(n_near):
        i, j = pairs.first[near[k]], pairs.second[near[k]]
        _gradient(moments, i, j, units, k, distances[k], weights[k], prior, gradient)
        for axis in range(3):
            forces[i, axis] += gradient[axis]
            forces[j, axis] -= gradient[axis]
            for other in range(3):
                virial[axis, other] += distances[k] * units[k, axis] * gradient[other]
        # Subtract, at both ends, the term of a neighbour with itself, which is not a triple.
        own = 0.5 * prior.strength * ((1.0 - prior.cosine) * weights[k]) ** 2
        atomic[i] -= own
        atomic[j] -= own
        energy -= 2.0 * own
    for i in range(len(q)):
        of_atom = _of_moments(moments, i, prior)
        atomic[i] += of_atom
        energy += of_atom
    return energy


@njit(cache=True, error_model="numpy")
def _add_moments(moments, i, sign, units, k, h):
    """Add pair k, with its unit vector in units (n_pairs, 3), to the moments (N, 13) of atom i."""
    moments[i, 0] += h
    for a in range(3):
        moments[i, 1 + a] += sign * h * units[k, a]
        for b in range(3):
            moments[i, 4 + 3 * a + b] += h * units[k, a] * units[k, b]


@njit(cache=True, error_model="numpy")
def _of_moments(moments, i, prior):
    """½λ (Q:Q − 2c V·V + c² S²) of an atom."""
    total = (prior.cosine * moments[i, 0]) ** 2
    for a in range(1, 4):
        total -= 2.0 * prior.cosine * moments[i, a] ** 2
    for a in range(4, _MOMENTS):
        total += moments[i, a] ** 2
    return 0.5 * prior.strength * total


@njit(cache=True, error_model="numpy")
def _gradient(moments, i, j, units, k, r, h, prior, gradient):
    """∂E/∂(r_j − r_i) (3,) of pair k, which takes part in the triples of both its atoms.

    For û from an atom to the other, ∂E_i/∂h = λ (û·Qû − 2c û·V + c² S − (1 − c)² h) and ∂E_i/∂û = 2λh (Qû − c V).
    """
    by_weight = prior.cosine**2 * (moments[i, 0] + moments[j, 0]) - 2.0 * (1.0 - prior.cosine) ** 2 * h
    along = 0.0
    for a in range(3):
        # (Qû − cV)_a of both; V of the second goes with −û.
        first_moment = moments[i, 1 + a] - moments[j, 1 + a]
        turned = -prior.cosine * first_moment
        for b in range(3):
            turned += (moments[i, 4 + 3 * a + b] + moments[j, 4 + 3 * a + b]) * units[k, b]
        by_weight += units[k, a] * (turned - prior.cosine * first_moment)
        along += units[k, a] * turned
        gradient[a] = turned
    slope = -h * prior.decay / (r - prior.cutoff) ** 2
    for a in range(3):
        across = 2.0 * h * (gradient[a] - along * units[k, a]) / r
        gradient[a] = prior.strength * (by_weight * slope * units[k, a] + across)
