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
status.json        state, step, rate, time left, last error; always valid JSON
run.log            what happened when
=================  ==========================================================================================
"""

import shutil
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from md.estimators import ESTIMATORS, PER_ATOM
from mlcalc.errors import InputError
from mlcalc.json_text import to_json
from mlcalc.model_file import write_atomically

INPUT, STRUCTURE, MODEL = "input.toml", "structure.xyz", "model.safetensors"
GLE, TRAJECTORY, PROPERTIES, VELOCITIES = "gle.txt", "trajectory.h5", "properties.csv", "velocities.h5"
STATUS, LOG = "status.json", "run.log"
_FILES = {INPUT, STRUCTURE, MODEL, GLE, TRAJECTORY, PROPERTIES, VELOCITIES, STATUS, LOG}
_STATUS_INTERVAL_S = 2.0


def check_writable(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless a run may be written to ``folder``: it is new, empty, or an old run to be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{folder} exists already and is not empty: choose another --output, or pass --overwrite")
    if not is_run_folder(folder):
        raise InputError(f"{folder} is not a folder that rpmd wrote: --overwrite does not touch it")


def is_run_folder(folder: Path) -> bool:
    """Whether a folder holds the files of a run (and so may be overwritten)."""
    return folder.is_dir() and (folder / STATUS).is_file() and (folder / INPUT).is_file()


class RunFolder:
    """Writer of one run folder.

    Args:
        folder: Made anew; an old run in it is removed.
        settings: RunSettings with one number of beads; atoms: the start geometry; model_path: the model file.
    """

    def __init__(self, folder: Path, settings, atoms, model_path: Path):
        from ase.io import write

        from md.config import as_toml

        self.folder, self._settings, self._status, self._status_time = folder, settings, {}, -_STATUS_INTERVAL_S
        self._open = []
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / INPUT, as_toml(settings).encode())
        write(folder / STRUCTURE, atoms, format="extxyz")
        shutil.copyfile(model_path, folder / MODEL)
        if settings.gle_file:
            shutil.copyfile(settings.gle_file, folder / GLE)

    def open_tables(self, atoms, columns: list[str]) -> None:
        """Begin trajectory and properties, with these columns beside step and time."""
        from md.trajectory import TrajectoryWriter

        n_beads, per_atom = self._settings.beads, self._settings.per_atom
        observables = [name for name, row in ESTIMATORS.items() if row.needs == PER_ATOM] if per_atom else []
        cell = atoms.cell.array if atoms.pbc.any() else None
        self.columns = columns
        self._trajectory = TrajectoryWriter(self.folder / TRAJECTORY, n_beads, len(atoms), cell, observables)
        # Stays open for the life of the run.
        self._properties = open(self.folder / PROPERTIES, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._properties.write(f"# ring-polymer MD, P = {n_beads}; means over beads, energies of the whole system\n")
        self._properties.write(",".join(["step", "time_fs", *columns]) + "\n")
        self._open = [self._trajectory, self._properties]

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
        """Close the files."""
        for table in self._open:
            table.close()


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
