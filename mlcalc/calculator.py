"""The ASE calculator: a model file becomes ``atoms.calc``."""

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

from mlcalc.domain import check_structure
from mlcalc.electronic_state import check_state, electronic_state
from mlcalc.errors import InputError
from mlcalc.model_file import Model, load_model

BACKENDS = ("numba", "torch")
PRECISIONS = ("float32", "float64")


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
        ase.calculators.calculator.InputError: The structure does not fit the model (element, NaN, distance, charge, multiplicity).
        CalculatorSetupError: Periodic directions without a cell vector, or a periodic system with an uncut model.
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
        for name, value, allowed in (("dtype", dtype, PRECISIONS), ("backend", backend, BACKENDS)):
            if value not in allowed:
                raise InputError(f"{name} = {value!r}: expected one of {', '.join(allowed)}")
        super().__init__()
        self.model = model if isinstance(model, Model) else load_model(model)
        self.parameters.update(
            model=str(model) if isinstance(model, str | Path) else "in memory",
            dtype=dtype, backend=backend, threads=threads,
        )  # fmt: skip
        self._potential, self._potential_key = None, None

    def check_state(self, atoms, tol=1e-15):
        """What has changed since the last calculation (ASE calls this); refuses another charge also where nothing has."""
        self._check_electrons(atoms)
        return super().check_state(atoms, tol)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Compute all properties of ``atoms`` at once (ASE calls this)."""
        super().calculate(atoms, properties, system_changes)
        self.results = {}
        self._check_electrons(self.atoms)
        self._check(properties)
        if len(self.atoms) == 0:
            raise AseInputError("the structure holds no atoms: expected at least one")
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
        cell_vectors = atoms.cell.any(axis=1)
        if (atoms.pbc & ~cell_vectors).any():
            raise CalculatorSetupError(
                f"pbc = {atoms.pbc.tolist()} but the cell lengths are {atoms.cell.lengths().tolist()} Å: "
                "every periodic direction needs a cell vector"
            )
        if atoms.pbc.any() and config.cutoff is None:
            raise CalculatorSetupError("this model connects all pairs (no cutoff): it serves molecules only, not pbc")
        if "stress" in properties and not (atoms.cell.rank == 3 and atoms.pbc.all()):
            raise PropertyNotImplementedError("stress exists only for a cell that is periodic in three directions")
        try:
            check_structure(
                atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, config.elements, self.model.domain
            )
        except InputError as error:
            raise AseInputError(str(error)) from error

    def _check_electrons(self, atoms) -> None:
        try:
            check_state(atoms.numbers, electronic_state(atoms), self.model.domain)
        except InputError as error:
            raise AseInputError(str(error)) from error

    def _prepared_potential(self):
        """The backend for the present composition, made anew when that changes; the cell may vary from call to call."""
        atoms = self.atoms
        periodic = bool(atoms.pbc.any())
        key = (atoms.numbers.tobytes(), periodic)
        if key != self._potential_key:
            dtype = self.parameters["dtype"]
            if self.parameters["backend"] == "numba":
                from mlcalc.kernel import SchNetKernel

                self._potential = SchNetKernel(self.model, atoms.numbers, dtype, self.parameters["threads"])
            else:
                from mlcalc.schnet import TorchPotential

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
