"""Trajectories of all beads as H5MD, readable by MDAnalysis while the run goes on and after it was killed.

Layout (H5MD 1.1, https://www.nongnu.org/h5md): ``/particles/trajectory/position`` with ``value`` (n_frames, P·N, 3) float32 Å in
bead-major order (index = bead·N + atom), ``step`` and ``time`` (fs); ``n_beads`` and ``n_atoms`` are attributes of the group. The
potential energies of the beads, (n_frames, P) eV, lie under ``/observables/trajectory/potential_energy``, estimators per atom,
(n_frames, N), beside them under their names; ``step`` and ``time`` of all elements are the same datasets under further names.
A periodic system has the cell of every frame, rows are lattice vectors, under ``/particles/trajectory/box/edges``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np

from md.committed_file import CommittedH5
from mlcalc.errors import InputError


class TrajectoryWriter:
    """Appends frames; each is in the file before the next step is made (md/committed_file.py).

    Args:
        path: File to be made; n_beads, n_atoms: P and N.
        cell: (3, 3) Å of a periodic structure, rows are lattice vectors; None for a molecule.
        observables: Names of quantities with a value for every atom.
        n_frames: None to make the file; a number to go on with one that has at least as many frames, cut back to these.
        pbc: Which lattice vectors are periods.

    Raises:
        InputError: The file to go on with is not whole.
        OSError: No space is left (``append`` likewise); the file then ends with the frame before.
    """

    def __init__(
        self,
        path: str | Path,
        n_beads: int,
        n_atoms: int,
        cell: np.ndarray | None = None,
        observables: Sequence[str] = (),
        n_frames: int | None = None,
        pbc: Sequence[bool] = (True, True, True),
    ):
        self._observables, self._cell, self.n_frames = observables, cell, n_frames or 0
        self._boundary = ["periodic" if cell is not None and period else "none" for period in pbc]
        if n_frames is None:
            self._make(path, n_beads, n_atoms)
        else:
            self._reopen(path)

    def _make(self, path: str | Path, n_beads: int, n_atoms: int) -> None:
        cell = self._cell
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
        if cell is not None:
            others.append(_element(box, "edges", (3, 3), "f8", "Angstrom"))
        step = position.create_dataset("step", (0,), "i8", maxshape=(None,), chunks=(1024,))
        time = position.create_dataset("time", (0,), "f8", maxshape=(None,), chunks=(1024,))
        time.attrs["unit"] = "fs"
        for element in others:
            element["step"], element["time"] = step, time
        self._find_datasets()
        self._file.commit()

    def _reopen(self, path: str | Path) -> None:
        try:
            self._file = CommittedH5(path, create=False)
            self._find_datasets()
            if min(map(len, self._datasets)) < self.n_frames:
                raise ValueError(
                    f"{min(map(len, self._datasets))} frames, fewer than the {self.n_frames} of the checkpoint"
                )
            for dataset in self._datasets:
                dataset.resize(self.n_frames, axis=0)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not a trajectory that can be gone on with ({error})") from error
        self._file.commit(removing=True)

    def _find_datasets(self) -> None:
        # Looking a dataset up takes longer than writing a frame. Steps come last: a frame counts once its step is there.
        particles, others = (self._file.file[f"{name}/trajectory"] for name in ("particles", "observables"))
        values = [others[f"{name}/value"] for name in ("potential_energy", *self._observables)]
        values += [] if self._cell is None else [particles["box/edges/value"]]
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
        """Add a frame: positions (P, N, 3) Å, potential energies (P,) eV, observables by name (N,), its cell where that changes."""
        others = [energies, *(observables[name] for name in self._observables)]
        others += [] if self._cell is None else [self._cell if cell is None else cell]
        entries = *others, positions.reshape(-1, 3), time_fs, step
        for dataset, entry in zip(self._datasets, entries, strict=True):
            _append(dataset.id, self.n_frames, np.asarray(entry, order="C"))
        self._file.commit()
        self.n_frames += 1

    def close(self) -> None:
        """Close the file; it holds all frames that were appended without an error."""
        self._file.close()


def _append(dataset: h5py.h5d.DatasetID, index: int, entry: np.ndarray) -> None:
    """Grow a dataset by one entry; h5py's own ``resize`` and indexing would take three times as long."""
    shape = (1, *entry.shape)
    dataset.set_extent((index + 1, *entry.shape))
    target = dataset.get_space()
    target.select_hyperslab((index, *(0 for _ in entry.shape)), shape)
    dataset.write(h5py.h5s.create_simple(shape), target, entry)


def _element(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: str, unit: str | None) -> h5py.Group:
    """An H5MD element with its ``value``; ``step`` and ``time`` are still to come."""
    group = parent.create_group(name)
    chunk = max(1, (1 << 16) // (int(np.prod(shape)) * np.dtype(dtype).itemsize))
    group.create_dataset("value", (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
    if unit:
        group["value"].attrs["unit"] = unit
    return group


def read_frames(path: str | Path, skip: int = 0, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) and positions (n, P, N, 3) Å of a trajectory.

    Raises:
        InputError: Not a trajectory of a ring polymer, or no frame left.
    """
    try:
        with h5py.File(path, "r") as file:
            particles = file["particles/trajectory"]
            n_beads, n_atoms = int(particles.attrs["n_beads"]), int(particles.attrs["n_atoms"])
            steps = particles["position/step"][skip::every]
            positions = particles["position/value"][skip::every][: len(steps)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a readable H5MD trajectory of a ring polymer ({error})") from error
    if not len(positions):
        raise InputError(f"{path}: no frames left after skipping {skip}")
    return steps, positions.astype(np.float64).reshape(len(positions), n_beads, n_atoms, 3)
