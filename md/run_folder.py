"""Everything a run leaves on disk: one folder per bead count.

=================  ==========================================================================================
file               content
=================  ==========================================================================================
input.toml         the settings as used, overrides included
structure.xyz      the start geometry
model.safetensors  the model as used, so that the folder stands on its own
gle.txt            the thermostat's matrices, if it has any
trajectory.h5      all beads, see md/trajectory.py
properties.csv     estimators against time, whole lines only; comment lines start with #
velocities.h5      in place of these two where 'rpmd real-time' ran, see md/real_time.py
checkpoint         the state to go on from, and checkpoint.previous the one before, see md/checkpoint.py
status.json        state, step, rate, time left, last error; always valid JSON
run.log            what happened when
=================  ==========================================================================================
"""

import fcntl
import os
import shutil
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from md.checkpoint import NEWEST, PREVIOUS
from md.estimators import ESTIMATORS, PER_ATOM
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.model_file import write_atomically
from mlcalc.settings import build_settings, read_toml

INPUT, STRUCTURE, MODEL = "input.toml", "structure.xyz", "model.safetensors"
GLE, TRAJECTORY, PROPERTIES, VELOCITIES = "gle.txt", "trajectory.h5", "properties.csv", "velocities.h5"
STATUS, LOG, LOCK = "status.json", "run.log", ".lock"
_FILES = {INPUT, STRUCTURE, MODEL, GLE, TRAJECTORY, PROPERTIES, VELOCITIES, STATUS, LOG, NEWEST, PREVIOUS}
_STATUS_INTERVAL_S = 2.0


def check_writable(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless a run may be written to ``folder``: it is new, empty, or an old run to be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(path.name != LOCK for path in folder.iterdir())):
        return
    if not overwrite:
        more = f", or go on with 'rpmd resume {folder}'" if (folder / NEWEST).exists() else ""
        raise InputError(
            f"{folder} exists already and is not empty: choose another --output, or pass --overwrite{more}"
        )
    if not is_run_folder(folder):
        raise InputError(f"{folder} is not a folder that rpmd wrote: --overwrite does not touch it")


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds the files of a run (and so may be overwritten)."""
    return folder.is_dir() and (folder / STATUS).is_file() and (folder / INPUT).is_file()


class RunFolder:
    """Writer of one run folder, which nobody else may write to meanwhile.

    Args:
        folder: Made if it is not there.
        settings: RunSettings with one number of beads.

    Raises:
        InputError: Another process writes there. The lock is the system's: it goes with the process that holds it.
    """

    def __init__(self, folder: Path, settings):
        self.folder, self._settings, self._status, self._status_time = folder, settings, {}, -_STATUS_INTERVAL_S
        self._open = []
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(folder / LOCK, "w")  # noqa: SIM115 (held for the life of the run)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise InputError(
                f"{folder}: another run is writing there; wait for it, or choose another --output"
            ) from error

    def begin(self, atoms, model_path: Path) -> None:
        """Remove an old run and write what a new one starts from: the start geometry and the model file."""
        from ase.io import write

        from md.config import as_toml

        for name in _FILES:
            (self.folder / name).unlink(missing_ok=True)
        write_atomically(self.folder / INPUT, as_toml(self._settings).encode())
        write(self.folder / STRUCTURE, atoms, format="extxyz")
        shutil.copyfile(model_path, self.folder / MODEL)
        if self._settings.gle_file:
            shutil.copyfile(self._settings.gle_file, self.folder / GLE)

    def extend(self, steps: int) -> None:
        """Note in the input that the run is to have so many steps."""
        from md.config import RunSettings, as_toml

        settings = build_settings(RunSettings, read_toml(self.folder / INPUT) | {"steps": steps}, self.folder / INPUT)
        write_atomically(self.folder / INPUT, as_toml(settings).encode())

    def open_tables(self, atoms, columns: list[str], checkpoint=None) -> None:
        """Begin trajectory and properties, with these columns beside step and time, or cut them back to a Checkpoint."""
        from md.trajectory import TrajectoryWriter

        n_beads, per_atom = self._settings.beads, self._settings.per_atom
        observables = [name for name, row in ESTIMATORS.items() if row.needs == PER_ATOM] if per_atom else []
        cell = atoms.cell.array if atoms.pbc.any() else None
        frames = None if checkpoint is None else checkpoint.frames
        self.columns = columns
        self._trajectory = TrajectoryWriter(self.folder / TRAJECTORY, n_beads, len(atoms), cell, observables, frames)
        path = self.folder / PROPERTIES
        if checkpoint is not None:
            os.truncate(path, checkpoint.properties_bytes)
        # Stays open for the life of the run.
        self._properties = open(path, "w" if checkpoint is None else "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        if checkpoint is None:
            self._properties.write(
                f"# ring-polymer MD, P = {n_beads}; means over beads, energies of the whole system\n"
            )
            self._properties.write(",".join(["step", "time_fs", *columns]) + "\n")
        self._open = [self._trajectory, self._properties]

    @property
    def extent(self) -> tuple[int, int]:
        """Frames in the trajectory and bytes in the table of properties, both safely on disk."""
        self._trajectory.sync()
        self._properties.flush()
        os.fsync(self._properties.fileno())
        return self._trajectory.n_frames, (self.folder / PROPERTIES).stat().st_size

    def add_properties(self, step: int, time_fs: float, values: dict[str, float]) -> None:
        """Append one line to the table."""
        numbers = [repr(values[name]) for name in self.columns]
        self._properties.write(",".join([str(step), f"{time_fs:.6g}", *numbers]) + "\n")

    def add_frame(self, sample) -> None:
        """Append one frame of all beads of an estimators.Sample."""
        observables = sample.per_atom if self._settings.per_atom else {}
        positions = sample.ring_polymer.positions
        self._trajectory.append(sample.step, sample.time_fs, positions, sample.potential_energies, observables)

    def log(self, message: str) -> None:
        """Add a line to the log."""
        with open(self.folder / LOG, "a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now().isoformat(timespec='seconds')} {message}\n")

    def set_status(self, force: bool = False, **entries: Any) -> None:
        """Update status.json: at once with ``force``, else every few seconds."""
        self._status |= entries
        if force or time.monotonic() - self._status_time > _STATUS_INTERVAL_S:
            write_atomically(self.folder / STATUS, (to_json(self._status, indent=1) + "\n").encode())
            self._status_time = time.monotonic()

    def close(self) -> None:
        """Close the files and let others write."""
        for table in self._open:
            table.close()
        self._lock.close()


def read_properties(folder: Path, columns: list[str]):
    """These columns of the table of a run folder, (n, len(columns)); InputError when it is not that table."""
    import numpy as np

    try:
        lines = [line for line in (folder / PROPERTIES).read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
        if lines[0].split(",") != ["step", "time_fs", *columns]:
            raise ValueError(f"columns {lines[0]}")
        return np.array([line.split(",")[2:] for line in lines[1:]], dtype=float).reshape(-1, len(columns))
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{folder / PROPERTIES}: not the table of this run ({error})") from error


def bead_structures(
    folder: Path, skip: int = 0, every: int = 1, beads_per_frame: int | None = None, seed: int = 0
) -> list:
    """Snapshots of single beads of a run as ASE Atoms, for labelling.

    Args:
        folder: Run folder; skip, every: Frames to leave out at the start, and the stride.
        beads_per_frame: How many beads of each frame, drawn at random with ``seed``; None for all.

    Returns:
        Structures centred at the origin; ``info`` says temperature_K, beads, trajectory, step, bead and sampling.

    Raises:
        InputError: Not a run folder, or a number out of range.
    """
    import numpy as np
    from ase.io import read

    from md.config import read_settings
    from md.trajectory import read_frames

    if not is_run_folder(folder):
        raise InputError(f"{folder} is not a run folder of 'rpmd run' (no {STATUS} or no {INPUT})")
    settings = replace(read_settings(folder / INPUT, {}), structure=STRUCTURE)
    atoms = read(folder / STRUCTURE, format="extxyz")
    steps, positions = read_frames(folder / TRAJECTORY, skip, every)
    n_beads = positions.shape[1]
    if beads_per_frame is not None and not 1 <= beads_per_frame <= n_beads:
        raise InputError(f"--beads-per-frame {beads_per_frame}: expected 1 to {n_beads}")
    rng, structures = np.random.default_rng(seed), []
    for step, frame in zip(steps.tolist(), positions, strict=True):
        chosen = (
            range(n_beads) if beads_per_frame is None else sorted(rng.choice(n_beads, beads_per_frame, replace=False))
        )
        for bead in chosen:
            snapshot = atoms.copy()
            snapshot.positions = frame[bead] - (0 if atoms.pbc.any() else frame[bead].mean(axis=0))
            snapshot.info = {
                "sampling": f"ring-polymer MD, model {Path(settings.model).stem}",
                "temperature_K": settings.temperature_K,
                "beads": n_beads,
                "trajectory": f"{folder.name}-T{settings.temperature_K:g}-P{n_beads}-seed{settings.seed}",
                "step": step,
                "bead": int(bead),
            }
            structures.append(snapshot)
    return structures
