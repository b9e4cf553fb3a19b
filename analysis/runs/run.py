"""What a run is, as analyses see it: the sizes and settings of a run folder, or of several pooled ones."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.runs.run_files import first_kept
from analysis.structure.boxes import Axes
from md.dynamics.clamped import Clamped
from md.dynamics.settings import QUANTUM_BATH
from md.files.layout import TRAJECTORY
from md.runs.config import RunSettings
from mlcalc.common.errors import InputError
from mlcalc.model_file import find_model


@dataclass(frozen=True)
class Run:
    """The description of a run folder, or of several pooled ones.

    Attributes:
        folders: The run folder; several for pooled runs, see pool.
        frames: Present frames in each folder's trajectory; a run in progress may write more.
        structure: Reference structure, N atoms; a periodic one in MDAnalysis' axes.
        n_beads: Number of beads P; 1 for classical MD.
        frame_interval_ps: Time between frames; 0 if there is only one.
        temperature_K: Temperature of the thermostat.
        model: The run's copy of the model; without one, the shipped name or path in the run's input; the name of an engine, or of
            a sum (copies.sum_of).
        rotates: Whether the molecule was free to rotate.
        thermostat: Its name, as in the run's input.
        quantum_gle: Matrices of GLE that have a covariance, by which few beads stand for many; empty for all other runs.
        bias: The tables of its bias as text; empty without one.
        pressure_GPa: Of its barostat; None without one.
        cell: (3, 3) Å, lattice vectors of the reference structure in the orientation of its file and of the trajectory.
        axes: Conversion of these to MDAnalysis' boxes; None if nothing is periodic.
    """

    folders: tuple[Path, ...]
    frames: tuple[int, ...]
    structure: Atoms
    n_beads: int
    frame_interval_ps: float
    temperature_K: float
    model: str
    rotates: bool = True
    thermostat: str = RunSettings.thermostat
    quantum_gle: bytes = b""
    bias: str = ""
    pressure_GPa: float | None = None
    cell: np.ndarray | None = field(default=None, compare=False)
    axes: Axes | None = field(default=None, compare=False)

    def __str__(self) -> str:
        if len(self.folders) == 1:
            return str(self.folders[0])
        return f"{len(self.folders)} runs, {self.folders[0]} to {self.folders[-1]}"

    @property
    def label(self) -> str:
        """For legends: ``P = 8 (ring polymer), 300 K``."""
        kind = "classical" if self.reference_beads == 1 else "ring polymer" if self.n_beads > 1 else "quantum bath"
        return f"P = {self.n_beads} ({kind}), {self.temperature_K:g} K"

    @property
    def title(self) -> str:
        """For columns and sentences: ``P = 8``, or the quantum bath."""
        return f"P = {self.n_beads}" + (f", {QUANTUM_BATH}" if self.reference_beads is None else "")

    @property
    def reference_beads(self) -> int | None:
        """P of the distributions that the run samples; None for the quantum limit, to which a quantum bath belongs."""
        return None if self.thermostat == QUANTUM_BATH else self.n_beads

    @property
    def rank(self) -> float:
        """How quantum the nuclei are: P, or infinity."""
        return self.reference_beads or math.inf

    @property
    def n_frames(self) -> int:
        """Frames of all folders together."""
        return sum(self.frames)

    @property
    def trajectories(self) -> list[Path]:
        """The H5MD files with all beads."""
        return [folder / TRAJECTORY for folder in self.folders]

    def kept(self, discard: float) -> np.ndarray:
        """Indices of the frames without the first share ``discard`` in [0, 1) of each folder."""
        ends = np.cumsum(self.frames)
        parts = zip(ends - self.frames, self.frames, ends, strict=True)
        return np.concatenate([np.arange(start + first_kept(count, discard), end) for start, count, end in parts])


def pool(runs: list[Run]) -> list[Run]:
    """Combine runs of one P, temperature, thermostat, pressure, model, bias, masses, cell, frame interval: pieces, repetitions."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        held = Clamped.of(run.structure).mask.tobytes()
        periods = (run.structure.pbc.tobytes(), run.cell.round(6).tobytes()) if run.cell is not None else None
        masses = run.structure.get_masses().round(6).tobytes()
        key = (
            run.n_beads, run.temperature_K, run.frame_interval_ps, run.rotates, run.thermostat, run.quantum_gle, masses, held,
            periods, model_content(run.model), run.bias, run.pressure_GPa,
        )  # fmt: skip
        groups.setdefault(key, []).append(run)
    return [
        replace(
            group[0],
            folders=tuple(folder for run in group for folder in run.folders),
            frames=tuple(count for run in group for count in run.frames),
        )
        for group in groups.values()
    ]


def model_content(model: str) -> bytes | str:
    """The content of a model file; the name if there is no such file."""
    try:
        return find_model(model).read_bytes()
    except InputError:
        return model
