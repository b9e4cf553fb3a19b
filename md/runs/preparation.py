"""From settings to the inputs of a simulation; everything is read once and checked here, before anything is written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from md.bias.terms import check_atoms
from md.dynamics.barostats import BAROSTATS
from md.dynamics.clamped import Clamped
from md.dynamics.gle import gle_from
from md.dynamics.settings import QUANTUM_BATH
from md.guards.bonds import watches_bonds
from md.guards.limits import degrees_of_freedom
from md.potentials import (
    Dipoles,
    Potential,
    end_workers,
    is_repeatable,
    pair_limits,
    physical_limits,
    relaxed,
)
from md.runs.config import RunSettings
from md.runs.driving import driving_potential, potentials_of
from md.runs.identity import REAL_TIME, RUN, digests_of, identity
from md.runs.input_files import Inputs, read_inputs
from md.runs.time_steps import check_piston, check_time_steps
from md.simulation import Dynamics
from mlcalc.common.errors import InputError, note

_MANY_ATOMS = 5000  # above, preparation takes more than a few seconds
_STRAIGHT_A = 1e-6  # of cell vectors along the axes: rounding of a file
_AT_REST = 1e-6  # of the largest momentum: rounding of a file
_MEMORIES = 3.0  # of a quantum bath, after which it has learnt
_MOST_RELAXED = 200  # most atoms of a start that is relaxed for the energy guard: tens of evaluations, seconds at most


class Prepared(NamedTuple):
    """The inputs of a simulation.

    Attributes:
        atoms: The start, as stored in its run folder, including held atoms.
        moving: The moving atoms: all others.
        contents: Contents of the files of the run, see Inputs.
        identity: The entries that must match to resume a run, for every number of beads (identity.py).
        potential: The potential of the moving atoms.
        shortest: (E, E) Å, the smallest distances at which the model is valid, by pair of its elements; with an engine those that
            no atoms reach (domain.physical_limits).
        dynamics: Dynamics for every number of beads.
        committee: Potentials of the committee's models.
        minimum: eV, potential energy of the relaxed start; None if the energy guard has none.
        watches_bonds: Whether the bond guard is active.
        dipoles: Of the molecule, if they are recorded.
    """

    atoms: Atoms
    moving: Atoms
    contents: dict[str, bytes]
    identity: dict[int, dict]
    potential: Potential
    shortest: np.ndarray
    dynamics: dict[int, Dynamics]
    committee: tuple[Potential, ...] = ()
    minimum: float | None = None
    watches_bonds: bool = False
    dipoles: Dipoles | None = None

    @property
    def indices(self) -> np.ndarray | None:
        """Indices of the moving atoms in ``atoms``; None if all move."""
        return Clamped.of(self.atoms).moving if len(self.moving) < len(self.atoms) else None

    def rest(self) -> None:
        """End worker processes until the next evaluation."""
        end_workers(self.potential)


def prepare(settings: RunSettings, kind: str = RUN, potential: Any = None) -> Prepared:
    """Structure, models, potentials, dynamics and identities of the runs of an input.

    Args:
        kind: identity.RUN or identity.REAL_TIME.
        potential: A potential from Python, see potentials.own_potential; its settings have an engine ``python:NAME``.

    Raises:
        InputError: A missing or unsuitable file; an unstable time step; a key that does not fit the structure.
    """
    inputs = read_inputs(settings)
    atoms = inputs.atoms
    moving = atoms[Clamped.of(atoms).moving]
    _check_keys(settings, atoms, moving, kind)
    if len(atoms) > _MANY_ATOMS:
        note(f"preparing {len(atoms)} atoms: neighbours, compiled code, stiffest vibration")
    potential = driving_potential(settings, inputs, potential)
    for engine in settings.engines:
        if not is_repeatable(engine):
            note(
                f"engine {engine}: the same positions may not give the same bits after other calculations: a resumed run then "
                "differs from an uninterrupted one, at first by rounding"
            )
    committee = potentials_of(settings, atoms, inputs.committee)
    try:
        return _prepared(settings, kind, inputs, moving, potential, committee)
    except CalculationFailed as error:
        raise InputError(f"{settings.structure}: {error}") from error


def _prepared(
    settings: RunSettings, kind: str, inputs: Inputs, moving: Atoms, potential: Potential, committee: list[Potential]
) -> Prepared:
    """The inputs of a simulation from what read them and from potentials of the moving atoms; evaluates the potential."""
    model, atoms, contents = inputs.model, inputs.atoms, inputs.contents
    domain = model.domain if model else {}
    energies, forces = potential(moving.positions[None])
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        raise InputError(f"{settings.structure}: the model gives non-finite energy or forces for this structure")
    dynamics = {n_beads: dynamics_of(settings, n_beads, contents) for n_beads in settings.bead_counts}
    check_time_steps(settings, atoms, potential, dynamics)
    if settings.has_barostat:
        check_piston(settings, potential, moving)
    shortest = pair_limits(domain, model.config.elements) if model else physical_limits(np.unique(atoms.numbers))
    minimum = _minimum(settings, atoms, domain, potential) if len(moving) == len(atoms) else None
    digests = digests_of(contents)
    identities = {n_beads: identity(settings.for_beads(n_beads), kind, digests) for n_beads in settings.bead_counts}
    bonds = watches_bonds(settings.bond_guard, atoms, domain)
    dipoles = Dipoles(model, atoms, settings.precision) if settings.dipoles and model else None
    return Prepared(
        atoms, moving, contents, identities, potential, shortest, dynamics, tuple(committee), minimum, bonds, dipoles
    )


def _minimum(settings: RunSettings, atoms: Atoms, domain: dict, potential: Potential) -> float | None:
    """Energy of the minimum near the start of a small molecule, eV; None, with a note, if there is none."""
    if settings.energy_guard == "off" or atoms.pbc.any() or not 2 <= len(atoms) <= _MOST_RELAXED:
        return None
    if "bead_masses_u" in domain:
        return None
    try:
        return float(relaxed(potential, atoms).get_potential_energy())
    except InputError as error:
        note(
            f"{settings.structure}: {error}: the energy guard is off, and the model may not hold this molecule together"
        )
        return None


def _check_keys(settings: RunSettings, atoms: Atoms, moving: Atoms, kind: str) -> None:
    """Raise InputError if RunSettings require something that the structure, or the kind of run, does not allow."""
    held, pbc = len(atoms) - len(moving), atoms.pbc.tolist()
    if settings.dipoles and (kind != REAL_TIME or held):
        why = f"{held} atoms are held" if held else "'rpmd real-time' records them"
        raise InputError(f"dipoles = true: {why}; leave it out")
    if settings.bias and kind == REAL_TIME:
        raise InputError("bias: it disturbs motion in real time; leave it out")
    if settings.potential and kind == REAL_TIME:
        raise InputError(
            "[[potential]] tables: 'rpmd real-time' moves many molecules with one potential; leave them out"
        )
    check_atoms(settings.bias, atoms, Clamped.of(atoms).moving, settings.structure)
    if settings.thermostat == QUANTUM_BATH:
        learning_ps, resting_ps = (
            settings.bath_adaptation_ps,
            1e-3 * settings.equilibration_steps * settings.timestep_fs,
        )
        if resting_ps < _MEMORIES * learning_ps:
            note(
                f"equilibration of {resting_ps:g} ps with bath_adaptation_ps = {learning_ps:g}: the quantum bath still learns when "
                f"records begin; {_MEMORIES * learning_ps:g} ps would be better"
            )
    if settings.momenta == "structure":
        _check_momenta(settings, atoms, kind)
    if settings.remove_rotation and any(pbc):
        raise InputError(
            "remove_rotation = true with a periodic structure: only a molecule can rotate; set remove_rotation = false"
        )
    if settings.has_barostat and kind == REAL_TIME:
        raise InputError(f"barostat = {settings.barostat!r}: it disturbs motion in real time; leave it out")
    for asked, key in (
        (settings.pressure, "pressure = true"),
        (settings.has_barostat, f"barostat = {settings.barostat!r}"),
    ):
        if asked:
            _check_volume(key, settings, atoms)
    if held and not len(moving):
        raise InputError(f"{settings.structure}: a constraint holds all {held} atoms, and no degree of freedom is left")
    if held and settings.has_barostat:
        raise InputError(
            f"{settings.structure}: a constraint holds {held} of {len(atoms)} atoms, and barostat = {settings.barostat!r}: they do "
            "not move with the cell; leave one out"
        )
    for key, why in (
        ("remove_com", "their centre of mass is already fixed"),
        ("remove_rotation", "they keep the molecule from rotating"),
        ("pressure", "they do not move with the cell"),
    ):
        if held and getattr(settings, key):
            raise InputError(
                f"{settings.structure}: a constraint holds {held} of {len(atoms)} atoms, and {key} = true: {why}; set {key} = false"
            )
    if len(moving) and degrees_of_freedom(len(moving), replace(settings, beads=1, potential=())) < 1:
        held_at_rest = "centre of mass and rotation" if settings.remove_rotation else "centre of mass"
        raise InputError(
            f"{settings.structure}: {len(moving)} atom with its {held_at_rest} at rest: no degree of freedom is left; "
            "set remove_com = false"
        )


def _check_volume(key: str, settings: RunSettings, atoms: Atoms) -> None:
    """Raise InputError for a key that needs a volume unless the structure has one."""
    pbc = atoms.pbc.tolist()
    if not any(pbc):
        raise InputError(f"{key}, but {settings.structure} is not periodic: a molecule has no pressure")
    if not (all(pbc) and atoms.cell.rank == 3):
        raise InputError(
            f"{key}, but {settings.structure} has pbc = {pbc} and {atoms.cell.rank} cell vectors: a volume, and so a pressure, is "
            "defined where all three directions are periodic"
        )
    cell = atoms.cell.array
    if BAROSTATS[settings.barostat] == 3 and np.abs(cell - np.diag(cell.diagonal())).max() > _STRAIGHT_A:
        raise InputError(
            f"{key}, but {settings.structure} has the cell {cell.round(3).tolist()}: expected cell vectors along x, y "
            "and z; barostat = 'isotropic' takes any cell"
        )


def _check_momenta(settings: RunSettings, atoms: Atoms, kind: str) -> None:
    """Refuse start momenta where none are used, and say which part of them is lost."""
    if kind == REAL_TIME:
        raise InputError("momenta = \"structure\": trajectories of 'rpmd real-time' start thermalised; leave it out")
    momenta = atoms.get_momenta()
    if settings.remove_com and np.abs(momenta.sum(axis=0)).max() > _AT_REST * max(np.abs(momenta).max(), 1e-12):
        note(f"{settings.structure}: the momentum of the centre of mass is not used (remove_com = true)")
    if settings.remove_rotation:
        note(f"{settings.structure}: the angular momentum, if any, is not used (remove_rotation = true)")


def dynamics_of(settings: RunSettings, n_beads: int, contents: Mapping[str, bytes]) -> Dynamics:
    """The Dynamics of RunSettings for P beads, with the thermostat's matrices among ``contents``."""
    gle = None
    if settings.gle_file:
        gle = gle_from(contents["gle_file"], settings.gle_file, n_beads, settings.temperature_K)
        refused = {
            f"barostat = {settings.barostat!r}": settings.has_barostat and gle.covariance is not None,
            "heat_capacity = true": settings.heat_capacity and gle.covariance is not None,
            "pressure = true": settings.pressure and not gle.has_thermal_centroids,
            "per_atom = true": settings.per_atom and not gle.has_thermal_centroids,
        }
        for what in (name for name, given in refused.items() if given):
            raise InputError(
                f"{what} with {settings.gle_file}, which has a covariance (C): momenta are not at the temperature that its "
                "estimator needs; leave it out, or choose another thermostat"
            )
    return Dynamics(
        settings.temperature_K, settings.timestep_fs, settings.integrator, settings.thermostat, settings.centroid_time_fs,
        settings.friction_scale, settings.remove_com, settings.remove_rotation, gle, settings.barostat, settings.pressure_GPa,
        settings.barostat_time_fs, settings.bath_segment_fs, settings.bath_adaptation_ps,
    )  # fmt: skip
