"""The comment line of i-PI's xyz files, which ASE does not read: ``# CELL(abcABC): … positions{angstrom} cell{angstrom}``.

The cell is given by lengths and angles (abcABC), as i-PI's matrix with lattice vectors in columns (H), or as a matrix with lattice
vectors in rows, of any orientation (GENH). Units stand in braces; without them lengths are in Bohr.
"""

import re
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError

LONE_A = 10.0  # Å; cutoffs are shorter
POSITIONS = ("positions", "x_centroid")  # what can be the structure of a simulation
_OTHERS = {
    "Eforces", "becx", "becy", "becz", "extras", "extras_bias", "extras_component_raw", "f_centroid", "forces",
    "forces_component", "forces_component_raw", "forces_sc", "forces_spring", "isotope_zetasc", "isotope_zetatd",
    "k_centroid", "kinetic_cv", "kinetic_od", "momenta", "p_centroid", "r_gyration", "v_centroid", "v_centroid_even",
    "v_centroid_odd", "velocities", "x_centroid_even", "x_centroid_odd",
}  # fmt: skip
_CELL = re.compile(r"CELL[(\[{](\w*)[)\]}]:?([-+0-9.Ee\s]*)")
_NUMBERS = {"abcABC": 6, "H": 9, "GENH": 9}
_PREFIXES = {
    "": 1.0, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15, "atto": 1e-18,
    "kilo": 1e3, "mega": 1e6, "giga": 1e9,
}  # fmt: skip


class IpiFrame(NamedTuple):
    """The contents of a frame's comment.

    Attributes:
        cell: (3, 3) Å, rows are lattice vectors; zeros if it gives none.
        factor: Å for a unit of the positions.
        quantity: One of POSITIONS.
        bare: Whether it names no unit for the positions, which are then in Bohr.
    """

    cell: np.ndarray
    factor: float
    quantity: str
    bare: bool


def read_ipi_comment(
    comment: str, bare_unit: str = "atomic_unit", bare_cell_unit: str = "atomic_unit"
) -> IpiFrame | None:
    """Cell and units that the comment line of an xyz file gives, None where it is not one of i-PI's.

    Args:
        bare_unit, bare_cell_unit: Units of positions and cell without braces; i-PI reads them as atomic units.

    Raises:
        InputError: Another quantity than positions, a unit that is not a length, or an impossible cell.
    """
    if re.search(r"\b(Properties|Lattice)\s*=", comment, re.IGNORECASE):
        return None  # ASE's own
    units = {name: unit for name, unit in re.findall(r"([A-Za-z_]\w*)\{([^}]*)\}", comment) if name != "CELL"}
    quantity = next((name for name in units if name in _OTHERS or name in POSITIONS), None)
    found = _CELL.search(comment)
    if found is None and quantity is None:
        return None
    if quantity in _OTHERS:
        raise InputError(f"{quantity}{{{units[quantity]}}} in i-PI's comment: expected positions{{…}}")
    cell = (
        np.zeros((3, 3)) if found is None else _matrix(*found.groups()) * length_unit(units.get("cell", bare_cell_unit))
    )
    factor = length_unit(bare_unit if quantity is None else units[quantity])
    return IpiFrame(cell, factor, quantity or "positions", quantity is None)


def image_gaps(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(3,) Å of vacuum between a structure and its periodic images, along the normals of the cell's faces.

    Nothing is wrapped: gaps are negative where positions extend beyond the cell. No atom is nearer to an image of another
    than the smallest gap: a structure whose gaps exceed the reach of a potential is a molecule to it, periodic or not.

    Args:
        positions: (N, 3) Å, or (…, N, 3) with all of them in one cell; cell: (3, 3) Å, rows are lattice vectors.
    """
    reciprocal = np.linalg.inv(cell)
    fractional = positions.reshape(-1, 3) @ reciprocal
    return (1.0 - np.ptp(fractional, axis=0)) / np.linalg.norm(reciprocal, axis=0)


def is_lone_molecule(positions: np.ndarray, cell: np.ndarray) -> bool:
    """Whether a cell only encloses a molecule, with more vacuum around it than the reach of any model here; as image_gaps."""
    return bool((image_gaps(positions, cell) > LONE_A).all())


def length_unit(name: str) -> float:
    """Å for one of i-PI's units of length: atomic_unit, angstrom, ase, meter with an SI prefix; none is atomic_unit.

    Raises:
        InputError: Another unit.
    """
    from ase.units import Bohr

    known = {"": Bohr, "automatic": Bohr, "atomic_unit": Bohr, "angstrom": 1.0, "ase": 1.0, "meter": 1e10}
    name = name.strip()
    for prefix, scale in _PREFIXES.items():
        base = name.removeprefix(prefix).lower()
        if base in known and name.startswith(prefix) and not (prefix and base in ("", "automatic")):
            return scale * known[base]
    raise InputError(f"unit {{{name}}} of i-PI: expected a length: angstrom, atomic_unit, nanometer, picometer or ase")


def _matrix(form: str, text: str) -> np.ndarray:
    """Lattice vectors in rows, in the unit of the comment."""
    from ase.geometry import cellpar_to_cell

    quoted = f"CELL({form}): {text.strip()}"
    if form not in _NUMBERS:
        raise InputError(f"{quoted!r} in i-PI's comment: expected CELL(abcABC), CELL(H) or CELL(GENH)")
    try:
        numbers = np.array(text.split(), dtype=float)
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != _NUMBERS[form] or not np.isfinite(numbers).all():
        raise InputError(f"{quoted!r} in i-PI's comment: expected {_NUMBERS[form]} numbers")
    if form != "abcABC":
        matrix = numbers.reshape(3, 3)
        if form == "H" and np.tril(matrix, -1).any():
            raise InputError(
                f"{quoted!r} in i-PI's comment: expected an upper triangular matrix, lattice vectors in columns"
            )
        return matrix.T.copy() if form == "H" else matrix
    if not numbers[:3].any():
        return np.zeros((3, 3))
    with np.errstate(all="ignore"):
        try:
            cell = np.asarray(cellpar_to_cell(numbers))
        except (AssertionError, ValueError, ZeroDivisionError):
            cell = np.full((3, 3), np.nan)
    if not np.isfinite(cell).all() or (numbers[:3] <= 0).any():
        raise InputError(f"{quoted!r} in i-PI's comment: such a cell is impossible")
    return cell
