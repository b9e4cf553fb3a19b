"""Runs of 'rpmd real-time' as spectra need them."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.runs.run_files import check_run_folder
from md.files.closed_h5 import damage, open_h5
from md.files.layout import INPUT, MODEL, STRUCTURE, VELOCITIES
from md.files.velocities import DIPOLE, facts_of
from md.runs.run_folder import check_files
from mlcalc.common.errors import InputError
from mlcalc.structures.structure_files import read_atoms

_LABELS = {"T-RPMD": "T-RPMD", "none": "RPMD"}


@dataclass(frozen=True)
class RealTimeRun:
    """A run of 'rpmd real-time'.

    Attributes:
        folder: Its folder.
        structure: Start geometry; model: name or path.
        n_beads, temperature_K, thermostat: As in its input.
        interval_fs: Time between frames.
        velocities: (n, n_frames, N, 3) Å/fs.
        masses: (N,) u.
        dipoles: (n, n_frames, 3) eÅ, if they were recorded.
    """

    folder: Path
    structure: Atoms
    model: str
    n_beads: int
    temperature_K: float
    thermostat: str
    interval_fs: float
    velocities: np.ndarray
    masses: np.ndarray
    dipoles: np.ndarray | None = None

    @property
    def label(self) -> str:
        """The kind of dynamics."""
        return "classical" if self.n_beads == 1 else f"{_LABELS[self.thermostat]}, P = {self.n_beads}"


def open_real_time(folder: str | Path) -> RealTimeRun:
    """Read a run folder of 'rpmd real-time'; InputError if it is not one, or no trajectory is complete."""
    folder = Path(folder)
    check_run_folder(folder, "rpmd real-time", VELOCITIES, "the end of its first trajectory")
    check_files(folder)
    try:
        settings = tomllib.loads((folder / INPUT).read_text(encoding="utf-8"))
        model, thermostat = str(settings.get("engine") or settings["model"]), str(settings["thermostat"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder / 'input.toml'}: not the input of 'rpmd real-time' ({error})") from error
    structure = read_atoms(folder / STRUCTURE, format="extxyz")[-1]
    try:
        with open_h5(folder / VELOCITIES, "file of velocities") as file:
            facts, velocities = facts_of(file), file["velocity"][:]
            dipoles = file[DIPOLE][:] if facts.has_dipoles else None
    except InputError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder / 'velocities.h5'}: not velocities of 'rpmd real-time' ({damage(error)})") from error
    if not len(velocities):
        raise InputError(f"{folder}: no trajectory is complete yet")
    if not all(np.isfinite(array).all() for array in (velocities, dipoles) if array is not None):
        raise InputError(
            f"{folder}: velocities or dipoles are not finite: no spectrum can be computed; see 'rpmd check'"
        )
    own = folder / MODEL
    return RealTimeRun(
        folder, structure, str(own) if os.path.isfile(own) else model, facts.n_beads, facts.temperature_K, thermostat,
        facts.interval_fs, velocities, facts.masses, dipoles,
    )  # fmt: skip
