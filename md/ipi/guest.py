"""A network as i-PI's force field: structures in, energies, forces and virials out, all in atomic units.

i-PI's conventions: Bohr and Hartree; a cell holds its lattice vectors in columns; the virial is −dE/d(strain), −V times ASE's
stress, with i-PI's own transposition, which does not change a symmetric tensor.
"""

import json
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from md.ipi.cell import CellGuard
from md.potentials import Model, check_structure, make_potential
from mlcalc.common.errors import InputError

_FORCE = units.Hartree / units.Bohr
_LARGEST_A = 1e6  # no atom of a simulation is this far from the origin
_ATOMS_AT_ONCE, _FEWEST_AT_ONCE = 1 << 16, 64  # the kernel keeps intermediate results of all structures of a call


class GuestError(RuntimeError):
    """A structure cannot be evaluated; the message gives the reason."""


class CellError(GuestError):
    """i-PI's cell does not fit the template: all structures of this run are unreliable."""


class Answer(NamedTuple):
    """Results for B structures of N atoms, atomic units.

    Attributes:
        energies: (B,); forces: (B, N, 3); virials: (B, 3, 3); extras: B texts, JSON.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: list[str]


class Guest:
    """A model and the kind of structure that it evaluates.

    Args:
        model: The model.
        template: Elements, their order and periodicity; positions and cell come from i-PI.
        precision: Precision of the network; threads: 0 for all.
        atomic_energies: Whether extras hold the atom-wise energies, in Hartree.
    """

    def __init__(
        self, model: Model, template: Atoms, precision: str = "float32", threads: int = 0, atomic_energies: bool = False
    ):
        self.model, self.template, self.atomic_energies = model, template, atomic_energies
        self.periodic = bool(template.pbc.any())
        self.potential = make_potential(model, template, precision, "numba", threads or None)
        self._guard = CellGuard(template.pbc, model.config.cutoff)
        self._checked = False

    @property
    def n_atoms(self) -> int:
        """N."""
        return len(self.template)

    def __str__(self) -> str:
        atoms = f"{self.n_atoms} atoms {self.template.get_chemical_formula()}"
        if not self.periodic:
            return f"as a molecule, {atoms}"
        return f"periodic in {', '.join('abc'[k] for k in np.flatnonzero(self.template.pbc))}, {atoms}: the cell comes from i-PI"

    def warm_up(self) -> None:
        """Compile, so that the first structure is not delayed."""
        self.potential(self.template.positions[None])

    def __call__(self, cells: np.ndarray, positions: np.ndarray) -> Answer:
        """Evaluate structures: cells (B, 3, 3) and positions (B, N, 3) in Bohr.

        Raises:
            CellError: A molecule that i-PI's cell cuts, or a cell that is too small for it.
            GuestError: Positions or results that are not finite, positions of more than 1e6 Å, or a first structure outside the
                model's domain.
        """
        q = np.asarray(positions, dtype=np.float64) * units.Bohr
        columns = np.asarray(cells, dtype=np.float64) * units.Bohr
        vectors = columns.transpose(0, 2, 1)
        if not (q.max() < _LARGEST_A and q.min() > -_LARGEST_A):
            raise GuestError(_say_where(q))
        if complaint := self._guard.complaint(q, columns):
            raise CellError(complaint)
        self._check_once(q[0], vectors[0])
        energies, forces, virials = np.empty(len(q)), np.empty_like(q), np.empty((len(q), 3, 3))
        extras = [""] * len(q)
        for members in self._alike(vectors):
            energies[members], forces[members], virials[members], atomic = self._evaluate(
                q[members], vectors[members[0]]
            )
            if atomic is not None:
                for b, values in zip(members, atomic, strict=True):
                    extras[b] = json.dumps({"atomic_energies": (values / units.Hartree).tolist()})
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            wrong = ~(np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2)))
            raise GuestError(f"energy or forces of structure(s) {_where(wrong)} are not finite")
        return Answer(energies / units.Hartree, forces / _FORCE, virials / units.Hartree, extras)

    def _evaluate(self, q: np.ndarray, vectors: np.ndarray) -> tuple:
        if not (self.periodic or self.atomic_energies):
            energies, forces = self.potential(q)
            # For a molecule, whose net force is zero, the virial is Σ r ⊗ f.
            return energies, forces, q.transpose(0, 2, 1) @ forces, None
        found = self.potential.evaluate(q, vectors if self.periodic else None)
        atomic = found["atomic_energies"] if self.atomic_energies else None
        return found["energies"], found["forces"], -found["virials"].transpose(0, 2, 1), atomic

    def _alike(self, vectors: np.ndarray) -> list[np.ndarray]:
        """Groups of structures for one kernel call: they share a cell, and their number is limited by memory."""
        if not self.periodic or (vectors == vectors[0]).all():
            groups = [np.arange(len(vectors))]
        else:
            _, group = np.unique(vectors.reshape(len(vectors), -1), axis=0, return_inverse=True)
            groups = [np.flatnonzero(group.ravel() == k) for k in range(group.max() + 1)]
        size = max(_FEWEST_AT_ONCE, _ATOMS_AT_ONCE // self.n_atoms)
        if len(vectors) <= size:
            return groups
        return [members[begin : begin + size] for members in groups for begin in range(0, len(members), size)]

    def _check_once(self, q: np.ndarray, vectors: np.ndarray) -> None:
        if self._checked:
            return
        cell, pbc = (vectors, self.template.pbc) if self.periodic else (None, None)
        try:
            check_structure(self.template.numbers, q, cell, pbc, self.model.config.elements, self.model.domain)
        except InputError as error:
            raise GuestError(str(error)) from error
        self._checked = True


def _say_where(q: np.ndarray) -> str:
    """A description of invalid positions (B, N, 3) Å."""
    if not np.isfinite(q).all():
        return f"positions of structure(s) {_where(~np.isfinite(q))} are not finite"
    far = np.abs(q) >= _LARGEST_A
    return f"positions of structure(s) {_where(far)} are {np.abs(q).max():.3g} Å from the origin: expected less than {_LARGEST_A:g}"


def _where(wrong: np.ndarray) -> list[int]:
    """Indices of the first ten invalid structures."""
    return np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1)).tolist()[:10]
