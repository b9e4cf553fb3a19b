"""Run folders as MDAnalysis universes: all beads as segments, or only the centroid.

MDAnalysis uses Å and ps and keeps positions in float32. Atom order is that of the file, bead-major:
index = bead·N + atom. A periodic run is rotated to MDAnalysis' axes when it is opened (analysis/structure/boxes.py): its structure,
universes and positions all have the first box vector along x and the second in the xy plane.
"""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ase import Atoms
from MDAnalysis import Universe
from MDAnalysis.coordinates.memory import MemoryReader
from MDAnalysis.units import get_conversion_factor

from analysis.runs.run import Run
from analysis.runs.run_files import check_run_folder
from analysis.structure.boxes import BeadReader, axes_of, boxes, cells_in
from md.dynamics.gle import parse_gle, read_gle_file
from md.files.layout import GLE, INPUT, MODEL, STRUCTURE, TRAJECTORY
from md.files.trajectory import check_order, check_positions, open_layout
from md.runs.config import RunSettings
from md.runs.copies import sum_of
from md.runs.run_folder import check_files
from mlcalc.common.errors import InputError, note
from mlcalc.geometry.minimum_image import joined_beads, lattice_of
from mlcalc.structures.structure_files import read_atoms

CHUNK_FRAMES = 1000  # frames read at once to compute centroids


def open_run(folder: str | Path) -> Run:
    """Read the small files of a run folder and the sizes of its trajectory.

    Raises:
        InputError: Not a run folder; no trajectory, or an unreadable file in it; atoms that do not fit the structure.
    """
    folder = Path(folder)
    check_run_folder(folder, "rpmd run", TRAJECTORY, "its first frame")
    check_files(folder)
    settings = _read_settings(folder / INPUT)
    if settings["bias"]:
        note(f"{folder}: a run with a bias: averages are those of its biased ensemble")
    own_model = folder / MODEL
    structure = read_atoms(folder / STRUCTURE, format="extxyz")[-1]
    check_positions(structure.positions[None], folder / STRUCTURE)
    n_beads, n_atoms, n_frames, interval = _read_sizes(folder / TRAJECTORY)
    if n_atoms != len(structure):
        raise InputError(f"{folder}: {n_atoms} atoms in trajectory.h5, but {len(structure)} in structure.xyz")
    if whole := sum_of(folder):
        settings["model"] = whole
    elif os.path.isfile(own_model):
        settings["model"] = str(own_model)
    if os.path.isfile(folder / GLE):
        matrices = read_gle_file(folder / GLE)
        if parse_gle(matrices.decode()).covariance is not None:
            settings["quantum_gle"] = matrices
    run = Run((folder,), (n_frames,), structure, n_beads, interval, **settings)
    return _with_axes(run) if structure.pbc.any() else run


def _with_axes(run: Run) -> Run:
    """A periodic run with its structure rotated to MDAnalysis' axes; InputError if files disagree on its periods."""
    structure, cell = run.structure.copy(), run.structure.cell.array.copy()
    for path in run.trajectories:
        _check_boundary(path, structure.pbc)
    try:
        axes = axes_of(cell, structure.pbc, structure.positions)
    except InputError as error:
        raise InputError(f"{run.folders[0] / 'structure.xyz'}: {error}") from error
    _, (rotation,) = boxes(cell[None], axes)
    structure.set_cell(cell @ rotation)
    structure.positions = structure.positions @ rotation
    return replace(run, structure=structure, cell=cell, axes=axes)


def _check_boundary(path: Path, pbc: np.ndarray) -> None:
    """Refuse a trajectory with cells that lacks a period of the structure; older ones had periods in all directions."""
    with h5py.File(path, "r") as file:
        box = file["particles/trajectory"].get("box")
        names = box.attrs.get("boundary") if box is not None and "edges" in box else None
    found = None if names is None else np.asarray(names).astype(str).tolist()
    if found is not None and (len(found) != 3 or any(pbc & (np.array(found) != "periodic"))):
        raise InputError(
            f"{path}: boundary {found}, but structure.xyz has pbc {pbc.tolist()}: expected the same periods"
        )


def bead_universe(run: Run) -> Universe:
    """All beads of a run as one Universe: P·N atoms, one segment ``bead0`` … per bead, streamed from the trajectory.

    For a periodic run ``dimensions`` holds the box of every frame, see analysis/structure/boxes.py.
    """
    atoms, p = run.structure, run.n_beads
    universe = _topology(atoms, p, [f"bead{bead}" for bead in range(p)])
    # MDAnalysis' H5MD reader knows the time of every frame but not their interval, and would report 1 ps.
    files = [str(path) for path in run.trajectories]
    periods = {} if run.axes is None else {"axes": run.axes, "cell": run.cell}
    reader = BeadReader.format if periods else "H5MD"
    universe.load_new(files if len(files) > 1 else files[0], format=reader, dt=run.frame_interval_ps, **periods)
    return universe


class BeadFrames(NamedTuple):
    """Frames of a run.

    Attributes:
        positions: (n, P, N, 3) Å, each bead at its image nearest to the atom's first bead.
        cells: (n, 3, 3) Å, rows are lattice vectors; None for a molecule.
    """

    positions: np.ndarray
    cells: np.ndarray | None


def bead_frames(run: Run, frames: Sequence[int] | np.ndarray) -> BeadFrames:
    """The frames with these numbers, in MDAnalysis' axes; float32, as in the file. Cells are None for a molecule."""
    wanted, back = np.unique(np.asarray(frames, dtype=np.int64), return_inverse=True)
    ends = np.cumsum(run.frames)
    which = np.searchsorted(ends, wanted, side="right")
    parts = []
    for number in np.unique(which).tolist():
        chosen = wanted[which == number] - (ends[number] - run.frames[number])
        adjacent = slice(chosen[0], chosen[-1] + 1)  # a slice is read faster than a list of numbers
        with h5py.File(run.trajectories[number], "r") as file:
            one_piece = adjacent.stop - adjacent.start == len(chosen)
            parts.append(_turned(run, file["particles/trajectory"], adjacent if one_piece else chosen))
    positions = np.concatenate([part for part, _, _ in parts])[back]
    return BeadFrames(positions, None if run.axes is None else np.concatenate([part for _, part, _ in parts])[back])


def bead_positions(run: Run, frames: Sequence[int] | np.ndarray) -> np.ndarray:
    """Positions (n_frames, P, N, 3), Å, of the frames with these numbers, as in bead_frames."""
    return bead_frames(run, frames).positions


def _turned(run: Run, particles: h5py.Group, part: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joined positions (n, P, N, 3) and lattice vectors (n, 3, 3) in MDAnalysis' axes, and its dimensions (n, 6)."""
    positions = particles["position/value"][part].astype(np.float64)
    check_positions(positions, particles.file.filename)
    positions = positions.reshape(len(positions), run.n_beads, -1, 3)
    if run.axes is None:
        return positions, np.empty((0, 3, 3)), np.empty((0, 6))
    cells = np.broadcast_to(cells_in(particles, part, run.cell), (len(positions), 3, 3))
    for frame, cell in enumerate(cells if run.n_beads > 1 else ()):
        positions[frame] = joined_beads(positions[frame], lattice_of(cell, run.axes.pbc))
    dimensions, rotations = boxes(cells, run.axes)
    return positions @ rotations[:, None], cells @ rotations, dimensions


def centroid_universe(run: Run) -> Universe:
    """The centroids q̄ = (1/P)Σ_j q_j of a run as a Universe of N atoms; positions are held in memory.

    A periodic run has the box of every frame; each bead is taken at its image nearest to the atom's first bead.
    """
    atoms = run.structure
    centroids = np.empty((run.n_frames, len(atoms), 3), dtype=np.float32)
    boxed: list[np.ndarray] = []
    place = 0
    for path, count in zip(run.trajectories, run.frames, strict=True):
        with h5py.File(path, "r") as file:
            for start in range(0, count, CHUNK_FRAMES):
                part = slice(start, min(start + CHUNK_FRAMES, count))
                beads, _, dimensions = _turned(run, file["particles/trajectory"], part)
                centroids[place : place + len(beads)] = beads.mean(axis=1)
                place += len(beads)
                boxed.append(dimensions)
    start = bead_universe(run).trajectory[0].time
    universe = _topology(atoms, 1, ["centroid"])
    box = {} if run.axes is None else {"dimensions": np.concatenate(boxed).astype(np.float32)}
    universe.load_new(centroids, format=MemoryReader, order="fac", dt=run.frame_interval_ps, time_offset=start, **box)
    return universe


def _topology(atoms: Atoms, copies: int, names: list[str]) -> Universe:
    universe = Universe.empty(
        n_atoms=copies * len(atoms),
        n_residues=copies,
        n_segments=copies,
        atom_resindex=np.repeat(np.arange(copies), len(atoms)),
        residue_segindex=np.arange(copies),
    )
    symbols = np.tile(atoms.get_chemical_symbols(), copies)
    for attribute in ("names", "types", "elements"):
        universe.add_TopologyAttr(attribute, symbols)
    universe.add_TopologyAttr("masses", np.tile(atoms.get_masses(), copies))
    universe.add_TopologyAttr("segids", names)
    return universe


def _read_settings(path: Path) -> dict[str, Any]:
    """What a Run says of its input."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            "temperature_K": float(settings["temperature_K"]),
            "model": str(settings.get("engine") or settings["model"]),
            "rotates": not settings.get("remove_rotation", False),
            "bias": str(settings.get("bias") or ""),
            "pressure_GPa": float(settings["pressure_GPa"]) if settings.get("barostat", "none") != "none" else None,
            "thermostat": str(settings.get("thermostat", RunSettings.thermostat)),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the input of a run: {error}") from error


def _read_sizes(path: Path) -> tuple[int, int, int, float]:
    """Beads, atoms and frames of an H5MD trajectory, and the time between frames in ps."""
    layout = open_layout(path)
    try:
        check_order(layout)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    interval = float(layout.times[1] - layout.times[0]) if layout.n_frames > 1 else 0.0
    if layout.n_frames > 1 and not interval > 0.0:
        raise InputError(f"{path}: the times of its frames do not increase; see 'rpmd check'")
    return layout.n_beads, layout.n_atoms, layout.n_frames, interval * get_conversion_factor("time", "fs", "ps")
