"""Trajectories of all beads as H5MD, readable by MDAnalysis during the run and after it was killed.

Layout (H5MD 1.1, https://www.nongnu.org/h5md): ``/particles/trajectory/position`` with ``value`` (n_frames, P·N, 3) float32 Å in
bead-major order (index = bead·N + atom), ``step`` and ``time`` (fs); ``n_beads`` and ``n_atoms`` are attributes of the group. The
potential energies of the beads, (n_frames, P) eV, lie under ``/observables/trajectory/potential_energy``, estimators per atom,
(n_frames, N), beside them under their names; ``step`` and ``time`` of all elements are the same datasets under further names.
For a periodic system ``/particles/trajectory/box/edges`` holds the cell of every frame, rows are lattice vectors. Time-independent
elements ``species`` (atomic numbers) and ``mass`` (u), (P·N,) each, describe the particles; VMD's plug-in reads masses only from
files that list their species under ``/parameters/vmd_structure/indexOfSpecies``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import h5py
import numpy as np
from ase import Atoms

from md.files.closed_h5 import check_closed, damage, open_h5
from md.files.committed_file import CommittedH5
from mlcalc.common.errors import InputError

LARGEST_A = 1e7  # no atom of a run is this far from the origin; float32 could not resolve its motion
_MOST_BEADS, _MOST_ATOMS = 1024, 1 << 31
_WHAT = "H5MD trajectory of a ring polymer"


class TrajectoryWriter:
    """Appends frames; each is in the file before the next step (md/files/committed_file.py).

    Args:
        path: The file; n_beads, n_atoms: P and N.
        observables: Names of quantities with one value per atom.
        n_frames: None to create the file; a number to resume one with at least as many frames, truncated to this number.
        pbc: Which lattice vectors are periods; if any is, every frame has a cell.
        atoms: The N atoms, for species and masses of a new file; None to omit them.

    Raises:
        InputError: The file to resume is damaged or refers to data outside itself.
        OSError: No space is left (``append`` likewise); the file then ends with the frame before.
    """

    def __init__(
        self,
        path: str | Path,
        n_beads: int,
        n_atoms: int,
        observables: Sequence[str] = (),
        n_frames: int | None = None,
        pbc: Sequence[bool] = (False, False, False),
        atoms: Atoms | None = None,
    ):
        self._observables, self._periodic, self.n_frames = observables, any(pbc), n_frames or 0
        self._boundary = ["periodic" if period else "none" for period in pbc]
        if n_frames is None:
            self._make(path, n_beads, n_atoms, atoms)
        else:
            self._reopen(path)

    def _make(self, path: str | Path, n_beads: int, n_atoms: int, atoms: Atoms | None) -> None:
        self._file = CommittedH5(path, create=True)
        root = self._file.file
        root.create_group("h5md").attrs["version"] = [1, 1]
        for name, text in (("author", "unknown"), ("creator", "mlcalc")):
            root["h5md"].create_group(name).attrs["name"] = text
        particles = root.create_group("particles/trajectory")
        particles.attrs.update(n_beads=n_beads, n_atoms=n_atoms)
        box = particles.create_group("box")
        box.attrs.update(dimension=3, boundary=self._boundary)
        position = _element(particles, "position", (n_beads * n_atoms, 3), "f4", "Angstrom")
        group = root.create_group("observables/trajectory")
        others = [_element(group, "potential_energy", (n_beads,), "f8", "eV")]
        others += [_element(group, name, (n_atoms,), "f8", None) for name in self._observables]
        if self._periodic:
            others.append(_element(box, "edges", (3, 3), "f8", "Angstrom"))
        step = position.create_dataset("step", (0,), "i8", maxshape=(None,), chunks=(1024,))
        time = position.create_dataset("time", (0,), "f8", maxshape=(None,), chunks=(1024,))
        time.attrs["unit"] = "fs"
        for element in others:
            element["step"], element["time"] = step, time
        if atoms is not None:
            _add_identities(root, atoms, n_beads)
        self._find_datasets()
        self._file.commit()

    def _reopen(self, path: str | Path) -> None:
        try:
            self._file = CommittedH5(path, create=False)
            check_closed(self._file.file)
            layout_of(self._file.file)
            self._find_datasets()
            found = min(map(len, self._datasets))
            if found < self.n_frames:
                raise InputError(f"{found} frames, fewer than the {self.n_frames} of the checkpoint")
            for dataset in self._datasets:
                dataset.resize(self.n_frames, axis=0)
        except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = damage(error).replace(f"{path} ", "")
            raise InputError(f"{path}: not a trajectory that can be resumed ({reason})") from error
        self._file.commit(removing=True)

    def _find_datasets(self) -> None:
        # Looking up a dataset takes longer than writing a frame. Steps come last: a frame counts once its step is written.
        particles, others = (self._file.file[f"{name}/trajectory"] for name in ("particles", "observables"))
        values = [others[f"{name}/value"] for name in ("potential_energy", *self._observables)]
        values += [particles["box/edges/value"]] if self._periodic else []
        self._datasets = *values, *(particles[f"position/{name}"] for name in ("value", "time", "step"))

    def __len__(self) -> int:
        return self.n_frames

    def sync(self) -> None:
        """Wait until all frames are on disk."""
        self._file.sync()

    def append(
        self, step: int, time_fs: float, positions: np.ndarray, energies: np.ndarray,
        observables: Mapping[str, np.ndarray] = MappingProxyType({}), cell: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Add a frame: positions (P, N, 3) Å, potential energies (P,) eV, observables by name (N,), cell (3, 3) Å if periodic."""
        others = [energies, *(observables[name] for name in self._observables)]
        others += [cell] if self._periodic else []
        entries = *others, positions.reshape(-1, 3), time_fs, step
        for dataset, entry in zip(self._datasets, entries, strict=True):
            _append(dataset.id, self.n_frames, np.asarray(entry, order="C"))
        self._file.commit()
        self.n_frames += 1

    def close(self) -> None:
        """Close the file; it holds all frames appended without an error."""
        self._file.close()


def _append(dataset: h5py.h5d.DatasetID, index: int, entry: np.ndarray) -> None:
    """Grow a dataset by one entry; h5py's own ``resize`` and indexing would take three times as long."""
    shape = (1, *entry.shape)
    dataset.set_extent((index + 1, *entry.shape))
    target = dataset.get_space()
    target.select_hyperslab((index, *(0 for _ in entry.shape)), shape)
    dataset.write(h5py.h5s.create_simple(shape), target, entry)


def _element(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: str, unit: str | None) -> h5py.Group:
    """An H5MD element with its ``value``, still without ``step`` and ``time``."""
    group = parent.create_group(name)
    chunk = max(1, (1 << 16) // (int(np.prod(shape)) * np.dtype(dtype).itemsize))
    group.create_dataset("value", (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
    if unit:
        group["value"].attrs["unit"] = unit
    return group


def _add_identities(root: h5py.Group, atoms: Atoms, n_beads: int) -> None:
    """Species and masses of all particles, bead-major, as time-independent elements."""
    numbers = atoms.numbers.astype("i4")
    particles = root["particles/trajectory"]
    particles["species"] = np.tile(numbers, n_beads)
    particles["mass"] = np.tile(atoms.get_masses(), n_beads)
    particles["mass"].attrs["unit"] = "u"
    root["parameters/vmd_structure/indexOfSpecies"] = np.unique(numbers)


class Layout(NamedTuple):
    """Sizes of a trajectory: P, N and the frames with step, time and positions.

    Attributes:
        steps, times: (n_frames,), the latter in fs.
    """

    n_beads: int
    n_atoms: int
    n_frames: int
    steps: np.ndarray
    times: np.ndarray


def layout_of(file: h5py.File) -> Layout:
    """The layout of a trajectory, after a check of the type, shape and unit of everything that is read.

    Raises:
        InputError: Something differs from what TrajectoryWriter writes. KeyError: Something is missing.
    """
    particles = file["particles/trajectory"]
    n_beads = _count(particles, "n_beads", _MOST_BEADS)
    n_atoms = _count(particles, "n_atoms", _MOST_ATOMS)
    value = _dataset(particles, "position/value", "f", (n_beads * n_atoms, 3), "Angstrom")
    step = _dataset(particles, "position/step", "iu", ())
    time = _dataset(particles, "position/time", "f", (), "fs")
    # A run in progress may have written the positions of a frame but not yet its time.
    n_frames = min(len(value), len(time), len(step))
    steps, times = step[:n_frames].astype(np.int64), time[:n_frames].astype(np.float64)
    others = [_dataset(particles, "box/edges/value", "f", (3, 3), "Angstrom")] if "box/edges" in particles else []
    others.append(_dataset(file, "observables/trajectory/potential_energy/value", "f", (n_beads,), "eV"))
    for dataset in others:
        if len(dataset) < n_frames:
            raise InputError(f"{len(dataset)} entries of {dataset.name} for {n_frames} frames")
    return Layout(n_beads, n_atoms, n_frames, steps, times)


def check_order(layout: Layout) -> None:
    """Raise InputError unless steps increase and times do not decrease."""
    if not ((np.diff(layout.steps) > 0).all() and (layout.steps >= 0).all()):
        raise InputError("the steps of its frames do not increase: see 'rpmd check'")
    if not (np.isfinite(layout.times).all() and (np.diff(layout.times) >= 0).all()):
        raise InputError("the times of its frames decrease or are not finite: see 'rpmd check'")


def _count(group: h5py.Group, name: str, most: int) -> int:
    value = group.attrs[name]
    if np.ndim(value) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise InputError(f"{name} = {str(value)[:40]}: expected 1 to {most}")
    return int(value)


def _dataset(
    parent: h5py.Group, name: str, kinds: str, shape: tuple[int, ...], unit: str | None = None
) -> h5py.Dataset:
    """A dataset with entries of a given shape and kind of number; InputError for anything else, KeyError if it is missing."""
    found = parent[name]
    place = f"{parent.name.rstrip('/')}/{name}"
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{place} is a group: expected a dataset")
    if found.dtype.kind not in kinds or found.dtype.names or found.dtype.itemsize > 8:
        raise InputError(f"{place} is of type {found.dtype}: expected {'a float' if kinds == 'f' else 'an integer'}")
    if found.shape is None or len(found.shape) != len(shape) + 1 or found.shape[1:] != shape:
        raise InputError(f"{place} is of shape {found.shape}: expected (frames, {', '.join(map(str, shape))})")
    if unit and not np.array_equal(found.attrs.get("unit"), unit):
        raise InputError(f"{place} is in {str(found.attrs.get('unit'))[:40]!r}: expected {unit}")
    return found


def open_layout(path: str | Path) -> Layout:
    """layout_of for a path; InputError if it is not such a file."""
    with open_h5(path, _WHAT) as file:
        return layout_of(file)


def read_frames(path: str | Path, skip: int = 0, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) and positions (n, P, N, 3) Å of a trajectory.

    Raises:
        InputError: Not a trajectory of a ring polymer, or no frames left.
    """
    with open_h5(path, _WHAT) as file:
        layout = layout_of(file)
        check_order(layout)
        steps = layout.steps[skip::every]
        positions = file["particles/trajectory/position/value"][skip : layout.n_frames : every]
    if not len(steps):
        raise InputError(f"{path}: no frames left after skipping {skip}")
    check_positions(positions, path)
    return steps, positions.astype(np.float64).reshape(len(steps), layout.n_beads, layout.n_atoms, 3)


def read_cells(path: str | Path, skip: int = 0, every: int = 1) -> np.ndarray | None:
    """Cells (n, 3, 3) Å of the frames that read_frames returns; None where the file has none. InputError as read_frames."""
    with open_h5(path, _WHAT) as file:
        n_frames, box = layout_of(file).n_frames, file["particles/trajectory"].get("box/edges/value")
        return None if box is None else box[skip:n_frames:every].astype(np.float64)


def check_positions(positions: np.ndarray, path: str | Path) -> None:
    """Raise InputError unless positions (n_frames, …) in Å are finite and below LARGEST_A."""
    if not (positions.max(initial=0.0) < LARGEST_A and positions.min(initial=0.0) > -LARGEST_A):
        wrong = ~(np.abs(positions) < LARGEST_A).reshape(len(positions), -1).all(axis=1)
        raise InputError(
            f"{path}: positions of frame {int(np.argmax(wrong))} are not finite or exceed {LARGEST_A:g} Å: they cannot be "
            "analysed; see 'rpmd check'"
        )
