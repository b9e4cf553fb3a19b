"""Potentials map beads to energies and forces (mlcalc/potential.py); md reaches models only through this module."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, CalculationFailed, Calculator, all_changes

from mlcalc import model_file
from mlcalc.committee import force_disagreement
from mlcalc.common.errors import InputError
from mlcalc.data import engines
from mlcalc.data.engine_potential import AseForces, EnginePotential, Measured
from mlcalc.data.relaxation import relax
from mlcalc.data.workers import discard
from mlcalc.geometry.bonds import BondChange, BondWatch
from mlcalc.geometry.diversity import farthest_first, fingerprints
from mlcalc.geometry.domain import ClosestPair, check_structure, pair_limits, physical_limits, set_bead_masses
from mlcalc.geometry.minimum_image import lattice_of, minimum_images
from mlcalc.model import Model
from mlcalc.potential import Potential, make_potential
from mlcalc.readouts import available
from mlcalc.structures.electronic_state import electronic_state

__all__ = [
    "AseForces",
    "BondChange",
    "BondWatch",
    "ClosestPair",
    "FROM_PYTHON",
    "Copies",
    "Dipoles",
    "EnginePotential",
    "Harmonic",
    "Model",
    "Morse",
    "available_threads",
    "check_structure",
    "electronic_state",
    "end_workers",
    "engine_name",
    "engine_potential",
    "farthest_first",
    "find_model",
    "fingerprints",
    "force_disagreement",
    "is_repeatable",
    "lattice_of",
    "load_model",
    "make_potential",
    "minimum_images",
    "own_potential",
    "Potential",
    "pair_limits",
    "physical_limits",
    "read_model",
    "relaxed",
    "runs_code",
    "set_bead_masses",
    "single_threaded_blas",
]

FROM_PYTHON = "python:"  # begins the name of a potential that is handed over in Python
_RELAXED_EV_A, _RELAXATION_STEPS = 0.02, 500


def find_model(name: str | Path) -> Path:
    """The file of a shipped name or a path; InputError if there is none, or if the name is that of an engine."""
    family, colon, _ = str(name).partition(":")
    if colon and family in engines.FAMILIES and family != "schnet":
        raise InputError(
            f"model {str(name)!r} is an engine, and this needs a network: 'rpmd run' takes it as engine = {str(name)!r}; to train "
            f"a network on it, sample with 'mlcalc sample md STRUCTURE.xyz --engine {name} …' (mlcalc train --help)"
        )
    return model_file.find_model(str(name).removeprefix("schnet:"))


def load_model(name: str | Path) -> Model:
    """The model of that file, as mlcalc.model_file.load_model."""
    return model_file.load_model(find_model(name))


def read_model(name: str | Path) -> tuple[Model, bytes]:
    """The model of that file and its content, as mlcalc.model_file.read_model."""
    return model_file.read_model(find_model(name))


def available_threads() -> int:
    """Threads of the compiled kernel: NUMBA_NUM_THREADS, or one per processor."""
    from mlcalc.common.threads import check_threads

    return check_threads(None)


def single_threaded_blas():
    """A context for many evaluations of the numba backend: threads divide beads, not matrix products."""
    from mlcalc.common.threads import single_threaded_blas

    return single_threaded_blas()


def engine_potential(engine: str, atoms: Atoms, threads: int, where: str) -> EnginePotential:
    """An engine as the potential of a structure, on ``threads`` worker processes (0: available_threads).

    Raises:
        InputError: An engine that is unknown, not installed or cannot compute the charge or multiplicity; atoms that are too close.
    """
    calculator = engines.make_calculator(engine)
    engines.set_state(engine, calculator, atoms, where)
    discard(calculator)
    check_apart(atoms, where)
    return EnginePotential(engine, atoms, threads or available_threads())


def engine_name(engine: str) -> bytes:
    """What a resumed run compares: the engine and the fingerprint of its level of theory; the name alone for one from Python."""
    if engine.startswith(FROM_PYTHON):
        return engine.encode()
    return f"{engine} sha256:{engines.engine_fingerprint(engine)}".encode()


def is_repeatable(engine: str) -> bool:
    """Whether equal positions give equal bits, so that a run resumes bit for bit; of a potential from Python that is not known."""
    return not engine.startswith(FROM_PYTHON) and engines.is_repeatable(engine)


def runs_code(engine: str) -> bool:
    """Whether an engine string names code to run: only the user may, not a file of a folder from elsewhere."""
    return not engine.startswith(FROM_PYTHON) and engines.runs_code(engine)


def own_potential(potential: Any, atoms: Atoms, where: str) -> Any:
    """A potential that was handed over in Python: an ASE calculator, or a function as mlcalc.potential.Potential."""
    if isinstance(potential, BaseCalculator):
        check_apart(atoms, where)
        return AseForces(atoms, potential)
    if not callable(potential):
        raise InputError(
            f"potential = {potential!r}: expected an ASE calculator, or a function of positions (P, N, 3) Å that returns energies "
            "(P,) eV and forces (P, N, 3) eV/Å"
        )
    return Foreign(potential, atoms)


def check_apart(atoms: Atoms, where: str) -> None:
    """Raise InputError if atoms are closer than physical_limits, or positions and cell are unusable."""
    check_structure(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, np.unique(atoms.numbers), {})
    pair = Measured.of(atoms).closest_pair(physical_limits(np.unique(atoms.numbers)))
    if pair.distance < pair.limit:
        raise InputError(
            f"{where}: atoms {pair.first} and {pair.second} are {pair.distance:.3f} Å apart, less than half the sum of their "
            "covalent radii; expected positions in Å"
        )


def end_workers(potential: Any) -> None:
    """End the worker processes of a potential, if it has any; the next call starts new ones."""
    while hasattr(potential, "potential"):  # clamped, biased
        potential = potential.potential
    for part in getattr(potential, "parts", ()):  # a sum
        end_workers(part)
    if isinstance(potential, EnginePotential):
        potential.close()


class Foreign:
    """A function from Python as a potential; it knows no distances."""

    def __init__(self, function: Any, atoms: Atoms):
        self._function, self._cell = function, atoms.cell.array.copy() if atoms.pbc.any() else None

    def __call__(self, positions: np.ndarray, cell: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__; InputError for arrays of another shape."""
        cell = self._cell if cell is None else cell
        found = self._function(positions) if cell is None else self._function(positions, cell)
        energies, forces = (np.ascontiguousarray(array, dtype=np.float64) for array in found)
        if energies.shape != (len(positions),) or forces.shape != positions.shape:
            raise InputError(
                f"the potential returned energies {energies.shape} and forces {forces.shape}: expected {(len(positions),)} and "
                f"{positions.shape}"
            )
        return energies, forces

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """No pair: unknown."""
        return ClosestPair(np.inf)


class _OfPotential(Calculator):
    """ASE calculator of one bead of a potential."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, potential):
        super().__init__()
        self._potential = potential

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy and forces (ASE calls this)."""
        super().calculate(atoms, properties, system_changes)
        energies, forces = self._potential(self.atoms.positions[None])
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            raise CalculationFailed("energy or forces are not finite")
        self.results = {"energy": float(energies[0]), "forces": forces[0]}


def relaxed(potential, atoms: Atoms) -> Atoms:
    """The minimum of a potential near a start whose atoms all move, with its energy.

    Raises:
        InputError: No minimum within 500 steps, or non-finite numbers on the way.
    """
    return relax(atoms, _OfPotential(potential), _RELAXED_EV_A, _RELAXATION_STEPS)


class Copies:
    """The potential of M independent copies of a molecule: (P, M·N, 3) Å → energies (P,) eV summed over copies, forces."""

    def __init__(self, potential: Any, copies: int):
        self.potential, self.copies, self._lowest = potential, copies, np.inf

    def __call__(self, positions: np.ndarray, *cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (P,) eV and forces (P, M·N, 3) eV/Å at positions (P, M·N, 3) Å, in the cell (3, 3) Å of every copy, if any."""
        n_beads = len(positions)
        energies, forces = self.potential(positions.reshape(n_beads * self.copies, -1, 3), *cell)
        self._lowest = float(energies.min())
        return energies.reshape(n_beads, self.copies).sum(axis=1), forces.reshape(positions.shape)

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """As potential.Potential.closest_pair, for the last call: atoms of different copies never interact."""
        return self.potential.closest_pair(limits)

    def lowest_energy(self) -> float:
        """Lowest energy of a bead of a copy in the last call, eV."""
        return self._lowest


class Dipoles:
    """Dipoles of copies of a molecule, means over beads: what Kubo-transformed correlations of a linear operator need.

    Args:
        model: The model; atoms: the molecule; precision: of the network.

    Raises:
        InputError: The model has no readout of dipoles, or the structure has no dipole that does not depend on the origin.
    """

    def __init__(self, model: Model, atoms: Atoms, precision: str):
        periodic = bool(atoms.pbc.any())
        if "dipole" not in available(model, periodic):
            why = (
                "a periodic structure has none" if periodic
                else "that of an ion depends on the origin" if model.domain.get("charge")
                else "the model has no readout of it: train one (only_readouts = true, mlcalc train --init)"
            )  # fmt: skip
            raise InputError(f"dipoles = true: {why}")
        from mlcalc.torch_readouts import Readouts

        self._readouts, self._numbers = Readouts(model, precision), atoms.numbers

    def __call__(self, positions: np.ndarray, copies: int) -> np.ndarray:
        """Positions (P, M·N, 3) Å to (M, 3) eÅ."""
        n_beads = len(positions)
        found = self._readouts(self._numbers, positions.reshape(n_beads * copies, -1, 3))["dipoles"]
        return found.reshape(n_beads, copies, 3).mean(axis=0)


@dataclass(frozen=True)
class Harmonic:
    """A harmonic well for every atom, V = ½k|q|², k in eV/Å²."""

    force_constant: float

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__; no cell changes it."""
        return 0.5 * self.force_constant * (positions**2).sum(axis=(1, 2)), -self.force_constant * positions


@dataclass(frozen=True)
class Morse:
    """Two atoms joined by V = D(1 − exp(−a(r − r₀)))²; D in eV, a in 1/Å, r₀ in Å."""

    depth: float
    width: float
    length: float

    def __call__(self, positions: np.ndarray, cell=None) -> tuple[np.ndarray, np.ndarray]:
        """As potential.Potential.__call__; no cell changes it."""
        vector = positions[:, 1] - positions[:, 0]
        r = np.linalg.norm(vector, axis=1)
        decay = np.exp(-self.width * (r - self.length))
        slope = 2.0 * self.depth * self.width * decay * (1.0 - decay)
        pull = (slope / r)[:, None] * vector
        return self.depth * (1.0 - decay) ** 2, np.stack([pull, -pull], axis=1)
