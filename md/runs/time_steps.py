"""Refusal of time steps that are too long for what vibrates: the atoms, the springs of the ring, the volume."""

from dataclasses import replace

import numpy as np
from ase import Atoms, units

from md.dynamics.integrators import SPLITTINGS
from md.dynamics.ring_polymer import HBAR
from md.dynamics.stability import stability_limit
from md.potentials import Potential
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


def check_piston(settings: RunSettings, potential: Potential, atoms: Atoms) -> None:
    """Raise InputError if the volume of a start would vibrate with a period shorter than a dozen time steps.

    At ωΔt = ½ the time step makes the fluctuations of a harmonic volume 6 % too large. ω² is the curvature of E + pV along a strain
    of cell and atoms, over W.
    """
    slopes = []
    for scale in (1.0 - _STRAIN, 1.0 + _STRAIN):
        cell = scale * atoms.cell.array
        found = potential.evaluate(scale * atoms.positions[None], cell)
        work = 3.0 * settings.pressure_GPa * units.GPa * abs(np.linalg.det(cell))
        slopes.append(float(np.trace(found["virials"][0])) + work)
    stiffness = max(slopes[1] - slopes[0], 0.0) / (2.0 * _STRAIN)
    shortest_fs = 2.0 * settings.timestep_fs * np.sqrt(stiffness / (3 * len(atoms) * units.kB * settings.temperature_K))
    if settings.barostat_time_fs < shortest_fs:
        raise InputError(
            f"barostat_time_fs = {settings.barostat_time_fs:g}: for the compressibility of {settings.structure} and steps of "
            f"{settings.timestep_fs:g} fs expected at least {shortest_fs:.3g}"
        )
