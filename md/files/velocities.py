"""The file of real-time velocities."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from md.files.closed_h5 import check_closed, damage, open_h5
from md.files.committed_file import CommittedH5
from mlcalc.common.errors import InputError

_VELOCITY, DIPOLE = "velocity", "dipole"
_DIPOLE_UNIT = "e Angstrom"


class VelocityWriter:
    """``velocities.h5``: ``/velocity`` (n_trajectories, n_frames, N, 3) float32 in Å/fs, written in complete batches.

    Attributes of the dataset: ``unit``, ``interval_fs``, ``n_beads``, ``temperature_K``; ``/mass`` (N,) in u. With dipoles:
    ``/dipole`` (n_trajectories, n_frames, 3) float32 in eÅ.

    Args:
        n_trajectories: None to create the file; a number to resume one, truncated to this number.

    Raises:
        InputError: The file to resume is damaged.
    """

    def __init__(self, path: Path, settings, atoms, n_trajectories: int | None = None):
        if n_trajectories is None:
            self._file = CommittedH5(path, create=True)
            self._make(settings, atoms)
            return
        try:
            self._file = CommittedH5(path, create=False)
            check_closed(self._file.file)
            facts_of(self._file.file)
            self._data = [self._file.file[name] for name in (_VELOCITY, DIPOLE) if name in self._file.file]
            if (least := min(map(len, self._data))) < n_trajectories:
                raise InputError(f"{least} trajectories, fewer than the {n_trajectories} of the checkpoint")
            for data in self._data:
                data.resize(n_trajectories, axis=0)
        except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = damage(error).replace(f"{path} ", "")
            raise InputError(f"{path}: not trajectories that can be resumed ({reason})") from error
        self._file.commit(removing=True)

    def _make(self, settings, atoms) -> None:
        n_frames = settings.steps // settings.velocities_every_steps + 1
        shapes = {_VELOCITY: (n_frames, len(atoms), 3)} | ({DIPOLE: (n_frames, 3)} if settings.dipoles else {})
        self._data = [
            self._file.file.create_dataset(name, (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape))
            for name, shape in shapes.items()
        ]
        for data in self._data[1:]:
            data.attrs.update(unit=_DIPOLE_UNIT)
        self._data[0].attrs.update(
            unit="Angstrom fs-1", interval_fs=settings.timestep_fs * settings.velocities_every_steps,
            n_beads=settings.beads, temperature_K=settings.temperature_K,
        )  # fmt: skip
        self._file.file["mass"] = atoms.get_masses()
        self._file.commit()

    def append(self, velocities: np.ndarray, dipoles: np.ndarray | None = None) -> None:
        """Add trajectories (M, n_frames, N, 3) in Å/fs, and their dipoles (M, n_frames, 3) in eÅ, if the file has them."""
        n = len(self)
        for data, new in zip(self._data, (velocities, dipoles), strict=False):
            data.resize(n + len(velocities), axis=0)
            data[n:] = new
        self._file.commit()

    def __len__(self) -> int:
        return len(self._data[0])

    def sync(self) -> None:
        """Wait until all trajectories are on disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Velocities(NamedTuple):
    """The contents of a file of velocities.

    Attributes:
        shape: (n_trajectories, n_frames, N, 3); masses: (N,) u.
        interval_fs: Between frames; n_beads: P; temperature_K: Of the thermalised starts.
        has_dipoles: Whether the file has dipoles.
    """

    shape: tuple[int, ...]
    masses: np.ndarray
    interval_fs: float
    n_beads: int
    temperature_K: float
    has_dipoles: bool = False


def facts_of(file: h5py.File) -> Velocities:
    """Describe a file of velocities; InputError for anything that VelocityWriter does not write, KeyError for missing entries."""
    data, mass = file[_VELOCITY], file["mass"]
    dipoles = [file[DIPOLE]] if DIPOLE in file else []
    for found, rank in ((data, 4), (mass, 1), *((dipole, 3) for dipole in dipoles)):
        if not isinstance(found, h5py.Dataset) or found.dtype.kind != "f" or len(found.shape or ()) != rank:
            raise InputError(f"{found.name}: expected an array of floats with {rank} dimensions")
    n_atoms = len(mass)
    if not (n_atoms and data.shape[1] and data.shape[2:] == (n_atoms, 3)):
        raise InputError(f"velocities of shape {data.shape} for {n_atoms} atoms")
    for dipole in dipoles:
        if dipole.shape != (*data.shape[:2], 3) or not np.array_equal(dipole.attrs.get("unit"), _DIPOLE_UNIT):
            raise InputError(f"dipoles of shape {dipole.shape}: expected {(*data.shape[:2], 3)} in {_DIPOLE_UNIT}")
    numbers = {name: data.attrs[name] for name in ("interval_fs", "n_beads", "temperature_K")}
    for name, value in numbers.items():
        if np.ndim(value) or not isinstance(value, int | float | np.number) or not 0 < value < 1e18:
            raise InputError(f"{name} = {str(value)[:40]}: expected a number above 0")
    if not np.array_equal(data.attrs.get("unit"), "Angstrom fs-1"):
        raise InputError(f"velocities in {str(data.attrs.get('unit'))[:40]!r}: expected Angstrom fs-1")
    masses = mass[:].astype(np.float64)
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise InputError("masses: expected numbers above 0")
    return Velocities(
        data.shape,
        masses,
        float(numbers["interval_fs"]),
        int(numbers["n_beads"]),
        float(numbers["temperature_K"]),
        bool(dipoles),
    )


def open_velocities(path: str | Path) -> Velocities:
    """facts_of for a path; InputError if it is not such a file."""
    with open_h5(path, "file of velocities") as file:
        return facts_of(file)
