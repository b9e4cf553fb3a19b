"""Potentials: anything that maps beads (P, N, 3) Å to energies (P,) eV and forces (P, N, 3) eV/Å. The one door to mlcalc."""

from dataclasses import dataclass

import numpy as np

from mlcalc.cells import check_cell
from mlcalc.committee import force_disagreement
from mlcalc.domain import check_structure, set_bead_masses, shortest_allowed
from mlcalc.electronic_state import check_state, electronic_state
from mlcalc.model_file import Model, find_model, load_model

__all__ = [
    "AseForces",
    "Harmonic",
    "Morse",
    "Model",
    "available_threads",
    "check_structure",
    "find_model",
    "force_disagreement",
    "load_model",
    "schnet_potential",
    "set_bead_masses",
    "shortest_allowed",
    "single_threaded_blas",
]


def schnet_potential(model: Model, atoms, precision: str = "float32", backend: str = "numba", threads: int = 0):
    """The network as a potential for the composition and cell of ``atoms``; the numba backend does not import torch.

    Raises:
        InputError: The structure does not fit the model (mlcalc/domain.py), its charge or multiplicity not, or a cell that it
            cannot serve.
    """
    periodic = bool(atoms.pbc.any())
    check_cell(atoms.cell.array, atoms.pbc, model.config.cutoff)
    cell, pbc = (atoms.cell.array, atoms.pbc) if periodic else (None, None)
    check_structure(atoms.numbers, atoms.positions, cell, pbc, model.config.elements, model.domain)
    check_state(atoms.numbers, electronic_state(atoms), model.domain)
    if backend == "torch":
        from mlcalc.schnet import TorchPotential

        return TorchPotential(model, atoms.numbers, precision, cell, pbc)
    from mlcalc.kernel import SchNetKernel

    return SchNetKernel(model, atoms.numbers, precision, threads or None, cell, pbc)


def available_threads() -> int:
    """Threads of the compiled kernel: those of NUMBA_NUM_THREADS, or one for each processor."""
    from mlcalc.threads import check_threads

    return check_threads(None)


def single_threaded_blas():
    """A context for many evaluations of the numba backend: threads share beads out, not matrix products."""
    from mlcalc.threads import single_threaded_blas

    return single_threaded_blas()


class AseForces:
    """Any ASE calculator, bead by bead."""

    def __init__(self, atoms, calculator):
        self.atoms = atoms.copy()
        self.atoms.calc = calculator

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å at positions (P, N, 3) Å."""
        energies, forces = np.empty(len(positions)), np.empty(positions.shape)
        for bead, bead_positions in enumerate(positions):
            self.atoms.positions = bead_positions
            energies[bead] = self.atoms.get_potential_energy()
            forces[bead] = self.atoms.get_forces(apply_constraint=False)
        return energies, forces


@dataclass(frozen=True)
class Harmonic:
    """Every atom in a well of its own, V = ½k|q|², k in eV/Å²."""

    force_constant: float

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å at positions (P, N, 3) Å."""
        return 0.5 * self.force_constant * (positions**2).sum(axis=(1, 2)), -self.force_constant * positions


@dataclass(frozen=True)
class Morse:
    """Two atoms joined by V = D(1 − exp(−a(r − r₀)))²; D in eV, a in 1/Å, r₀ in Å."""

    depth: float
    width: float
    length: float

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, N, 3) eV/Å at positions (P, N, 3) Å."""
        vector = positions[:, 1] - positions[:, 0]
        r = np.linalg.norm(vector, axis=1)
        decay = np.exp(-self.width * (r - self.length))
        slope = 2.0 * self.depth * self.width * decay * (1.0 - decay)
        pull = (slope / r)[:, None] * vector
        return self.depth * (1.0 - decay) ** 2, np.stack([pull, -pull], axis=1)
