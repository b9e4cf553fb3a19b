"""Data sets in NumPy's archives: MD17, rMD17 and the like, one molecule in many geometries. No pickle is read.

Positions are in Å; energies and forces are left as they are, with the unit that the file states (``e_unit``) in
``info["energy_unit"]``. MD17 and rMD17 use kcal/mol, and not all of their files state it.

Sources: Chmiela et al., Sci. Adv. 3, e1603015 (2017), doi:10.1126/sciadv.1603015; Christensen, von Lilienfeld, Mach. Learn.: Sci.
Technol. 1, 045018 (2020), doi:10.1088/2632-2153/abba6f.
"""

import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from mlcalc.common.errors import InputError
from mlcalc.common.zip_files import open_zip
from mlcalc.model_header import HEAVIEST

# Quantity → its names in archives, and NumPy's letters of the types that it may have.
_NAMES = {
    "positions": ("R", "coords", "positions", "pos"),
    "numbers": ("z", "Z", "nuclear_charges", "numbers", "atomic_numbers"),
    "energies": ("E", "energies", "energy"),
    "forces": ("F", "forces", "force"),
    "charge": ("Q", "charge", "total_charge"),
    "e_unit": ("e_unit",),
    "r_unit": ("r_unit",),
}
_TEXTS = ("e_unit", "r_unit")
UNSTATED = "not stated"
_MOST_BYTES, _MOST_FRAMES = 1 << 31, 1 << 20
# Geometries differ, so they hardly compress: a small file of them must not fill the memory.
_MOST_PACKED, _FEW_BYTES = 50, 1 << 20


def read_npz(path: Path) -> list:
    """Frames of an NPZ file as ase.Atoms; energies and forces in the file's unit.

    Raises:
        InputError: Arrays that are missing, that have two names, that are larger than the file can hold, of another type, or
            that do not fit each other; numbers that are not finite; invalid atomic numbers.
    """
    try:
        with open_zip(path, _MOST_BYTES) as archive:
            found = _read(archive)
    except InputError as error:
        raise InputError(f"{path}: not a readable structure: {error}") from error
    for what, array in found.items():
        if what not in _TEXTS and not (array.dtype.kind in "fiu" and np.isfinite(array).all()):
            raise InputError(f"{path}: {what} of the type {array.dtype}, not all finite numbers")
    _check_shapes(found, path)
    return _frames(found, _atomic_numbers(found["numbers"], path))


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    """Quantity → name of its array in the archive."""
    present: dict[str, str] = {}
    for what, names in _NAMES.items():
        here = [name for name in names if f"{name}.npy" in archive.namelist()]
        if len(here) > 1:
            raise InputError(f"{what} come under two names, {' and '.join(here)}: expected one of them")
        present |= {what: f"{here[0]}.npy"} if here else {}
    return present


def _read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """The arrays by quantity; the geometries limit the size of the others."""
    names = _members(archive)
    if not {"positions", "numbers"} <= names.keys():
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        listed = ", ".join(name if name.isprintable() else repr(name) for name in present)[:200]
        raise InputError(f"holds {listed}; expected the arrays R (n, N, 3) and z (N,), with E (n,) and F (n, N, 3)")
    member = archive.getinfo(names["positions"])
    if member.file_size > max(_FEW_BYTES, _MOST_PACKED * member.compress_size):
        raise InputError(
            f"{names['positions']} unpacks {member.compress_size} bytes to {member.file_size}: not geometries"
        )
    return {what: read_array(archive, name, _FEW_BYTES + 4 * member.file_size) for what, name in names.items()}


def read_array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """An array, after its declared size is compared with that of the archive, and with ``most`` bytes."""
    member = archive.getinfo(name)
    if member.file_size > min(most, _MOST_BYTES):
        raise InputError(f"{name} unpacks to {member.file_size} bytes: expected at most {min(most, _MOST_BYTES)}")
    with archive.open(name) as stream:
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise InputError(f"{name} is in version {version} of NumPy's format: expected 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject or dtype.names is not None or not dtype.itemsize:
            raise InputError(f"{name} holds Python objects or records, which are never read: expected plain numbers")
        count = dtype.itemsize
        for length in shape:
            count *= max(length, -1)
        if min(shape, default=0) < 0 or stream.tell() + count != member.file_size:
            raise InputError(f"{name} declares shape {str(shape)[:80]} of {dtype}, but has {member.file_size} bytes")
    with archive.open(name) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _check_shapes(found: dict[str, np.ndarray], path: Path) -> None:
    positions = found["positions"]
    n_frames, n_atoms = positions.shape[:2] if positions.ndim == 3 else (-1, -1)
    shapes = {"positions": (n_frames, n_atoms, 3), "numbers": (n_atoms,), "forces": (n_frames, n_atoms, 3)}
    if n_frames < 0 or any(what in found and found[what].shape != shape for what, shape in shapes.items()):
        listed = {what: array.shape for what, array in found.items()}
        raise InputError(f"{path}: arrays of shapes {listed} do not belong to one molecule")
    if n_frames > _MOST_FRAMES:
        raise InputError(f"{path}: {n_frames} geometries, more than the {_MOST_FRAMES} that are read; split it")
    if "energies" in found and found["energies"].size != n_frames:
        raise InputError(f"{path}: {found['energies'].size} energies of {n_frames} geometries")
    if "charge" in found and found["charge"].size not in (1, n_frames):
        raise InputError(f"{path}: {found['charge'].size} charges of {n_frames} geometries: expected one, or as many")
    for what in _TEXTS:
        if what in found and (found[what].size != 1 or found[what].dtype.kind not in "US"):
            raise InputError(f"{path}: {what} is not one word")


def _atomic_numbers(given: np.ndarray, path: Path) -> np.ndarray:
    numbers = np.clip(given, 0, HEAVIEST + 1).astype(int)
    if wrong := given[(numbers != given) | (numbers < 1) | (numbers > HEAVIEST)][:1].tolist():
        raise InputError(f"{path}: atomic number {wrong[0]}: expected whole numbers from 1 to {HEAVIEST}")
    return numbers


def _frames(found: dict[str, np.ndarray], numbers: np.ndarray) -> list:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    n_frames = len(found["positions"])
    energies = found["energies"].reshape(-1) if "energies" in found else None
    charges = np.broadcast_to(found["charge"].reshape(-1), (n_frames,)) if "charge" in found else None
    units = {what: _word(found[what]) for what in _TEXTS if what in found}
    frames = []
    for k, positions in enumerate(found["positions"]):
        atoms = Atoms(numbers, positions)
        results: dict = {} if energies is None else {"energy": float(energies[k])}
        results |= {"forces": np.asarray(found["forces"][k], dtype=float)} if "forces" in found else {}
        if results:
            atoms.calc = SinglePointCalculator(atoms, **results)
            atoms.info["energy_unit"] = units.get("e_unit", UNSTATED)
        if "r_unit" in units:
            atoms.info["r_unit"] = units["r_unit"]
        if charges is not None:
            atoms.info["charge"] = float(charges[k])
        frames.append(atoms)
    return frames


def _word(array: np.ndarray) -> str:
    text = array.item()
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text


_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
