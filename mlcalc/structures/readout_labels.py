"""Labels of readouts: charges, dipoles, polarizabilities and scalars of structures, as mlcalc.outputs.OUTPUTS names them."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.outputs import OF_READOUTS, OUTPUTS, Output, outputs_with, scalar_of
from mlcalc.structures.electronic_state import electronic_state
from mlcalc.structures.labels import find_label, tables_of

_EXCESS_E = 0.02  # that charges of atoms may add up to beside the total charge: rounding of many atoms
_ROWS, _COLUMNS = [0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]  # of xx, xy, yy, xz, yz, zz


def read_readout_labels(
    frames: list[Atoms], path, wanted: Sequence[str], required: bool = True, scalar_key: str = ""
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Labels by output, NaN where a structure has none, and the number of structures that have each.

    Args:
        wanted: Names of outputs of readouts.
        required: Whether each has to be in some structure, and a scalar in all.
        scalar_key: Label of the scalar, if it is wanted.

    Returns:
        Arrays (n_frames, …), or (n_atoms, …) of outputs per atom, in the units of OUTPUTS; and numbers of structures by output, of
        a scalar by its key.

    Raises:
        InputError: A label that no structure has, or a scalar that some have not; one that is not numbers of its shape; charges
            that do not add up to the charge of the structure; a dipole of an ion or of a periodic structure, where it depends on a
            choice of origin.
    """
    labels, counts = {}, {}
    rows = outputs_with(scalar_of(scalar_key) if scalar_key else None)
    for name in wanted:
        row = rows[name]
        found = [_label(atoms, name, row, f"{path}: structure {k}") for k, atoms in enumerate(frames, start=1)]
        known = [bool(np.isfinite(label).all()) for label in found]
        counts[scalar_key if name == "scalar" else name] = sum(known)
        if required and not any(known):
            there = _scalars(frames) if name == "scalar" else _there(frames)
            names = ", ".join(map(str, there)) or "nothing that networks can learn"
            raise InputError(f"{path}: no structure has {row.label}, from which {name} is learnt; found {names}")
        if required and name == "scalar" and not all(known):
            raise InputError(
                f"{path}: structure {known.index(False) + 1} has no {row.label}, {sum(known)} of {len(frames)} structures have: "
                "expected it in all"
            )
        labels[name] = np.concatenate(found) if row.per_atom else np.array(found)
    return labels, counts


def _there(frames: list[Atoms]) -> list[str]:
    """Labels of readouts but scalars."""
    labels = [str(OUTPUTS[name].label) for name in OF_READOUTS]
    return [label for label in labels if any(find_label(atoms, label) is not None for atoms in frames)]


def _scalars(frames: list[Atoms]) -> list[str]:
    """Keys of single numbers that could be scalars."""
    tables = [table for atoms in frames for table in tables_of(atoms.info)]
    numbers = {str(key) for table in tables for key, value in table.items() if np.asarray(value).dtype.kind in "fi"}
    return sorted(filter(_is_scalar, numbers))


def _is_scalar(key: str) -> bool:
    try:
        return bool(scalar_of(key))
    except InputError:
        return False


def _label(atoms: Atoms, name: str, row: Output, where: str) -> np.ndarray:
    shape = (len(atoms),) * row.per_atom + (3,) * row.rank
    value = find_label(atoms, str(row.label))
    if value is None:
        return np.full(shape, np.nan)
    array = np.asarray(value)
    expected = (6,) if row.rank == 2 else shape
    if array.shape != expected or array.dtype.kind not in "fi" or not np.isfinite(array).all():
        size = " × ".join(map(str, expected)) or "one"
        raise InputError(f"{where}: {row.label} = {str(value)[:60]}: expected {size} finite number(s)")
    charge = electronic_state(atoms, where).charge or 0
    if not row.periodic and atoms.pbc.any():
        raise InputError(f"{where} is periodic, where {name} has no meaning for a network: expected molecules")
    if name in ("dipole", "dipole_moment") and charge:
        raise InputError(
            f"{where} has the charge {charge}: the dipole of an ion depends on the origin; leave {name} out"
        )
    if name == "charges" and abs(array.sum() - charge) > _EXCESS_E:
        raise InputError(f"{where}: its charges add up to {array.sum():.3f} e, but its charge is {charge}")
    if row.rank == 2:
        tensor = np.empty((3, 3))
        tensor[_ROWS, _COLUMNS] = tensor[_COLUMNS, _ROWS] = array
        return tensor
    return array.astype(np.float64)
