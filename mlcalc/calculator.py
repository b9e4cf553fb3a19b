"""The ASE calculator: a model file becomes ``atoms.calc``."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
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

from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.geometry.cells import check_cell
from mlcalc.geometry.domain import check_structure
from mlcalc.model import Model
from mlcalc.model_file import load_model
from mlcalc.outputs import OF_EVERY_NETWORK, OUTPUTS
from mlcalc.potential import BACKENDS, PRECISIONS, Potential, build_potential
from mlcalc.readouts import outputs_of
from mlcalc.structures.electronic_state import check_state, electronic_state

SETTINGS = ("model", "precision", "backend", "threads")


def check_settings(settings: dict, allowed: tuple[str, ...] = SETTINGS) -> None:
    """Raise TypeError, as a call does, for a setting that is not allowed, and mlcalc.InputError for an invalid value."""
    for name, value in settings.items():
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1)
            raise TypeError(
                f"unknown setting {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"expected {allowed}")
            )
        choices = {"precision": PRECISIONS, "backend": BACKENDS}.get(name)
        if choices and value not in choices:
            raise InputError(f"{name} = {value!r}: expected one of {', '.join(choices)}")
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if name == "threads" and value is not None and not (whole and value >= 1):
            raise InputError(f"threads = {value!r}: expected a whole number of at least 1, or None")


@contextmanager
def _as_ase(error: type[Exception]) -> Iterator[None]:
    """Convert InputError to an exception of ASE."""
    try:
        yield
    except InputError as found:
        raise error(str(found)) from found


class NetworkCalculator(Calculator):
    """Energies, forces and stress of a network of any architecture.

    Args:
        model: Shipped model name (``"c20"``), path of a model file, or a loaded Model.
        precision: Precision of the network, ``"float32"`` (default) or ``"float64"``; positions, forces and energies are always
            float64.
        backend: ``"numba"`` (compiled kernel, which never imports torch; torch where the architecture has none) or ``"torch"``.
        threads: Threads of the numba backend; None for all available.
        dtype: Another name for precision.

    Properties: energy and free_energy (eV, equal), energies (N,) eV, forces (N, 3) eV/Å; stress (6,) eV/Å³ in Voigt order
    for systems that are periodic in all three directions. Of models with readouts, when asked for: charges (N,) e, and of neutral
    molecules dipole (3,) eÅ; others, which ASE does not know, by ``readouts``.

    Raises:
        mlcalc.InputError: The model or an argument cannot be used.
        ase.calculators.calculator.InputError: The structure does not fit the model (element, NaN, distance, charge, multiplicity),
            or holds more pairs than fit into memory.
        CalculatorSetupError: A cell that cannot be used (a periodic direction without a vector, NaN, flat), a periodic system
            with an uncut model, or parameters changed in place.
        CalculationFailed: The network returned NaN or infinity.

    Example:
        >>> from ase.io import read
        >>> from mlcalc import NetworkCalculator
        >>> atoms = read("inputs/c20/c20.xyz")
        >>> atoms.calc = NetworkCalculator("c20")
        >>> energy = atoms.get_potential_energy()
    """

    name = "mlcalc"  # the registered name, which databases and trajectories record
    implemented_properties = ["free_energy", *(OUTPUTS[name].ase for name in OF_EVERY_NETWORK)]
    ignored_changes = {"initial_charges", "initial_magmoms"}  # energies do not depend on them; their sums are checked

    def __init__(
        self, model: str | Path | Model, precision: str = "float32", backend: str = "numba", threads: int | None = None,
        dtype: str | None = None,
    ):  # fmt: skip
        self._model: Model | None = None
        self._applied: dict = {}
        self._potential: Potential | None = None
        self._potential_key: tuple | None = None
        self._readouts: Any = None
        super().__init__()
        self.set(model=model, precision=dtype or precision, backend=backend, threads=threads)

    @property
    def model(self) -> Model:
        """The network in use; change it with ``set(model=…)``."""
        return self._model  # type: ignore[return-value]

    def set(self, **settings) -> dict:
        """Change settings of the constructor, all or none; the next calculation uses them.

        Returns:
            The settings that have changed, as in ``parameters``.

        Raises:
            TypeError: No such setting.
            mlcalc.InputError: A value that the constructor would refuse.
        """
        if "dtype" in settings:
            settings["precision"] = settings.pop("dtype")
        check_settings(settings)
        if "model" in settings:
            model = settings["model"]
            loaded = model if isinstance(model, Model) else load_model(model)
            self._check_architecture(loaded)
            loaded.check_complete()
            settings["model"] = str(model) if isinstance(model, str | Path) else "in memory"
        changed = super().set(**settings)
        if "model" in settings and (loaded is not self._model or "model" in changed):
            self._model = loaded
            changed["model"] = settings["model"]
            names = [OUTPUTS[name].ase for name in outputs_of(loaded.readouts) if OUTPUTS[name].ase]
            self.implemented_properties = [*type(self).implemented_properties, *names]
        if changed:
            self.reset()
            self._potential, self._potential_key, self._readouts = None, None, None
            self._applied = dict(self.parameters)
        return changed

    def check_state(self, atoms, tol=1e-15):
        """What has changed since the last calculation (ASE calls this); refuses another charge even if nothing has."""
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
        with _as_ase(AseInputError):  # errors of the neighbour search
            cell = self.atoms.cell.array if self.atoms.pbc.any() else None
            evaluated = self._prepared_potential().evaluate(self.atoms.positions[None], cell)
        if set(properties) - set(type(self).implemented_properties):
            evaluated |= self._evaluate_readouts()
        if not all(np.isfinite(array).all() for array in evaluated.values()):
            raise CalculationFailed("the network returned NaN or infinite numbers for this structure")
        rows = [row for row in OUTPUTS.values() if row.ase and row.evaluated in evaluated]
        results = {row.ase: evaluated[row.evaluated][0] for row in rows}
        results["energy"] = results["free_energy"] = float(results["energy"])
        virial = results.pop("stress")
        if self._has_volume:
            results["stress"] = full_3x3_to_voigt_6_stress(virial / self.atoms.get_volume())
        self.results = results

    def readouts(self, atoms: Atoms) -> dict[str, np.ndarray]:
        """All outputs of the model's readouts for a structure, by the names of mlcalc.outputs.OUTPUTS and in their units.

        Raises: As a calculation does.
        """
        self.get_potential_energy(atoms)  # checks the structure
        evaluated = self._evaluate_readouts()
        return {name: evaluated[row.evaluated][0] for name, row in OUTPUTS.items() if row.evaluated in evaluated}

    def _evaluate_readouts(self) -> dict[str, np.ndarray]:
        if self._readouts is None:
            from mlcalc.torch_readouts import Readouts

            self._readouts = Readouts(self.model, self.parameters["precision"])
        box = (self.atoms.cell.array, self.atoms.pbc) if self.atoms.pbc.any() else (None, None)
        return self._readouts(self.atoms.numbers, self.atoms.positions[None], *box)

    @property
    def _has_volume(self) -> bool:
        return self.atoms.cell.rank == 3 and bool(self.atoms.pbc.all())

    def _check(self, properties) -> None:
        atoms, config = self.atoms, self.model.config
        if unknown := sorted(set(properties) - set(self.implemented_properties)):
            raise PropertyNotImplementedError(f"{unknown[0]}: expected {', '.join(self.implemented_properties)}")
        with _as_ase(CalculatorSetupError):
            check_cell(atoms.cell.array, atoms.pbc, config.cutoff)
        if "stress" in properties and not self._has_volume:
            raise PropertyNotImplementedError("stress exists only for a cell that is periodic in three directions")
        if "dipole" in properties and (atoms.pbc.any() or self.model.domain.get("charge")):
            raise PropertyNotImplementedError("dipole exists only for neutral molecules")
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

    def _prepared_potential(self) -> Potential:
        """The potential for the present composition and periodicity, rebuilt when one changes; calls may change the cell."""
        atoms, settings = self.atoms, self.parameters
        key = (atoms.numbers.tobytes(), atoms.pbc.tobytes())
        if key != self._potential_key:
            pbc = atoms.pbc.copy() if atoms.pbc.any() else None
            self._potential = build_potential(
                self.model, atoms.numbers, settings["precision"], settings["backend"], settings["threads"], pbc=pbc
            )
            self._potential_key = key
        return self._potential

    def _check_architecture(self, model: Model) -> None:
        """Raise InputError for a model that this calculator does not take."""

    def __getstate__(self):
        """Everything except the backend, which holds compiled state and is rebuilt on first use."""
        return self.__dict__ | {"_potential": None, "_potential_key": None, "_readouts": None}


class SchNetCalculator(NetworkCalculator):
    """A NetworkCalculator for SchNet models only; ASE registers it, and databases record it, as ``schnet``."""

    name = "schnet"

    def _check_architecture(self, model: Model) -> None:
        if (title := architecture_of(model.config).title) != "SchNet":
            raise InputError(f"the model is a {title}: expected a SchNet, or NetworkCalculator, which takes any")


# For ASE's get_calculator_class("mlcalc"), once this module is imported.
for _class in (NetworkCalculator, SchNetCalculator):
    if _class.name not in external_calculators:
        register_calculator_class(_class.name, _class)
