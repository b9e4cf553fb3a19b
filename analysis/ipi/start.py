"""Starting data of i-PI that its trajectories do not repeat: masses, and whether its cell is periodic or only a box."""

import os
import re
from pathlib import Path

import numpy as np

from md.ipi.input import Element, count_beads, force_fields, output_prefix, read_root, the_system
from mlcalc.common.errors import InputError
from mlcalc.structures.ipi_xyz import is_lone_molecule
from mlcalc.structures.structure_files import read_atoms

_HYDROGENS = {"D": "H", "T": "H", "Z": "H"}  # i-PI's isotopes; the others are an element and a number
_BAROSTATS = ("npt", "nst", "scnpt")


def element_of(label: str) -> str:
    """The chemical symbol for an i-PI label such as D, C13 or Cl37; InputError for an unknown element."""
    from ase.data import atomic_numbers

    symbol = _HYDROGENS.get(label, label.rstrip("0123456789"))
    if atomic_numbers.get(symbol, 0) == 0:
        raise InputError(f"label {label!r} in i-PI's files: expected an element, perhaps with a mass number")
    return symbol


def read_masses(root: Element, path: Path, labels: tuple[str, ...], report) -> np.ndarray:
    """Masses (N,) u used by i-PI: from the input, the files that it names, the state in RESTART, or the labels.

    Args:
        root: Root of the input; path: Its path; labels: Of the atoms; report: Called with a line if no file gives the masses.

    Raises:
        InputError: Masses other than N positive numbers, or different masses in RESTART and in the input.
    """
    said = _from_input(the_system(root, path), path, labels)
    state = _from_restart(root, path, len(labels))
    if said is not None and state is not None and len(said) == len(state):
        atom = int(np.argmax(np.abs(said - state)))
        if not np.isclose(said[atom], state[atom], rtol=1e-5, atol=0):
            raise InputError(
                f"{path}: mass of atom {atom} {said[atom]:.6g} u, but {state[atom]:.6g} u in RESTART: they are of different runs; "
                "move one of them away"
            )
    masses = said if said is not None else state
    if masses is None:
        masses = _by_label(labels)
        report("masses are those of the elements: both the file that i-PI read them from and its RESTART are missing")
    if masses.shape != (len(labels),) or not (np.isfinite(masses).all() and (masses > 0).all()):
        raise InputError(f"{path}: masses {masses.tolist()[:5]} … u: expected {len(labels)} positive numbers")
    return masses


def _from_input(system: Element, path: Path, labels: tuple[str, ...]) -> np.ndarray | None:
    """Masses after all of i-PI's initializations, in order; None if a file that gives them is missing."""
    masses = _of_beads(system)
    initialize = system.find("initialize")
    renamed = initialize is not None and initialize.find("labels") is not None
    for element in initialize if initialize is not None else ():
        mode = element.get("mode", "chk").strip()
        if element.tag == "masses" and mode == "manual":
            masses = _with_manual(masses, element, len(labels))
        elif element.tag in ("file", "masses"):
            file = path.parent / (element.text or "").strip()
            if os.path.isfile(file):
                masses = _of_file(mode, file)
            else:  # the trajectory has the labels of the file
                masses = _by_label(labels) if element.tag == "file" and mode in ("xyz", "pdb") and not renamed else None
    return masses


def _with_manual(masses: np.ndarray | None, element: Element, n_atoms: int) -> np.ndarray | None:
    """Masses after <masses mode='manual'>, for all atoms or for the indexed one."""
    values, index = _numbers(element), element.get("index", "-1").strip()
    if index.startswith("-"):
        return np.full(n_atoms, values[0]) if len(values) == 1 else values
    if masses is None:
        return None
    if not (index.isdecimal() and int(index) < n_atoms and len(values) == 1):
        raise InputError(f"<masses index={index!r}> of i-PI's input: expected one mass for one of {n_atoms} atoms")
    masses[int(index)] = values[0]
    return masses


def _of_file(mode: str, file: Path) -> np.ndarray | None:
    if mode == "chk":
        return _of_beads(read_root(file).find("system"))
    if mode == "ase":
        return read_atoms(file)[-1].get_masses()
    from ipi.utils.io import iter_file
    from ipi.utils.units import Constants

    try:
        with file.open(encoding="utf-8") as stream:
            *_, last = iter_file(mode, stream)
        return np.array(last["atoms"].m) / Constants.amu
    except Exception as error:  # a truncated file can raise any error in i-PI's readers
        raise InputError(f"{file}: not a structure that i-PI reads ({type(error).__name__}: {error})") from error


def _of_beads(system: Element | None) -> np.ndarray | None:
    element = system.find("beads/m") if system is not None else None
    return None if element is None else _numbers(element)


def _from_restart(root: Element, path: Path, n_atoms: int) -> np.ndarray | None:
    """Masses of the state that i-PI left beside an input, if it is of the same run."""
    file = path.parent / "RESTART"
    if not os.path.isfile(file):
        return None
    try:
        other = read_root(file)
        same = output_prefix(other, file) == output_prefix(root, path)
        same = same and count_beads(the_system(other, file), file) == count_beads(the_system(root, path), path)
        masses = _of_beads(the_system(other, file)) if same else None
    except InputError:  # of another run, or truncated
        return None
    return masses if masses is not None and len(masses) == n_atoms else None


def _numbers(element: Element) -> np.ndarray:
    """Masses in u; i-PI's default unit is the electron's mass."""
    from ipi.utils.units import Constants, unit_to_internal

    unit = element.get("units", "atomic_unit").strip()
    try:
        values = np.array(re.split(r"[\s,]+", (element.text or "").strip(" \t\r\n[]")), dtype=float)
        return values * float(unit_to_internal("mass", unit, 1.0)) / Constants.amu
    except (TypeError, ValueError) as error:
        raise InputError(
            f"<{element.tag} units={unit!r}> of i-PI's input: expected masses in a unit of mass ({error})"
        ) from error


def _by_label(labels: tuple[str, ...]) -> np.ndarray:
    from ipi.utils.units import Constants, Elements

    return np.array([Elements.mass(label) for label in labels]) / Constants.amu


def find_pbc(root: Element, path: Path, positions: np.ndarray, cells: np.ndarray, choice: bool | None) -> np.ndarray:
    """(3,) booleans: the directions in which the cell of i-PI is periodic.

    i-PI has a cell for every system. It is periodic if it changes, if the template of a driver or the structure read by ASE is
    periodic, or if a force field wraps atoms; it is only a box if these are not periodic, or if vacuum surrounds a molecule.

    Args:
        positions: (n, P, N, 3) Å; cells: (n, 3, 3) Å; choice: The user's choice, or None.

    Raises:
        InputError: There is no cell for a periodic choice, or the periodicity is undetermined.
    """
    has_cell = bool((np.abs(np.linalg.det(cells)) > 1e-6).all())
    if choice and not has_cell:
        raise InputError("--pbc: a frame has no cell")
    if choice is not None or not has_cell:
        return np.full(3, bool(choice))
    system, fields = the_system(root, path), force_fields(root)
    modes = [element.get("mode", "").strip() for element in system.iter("dynamics")]
    if (cells != cells[0]).any() or any(mode in _BAROSTATS for mode in modes):
        return np.full(3, True)
    template = next(
        (path.parent / field.parameters["template"] for field in fields if "template" in field.parameters), None
    )
    if template is not None and os.path.isfile(template):
        return np.array(read_atoms(template)[-1].pbc)
    wraps = [field.wraps for field in fields]
    start = _ase_start(system, path)
    if start is not None and (start.any() or True not in wraps):
        return start
    if start is None and True in wraps:
        return np.full(3, True)
    if start is None and is_lone_molecule(positions, cells[0]):
        return np.full(3, False)
    raise InputError(
        f"{path}: is the cell of {np.linalg.norm(cells[0], axis=1).round(3).tolist()} Å periodic, or only the box of a molecule? "
        "The input does not say; choose --pbc or --no-pbc"
    )


def _ase_start(system: Element, path: Path) -> np.ndarray | None:
    """Whether the structure that i-PI read by ASE is periodic; None if there is none."""
    for element in system.findall("initialize/file"):
        file = path.parent / (element.text or "").strip()
        if element.get("mode", "").strip() == "ase" and os.path.isfile(file):
            return np.array(read_atoms(file)[-1].pbc)
    return None
