"""Refusal of time steps that are too long for what vibrates: the atoms, the springs of the ring, the volume."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms, units

from md.bias.terms import biased
from md.components.split import SplitPotential, one_by_one
from md.dynamics.barostats import BAROSTATS
from md.dynamics.clamped import Clamped
from md.dynamics.integrators import SPLITTINGS
from md.dynamics.ring_polymer import HBAR, cell_of
from md.dynamics.stability import first_resonance, stability_limit, stiffest_frequency
from md.potentials import Harmonic, Potential
from md.runs.config import RunSettings
from md.simulation import Dynamics
from mlcalc.common.errors import InputError

_STRAIN = 0.002  # of the cell, small against thermal strains


def check_stable(dynamics: Dynamics, n_beads: int, stiffest: float) -> None:
    """Raise InputError if the time step exceeds the limit of the splitting; Ω = ``stiffest`` in 1 / ASE time."""
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


def check_outer(dynamics: Dynamics, n_beads: int, stiffest: float, slow: float, beads: int, every: int) -> None:
    """Raise InputError if slow forces at every ``every``-th step drive the fast motion; arguments as first_resonance."""
    if found := first_resonance(dynamics, n_beads, stiffest, slow, beads, every):
        raise InputError(
            f"every_steps = {every} of a [[potential]] table: with {n_beads} beads and steps of {dynamics.timestep_fs:g} fs this "
            f"drives a motion of {HBAR * found.frequency / units.invcm:.0f} cm⁻¹ into resonance (half its period); expected at "
            f"most {found.every}" + ("" if beads == 1 else ", or fewer beads in the table")
        )


def check_time_steps(settings: RunSettings, atoms: Atoms, potential: Any, dynamics: Mapping[int, Dynamics]) -> None:
    """Raise InputError if the time step, or that of slow components, is too long for the stiffest vibration of the start.

    Args:
        atoms: The start; potential: of its moving atoms, without bias; dynamics: by number of beads.
    """
    moving = atoms[Clamped.of(atoms).moving]

    def stiffest(of: Any, bias: bool = True) -> float:
        if settings.bias and bias:  # a stiff umbrella limits the time step as a bond does
            of = biased(of, settings.bias, atoms.pbc, Clamped.of(atoms).moving, settings.temperature_K)
        single = one_by_one(of, cell_of(atoms)) if settings.bias or settings.potential else of
        return stiffest_frequency(single, moving.positions, moving.get_masses())

    found, parts = [stiffest(potential)], potential.slow if isinstance(potential, SplitPotential) else ()
    slow = {}
    for every, beads in sorted({(part.every, part.beads) for part in parts if part.every > 1}):
        alike = [part for part in parts if (part.every, part.beads) == (every, beads)]
        found.append(stiffest(SplitPotential(potential.fast, [part for part in parts if part.every < every])))
        slow[every, beads] = found[-1], stiffest(SplitPotential(Harmonic(0.0), alike), bias=False)
    for n_beads, laws in dynamics.items():
        check_stable(laws, n_beads, max(found))
        for (every, beads), (faster, binding) in slow.items():
            check_outer(laws, n_beads, faster, binding, beads, every)


def check_piston(settings: RunSettings, potential: Potential, atoms: Atoms) -> None:
    """Raise InputError if the cell of a start would vibrate with a period shorter than a dozen time steps.

    At ωΔt = ½ the time step makes the fluctuations of a harmonic volume 6 % too large. ω² is the curvature of E + pV along a strain
    of cell and atoms, over W; where several strains move, the largest.
    """
    strains = np.eye(3) if BAROSTATS[settings.barostat] == 3 else np.ones((1, 3))
    pressure, curvatures = settings.pressure_GPa * units.GPa, []
    for strain in strains:
        slopes = []
        for scale in (1.0 - _STRAIN * strain, 1.0 + _STRAIN * strain):
            cell = scale * atoms.cell.array
            found = potential.evaluate(scale * atoms.positions[None], cell)
            slopes.append(strains @ (found["virials"][0].diagonal() + pressure * abs(np.linalg.det(cell))))
        curvatures.append((slopes[1] - slopes[0]) / (2.0 * _STRAIN))
    stiffness = max(np.linalg.eigvalsh(np.array(curvatures))[-1], 0.0)
    inertia = 3.0 / len(strains) * len(atoms) * units.kB * settings.temperature_K  # over τ²
    shortest_fs = 2.0 * settings.timestep_fs * np.sqrt(stiffness / inertia)
    if settings.barostat_time_fs < shortest_fs:
        raise InputError(
            f"barostat_time_fs = {settings.barostat_time_fs:g}: for the compressibility of {settings.structure} and steps of "
            f"{settings.timestep_fs:g} fs expected at least {shortest_fs:.3g}"
        )
