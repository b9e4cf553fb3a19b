"""The ``from-ipi`` command: convert the output of i-PI into a run folder that every other command can read."""

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ase import Atoms, units

from analysis.ipi.frames import FORMATS, Frames, check_even, last_copies, read_frames
from analysis.ipi.start import element_of, find_pbc, read_masses
from md.dynamics.ring_polymer import HBAR
from md.files.layout import INPUT, PROPERTIES, STATUS, STRUCTURE, TRAJECTORY
from md.files.received import check_name
from md.files.trajectory import TrajectoryWriter
from md.ipi.input import (
    Element,
    Trajectory,
    count_beads,
    output_prefix,
    property_files,
    quantity,
    read_root,
    the_system,
    trajectories,
)
from md.runs.config import RunSettings
from md.runs.run_folder import FROM_IPI
from md.runs.structures import as_extxyz
from mlcalc.common.errors import InputError, note
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.settings import as_toml

_KELVIN = units.Hartree / units.kB
_TIME_FS = HBAR / units.Hartree / units.fs
# i-PI counts 3N degrees of freedom in its kinetic energies even if it holds the centre of mass: they are 3/2 k_BT above ours.
_COLUMNS = {
    "temperature": "temperature_K",
    "potential": "potential_eV",
    "kinetic_cv": "kinetic_virial_eV",
    "kinetic_td": "kinetic_primitive_eV",
    "conserved": "conserved_eV",
}
# Dimension of i-PI's columns, and our value of the atomic unit.
_UNITS = {name: ("energy", units.Hartree) for name in _COLUMNS} | {
    "temperature": ("temperature", _KELVIN), "step": ("number", 1.0), "time": ("time", _TIME_FS),
}  # fmt: skip


def convert(
    input_path: Path, folder: Path, model: str, pbc: bool | None = None, report: Callable[[str], None] = note
) -> Path:
    """Write a run folder from the output files beside an i-PI input; returns the folder.

    Args:
        input_path: i-PI's input (XML), or its RESTART; folder: The folder to create.
        model: Model of the harmonic reference, or "none".
        pbc: Whether i-PI's cell is periodic; None to determine it (start.find_pbc).
        report: Called with a line for each assumption.

    Raises:
        InputError: Not such an input, no trajectory of positions for every bead, inconsistent files, or an existing folder.
            Nothing is written then.
    """
    check_name(folder)
    if os.path.exists(folder) and (not os.path.isdir(folder) or any(folder.iterdir())):
        raise InputError(f"{folder} exists already and is not empty: choose another --output")
    root = read_root(input_path)
    system, prefix = the_system(root, input_path), output_prefix(root, input_path)
    n_beads = count_beads(system, input_path)
    temperature = quantity(system, "temperature", "temperature") * _KELVIN
    timestep_fs = quantity(system, "timestep", "time") * _TIME_FS
    chosen = _choose(root, n_beads, input_path)
    frames = read_frames(chosen, chosen.paths(prefix, n_beads), report)
    atoms = _structure(root, input_path, frames, pbc, report)
    table = _read_properties(root, prefix, timestep_fs, report)
    interval = int(frames.steps[1] - frames.steps[0]) if len(frames.steps) > 1 else max(1, chosen.stride)
    settings = RunSettings(
        STRUCTURE, model, beads=n_beads, temperature_K=temperature, timestep_fs=timestep_fs, steps=int(frames.steps[-1]),
        trajectory_every_steps=interval, remove_com=(system.findtext("motion/fixcom") or "true").strip().upper() == "TRUE",
    )  # fmt: skip
    status = {
        "state": "converted", "kind": FROM_IPI, "step": int(frames.steps[-1]), "error": None, "model": model,
        "source": str(input_path), "frames": len(frames.steps),
    }  # fmt: skip
    with _made_at_once(folder) as place:
        write_atomically(place / STRUCTURE, as_extxyz(atoms).encode())
        _write_trajectory(place / TRAJECTORY, frames, atoms, timestep_fs)
        if table:
            write_atomically(place / PROPERTIES, table.encode())
        write_atomically(place / STATUS, (to_json(status, indent=1) + "\n").encode())
        write_atomically(place / INPUT, as_toml(settings).encode())
    return folder


@contextmanager
def _made_at_once(folder: Path):
    """A temporary folder that is renamed to ``folder`` when complete, and removed on failure."""
    place = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        place.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}; choose another --output") from error
    try:
        yield place
        place.replace(folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _choose(root: Element, n_beads: int, path: Path) -> Trajectory:
    """The output with the positions of all beads in a readable format."""
    found = [trajectory for trajectory in trajectories(root) if trajectory.quantity == "positions"]
    if not found:
        others = ", ".join(trajectory.quantity for trajectory in trajectories(root)) or "none"
        raise InputError(f"{path}: no <trajectory> of positions in i-PI's input; it has: {others}")
    for trajectory in found:
        all_beads = trajectory.bead in ((-1, 0) if n_beads == 1 else (-1,))
        if all_beads and trajectory.format in FORMATS and trajectory.stride > 0:
            return trajectory
    first = found[0]
    if first.format not in FORMATS:
        raise InputError(
            f"{path}: <trajectory filename={first.name!r} format={first.format!r}>: expected one of {', '.join(FORMATS)}"
        )
    raise InputError(
        f"{path}: <trajectory filename={first.name!r} stride='{first.stride}' bead='{first.bead}'> of {n_beads} beads: expected a "
        "trajectory of all beads (no bead=…)"
    )


def _structure(root: Element, path: Path, frames: Frames, choice: bool | None, report: Callable[[str], None]) -> Atoms:
    """The first frame of the first bead, with masses, and with the cell if it is periodic."""
    pbc = find_pbc(root, path, frames.positions, frames.cells, choice)
    return Atoms(
        [element_of(label) for label in frames.labels],
        frames.positions[0, 0],
        masses=read_masses(root, path, frames.labels, report),
        cell=frames.cells[0] if pbc.any() else None,
        pbc=pbc,
    )


def _write_trajectory(path: Path, frames: Frames, atoms: Atoms, timestep_fs: float) -> None:
    n_beads, periodic = frames.positions.shape[1], bool(atoms.pbc.any())
    writer = TrajectoryWriter(path, n_beads, len(atoms), pbc=atoms.pbc, atoms=atoms)
    unknown = np.full(n_beads, np.nan)  # i-PI writes only means of energies
    for step, positions, cell in zip(frames.steps, frames.positions, frames.cells, strict=True):
        writer.append(int(step), step * timestep_fs, positions, unknown, cell=cell if periodic else None)
    writer.close()


def _read_properties(root: Element, prefix: str, timestep_fs: float, report: Callable[[str], None]) -> str:
    """The first table with known columns, as text; empty if there is none."""
    from ipi.scripting import read_output

    for name in property_files(root):
        file = Path(prefix + name)
        try:
            values, facts = read_output(str(file))
            found = {
                key: np.atleast_1d(column) * _scale(facts[key][0], key)
                for key, column in values.items()
                if key in _UNITS
            }
        except Exception as error:  # a truncated file can raise any error in i-PI's reader
            raise InputError(f"{file}: not a table of i-PI ({type(error).__name__}: {error})") from error
        columns = {ours: found[theirs] for theirs, ours in _COLUMNS.items() if theirs in found}
        steps = found["step"] if "step" in found else found["time"] / timestep_fs if "time" in found else None
        if columns and steps is None:
            report(f"{file.name} has neither step nor time: left out")
        elif columns:
            return _as_table(file, np.rint(steps).astype(np.int64), columns, timestep_fs)
    return ""


def _scale(unit: str | None, name: str) -> float:
    """Factor from i-PI's unit of a column, given in braces, to ours."""
    from ipi.utils.units import unit_to_internal

    dimension, ours = _UNITS[name]
    return float(unit_to_internal(dimension, (unit or "atomic_unit").strip(), 1.0)) * ours


def _as_table(file: Path, steps: np.ndarray, columns: dict[str, np.ndarray], timestep_fs: float) -> str:
    kept = last_copies(steps.tolist())
    check_even(steps[kept], file)
    table = {"step": steps[kept], "time_fs": steps[kept] * timestep_fs} | {
        key: column[kept] for key, column in columns.items()
    }
    for name, column in table.items():
        if not np.isfinite(column).all():
            raise InputError(f"{file}: {name} is not finite at step {table['step'][~np.isfinite(column)][0]}")
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    return "\n".join([",".join(table), *(",".join(map(repr, row)) for row in rows)]) + "\n"
