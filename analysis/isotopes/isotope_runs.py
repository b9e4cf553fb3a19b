"""Runs fit for isotope effects: canonical ring polymers without a bias, alike but for masses, and their potential."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.isotopes.sites import Site, mass_of, together
from analysis.runs.run import Run, model_content, pool
from analysis.runs.run_files import check_kept, check_same_atoms
from analysis.runs.universe import open_run
from md.dynamics.clamped import Clamped
from md.files.closed_h5 import open_h5
from md.files.layout import INPUT
from md.potentials import FROM_PYTHON, engine_potential, load_model, make_potential, runs_code
from md.runs.config import NOT_CANONICAL, THERMOSTAT_NAMES, RunSettings, read_settings
from mlcalc.common.errors import InputError

FEWEST = 32  # frames of a run: two for each block that errors come from
# The quantum thermostats of GLE give their few beads other momenta and positions than those of the ring polymer at P.
THERMOSTATS = tuple(name for name in THERMOSTAT_NAMES if name not in (*NOT_CANONICAL, "GLE"))


class Masses(NamedTuple):
    """Runs of one molecule, ascending by the mass of the atoms in which they differ, pooled where they do not differ.

    Attributes:
        runs: K of them; settings: the input of each.
        site: The atoms in which they differ; None for K = 1.
        masses: (K,) u, of each of these atoms.
    """

    runs: list[Run]
    settings: list[RunSettings]
    site: Site | None
    masses: np.ndarray


def read_masses(folders: list[Path], discard: float) -> Masses:
    """Open runs of one molecule.

    Raises:
        InputError: Unusable folders; a bias, a barostat, classical nuclei, another ensemble than the canonical one; runs that
            differ in more than the common mass of some atoms; too few frames.
    """
    runs = pool([open_run(folder) for folder in folders])
    settings = [read_settings(run.folders[0] / INPUT, {}) for run in runs]
    for run, own in zip(runs, settings, strict=True):
        _check_ensemble(run, own)
        check_kept(run, discard, FEWEST)
        _check_alike(runs[0], settings[0], run, own)
    if len(runs) == 1:
        return Masses(runs, settings, None, np.empty(0))
    table = np.array([run.structure.get_masses() for run in runs])
    changed = np.flatnonzero(np.ptp(table, axis=0) > 1e-6)
    if not len(changed):
        raise InputError(
            f"{runs[1]} and {runs[0]} differ, but not in masses: expected runs of other masses, or pieces and repetitions of one"
        )
    site = together(changed, runs[0].structure)
    for run in runs:
        together(changed, run.structure)
    masses = np.array([mass_of(site, run.structure) for run in runs])
    order = np.argsort(masses)
    if np.diff(masses[order]).min() < 1e-6:
        raise InputError(f"masses {masses[order].tolist()} u of atoms {site}: runs of one mass differ in their input")
    return Masses([runs[k] for k in order], [settings[k] for k in order], site, masses[order])


def own_potential(run: Run, settings: RunSettings, engine: str | None, given: Callable | None) -> Callable:
    """The potential of a run (mlcalc.potential.Potential).

    Args:
        engine: The engine that the user names, which an engine that runs code needs.
        given: For a potential from Python; it must be that of the run.

    Raises:
        InputError: No such model; a potential from Python that is not given; an engine that runs code, which the user does not
            name.
    """
    where = str(run.folders[0])
    if not settings.engine:
        return make_potential(load_model(run.model), run.structure, settings.precision, settings.backend)
    if settings.engine.startswith(FROM_PYTHON):
        if given is None:
            raise InputError(
                f"{where}: engine = {settings.engine!r}, a potential from Python: call analysis.isotopes.report.analyse with it"
            )
        return given
    if runs_code(settings.engine) and engine != settings.engine:
        raise InputError(
            f"{where}: engine = {settings.engine!r} runs code that it names: if you trust it, repeat it: --engine "
            f"{shlex.quote(settings.engine)}"
        )
    return engine_potential(settings.engine, run.structure, settings.threads, where)


def recorded_energies(run: Run, frames: np.ndarray) -> np.ndarray:
    """(n, P) eV, potential energies that a run recorded with these frames."""
    parts = []
    for path, count in zip(run.trajectories, run.frames, strict=True):
        with open_h5(path, "H5MD trajectory of a ring polymer") as file:
            parts.append(np.asarray(file["observables/trajectory/potential_energy/value"][:count]))
    return np.concatenate(parts)[frames]


def _check_ensemble(run: Run, settings: RunSettings) -> None:
    if run.bias:
        raise InputError(f"{run}: a run with a bias: isotope effects are those of the unbiased ensemble")
    if settings.potential:
        raise InputError(f"{run}: a run with [[potential]] tables: scaled rings are evaluated with one model or engine")
    if settings.has_barostat:
        raise InputError(
            f"{run}: barostat = {settings.barostat!r}: isotope effects here are those of a cell that does not change"
        )
    if run.n_beads == 1:
        raise InputError(
            f"{run}: classical nuclei (P = 1), of which every reduced ratio is 1: isotope effects need beads"
        )
    if settings.thermostat not in THERMOSTATS:
        raise InputError(
            f"{run}: thermostat = {settings.thermostat!r}: its ring polymers are not the canonical ones at this P; expected one of "
            f"{', '.join(THERMOSTATS)}"
        )
    if settings.remove_rotation:
        raise InputError(f"{run}: remove_rotation = true: the weight of a shape then depends on masses; expected false")


def _check_alike(first: Run, its: RunSettings, run: Run, settings: RunSettings) -> None:
    """Raise InputError unless two runs differ at most in masses, length, start and how they move."""
    check_same_atoms(run, first)
    for what, one, other in (
        ("temperature_K", first.temperature_K, run.temperature_K),
        ("beads", first.n_beads, run.n_beads),
        ("remove_com", its.remove_com, settings.remove_com),
        ("held atoms", *(np.flatnonzero(Clamped.of(r.structure).mask).tolist() for r in (first, run))),
        ("periods", *(r.structure.pbc.tolist() for r in (first, run))),
        ("cell", *(r.structure.cell.array.round(6).tolist() for r in (first, run))),
    ):  # fmt: skip
        if one != other:
            raise InputError(f"{run}: {what} = {other}, but {one} in {first}: expected the same")
    if (its.engine, model_content(first.model)) != (settings.engine, model_content(run.model)):
        raise InputError(f"{run}: another potential than {first}: expected the same")
