"""The ASE calculator: a model file becomes ``atoms.calc``."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
    all_changes,
    external_calculators,
    register_calculator_class,
)
from ase.calculators.calculator import InputError as AseInputError
from ase.stress import full_3x3_to_voigt_6_stress

from mlcalc.common.errors import InputError
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.domain import check_structure
from mlcalc.model_file import Model, load_model
from mlcalc.structures.electronic_state import check_state, electronic_state

BACKENDS = ("numba", "torch")
PRECISIONS = ("float32", "float64")


SETTINGS = ("model", "dtype", "backend", "threads")


def check_settings(settings: dict, allowed: tuple[str, ...] = SETTINGS) -> None:
    """Raise TypeError, as a call does, for a setting that is not allowed, and mlcalc.InputError for a value that is none."""
    for name, value in settings.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            raise TypeError(
                f"unknown setting {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"expected {allowed}")
            )
        choices = {"dtype": PRECISIONS, "backend": BACKENDS}.get(name)
        if choices and value not in choices:
            raise InputError(f"{name} = {value!r}: expected one of {', '.join(choices)}")
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if name == "threads" and value is not None and not (whole and value >= 1):
            raise InputError(f"threads = {value!r}: expected a whole number of at least 1, or None")


@contextmanager
def _as_ase(error: type[Exception]) -> Iterator[None]:
    """What is wrong with the input, as an exception of ASE."""
    try:
        yield
    except InputError as found:
        raise error(str(found)) from found


class SchNetCalculator(Calculator):
    """Energies, forces and stress of a SchNet.

    Args:
        model: Shipped model name (``"c20"``), path of a model file, or a loaded Model.
        dtype: Network precision, ``"float32"`` (default) or ``"float64"``; positions, forces and energies are float64 always.
        backend: ``"numba"`` (compiled kernel; never imports torch) or ``"torch"``.
        threads: Threads of the numba backend; None for all available.

    Properties: energy and free_energy (eV, equal), energies (N,) eV, forces (N, 3) eV/Å; stress (6,) eV/Å³ in Voigt order
    for systems that are periodic in all three directions.

    Raises:
        mlcalc.InputError: The model or an argument cannot be used.
        ase.calculators.calculator.InputError: The structure does not fit the model (element, NaN, distance, charge, multiplicity),
            or holds more pairs than fit into memory.
        CalculatorSetupError: A cell that cannot be used (a periodic direction without a vector, NaN, flat), a periodic system
            with an uncut model, or parameters changed in place.
        CalculationFailed: The network returned NaN or infinity.

    Example:
        >>> from ase.io import read
        >>> from mlcalc import SchNetCalculator
        >>> atoms = read("inputs/c20/c20.xyz")
        >>> atoms.calc = SchNetCalculator("c20")
        >>> energy = atoms.get_potential_energy()
    """

    name = "schnet"  # as it is registered: what databases and trajectories note
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]
    ignored_changes = {"initial_charges", "initial_magmoms"}  # energies do not depend on them; their sums are checked

    def __init__(
        self, model: str | Path | Model, dtype: str = "float32", backend: str = "numba", threads: int | None = None
    ):
        self._model: Model | None = None
        self._applied: dict = {}
        super().__init__()
        self.set(model=model, dtype=dtype, backend=backend, threads=threads)

    @property
    def model(self) -> Model:
        """The network in use; another one by ``set(model=…)``."""
        return self._model  # type: ignore[return-value]

    def set(self, **settings) -> dict:
        """Change settings of the constructor, all or none; the next calculation uses them.

        Returns:
            Those that have changed, as ``parameters`` says them.

        Raises:
            TypeError: No such setting.
            mlcalc.InputError: A value that the constructor would refuse.
        """
        check_settings(settings)
        if "model" in settings:
            model = settings["model"]
            loaded = model if isinstance(model, Model) else load_model(model)
            settings["model"] = str(model) if isinstance(model, str | Path) else "in memory"
        changed = super().set(**settings)
        if "model" in settings and (loaded is not self._model or "model" in changed):
            self._model = loaded
            changed["model"] = settings["model"]
        if changed:
            self.reset()
            self._potential, self._potential_key = None, None
            self._applied = dict(self.parameters)
        return changed

    def check_state(self, atoms, tol=1e-15):
        """What has changed since the last calculation (ASE calls this); refuses another charge also where nothing has."""
        self._check_applied()
        self._check_electrons(atoms)
        return super().check_state(atoms, tol)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute all properties of ``atoms`` at once (ASE calls this)."""
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        self._check_applied()
        self._check_electrons(self.atoms)
        self._check(properties)
        if len(self.atoms) == 0:
            raise AseInputError("the structure holds no atoms: expected at least one")
        with _as_ase(AseInputError):  # what a search for neighbours refuses
            evaluated = self._prepared_potential().evaluate(self.atoms.positions[None])
        if not all(np.isfinite(array).all() for array in evaluated.values()):
            raise CalculationFailed("the network returned NaN or infinite numbers for this structure")
        energy = float(evaluated["energies"][0])
        results = {
            "energy": energy,
            "free_energy": energy,
            "energies": evaluated["atomic_energies"][0],
            "forces": evaluated["forces"][0],
        }
        if self.atoms.cell.rank == 3 and self.atoms.pbc.all():
            results["stress"] = full_3x3_to_voigt_6_stress(evaluated["virials"][0] / self.atoms.get_volume())
        self.results = results

    def _check(self, properties) -> None:
        atoms, config = self.atoms, self.model.config
        if unknown := sorted(set(properties) - set(self.implemented_properties)):
            raise PropertyNotImplementedError(f"{unknown[0]}: expected {', '.join(self.implemented_properties)}")
        with _as_ase(CalculatorSetupError):
            check_cell(atoms.cell.array, atoms.pbc, config.cutoff)
        if "stress" in properties and not (atoms.cell.rank == 3 and atoms.pbc.all()):
            raise PropertyNotImplementedError("stress exists only for a cell that is periodic in three directions")
        with _as_ase(AseInputError):
            check_structure(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, config.elements, self.model.domain
            )

    def _check_applied(self) -> None:
        if self.parameters != self._applied:
            raise CalculatorSetupError(
                f"parameters = {self.parameters}, set in place: expected calc.set(…), which applies them"
            )

    def _check_electrons(self, atoms) -> None:
        with _as_ase(AseInputError):
            check_state(atoms.numbers, electronic_state(atoms), self.model.domain)

    def _prepared_potential(self):
        """The backend for the present composition, made anew when that changes; the cell may vary from call to call."""
        atoms = self.atoms
        periodic = bool(atoms.pbc.any())
        key = (atoms.numbers.tobytes(), periodic)
        if key != self._potential_key:
            dtype = self.parameters["dtype"]
            if self.parameters["backend"] == "numba":
                from mlcalc.architectures.schnet.kernel import SchNetKernel

                self._potential = SchNetKernel(self.model, atoms.numbers, dtype, self.parameters["threads"])
            else:
                from mlcalc.architectures.schnet.network import TorchPotential

                self._potential = TorchPotential(self.model, atoms.numbers, dtype)
            self._potential_key = key
        if periodic:
            self._potential.cell, self._potential.pbc = atoms.cell.array.copy(), atoms.pbc.copy()
        return self._potential

    def __getstate__(self):
        """Everything but the backend, which holds compiled state and is made again on first use."""
        return self.__dict__ | {"_potential": None, "_potential_key": None}


# For ASE's get_calculator_class("schnet"), once this module is imported.
if "schnet" not in external_calculators:
    register_calculator_class("schnet", SchNetCalculator)
