"""Priors of chains: terms of one, two or three bonds that follow one another, by their place along the chain.

Beads of a chain follow one another in a structure: bead i is bonded to bead i + 1, except for the last. A structure is one chain,
or several copies of it one after another. Every bond, angle and dihedral angle has parameters of its own, whatever the types of
its beads: exchanging a type changes no term of them. A prior can state the types of its chain from first to last,
``chain_types``: beads in another order are refused (chain_types.py). Those of older files do not state them.

A bond is the pair of neighbouring beads in the list of pairs that is closer than the cutoff of the prior. Where there is none, or
several (images in a small cell), the energy is NaN: a chain that is torn stops a run, and is not continued as two.

Energies of atoms: half of a bond to each end, an angle to its apex, half of a dihedral angle to each of its two middle beads.
"""

from functools import partial

import numpy as np
from numba import prange

from mlcalc.common.compiled import Threaded, inner, njit
from mlcalc.common.errors import InputError
from mlcalc.priors.angles import angle_term
from mlcalc.priors.bonds import bond_term
from mlcalc.priors.chain_types import check_same_chain
from mlcalc.priors.dihedrals import dihedral_term


def check_chain(name: str, prior, numbers: np.ndarray) -> None:
    """Raise InputError unless atoms (N,) make up copies of the chain of a prior of this name; of other priors nothing is asked."""
    n_beads, n_atoms = getattr(prior, "n_beads", 1), len(numbers)
    if n_atoms % n_beads or not n_atoms:
        raise InputError(
            f"{name}: {n_atoms} beads: the prior is that of a chain of {n_beads}; expected a multiple of them"
        )
    if (chain_types := getattr(prior, "chain_types", None)) is not None:
        check_same_chain(name, chain_types, np.asarray(numbers))


def make_chain_kernel(prior, numbers: np.ndarray):
    """The compiled form of a prior of bonds, angles or dihedral angles, see Prior.make_kernel."""
    parameters = np.array(prior.parameters())
    return partial(_add, parameters, prior.n_beads, prior.cutoff)


def _add(parameters, n_beads, cutoff, threads, q, pairs, result):
    _add_to_replicas(
        threads, q, pairs, parameters, n_beads, cutoff, result.energies, result.forces, result.atomic_energies, result.virials,
    )  # fmt: skip


@Threaded
def _add_to_replicas(q, pairs, parameters, n_beads, cutoff, energies, forces, atomic, virials):
    """Add energies (P,) eV, forces (P, N, 3) eV/Å, atomic energies (P, N) and virials (P, 3, 3) of replicas q (P, N, 3) Å."""
    for b in prange(len(q)):
        energies[b] += _add_to_replica(
            q[b], pairs.offset[b], pairs.count[b], pairs, parameters, n_beads, cutoff, forces[b], atomic[b], virials[b]
        )


@njit(cache=True, error_model="numpy")
def _add_to_replica(q, begin, count, pairs, parameters, n_beads, cutoff, forces, atomic, virial):
    """As _add_to_replicas, for one replica; returns its energy."""
    bonds, gradients = np.empty((len(q), 3)), np.zeros((len(q), 3))
    _find_bonds(q, begin, count, pairs, n_beads, cutoff, bonds)
    span, total = n_beads - len(parameters), 0.0
    for start in range(0, len(q), n_beads):
        for k in range(len(parameters)):
            i = start + k
            if span == 1:
                energy = bond_term(bonds[i], parameters[k], gradients[i])
                ends = i, i + 1
            elif span == 2:
                energy = angle_term(bonds[i : i + 2], parameters[k], gradients[i : i + 2])
                ends = i + 1, i + 1
            else:
                energy = dihedral_term(bonds[i : i + 3], parameters[k], gradients[i : i + 3])
                ends = i + 1, i + 2
            total += energy
            atomic[ends[0]] += 0.5 * energy
            atomic[ends[1]] += 0.5 * energy
    for i in range(len(q)):
        if i % n_beads == n_beads - 1:
            continue
        for axis in range(3):
            forces[i, axis] += gradients[i, axis]
            forces[i + 1, axis] -= gradients[i, axis]
            for other in range(3):
                virial[axis, other] += bonds[i, axis] * gradients[i, other]
    return total


@inner
def _find_bonds(q, begin, count, pairs, n_beads, cutoff, bonds):
    """Fill bonds (N, 3) Å: row i leads from bead i to the next; NaN where there is not exactly one such pair."""
    found, vector = np.zeros(len(q), dtype=np.int64), np.empty(3)
    bonds[:] = np.nan
    for p in range(begin, begin + count):
        i, j = pairs.first[p], pairs.second[p]
        low, sign = (i, 1.0) if j > i else (j, -1.0)
        if abs(j - i) != 1 or low % n_beads == n_beads - 1:
            continue
        r2 = 0.0
        for axis in range(3):
            vector[axis] = sign * (q[j, axis] - q[i, axis] + pairs.shift[p, axis])
            r2 += vector[axis] ** 2
        if r2 < cutoff**2:
            found[low] += 1
            for axis in range(3):
                bonds[low, axis] = vector[axis] if found[low] == 1 else np.nan
