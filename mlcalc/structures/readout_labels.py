"""Labels of readouts: charges, dipoles and polarizabilities of structures, under their names in mlcalc.outputs.OUTPUTS."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.outputs import OF_READOUTS, OUTPUTS
from mlcalc.structures.electronic_state import electronic_state
from mlcalc.structures.labels import find_label

_EXCESS_E = 0.02  # that charges of atoms may add up to beside the total charge: rounding of many atoms
_ROWS, _COLUMNS = [0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]  # of xx, xy, yy, xz, yz, zz


def read_readout_labels(
    frames: list[Atoms], path, wanted: Sequence[str], required: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Labels by output, NaN where a structure has none, and the number of structures that have each.

    Args:
        wanted: Names of outputs of readouts.
        required: Whether each has to be in some structure.

    Returns:
        Arrays (n_frames, …), or (n_atoms, …) of outputs per atom, in the units of OUTPUTS.

    Raises:
        InputError: A label that no structure has; one that is not numbers of its shape; charges that do not add up to the charge of
            the structure; a dipole of an ion or of a periodic structure, where it depends on a choice of origin.
    """
    labels, counts = {}, {}
    for name in wanted:
        found = [_label(atoms, name, f"{path}: structure {k}") for k, atoms in enumerate(frames, start=1)]
        counts[name] = sum(bool(np.isfinite(label).all()) for label in found)
        if required and not counts[name]:
            there = [other for other in OF_READOUTS if any(_has(atoms, other) for atoms in frames)]
            names = ", ".join(str(OUTPUTS[other].label) for other in there) or "nothing that networks can learn"
            raise InputError(
                f"{path}: no structure has {OUTPUTS[name].label}, from which {name} is learnt; found {names}"
            )
        labels[name] = np.concatenate(found) if OUTPUTS[name].per_atom else np.array(found)
    return labels, counts


def _has(atoms: Atoms, name: str) -> bool:
    return find_label(atoms, str(OUTPUTS[name].label)) is not None


def _label(atoms: Atoms, name: str, where: str) -> np.ndarray:
    row = OUTPUTS[name]
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
