"""Frames of a run with a bias, and what its bias means for their weights.

A frame of a run with biases W_b counts in the unbiased ensemble with exp(Σ_b W_b/k_BT), W_b the mean over beads of what the
beads get (md/bias/biased.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units

from analysis.free_energy.variable import variable_of
from analysis.runs.run import model_content
from analysis.runs.run_files import check_run_folder, check_used, first_kept
from md.bias.laws import Metadynamics
from md.bias.settings import BiasSettings, hills_of
from md.bias.terms import law_of
from md.files.layout import HILLS, INPUT, MODEL, STRUCTURE, TRAJECTORY
from md.files.properties import read_table
from md.files.trajectory import read_frames
from md.runs.config import read_settings
from md.runs.copies import sum_of
from md.runs.run_folder import check_files
from md.runs.structures import read_structure
from mlcalc.common.errors import InputError

FEWEST = 32  # frames of a run: two for each block that errors come from
_GRID = 400  # points of integrals over a variable


@dataclass(frozen=True)
class BiasedRun:
    """A run without its first share of frames.

    Attributes:
        folder: Its folder; biases: its ``[[bias]]`` tables, none for a run without; structure: its reference structure.
        potential: Content of its model file, or the name of its engine, or of a sum (copies.sum_of).
        temperature_K: Of its thermostat.
        steps: (n,) of the frames; positions: (n, P, N, 3) Å.
    """

    folder: Path
    biases: tuple[BiasSettings, ...]
    structure: Atoms
    potential: bytes | str
    temperature_K: float
    steps: np.ndarray
    positions: np.ndarray

    @property
    def hills(self) -> BiasSettings | None:
        """Its metadynamics, if any."""
        return hills_of(self.biases)

    @property
    def thermal(self) -> float:
        """k_BT, eV."""
        return units.kB * self.temperature_K


def read_biased(folder: Path, discard: float) -> BiasedRun:
    """Read a run folder without the first share ``discard`` in [0, 1) of its frames.

    Raises:
        InputError: Not a run of 'rpmd run', one with a barostat, or too few frames.
    """
    check_run_folder(folder, "rpmd run", TRAJECTORY, "its first frame")
    check_files(folder)
    settings = read_settings(folder / INPUT, {})
    if settings.has_barostat:
        raise InputError(
            f"{folder}: barostat = {settings.barostat!r}: free energies here are those of a cell that does not change"
        )
    steps, positions = read_frames(folder / TRAJECTORY)
    first = first_kept(len(steps), discard)
    check_used(str(folder), len(steps), len(steps) - first, discard, FEWEST)
    structure = read_structure(folder / STRUCTURE, quiet=True)
    potential = sum_of(folder) or settings.engine or model_content(str(folder / MODEL))
    return BiasedRun(
        folder, settings.bias, structure, potential, settings.temperature_K, steps[first:], positions[first:]
    )


def bias_energies(run: BiasedRun, ensembles: Sequence[tuple[BiasSettings, ...]]) -> np.ndarray:
    """(K, n) eV, the energies of each of K sets of biases at the frames of a run; those of metadynamics are left out."""
    total = np.zeros((len(ensembles), len(run.steps)))
    known: dict[tuple, np.ndarray] = {}  # windows share a variable
    for energies, biases in zip(total, ensembles, strict=True):
        for bias in biases:
            if bias.kind != "metadynamics":
                key = variable_of(bias), bias.on
                if key not in known:
                    known[key] = key[0].of(run.structure, run.positions, bias.on)
                values = known[key]
                energies += law_of(bias, run.temperature_K)(values.ravel())[0].reshape(values.shape).mean(axis=1)
    return total


def hill_energies(run: BiasedRun) -> np.ndarray:
    """(n,) eV, W(ξ, t) − c(t) of the metadynamics of a run at its frames: k_BT times the logarithm of their weights.

    c(t) = k_BT ln {∫ exp[γW/(γ − 1)k_BT] dξ / ∫ exp[W/(γ − 1)k_BT] dξ} over the values that the run visits.

    Source: Tiwary, Parrinello, J. Phys. Chem. B 119, 736 (2015), doi:10.1021/jp504920s.
    """
    bias = run.hills
    assert bias is not None
    law = law_of(bias, run.temperature_K)
    assert isinstance(law, Metadynamics)
    table = read_table(run.folder / HILLS)
    rows = np.column_stack([table[f"centre_{bias.row.unit}"], table["height_eV"]])
    along = variable_of(bias).of(run.structure, run.positions, bias.on)[:, 0]
    grid = np.linspace(along.min(), along.max(), _GRID)
    # A hill of a step acts from the next step on: the frame of that step was recorded before it.
    before = np.searchsorted(table["step"], run.steps, side="left")
    energies, on_grid, found = np.zeros(len(along)), np.zeros(_GRID), np.empty(len(along))
    done = 0
    for n in np.unique(before):
        law.hills = rows[done:n]
        energies, on_grid, done = energies + law(along)[0], on_grid + law(grid)[0], n
        scaled = on_grid / ((bias.bias_factor - 1.0) * run.thermal)
        offset = run.thermal * (np.logaddexp.reduce(bias.bias_factor * scaled) - np.logaddexp.reduce(scaled))
        now = before == n
        found[now] = energies[now] - offset
    return found


def check_alike(runs: list[BiasedRun]) -> None:
    """Raise InputError unless runs are of one ensemble without their biases."""
    first = runs[0]
    for run in runs[1:]:
        for what, one, other in (
            ("temperature_K", first.temperature_K, run.temperature_K),
            ("beads", first.positions.shape[1], run.positions.shape[1]),
            ("elements", *(r.structure.get_chemical_formula("reduce") for r in (first, run))),
            ("masses", *(r.structure.get_masses().round(6).tolist() for r in (first, run))),
            ("cell", *(r.structure.cell.array.round(6).tolist() for r in (first, run))),
            ("periods", *(r.structure.pbc.tolist() for r in (first, run))),
        ):  # fmt: skip
            if one != other:
                raise InputError(f"{run.folder}: {what} = {other}, but {one} in {first.folder}: expected the same")
        if run.potential != first.potential:
            raise InputError(f"{run.folder}: another potential than {first.folder}: expected the same")
        if (first.hills or run.hills) and run.biases != first.biases:
            raise InputError(
                f"{run.folder}: another bias than {first.folder}; windows of different biases are joined, runs with metadynamics "
                "only where all their biases are the same"
            )
