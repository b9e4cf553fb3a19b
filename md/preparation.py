"""From settings to what a simulation needs; everything about them is checked here, before anything is written."""

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from md.gle import read_gle
from md.integrators import SPLITTINGS
from md.potentials import find_model, load_model, schnet_potential, shortest_allowed
from md.ring_polymer import HBAR
from md.simulation import Dynamics, Potential
from md.stability import stability_limit, stiffest_frequency
from mlcalc.errors import InputError
from mlcalc.structure_files import read_atoms


class Prepared(NamedTuple):
    """What a simulation starts from.

    Attributes:
        atoms: The start, as its run folder will hold it.
        model_path: The model file; committee_paths: Those of the committee.
        potential: By that model.
        shortest: Å, the smallest distance that it can be asked for.
        dynamics: For every number of beads.
        committee: Potentials by the models of the committee.
    """

    atoms: Atoms
    model_path: Path
    potential: Potential
    shortest: float
    dynamics: dict[int, Dynamics]
    committee_paths: tuple[Path, ...] = ()
    committee: tuple[Potential, ...] = ()


def prepare(settings) -> Prepared:
    """Structure, model, potential and dynamics of RunSettings.

    Raises:
        InputError: A file that is missing or does not fit; a time step that is not stable; a key that does not fit the structure.
    """
    model_path = find_model(settings.model)
    model = load_model(model_path)
    atoms = read_structure(Path(settings.structure))
    periodic = bool(atoms.pbc.any())
    if settings.remove_rotation and periodic:
        raise InputError(
            "remove_rotation = true with a periodic structure: its cell holds it, only a molecule can turn"
        )
    if settings.pressure and not periodic:
        raise InputError(f"pressure = true, but {settings.structure} is not periodic: a molecule has none")
    paths = tuple(find_model(name) for name in settings.committee)
    potential, *committee = [
        schnet_potential(member, atoms, settings.precision, settings.backend, settings.threads)
        for member in (model, *map(load_model, paths))
    ]
    energies, forces = potential(atoms.positions[None])
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        raise InputError(f"{settings.structure}: the model gives non-finite energy or forces for this structure")
    dynamics = {n_beads: dynamics_of(settings, n_beads) for n_beads in settings.bead_counts}
    stiffest = stiffest_frequency(potential, atoms.positions, atoms.get_masses())
    for n_beads, laws in dynamics.items():
        check_stable(laws, n_beads, stiffest)
    return Prepared(
        atoms, model_path, potential, shortest_allowed(model.domain), dynamics, paths, tuple(committee)
    )  # fmt: skip


def dynamics_of(settings, n_beads: int) -> Dynamics:
    """The Dynamics of RunSettings for P beads; reads the thermostat's matrices."""
    gle = read_gle(settings.gle_file, n_beads, settings.temperature_K) if settings.gle_file else None
    return Dynamics(
        settings.temperature_K, settings.timestep_fs, settings.integrator, settings.thermostat, settings.centroid_time_fs,
        settings.friction_scale, settings.remove_com, settings.remove_rotation, gle,
    )  # fmt: skip


def check_stable(dynamics: Dynamics, n_beads: int, stiffest: float) -> None:
    """Raise InputError when the time step is above the limit of the splitting; Ω = ``stiffest`` in 1 / ASE time."""
    limit = stability_limit(dynamics, n_beads, stiffest)
    if limit == np.inf:
        return
    others = {name: stability_limit(replace(dynamics, integrator=name), n_beads, stiffest) for name in SPLITTINGS}
    fitting = [name for name, value in others.items() if value == np.inf]
    raise InputError(
        f"timestep_fs = {dynamics.timestep_fs:g}: {dynamics.integrator} with {n_beads} beads at {dynamics.temperature_K:g} K is "
        f"stable up to {limit:.3g} (stiffest vibration of the start {HBAR * stiffest / units.invcm:.0f} cm⁻¹)"
        + (f"; {' or '.join(fitting)} would be stable" if fitting else "")
    )


def read_structure(path: str | Path) -> Atoms:
    """Elements, positions, masses and cell in a structure file of any format that ASE reads, rounded as a run folder holds them.

    Raises:
        InputError: The file is missing or malformed.
    """
    from ase.io import iread

    found = read_atoms(path)[-1]
    masses = found.arrays.get("masses")
    bare = Atoms(found.numbers, found.positions, masses=masses, cell=found.cell, pbc=found.pbc)
    return next(iread(StringIO(as_extxyz(bare)), format="extxyz")) if len(bare) else bare


def as_extxyz(atoms: Atoms) -> str:
    """Text of a structure, as it lies in run folders; read_structure changes nothing about it."""
    from ase.io import write

    text = StringIO()
    write(text, atoms, format="extxyz")
    return text.getvalue()
