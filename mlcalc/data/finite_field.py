"""Polarizabilities and hyperpolarizabilities of molecules by finite electric fields in tblite, from the dipoles that they change.

    α_ab  = ∂μ_a/∂F_b ≈ (μ_a(+F e_b) − μ_a(−F e_b)) / 2F,  made symmetric
    β_abb = ∂²μ_a/∂F_b² ≈ (μ_a(+F e_b) − 2 μ_a(0) + μ_a(−F e_b)) / F²

A minimal basis has few ways to respond: GFN2-xTB gives two thirds of the polarizability of DFT, and that of anions is worse.
Fields are those of tblite's container. The error of the differences is of order F²: below the third digit of a polarizability, up
to about one per cent of a hyperpolarizability.
"""

from importlib.util import find_spec

import numpy as np
from ase import Atoms, units

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import electronic_state

FIELD = 2e-3  # Hartree/(e Bohr), 0.1 V/Å
STRONG_FIELD = 5e-3  # for second differences, which noise of the dipoles spoils in weak fields
_ACCURACY = 0.01  # of tblite, whose default of 1 leaves noise in the third digit
_ASYMMETRY = 1e-3  # of the largest component: what differences of a converged density leave


def polarizability(atoms: Atoms, method: str = "GFN2-xTB", field: float = FIELD) -> np.ndarray:
    """The static polarizability tensor of a molecule, (3, 3) Å³; its charge and multiplicity are used.

    Args:
        method: Of tblite; field: Hartree/(e Bohr), the largest of the fields.

    Raises:
        InputError: A periodic structure, tblite is not installed or does not converge, or a tensor that is not symmetric.
    """
    _check_molecule(atoms)
    slopes = np.array(
        [_dipole(atoms, method, field * axis) - _dipole(atoms, method, -field * axis) for axis in np.eye(3)]
    )
    tensor = units.Bohr**3 * slopes.T / (2.0 * field)
    if np.abs(tensor - tensor.T).max() > _ASYMMETRY * np.abs(tensor).max():
        raise InputError(
            f"the polarizability by {method} is not symmetric: its dipoles are not those of a converged density"
        )
    return 0.5 * (tensor + tensor.T)


def hyperpolarizability(atoms: Atoms, method: str = "GFN2-xTB", field: float = STRONG_FIELD) -> np.ndarray:
    """The vector part of the static first hyperpolarizability of a molecule, β_a = Σ_b β_abb, (3,) e³ Bohr³/Hartree².

    Its length is the mean hyperpolarizability |β| of the literature (Kanis, Ratner, Marks, Chem. Rev. 94, 195 (1994),
    doi:10.1021/cr00025a007), by symmetry of the indices. The dipole is a Taylor series in the field, as in μ + αF + ½βF².

    Raises:
        InputError: As polarizability.
    """
    _check_molecule(atoms)
    steps = [field * sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
    return (sum(_dipole(atoms, method, step) for step in steps) - 6.0 * _dipole(atoms, method, np.zeros(3))) / field**2


def _check_molecule(atoms: Atoms) -> None:
    if atoms.pbc.any():
        raise InputError(
            "the structure is periodic: expected a molecule, whose polarizability is that of a finite system"
        )


def check_tblite() -> None:
    """Raise InputError unless tblite is installed."""
    if find_spec("tblite") is None:
        raise InputError("tblite is not installed; pip install 'mlcalc[label]'")


def _dipole(atoms: Atoms, method: str, field: np.ndarray) -> np.ndarray:
    """(3,) e Bohr in a field (3,) in Hartree/(e Bohr)."""
    check_tblite()
    import cffi
    from tblite.interface import Calculator

    state = electronic_state(atoms)
    unpaired = (state.multiplicity or 1 + int(atoms.numbers.sum() - (state.charge or 0)) % 2) - 1
    calculator = Calculator(method, atoms.numbers, atoms.positions / units.Bohr, float(state.charge or 0), unpaired)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", _ACCURACY)
    # tblite passes the field on as a C pointer; the array must live as long.
    components = np.ascontiguousarray(field, dtype=float)
    calculator.add("electric-field", cffi.FFI().cast("double*", components.ctypes.data))
    try:
        return np.array(calculator.singlepoint().get("dipole"))
    except RuntimeError as error:
        raise InputError(f"{method}: {error}") from error
