"""The interface of potentials, and the one place that turns a model into one."""

from typing import Protocol

import numpy as np
from ase import Atoms

from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.domain import ClosestPair, check_structure
from mlcalc.model import Model
from mlcalc.structures.electronic_state import check_state, electronic_state

BACKENDS = ("numba", "torch")
PRECISIONS = ("float32", "float64")


class Potential(Protocol):
    """The energy of P replicas of N atoms of one composition.

    A cell given to a call is that of all its replicas; without one they have the cell that the potential was made with.
    """

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions (P, N, 3) Å and a cell (3, 3) Å to energies (P,) eV and forces (P, N, 3) eV/Å."""

    def evaluate(self, positions: np.ndarray, cell: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """All outputs by name.

        ``energies`` (P,) eV, ``forces`` (P, N, 3) eV/Å, ``atomic_energies`` (P, N) eV and ``virials`` (P, 3, 3) eV, the virial
        being Σ_pairs r ⊗ ∂E/∂r, so that stress = virial / volume.
        """

    def smallest_distance(self) -> float:
        """Å, of the last evaluation: the smallest distance between two atoms of one replica; infinite beyond the cutoff."""

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """Of the last evaluation, by limits (n_elements, n_elements) in Å as domain.pair_limits gives them for the model."""


def make_potential(
    model: Model, atoms: Atoms, precision: str = "float32", backend: str = "numba", threads: int | None = None
) -> Potential:
    """A model as the potential of ``atoms``: their composition, and their cell where a call gives none.

    Args:
        precision: Precision of the network, one of PRECISIONS; energies, forces and geometry are always float64.
        backend: ``"numba"``: the compiled kernel, or torch where the architecture has none; ``"torch"``.
        threads: Threads of the compiled kernel; None for all that Numba was started with.

    Raises:
        InputError: The structure, its charge or its multiplicity does not fit the model, the model cannot serve its cell, or is a
            correction to an engine.
    """
    check_fits(model, atoms)
    cell, pbc = (atoms.cell.array.copy(), atoms.pbc.copy()) if atoms.pbc.any() else (None, None)
    return build_potential(model, atoms.numbers, precision, backend, threads, cell, pbc)


def check_fits(model: Model, atoms: Atoms) -> None:
    """Raise InputError unless the model can serve a structure: its cell, elements, distances, charge and multiplicity."""
    check_cell(atoms.cell.array, atoms.pbc, model.config.cutoff)
    cell, pbc = (atoms.cell.array, atoms.pbc) if atoms.pbc.any() else (None, None)
    check_structure(atoms.numbers, atoms.positions, cell, pbc, model.config.elements, model.domain)
    check_state(atoms.numbers, electronic_state(atoms), model.domain)


def build_potential(
    model: Model, numbers: np.ndarray, precision: str = "float32", backend: str = "numba", threads: int | None = None,
    cell=None, pbc=None,
) -> Potential:  # fmt: skip
    """As make_potential, of a composition (N,) that the caller has checked; cell and pbc are None for a molecule."""
    for name, value, allowed in (("precision", precision, PRECISIONS), ("backend", backend, BACKENDS)):
        if value not in allowed:
            raise InputError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")
    model.check_complete()
    kernel = architecture_of(model.config).kernel
    if backend == "numba" and kernel is not None:
        return kernel(model, numbers, precision, threads, cell, pbc)
    from mlcalc.torch_potential import TorchPotential

    return TorchPotential(model, numbers, precision, cell, pbc)
