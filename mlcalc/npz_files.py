"""Data sets in NumPy's archives: MD17, rMD17 and the like, one molecule in many geometries. No pickle is read.

Positions are in Å; energies and forces are left as they are, with the unit that the file states (``e_unit``) in
``info["energy_unit"]``. MD17 and rMD17 count in kcal/mol, and not all of their files say so.

Sources: Chmiela et al., Sci. Adv. 3, e1603015 (2017), doi:10.1126/sciadv.1603015; Christensen, von Lilienfeld, Mach. Learn.: Sci.
Technol. 1, 045018 (2020), doi:10.1088/2632-2153/abba6f.
"""

from pathlib import Path

import numpy as np

from mlcalc.errors import InputError

# What an array is → the names that it goes by.
_NAMES = {
    "positions": ("R", "coords", "positions", "pos"),
    "numbers": ("z", "Z", "nuclear_charges", "numbers", "atomic_numbers"),
    "energies": ("E", "energies", "energy"),
    "forces": ("F", "forces", "force"),
    "charge": ("Q", "charge", "total_charge"),
}
UNSTATED = "not stated"


def read_npz(path: Path) -> list:
    """Frames of an NPZ file as ase.Atoms; energies and forces in the file's unit.

    Raises:
        InputError: Arrays that are missing, or do not fit each other, or positions in another unit than Å.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    with np.load(path, allow_pickle=False) as archive:
        found = {what: archive[name] for what, names in _NAMES.items() for name in names if name in archive.files}
        units = {name: str(archive[name]) for name in ("e_unit", "r_unit") if name in archive.files}
        listed = ", ".join(archive.files)
    if not {"positions", "numbers"} <= found.keys():
        raise InputError(
            f"{path}: holds {listed}; expected the arrays R (n, N, 3) and z (N,), with E (n,) and F (n, N, 3)"
        )
    positions = found["positions"]
    n_frames, n_atoms = positions.shape[:2] if positions.ndim == 3 else (-1, -1)
    numbers = found["numbers"].astype(int)
    shapes = {"positions": (n_frames, n_atoms, 3), "numbers": (n_atoms,), "forces": (n_frames, n_atoms, 3)}
    if n_frames < 0 or any(what in found and found[what].shape != shape for what, shape in shapes.items()):
        raise InputError(
            f"{path}: arrays of shapes { ({what: array.shape for what, array in found.items()}) } do not belong to one molecule"
        )
    energies = found["energies"].reshape(-1) if "energies" in found else None
    if energies is not None and len(energies) != n_frames:
        raise InputError(f"{path}: {len(energies)} energies of {n_frames} geometries")
    frames = []
    for k in range(n_frames):
        atoms = Atoms(numbers, positions[k])
        results: dict = {} if energies is None else {"energy": float(energies[k])}
        results |= {"forces": np.asarray(found["forces"][k], dtype=float)} if "forces" in found else {}
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.info["energy_unit"] = units.get("e_unit", UNSTATED)
        if "r_unit" in units:
            atoms.info["r_unit"] = units["r_unit"]
        if "charge" in found:
            atoms.info["charge"] = float(np.broadcast_to(found["charge"].reshape(-1), (n_frames,))[k])
        frames.append(atoms)
    return frames
