"""QM9 from the PyPI package qm9pack: 130 831 molecules of H, C, N, O and F with geometries and properties by B3LYP/6-31G(2df,p).

The package's tables are read; none of its code is executed. Columns become keys of ``info``, with the unit at their end:

* energies in eV: ``U0``, ``U``, ``H``, ``G`` (at 0 K, and three at 298 K), ``HOMO``, ``LUMO``, ``gap``, ``ZPVE``
* ``Cv_eV_K``, ``R2_A2``, ``dipole_moment_eA`` (its magnitude: the tables have no vector)
* ``frequencies_cm``, ascending; one molecule has an imaginary one, written as a negative number
* ``polarizability_A3``, a third of the trace, and ``polarizability_principal_A3``, the three principal values of its tensor. The
  tensors themselves are in another orientation than the geometries, which the tables do not state, and are left out: that of HCN,
  which lies along y, has its long axis along z.
* per atom: ``charges``, Mulliken's, in e

``energy``, the label of a training, is U0; another is chosen by ``energy_key``, such as ``H_eV``.

Source: Ramakrishnan et al., Sci. Data 1, 140022 (2014), doi:10.1038/sdata.2014.22.
"""

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from mlcalc.common.errors import InputError

MOLECULES = 130_831
PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
TENSORS = "qm9_polarizability.csv"
_DEBYE, _CALORIE = units.Debye, units.kcal / units.mol / 1000.0
# Column → key of info, and the factor to its unit.
_NUMBERS = {
    "InternalEnergy_0K_au": ("U0_eV", units.Hartree),
    "InternalEnergy_298K_au": ("U_eV", units.Hartree),
    "Enthalphy_298K_au": ("H_eV", units.Hartree),
    "GibbsFreeEnergy_298K_au": ("G_eV", units.Hartree),
    "HOMO_au": ("HOMO_eV", units.Hartree),
    "LUMO_au": ("LUMO_eV", units.Hartree),
    "HOMO_LUMO_gap_au": ("gap_eV", units.Hartree),
    "ZPVE_au": ("ZPVE_eV", units.Hartree),
    "Heatcapacity_Cv_cal_mol_K": ("Cv_eV_K", _CALORIE),
    "R2_bohr2": ("R2_A2", units.Bohr**2),
    "Dipole_debye": ("dipole_moment_eA", _DEBYE),
    "Polarizability_bohr3": ("polarizability_A3", units.Bohr**3),
}
_TENSOR = ("A_xx", "A_xy", "A_yy", "A_xz", "A_yz", "A_zz")
_NOT_NUMBERS = str.maketrans("", "", "[]'\" ")


def find_qm9() -> Path:
    """The folder of the installed package's tables; InputError if it is not installed."""
    found = find_spec("qm9pack")
    if found is None or not found.submodule_search_locations:
        raise InputError("QM9 comes with the package qm9pack, which is not installed: pip install qm9pack")
    return Path(found.submodule_search_locations[0]) / "data"


def read_qm9(folder: Path, number: int | None = None, seed: int = 1) -> Iterator[Atoms]:
    """Molecules of the tables in this folder, in their order.

    Args:
        number: How many to choose at random; None for all. The same seed gives the same molecules.

    Raises:
        InputError: Tables that are missing, incomplete or damaged; a number that there is not.
    """
    if number is not None and not 1 <= number <= MOLECULES:
        raise InputError(f"number = {number}: expected 1 to {MOLECULES} molecules")
    check_complete(folder)
    chosen = (
        None if number is None else set(np.random.default_rng(seed).choice(MOLECULES, number, replace=False).tolist())
    )
    with (folder / TENSORS).open(newline="", encoding="utf-8") as stream:
        tensors = {row["XYZ_file"]: row for row in csv.DictReader(stream)}
    for k, (where, row) in enumerate(_rows(folder)):
        if chosen is None or k in chosen:
            yield _molecule(row, tensors.get(row["XYZ_file"]), where)


def check_complete(folder: Path) -> None:
    """InputError unless the tables have all molecules: counted before anything is read, for a partial download."""
    for name in (*PARTS, TENSORS):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: {name} is missing: expected the tables of qm9pack; install it again")
    lines = {name: _lines(folder / name) for name in (*PARTS, TENSORS)}
    for what, count in ((", ".join(PARTS), sum(lines[name] for name in PARTS)), (TENSORS, lines[TENSORS])):
        if count != MOLECULES:
            raise InputError(f"{folder}: {what}: {count} molecules, expected {MOLECULES}; install qm9pack again")


def _lines(path: Path) -> int:
    """Lines below the header."""
    with path.open("rb") as stream:
        return sum(1 for _ in stream) - 1


def _rows(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for name in PARTS:
        with (folder / name).open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.DictReader(stream), start=2):
                yield f"{folder / name}, line {number}", row


def _molecule(row: dict[str, str], tensor: dict[str, str] | None, where: str) -> Atoms:
    try:
        symbols = row["Elements"].translate(_NOT_NUMBERS).split(",")
        positions, charges = _numbers(row["XYZ_Ang"]).reshape(-1, 3), _numbers(row["Mulliken_pop"])
        if not len(symbols) == len(positions) == len(charges) == int(row["N_atoms"]):
            raise ValueError(f"{len(symbols)} elements, {len(positions)} positions and {len(charges)} charges")
        info: dict[str, Any] = {key: factor * float(row[column]) for column, (key, factor) in _NUMBERS.items()}
        info["frequencies_cm"] = _frequencies(_numbers(row["Harmonic_Freq_cmi"]), len(symbols))
        if tensor is None:
            raise ValueError(f"no polarizability of {row['XYZ_file']}")
        info["polarizability_principal_A3"] = units.Bohr**3 * _principal_values(
            [float(tensor[name]) for name in _TENSOR]
        )
        if not all(np.isfinite(value).all() for value in (positions, charges, *info.values())):
            raise ValueError("a number that is not finite")
        atoms = Atoms(symbols, positions, info={"qm9": int(row["Index"]), "smiles": row["SMILES"], **info})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a row of QM9 ({error}); install qm9pack again") from error
    atoms.calc = SinglePointCalculator(atoms, energy=info["U0_eV"], charges=charges)
    return atoms


def _numbers(text: str) -> np.ndarray:
    """(n,) of a list in brackets; Mathematica's ``*^`` is an exponent."""
    return np.array(text.translate(_NOT_NUMBERS).replace("*^", "e").split(","), dtype=float)


def _principal_values(tensor: list[float]) -> np.ndarray:
    """(3,) ascending; tensor: xx, xy, yy, xz, yz, zz."""
    lower = np.zeros((3, 3))
    lower[np.tril_indices(3)] = tensor
    return np.linalg.eigvalsh(lower)


def _frequencies(found: np.ndarray, n_atoms: int) -> np.ndarray:
    """(3N − 6,) or, of linear molecules, (3N − 5,).

    Some rows hold the lists of two calculations, one after the other: the zero-point energy of the row is that of the second.
    """
    for expected in (3 * n_atoms - 6, 3 * n_atoms - 5):
        if len(found) in (expected, 2 * expected):
            return found[-expected:]
    raise ValueError(f"{len(found)} frequencies of {n_atoms} atoms")
