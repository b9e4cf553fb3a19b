"""The files of a run: one folder per number of beads.

=================  ==========================================================================================
file               content
=================  ==========================================================================================
input.toml         the settings as used, overrides included
structure.xyz      the start geometry
model.safetensors  the model as used, so that the folder is self-contained; likewise committee-K.safetensors, and
                   potential-K.safetensors of a [[potential]] table
engine.txt         in its place for a run with an engine: its name, and the hash of its files; likewise potential-K.txt
gle.txt            the thermostat's matrices, if it has any
trajectory.h5      all beads, see md/files/trajectory.py
properties.csv     estimators against time, one header, complete lines only (older ones begin with a comment, #): means over
                   beads, energies of all atoms together; 'rpmd estimators' has their formulas
hills.csv          hills of metadynamics, in the order in which they came
velocities.h5      in place of these two for 'rpmd real-time', see md/runs/real_time.py
checkpoint         the state to resume from, and checkpoint.previous the one before, see md/files/checkpoint.py
breach.xyz         all beads where a guard stopped the run, with the model's results: model_energy, model_forces
status.json        state, step, rate, time left, last error; always valid JSON
run.log            events with their times
=================  ==========================================================================================
"""

import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from md.bias.settings import hills_of
from md.dynamics.clamped import Clamped
from md.files.checkpoint import NEWEST, NEXT, PREVIOUS
from md.files.layout import (
    BATH,
    BREACH,
    ENGINE,
    GLE,
    HILLS,
    INPUT,
    LOCK,
    LOG,
    MODEL,
    PROPERTIES,
    STATUS,
    STRUCTURE,
    TRAJECTORY,
    VELOCITIES,
)
from md.files.properties import PropertiesWriter
from md.files.received import check_regular, opener
from md.files.run_status import LARGEST as LARGEST_STATUS
from md.files.run_status import load_status, read_status
from md.files.trajectory import TrajectoryWriter
from md.files.velocities import VelocityWriter
from md.guards.endings import Frame
from md.observables.estimators import ESTIMATORS, PER_ATOM, Sample
from md.runs.config import RunSettings, read_settings
from md.runs.copies import copies_of, copy_names, own_potentials
from md.runs.identity import FILES, FREE, REAL_TIME, RUN
from mlcalc.common.errors import DISK_FULL, InputError, one_line
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.settings import as_toml, build_settings, read_toml

FROM_IPI = "from-ipi"  # kind of a folder that 'analysis from-ipi' made from i-PI's output: no model, nothing to resume
_FILES = {
    INPUT, STRUCTURE, MODEL, ENGINE, GLE, TRAJECTORY, PROPERTIES, HILLS, BATH, VELOCITIES, STATUS, LOG, BREACH, NEWEST,
    PREVIOUS, NEXT,
}  # fmt: skip
_LARGEST = {INPUT: 1 << 20, STATUS: LARGEST_STATUS, GLE: 1 << 26, PROPERTIES: 1 << 32, HILLS: 1 << 32}  # bytes
_STATUS_INTERVAL_S = 2.0
_LOCK_TRIALS, _LOCK_PAUSE_S = 5, 0.02


def check_removable(folder: Path) -> None:
    """Raise InputError unless --overwrite may replace a folder: it is new, empty, or written by rpmd."""
    if not (is_fresh(folder) or (is_run_folder(folder) and kind_of(folder) != FROM_IPI)):
        raise InputError(f"{folder} was not written by rpmd: --overwrite does not touch it")


def is_fresh(folder: Path) -> bool:
    """Whether a run can begin in a folder: it is missing, empty, or left by a run that was killed before it began."""
    if not os.path.exists(folder):
        return True
    names = {path.name for path in folder.iterdir()} if os.path.isdir(folder) else {""}
    known = _FILES | {LOCK} | {path.name for path in copies_of(folder)}
    return not names or (LOCK in names and INPUT not in names and names <= known)


def is_run_folder(folder: Path) -> bool:
    """Whether a run has begun in a folder (may be overwritten), or one of i-PI was converted into it (must not be)."""
    if not all(os.path.isfile(folder / name) for name in (INPUT, STRUCTURE)):
        return False
    return any(os.path.isfile(folder / name) for name in (MODEL, ENGINE)) or kind_of(folder) == FROM_IPI


def check_files(folder: Path) -> None:
    """Raise InputError if a file of a run folder is a link, a named pipe or a folder, or larger than any run makes it."""
    for path in [*(folder / name for name in sorted(_FILES | {LOCK})), *copies_of(folder)]:
        check_regular(path, _LARGEST.get(path.name))


class RunFolder:
    """Exclusive writer of one run folder.

    Args:
        folder: Created if it is missing.
        settings: RunSettings with one number of beads.

    Raises:
        InputError: It cannot be created, or another process writes there. The system releases the lock when its process ends.
        OSError: No space is left.
    """

    def __init__(self, folder: Path, settings: RunSettings):
        self.folder, self._settings, self._status_time = folder, settings, -_STATUS_INTERVAL_S
        self._status: dict = {}
        self._tables: dict = {}
        self._clamped = Clamped(np.zeros(0, dtype=bool), np.zeros((0, 3)))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Not truncated: in a received folder this file may be anything.
            self._lock = open(folder / LOCK, "ab", opener=opener)  # noqa: SIM115 (held for the life of the run)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise InputError(f"{folder}: cannot be written: {error.strerror}; choose another --output") from error
        for _ in range(_LOCK_TRIALS):  # 'rpmd check' may hold it briefly
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_LOCK_PAUSE_S)
        self._lock.close()
        raise InputError(f"{folder}: another run is writing there; wait for it, or choose another --output")

    def begin(self, contents: Mapping[str, bytes], kind: str) -> None:
        """Remove an old run and write the inputs of a new one; the input file comes last and marks the folder as a run.

        Args:
            contents: Contents of its files, as in preparation.Inputs: they may come from the run being replaced.
            kind: identity.RUN or identity.REAL_TIME.
        """
        copies = replace(self._settings, structure=STRUCTURE, gle_file=GLE if self._settings.gle_file else "")
        names = {"structure": STRUCTURE, "model": MODEL, "engine": ENGINE, "gle_file": GLE}
        names |= copy_names(len(self._settings.committee), len(self._settings.potential))
        for name in [INPUT, *_FILES, *(path.name for path in copies_of(self.folder))]:
            (self.folder / name).unlink(missing_ok=True)
        self.set_status(force=True, state="begun", kind=kind, step=0, error=None)
        for key, name in names.items():
            if key in contents:
                write_atomically(self.folder / name, contents[key])
        write_atomically(self.folder / INPUT, as_toml(copies).encode())

    def note_changes(self) -> None:
        """Update the keys of the input that a resumed run may change."""
        check_files(self.folder)
        path = self.folder / INPUT
        free = {key: value for key, value in asdict(self._settings).items() if key in FREE - FILES}
        settings = build_settings(RunSettings, read_toml(path) | free, path)
        write_atomically(path, as_toml(settings).encode())

    def open_tables(self, atoms: Atoms, columns: list[str], extent: dict[str, int] | None = None) -> None:
        """Create trajectory, properties, with these columns besides step and time, and hills, or truncate them to an ``extent``.

        Raises:
            InputError: They are shorter than ``extent``, or malformed.
        """
        n_beads, per_atom = self._settings.n_beads, self._settings.per_atom
        observables = [name for name, row in ESTIMATORS.items() if row.needs == PER_ATOM] if per_atom else []
        self._clamped = Clamped.of(atoms)
        frames = extent["frames"] if extent else None
        for name in (TRAJECTORY, PROPERTIES, HILLS) if extent is None else ():
            (self.folder / name).unlink(missing_ok=True)
        self._tables["frames"] = TrajectoryWriter(
            self.folder / TRAJECTORY, n_beads, len(atoms), observables, frames, atoms.pbc, atoms
        )
        self._tables["bytes"] = PropertiesWriter(self.folder / PROPERTIES, columns, extent["bytes"] if extent else None)
        if hills := hills_of(self._settings.bias):
            names, length = [f"centre_{hills.row.unit}", "height_eV"], extent["hills"] if extent else None
            self._tables["hills"] = PropertiesWriter(self.folder / HILLS, names, length)

    def open_velocities(self, atoms: Atoms, extent: dict[str, int] | None = None) -> None:
        """Create the velocities of 'rpmd real-time', or truncate them to an earlier ``extent``; InputError as open_tables."""
        self._clamped = Clamped.of(atoms)
        if extent is None:
            (self.folder / VELOCITIES).unlink(missing_ok=True)
        n = extent["trajectories"] if extent else None
        self._tables["trajectories"] = VelocityWriter(self.folder / VELOCITIES, self._settings, atoms, n)

    @property
    def extent(self) -> dict[str, int]:
        """The present number of frames in the trajectory, bytes of the tables of properties and of hills, or trajectories."""
        return {name: len(table) for name, table in self._tables.items()}

    def sync(self) -> None:
        """Wait until all data are on disk."""
        for table in self._tables.values():
            table.sync()

    def add_properties(self, step: int, time_fs: float, values: dict[str, float]) -> None:
        """Append one line to the table."""
        self._tables["bytes"].append(step, time_fs, values)

    def add_hill(self, step: int, time_fs: float, centre: float, height: float) -> None:
        """Append a hill of metadynamics, its centre in the unit of the variable and its height in eV."""
        self._tables["hills"].append(
            step, time_fs, dict(zip(self._tables["hills"].columns, (centre, height), strict=True))
        )

    def add_frame(self, sample: Sample) -> None:
        """Append one frame of all beads of an estimators.Sample, adding the held atoms, which a sample lacks."""
        observables = sample.per_atom if self._settings.per_atom else {}
        observables = {name: self._clamped.among_all(values) for name, values in observables.items()}
        state = sample.ring_polymer
        positions = self._clamped.with_held(state.positions)
        self._tables["frames"].append(
            sample.step, sample.time_fs, positions, sample.potential_energies, observables, state.cell
        )

    def add_velocities(self, velocities: np.ndarray, dipoles: np.ndarray | None = None) -> None:
        """Append trajectories (M, n_frames, n, 3) in Å/fs of the moving atoms, and dipoles (M, n_frames, 3) in eÅ, if any."""
        self._tables["trajectories"].append(self._clamped.among_all(velocities, axis=-2), dipoles)

    def add_breach(self, frame: Frame, atoms: Atoms, reason: str) -> None:
        """Write the beads of the frame that stopped the run as extxyz, with ``model_energy`` and ``model_forces``.

        Forces on held atoms are NaN.
        """
        images, clamped = [], Clamped.of(atoms)
        positions, forces = clamped.with_held(frame.positions), clamped.among_all(frame.forces, np.nan, axis=-2)
        for bead, (image_positions, energy, image_forces) in enumerate(
            zip(positions, frame.energies, forces, strict=True)
        ):
            image = atoms.copy()
            image.set_constraint()  # ASE would write zero forces on held atoms
            image.positions = image_positions
            if atoms.pbc.any():
                image.cell = frame.cell
            # Not under the label names, so that no network is trained on its own predictions.
            image.info = {"step": frame.step, "bead": bead, "reason": reason, "model_energy": float(energy)}
            image.set_array("model_forces", image_forces)
            images.append(image)
        text = StringIO()
        write(text, images, format="extxyz")
        write_atomically(self.folder / BREACH, text.getvalue().encode())

    def earlier_status(self) -> dict:
        """The status.json of the run being resumed; empty if it cannot be read."""
        try:
            return read_status(self.folder)
        except InputError:
            return {}

    def log(self, message: str) -> None:
        """Add a line to the log if possible; a full disk is reported where data cannot be written."""
        with suppress(OSError, InputError), open(self.folder / LOG, "a", encoding="utf-8", opener=opener) as stream:
            stream.write(f"{datetime.now().isoformat(timespec='seconds')} {one_line(message)}\n")

    def set_status(self, force: bool = False, **entries: Any) -> None:
        """Update status.json if possible: at once with ``force``, else every few seconds."""
        self._status |= entries
        if force or time.monotonic() - self._status_time > _STATUS_INTERVAL_S:
            with suppress(OSError, InputError):
                write_atomically(self.folder / STATUS, (to_json(self._status, indent=1) + "\n").encode())
            self._status_time = time.monotonic()

    def close(self) -> None:
        """Close the files and release the lock."""
        for table in self._tables.values():
            table.close()
        self._lock.close()


def kind_of(folder: Path) -> str:
    """The kind of the run in a folder: identity.RUN, identity.REAL_TIME or FROM_IPI."""
    try:
        kind = load_status(folder).get("kind")
    except (OSError, InputError):  # a lost status must not end a run: the files show the kind too
        kind = None
    if kind in (RUN, REAL_TIME, FROM_IPI):
        return kind
    return REAL_TIME if os.path.exists(folder / VELOCITIES) else RUN


def own_settings(folder: Path, overrides: dict[str, Any] | None = None) -> RunSettings:
    """The settings of a run, with the copies of structure, model and matrices in its folder, and overrides of other keys.

    Raises:
        InputError: Input missing or malformed, a run of i-PI, or files outside the folder.
    """
    check_files(folder)
    if kind_of(folder) == FROM_IPI:
        raise InputError(
            f"{folder} was written by i-PI and converted by 'analysis from-ipi': only i-PI can continue it; choose another folder"
        )
    for key, allowed in (("structure", (STRUCTURE,)), ("gle_file", ("", GLE))):
        value = read_toml(folder / INPUT).get(key, allowed[0])
        if value not in allowed:
            raise InputError(
                f"{folder / INPUT}: {key} = {str(value)[:80]!r}: expected {allowed[-1]!r}, the copy beside it"
            )
    own = own_potentials(folder)
    return read_settings(folder / INPUT, own | (overrides or {}))
