"""Structure files: the one place that reads foreign structures.

It reads masses (also of D and T, and under the names that other programs give the column) and constraints, which
labels and vibrations drop and dynamics honours. Charge and spin are read from the structures by
mlcalc/structures/electronic_state.py, energies and forces by mlcalc/structures/labels.py.
"""

import re
from io import StringIO
from pathlib import Path

import numpy as np

from mlcalc.common.errors import InputError, note
from mlcalc.common.files import check_regular
from mlcalc.geometry.cells import check_positions
from mlcalc.structures.ipi_xyz import is_lone_molecule, read_ipi_comment
from mlcalc.structures.npz_files import read_npz
from mlcalc.structures.xyz_text import ISOTOPES, tidy

_LARGEST = 1 << 31  # bytes
_COMPRESSED = (".gz", ".bz2", ".xz")
_XYZ = (".xyz", ".extxyz")
_MASS_NAMES = {"mass", "atomicmass", "atommass", "isotopemass"}
_ISOTOPE_NAMES = {"isotope", "isotopes", "massnumber", "massnumbers"}
_LIGHTEST, _HEAVIEST = (
    0.1,
    1e6,
)  # u: muonium weighs 0.113 (masses in kg/mol are smaller); a heavier atom stands still in any run
_DEEPEST = 20  # levels of lists and tables in the metadata of a structure
_DEUTERON_U = 2.01355  # what ASE's reader of CIF gives D: the mass of the nucleus without its electron


def read_atoms(path: str | Path, format: str | None = None) -> list:
    """All structures of a file in a format that ASE reads, or in MD17's NPZ, as ase.Atoms; masses in u if the file has them.

    Args:
        format: ASE's name of the format; None to find it from the name and content of the file.

    Raises:
        InputError: Missing, larger than 2 GiB, malformed, or without structures; impossible masses.
    """
    path = check_regular(path)
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: {path.stat().st_size} bytes, more than the {_LARGEST} that are read; split it")
    if not __debug__:
        raise InputError(
            f"{path}: ASE reads no extended XYZ under 'python -O' (its reader works within an assert): unset PYTHONOPTIMIZE"
        )
    format = format or _format_of(path)
    try:
        if format == "extxyz":
            frames = _read_xyz(path)
        elif format == "npz":
            frames = read_npz(path)
        else:
            frames = _read_other(path, format)
    except InputError:
        raise
    except KeyError as error:
        name = str(error).strip("'\"")
        hint = "write H and a column masses in extended XYZ" if name in ISOTOPES else "expected a chemical symbol"
        raise InputError(f"{path}: not a readable structure: element {name!r}: {hint}") from error
    except Exception as error:  # ASE's readers may raise anything on a malformed file
        raise InputError(f"{path}: not a readable structure: {type(error).__name__}: {error}") from error
    if not frames:
        raise InputError(f"{path}: no structures in this file")
    for number, atoms in enumerate(frames, start=1):
        _settle_masses(atoms, f"{path}: structure {number}")
        _check_values(atoms, f"{path}: structure {number}")
    return frames


def read_last(path: str | Path, quiet: bool = False):
    """The structure of a file, the last one of several, as ASE's ``read`` does; then a note says so, unless ``quiet``."""
    frames = read_atoms(path)
    if len(frames) > 1 and not quiet:
        note(f"{path} holds {len(frames)} structures: the last one is used")
    return frames[-1]


def drop_constraints(frames: list, path: str | Path, what: str) -> None:
    """Free all atoms, in place, with a note; ``what`` disregards constraints, such as "labels"."""
    held = [atoms for atoms in frames if atoms.constraints]
    if held:
        names = sorted({type(constraint).__name__ for atoms in held for constraint in atoms.constraints})
        note(f"{path}: {', '.join(names)} in {len(held)} of {len(frames)} structures: {what} disregard constraints")
    for atoms in held:
        atoms.set_constraint()


def _format_of(path: Path) -> str | None:
    from ase.io.formats import UnknownFileTypeError, filetype

    name = path.with_suffix("") if path.suffix in _COMPRESSED else path
    if name.suffix in _XYZ:
        return "extxyz"
    if name.suffix == ".npz":
        return "npz"
    try:
        return filetype(str(path))
    except UnknownFileTypeError:
        return "extxyz"


def _read_xyz(path: Path) -> list:
    from ase.io import iread

    xyz = tidy(_content(path), path)
    frames = list(iread(StringIO(xyz.text), index=":", format="extxyz"))
    for number, (atoms, masses, comment) in enumerate(zip(frames, xyz.masses, xyz.comments, strict=True), start=1):
        if "{" in comment or "CELL" in comment:
            _apply_ipi_comment(atoms, comment, f"{path}: structure {number}")
        if masses and "masses" not in atoms.arrays:
            own = atoms.get_masses()
            own[list(masses)] = list(masses.values())
            atoms.set_masses(own)
    return frames


def _apply_ipi_comment(atoms, comment: str, where: str) -> None:
    """Apply the unit and cell of the comment that i-PI writes. A molecule in a box much wider than itself stays a molecule.

    Raises:
        InputError: A comment without units, which i-PI reads as Bohr and older releases wrote for any unit, and what
            ipi_xyz.read_ipi_comment refuses.
    """
    try:
        frame = read_ipi_comment(comment)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if frame is None:
        return
    if frame.bare:
        raise InputError(
            f"{where}: i-PI's comment names no unit: expected positions{{angstrom}} or positions{{atomic_unit}} in it"
        )
    atoms.positions *= frame.factor
    numbers = {key.lower(): int(value) for key, value in re.findall(r"(Step|Bead):\s*(\d+)", comment)}
    atoms.info = numbers
    if frame.cell.any() and not is_lone_molecule(atoms.positions, frame.cell):
        atoms.set_cell(frame.cell)
        atoms.pbc = True


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked; InputError for more than are read."""
    from ase.io.formats import open_with_compression

    if path.suffix not in _COMPRESSED:
        return path.read_bytes()
    with open_with_compression(str(path), "rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InputError(f"{path}: unpacks to more than the {_LARGEST} bytes that are read; split it")
    return content


def _read_other(path: Path, format: str | None) -> list:
    from ase.db import connect
    from ase.io import iread

    if format in ("db", "json"):  # ase.io drops the data of rows beside the structure
        frames = [row.toatoms(add_additional_information=True) for row in connect(path).select()]
    else:
        frames = list(iread(path, index=":", format=format))
    for atoms in frames:
        masses = atoms.arrays.get("masses")
        if masses is not None:
            masses[(atoms.numbers == 1) & (masses == _DEUTERON_U)] = ISOTOPES["D"]
    return frames


def _settle_masses(atoms, where: str) -> None:
    """Move masses to ASE's name if the file has them under another; InputError for impossible masses."""
    for name in list(atoms.arrays):
        plain = name.lower().replace("_", "")
        if plain in _ISOTOPE_NAMES:
            raise InputError(f"{where}: column {name}: expected masses in u in a column masses")
        if plain in _MASS_NAMES:
            column = atoms.arrays.pop(name)
            _check_numeric(column, where)
            if "masses" in atoms.arrays and not np.allclose(atoms.arrays["masses"], column):
                raise InputError(f"{where}: the columns masses and {name} differ: expected one")
            atoms.set_array("masses", column.astype(float), float, ())
    masses = atoms.arrays.get("masses")
    if masses is None:
        return
    _check_numeric(masses, where)
    if (wrong := np.flatnonzero(~((masses >= _LIGHTEST) & (masses <= _HEAVIEST)))).size:
        raise InputError(
            f"{where}: masses: atom {wrong[0]} weighs {masses[wrong[0]]:g} u; expected {_LIGHTEST:g} to {_HEAVIEST:g} u"
        )


def _check_numeric(masses: np.ndarray, where: str) -> None:
    if masses.dtype.kind not in "iuf" or masses.ndim != 1:
        raise InputError(f"{where}: masses: {masses[:3].tolist()}: expected one number for each atom, in u")


def _check_values(atoms, where: str) -> None:
    """InputError for a cell or positions that are NaN or out of bounds, and for values that are neither numbers nor text."""
    try:
        check_positions(atoms.positions)
        check_positions(atoms.cell.array, "cell vector")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    for name, column in atoms.arrays.items():
        if column.dtype.kind == "O":
            raise InputError(f"{where}: column {name}: expected numbers or text")
    for key, value in atoms.info.items():
        if _is_deep(value):
            raise InputError(f"{where}: {key}: nested more than {_DEEPEST} levels deep")


def _is_deep(value) -> bool:
    """Whether lists and tables are nested too deeply: copies of such a structure would exhaust Python's stack."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for parent in level
            if isinstance(parent, list | tuple | dict)
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return True
