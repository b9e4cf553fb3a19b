"""Energies and forces of labelled structures: their names in a file, their unit, and the number of frames that have them.

By default energies and forces are those that ASE reads as such. If a file holds a free energy beside the energy, it is used:
the forces are its derivatives (codes with smeared occupations extrapolate ``energy`` to zero width). Any other name must be
requested: its values may come from another method.
"""

from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import electronic_state
from mlcalc.structures.npz_files import UNSTATED
from mlcalc.structures.unit_names import ENERGY_UNITS, stated_energy_unit

_SAME_EV = 1e-6


class LabelNames(NamedTuple):
    """Where the labels of a file are.

    Attributes:
        energy: Key of the energies in the comment line; empty for ``free_energy`` or ``energy``.
        forces: Name of the columns of the forces; empty for ``forces``.
        unit: Unit of the energies, a key of ENERGY_UNITS, forces in that unit per Å; empty for the one that the file states, or eV.
        scalar: Key of the scalar (mlcalc.outputs.Scalar), if that of a readout is asked for.
    """

    energy: str = ""
    forces: str = ""
    unit: str = ""
    scalar: str = ""


DEFAULT_NAMES = LabelNames()


class Contents(NamedTuple):
    """What was found in a file, for the user and for the model's provenance.

    Attributes:
        name: Of the file; frames: structures; atoms: smallest and largest number of atoms.
        energies, forces: Number of structures that have them, and their name; unit: of both in the file.
        others: Names that look like energies or forces and were not used.
        charges: Total charges that structures give; constrained, weighed: structures with constraints (dropped) and with masses.
        readouts: Number of structures with labels of readouts, by output; of a scalar by its key.
    """

    name: str
    frames: int
    atoms: tuple[int, int]
    energies: tuple[int, str]
    forces: tuple[int, str]
    unit: str
    others: tuple[str, ...]
    charges: tuple[int, ...]
    constrained: int
    weighed: int
    readouts: dict[str, int] = {}

    def __str__(self) -> str:
        atoms = f"{self.atoms[0]}" + (f" to {self.atoms[1]}" if self.atoms[1] > self.atoms[0] else "")
        parts = [f"{self.frames} structures of {atoms} atoms"]
        for what, (count, name) in (("energies", self.energies), ("forces", self.forces)):
            parts.append(f"{what} in {'all' if count == self.frames else count}" + (f" ({name})" if count else ""))
        parts += [
            f"{name} in {'all' if count == self.frames else count}" for name, count in self.readouts.items() if count
        ]
        parts += [f"in {self.unit}"] if self.unit != "eV" else []
        parts += [f"charge {' and '.join(map(str, self.charges))}"] if any(self.charges) else []
        parts += [f"masses in {self.weighed}"] if self.weighed else []
        parts += [f"constraints in {self.constrained}, dropped"] if self.constrained else []
        parts += [f"not taken: {', '.join(self.others)}"] if self.others else []
        return f"{self.name}: {', '.join(parts)}"


class Labels(NamedTuple):
    """Labels of the structures of a file.

    Attributes:
        energies: (n_frames,) eV, NaN where a structure has none; forces: (N, 3) eV/Å of each, likewise.
        contents: What was found.
    """

    energies: np.ndarray
    forces: list[np.ndarray]
    contents: Contents


def read_labels(frames: list, path, names: LabelNames = DEFAULT_NAMES, energy_only: bool = False) -> Labels:
    """Energies and forces of structures as structure_files.read_atoms returns them.

    A structure of one atom needs no forces: by symmetry they are zero.

    Args:
        energy_only: Whether structures may lack forces, if they have an energy and nothing in the file looks like forces.

    Raises:
        InputError: Forces that are missing (the message names what was found instead) or not numbers; a name in no structure;
            units that are not stated, or differ; free energies in only some structures.
    """
    scale, unit = _unit(frames, path, names.unit)
    energies, energy_name = _energies(frames, path, names.energy)
    forces, with_forces = _forces(frames, path, names.forces, np.isfinite(energies), energy_only)
    for number, atoms in enumerate(frames, start=1):
        if not np.isfinite(atoms.positions).all():
            raise InputError(f"{path}: structure {number} holds NaN or infinite positions")
    sizes = [len(atoms) for atoms in frames]
    contents = Contents(
        name=path.name, frames=len(frames), atoms=(min(sizes), max(sizes)),
        energies=(int(np.isfinite(energies).sum()), energy_name), forces=(with_forces, names.forces or "forces"), unit=unit,
        others=_others(frames, {energy_name, names.forces or "forces"} | ({"free_energy"} if energy_name == "energy" else set())),
        charges=tuple(sorted({electronic_state(atoms, f"{path}: structure {k}").charge or 0 for k, atoms in enumerate(frames, 1)})),
        constrained=sum(bool(atoms.constraints) for atoms in frames), weighed=sum("masses" in atoms.arrays for atoms in frames),
    )  # fmt: skip
    return Labels(energies * scale, [force * scale for force in forces], contents)


def _unit(frames: list, path, asked: str) -> tuple[float, str]:
    """eV of the unit of a file's energies, and its name."""
    stated = set()
    for number, atoms in enumerate(frames, start=1):
        if atoms.info.get("energy_unit") == UNSTATED:
            if not asked:
                raise InputError(
                    f"{path}: does not state the unit of its energies; set energy_unit (of MD17 and rMD17 it is kcal/mol), one of "
                    f"{', '.join(ENERGY_UNITS)}"
                )
            continue
        if (unit := stated_energy_unit(atoms.info, f"{path}: structure {number}")) is not None:
            stated.add(unit)
    if len(stated | ({asked} if asked else set())) > 1:
        said = f"energy_unit = {asked!r}, but its structures state" if asked else "its structures state"
        raise InputError(f"{path}: {said} {' and '.join(sorted(stated))}: expected one unit")
    unit = asked or (stated.pop() if stated else "eV")
    return ENERGY_UNITS[unit], unit


def _energies(frames: list, path, key: str) -> tuple[np.ndarray, str]:
    if key:
        energies = np.array([_number(find_label(atoms, key), path, k, key) for k, atoms in enumerate(frames, start=1)])
        if np.isnan(energies).all():
            raise InputError(f"{path}: no structure has the energy_key {key!r}; found {_listed(energy_names(frames))}")
        return energies, key
    plain, free = (
        np.array([_number(_results(atoms).get(name), path, k, name) for k, atoms in enumerate(frames, start=1)])
        for name in ("energy", "free_energy")
    )
    both = np.isfinite(free) & np.isfinite(plain)
    differ = bool((np.abs(free - plain)[both] > _SAME_EV).any())
    if differ and np.isfinite(plain[np.isnan(free)]).any():
        raise InputError(
            f"{path}: free_energy in {np.isfinite(free).sum()} of {len(frames)} structures, where it differs from energy; the "
            "others have only energy: set energy_key to one of them"
        )
    name = "free_energy" if differ or (np.isnan(plain).all() and np.isfinite(free).any()) else "energy"
    return np.where(np.isnan(free), plain, free), name


def _forces(frames: list, path, key: str, with_energy, energy_only: bool) -> tuple[list[np.ndarray], int]:
    """Forces of each structure, and how many have them; structures ``with_energy`` may lack them if ``energy_only``."""
    found, count = [], 0
    others: tuple[str, ...] | None = None  # looked for once, in all structures
    for number, (atoms, has_energy) in enumerate(zip(frames, with_energy, strict=True), start=1):
        forces = find_label(atoms, key) if key else _results(atoms).get("forces")
        if forces is not None:
            found.append(_checked_forces(atoms, np.asarray(forces), f"{path}: structure {number}"))
            count += 1
        elif len(atoms) == 1:
            found.append(np.zeros((1, 3)))
        else:
            if others is None:
                others = tuple(name for name in force_names(frames) if name != (key or "forces"))
            if others or not (has_energy and energy_only):
                missing = f"no forces ({key})" if key else "no forces"
                raise InputError(f"{path}: structure {number} has {missing}; {_hint(others, has_energy)}")
            found.append(np.full((len(atoms), 3), np.nan))
    return found, count


def _hint(others: tuple[str, ...], has_energy: bool) -> str:
    if others:
        return f"found {_listed(others)}: set forces_key (--forces-key) if it is meant"
    return "label the file first (mlcalc label --help)" + (", or set energy_only = true" if has_energy else "")


def _checked_forces(atoms, forces: np.ndarray, where: str) -> np.ndarray:
    if forces.shape != (len(atoms), 3) or forces.dtype.kind not in "fi":
        raise InputError(f"{where} has forces that are not three numbers for each atom")
    if not np.isfinite(forces).all():
        raise InputError(f"{where} holds NaN or infinite forces")
    return forces.astype(np.float64)


def tables_of(info: dict) -> tuple[dict, ...]:
    """The ``info`` of a structure, and the two tables within it that rows of ASE databases have."""
    return info, *(info.get(name) or {} for name in ("key_value_pairs", "data"))


def find_label(atoms, key: str):
    """The value of a name in a structure: in its comment, its columns, its results, or the tables of an ASE database."""
    info, *rows = tables_of(atoms.info)
    tables = (info, atoms.arrays, _results(atoms), *rows)
    return next((table[key] for table in tables if key in table), None)


def _results(atoms) -> dict:
    return atoms.calc.results if atoms.calc is not None else {}


def _number(value, path, number: int, name: str) -> float:
    """A label as a number, NaN for none; InputError for text, NaN and the like."""
    if value is None:
        return np.nan
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fi" or not np.isfinite(array).all():
        raise InputError(f"{path}: structure {number} has the {name} {value}")
    return float(array.reshape(()))


def energy_names(frames: list) -> tuple[str, ...]:
    """Names of numbers in the structures' comments that look like energies."""

    def looks(name, value) -> bool:
        plain = name.lower()
        return ("energ" in plain or plain in ("e", "u0", "etot", "toten", "e0")) and np.asarray(
            value
        ).dtype.kind in "fi"

    return _names(frames, lambda atoms: {**atoms.info, **_results(atoms)}, lambda n, v: np.ndim(v) == 0 and looks(n, v))


def force_names(frames: list) -> tuple[str, ...]:
    """Names of columns of three numbers that look like forces."""
    return _names(
        frames, lambda atoms: {**atoms.arrays, **_results(atoms)},
        lambda name, value: ("force" in name.lower() or name == "F") and np.shape(value)[1:] == (3,),
    )  # fmt: skip


def _names(frames: list, table, looks) -> tuple[str, ...]:
    return tuple(sorted({name for atoms in frames for name, value in table(atoms).items() if looks(name, value)}))


def _others(frames: list, taken: set[str]) -> tuple[str, ...]:
    return tuple(name for name in (*energy_names(frames), *force_names(frames)) if name not in taken)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing that looks like it"
