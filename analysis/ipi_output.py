"""The ``from-ipi`` command: what i-PI has written as a run folder, for all that reads run folders.

i-PI's own readers interpret its files, unit braces included (positions without braces are in Bohr).
"""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from ase import units
from ase.io import write
from ipi.scripting import read_output, read_trajectory
from ipi.utils.units import unit_to_internal

from md.config import RunSettings
from md.ring_polymer import HBAR
from md.trajectory import TrajectoryWriter
from mlcalc.errors import InputError
from mlcalc.files import write_atomically
from mlcalc.settings import as_toml

_KELVIN = units.Hartree / units.kB
_TIME_FS = HBAR / units.Hartree / units.fs
# Column of i-PI's properties → ours, its dimension, and our unit in atomic units. i-PI counts 3N degrees of freedom in its kinetic
# energies, also where it holds the centre of mass: they lie 3/2 k_BT above ours.
_COLUMNS = {
    "temperature": ("temperature_K", "temperature", _KELVIN),
    "potential": ("potential_eV", "energy", units.Hartree),
    "kinetic_cv": ("kinetic_virial_eV", "energy", units.Hartree),
    "kinetic_td": ("kinetic_primitive_eV", "energy", units.Hartree),
    "conserved": ("conserved_eV", "energy", units.Hartree),
}


def convert(input_path: Path, folder: Path, model: str) -> Path:
    """Write a run folder from the output of an i-PI input, whose files lie beside it; returns the folder.

    Args:
        input_path: i-PI's input (XML); folder: To be made.
        model: Model of the harmonic reference, or "none".

    Raises:
        InputError: Not such an input, no trajectory of positions for every bead, files that do not fit together, or a folder
            that is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty: choose another --output")
    root = _parse(input_path)
    output = root.find("output")
    prefix = input_path.parent / (output.get("prefix", "i-pi") if output is not None else "i-pi").strip()
    temperature = _quantity(root, "system/ensemble/temperature", "temperature") * _KELVIN
    timestep_fs = _quantity(root, "system/motion/dynamics/timestep", "time") * _TIME_FS
    n_beads = _count_beads(root, input_path)
    steps, positions, structure = _read_positions(prefix, output, n_beads)
    folder.mkdir(parents=True, exist_ok=True)
    settings = RunSettings("structure.xyz", model, n_beads, temperature_K=temperature, timestep_fs=timestep_fs)
    write_atomically(folder / "input.toml", as_toml(settings).encode())
    write(folder / "structure.xyz", structure, format="extxyz")
    writer = TrajectoryWriter(folder / "trajectory.h5", n_beads, len(structure))
    for step, frame in zip(steps, positions, strict=True):
        writer.append(
            int(step), step * timestep_fs, frame, np.full(n_beads, np.nan)
        )  # i-PI tells means of energies only
    writer.close()
    _write_properties(prefix, output, folder / "properties.csv", timestep_fs)
    return folder


def _parse(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: not an input of i-PI ({error})") from error
    if root.tag != "simulation":
        raise InputError(f"{path}: not an input of i-PI: <{root.tag}> where <simulation> was expected")
    return root


def _quantity(root: ElementTree.Element, place: str, dimension: str) -> float:
    """A number of the input in atomic units."""
    element = root.find(place)
    try:
        value = float(element.text)
        return float(unit_to_internal(dimension, element.get("units", "atomic_unit").strip(), value))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"no <{place.rpartition('/')[2]}> of a single system in i-PI's input") from error


def _count_beads(root: ElementTree.Element, path: Path) -> int:
    element = next((e for name in ("initialize", "beads") for e in root.iter(name) if e.get("nbeads")), None)
    if element is None or not element.get("nbeads").strip().isdigit():
        raise InputError(f"{path}: no nbeads='…' in <initialize>")
    return int(element.get("nbeads"))


def _read_positions(prefix: Path, output, n_beads: int):
    """Steps (n,), positions (n, P, N, 3) Å and the first structure from the files of all beads."""
    names = [
        element.get("filename", "").strip()
        for element in (output if output is not None else ())
        if element.tag == "trajectory" and (element.text or "").strip().startswith("positions")
    ]
    if not names:
        raise InputError(f"{prefix}: no <trajectory> of positions in i-PI's input")
    width = len(str(n_beads - 1))
    frames, steps = [], []
    for bead in range(n_beads):
        path = Path(f"{prefix}.{names[0]}_{bead:0{width}d}.xyz")
        try:
            frames.append(read_trajectory(str(path)))
            # The reader of i-PI 3.3.1 keeps the first digit of a step alone.
            steps.append(np.array(re.findall(r"Step:\s+(\d+)", path.read_text(encoding="utf-8")), dtype=np.int64))
        except Exception as error:  # i-PI's reader raises whatever a torn file makes it trip over
            raise InputError(f"{path}: not a trajectory of i-PI ({error})") from error
    count = min(map(len, (*frames, *steps)))  # a run in progress may have written a frame of some beads only
    if count == 0:
        raise InputError(f"{prefix}: no frames yet")
    steps = [bead[:count] for bead in steps]
    if any((other != steps[0]).any() for other in steps[1:]):
        raise InputError(f"{prefix}: the beads' files are of different steps")
    structure = frames[0][0].copy()
    if any(len(bead[k]) != len(structure) for bead in frames for k in range(count)):
        raise InputError(f"{prefix}: the beads' files have frames of different numbers of atoms")
    positions = np.array([[bead[k].positions for bead in frames] for k in range(count)])
    structure.pbc = False
    structure.info.clear()
    return steps[0], positions, structure


def _write_properties(prefix: Path, output, path: Path, timestep_fs: float) -> None:
    names = [element.get("filename", "").strip() for element in output.iter("properties")]
    if not names:
        return
    file = Path(f"{prefix}.{names[0]}")
    try:
        values, facts = read_output(str(file))
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{file}: not a table of i-PI ({error})") from error
    if "step" not in values:
        return
    table = {"step": values["step"].astype(int), "time_fs": values["step"] * timestep_fs}
    for name, (column, dimension, scale) in _COLUMNS.items():
        if name in values:
            unit = facts[name][0] or "atomic_unit"
            table[column] = values[name] * float(unit_to_internal(dimension, unit, 1.0)) * scale
    lines = [",".join(map(repr, row)) for row in zip(*(column.tolist() for column in table.values()), strict=True)]
    write_atomically(path, ("\n".join([f"# from {file.name} of i-PI", ",".join(table), *lines]) + "\n").encode())
