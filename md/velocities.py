"""The file of velocities in real time."""

from pathlib import Path

import numpy as np

from md.committed_file import CommittedH5
from mlcalc.errors import InputError


class VelocityWriter:
    """``velocities.h5``: ``/velocity`` (n_trajectories, n_frames, N, 3) float32 in Å/fs, whole batches at a time.

    Attributes of the dataset: ``unit``, ``interval_fs``, ``n_beads``, ``temperature_K``; ``/mass`` (N,) in u.

    Args:
        n_trajectories: None to make the file; a number to go on with one, cut back to these.

    Raises:
        InputError: The file to go on with is not whole.
    """

    def __init__(self, path: Path, settings, atoms, n_trajectories: int | None = None):
        if n_trajectories is None:
            self._file = CommittedH5(path, create=True)
            self._make(settings, atoms)
            return
        try:
            self._file = CommittedH5(path, create=False)
            self._data = self._file.file["velocity"]
            if len(self._data) < n_trajectories:
                raise ValueError(f"{len(self._data)} trajectories, fewer than the {n_trajectories} of the checkpoint")
            self._data.resize(n_trajectories, axis=0)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: not trajectories that can be gone on with ({error})") from error
        self._file.commit(removing=True)

    def _make(self, settings, atoms) -> None:
        shape = (settings.steps // settings.velocities_every_steps + 1, len(atoms), 3)
        self._data = self._file.file.create_dataset(
            "velocity", (0, *shape), "f4", maxshape=(None, *shape), chunks=(1, *shape)
        )
        self._data.attrs.update(
            unit="Angstrom fs-1", interval_fs=settings.timestep_fs * settings.velocities_every_steps,
            n_beads=settings.beads, temperature_K=settings.temperature_K,
        )  # fmt: skip
        self._file.file["mass"] = atoms.get_masses()
        self._file.commit()

    def append(self, velocities: np.ndarray) -> None:
        """Add trajectories (M, n_frames, N, 3) in Å/fs."""
        n = len(self._data)
        self._data.resize(n + len(velocities), axis=0)
        self._data[n:] = velocities
        self._file.commit()

    def __len__(self) -> int:
        return len(self._data)

    def sync(self) -> None:
        """Wait until all trajectories are on disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
