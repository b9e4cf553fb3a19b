"""A plain verdict on a run: unphysical means, and the findings of its guards.

A run may finish although its numbers are worthless, because the network was outside its domain. Every criterion is coarse: no
healthy run meets one.
"""

import math
from collections.abc import Mapping

import numpy as np
from ase import units

from md.dynamics.ring_polymer import HBAR
from md.observables.averages import Ensemble
from md.observables.statistics import Mean

_ERRORS = 5.0  # standard errors beyond chance
_SLACK = 0.03  # of a kinetic temperature, by the time step
_CANONICAL = ("PILE-L", "PILE-G", "centroid")  # thermostats that hold the momenta at T; GLE need not
_SURE_ERRORS, _ABSURD = 2.0, 2.0
_LIMITED = 0.05  # of a kinetic energy, where γ_r of a quantum bath is as small as it may be
_FEWEST = 32  # records: with fewer, the standard error is unknown


def verdict(
    found: Mapping[str, Mean], n_records: int, ensemble: Ensemble, thermostat: str, masses: np.ndarray, seen: Mapping
) -> list[str]:
    """One sentence for each conspicuous result; empty if there is none.

    Args:
        found: Means of the run (averages.means); n_records: number of lines behind them.
        thermostat: Its name; masses: (N,) u, of the moving atoms.
        seen: Findings of the guards, as in status.json.
    """
    return [*verdict_of_guards(seen), *(_means(found, ensemble, thermostat, masses) if n_records >= _FEWEST else ())]


def verdict_of_guards(seen: Mapping) -> list[str]:
    """The findings of the guards of a run, one sentence each."""
    texts = []
    if steps := seen.get("steps_too_low"):
        depth = seen.get("below_minimum_eV") or 0.0
        texts.append(
            f"beads were up to {depth:.2f} eV below the minimum of the start ({_times(steps, 'step')}): "
            "the molecule has moved to another minimum, or to a hole of the model"
        )
    bonds = seen.get("bonds_changed") or {}
    if records := bonds.get("records"):
        named = bonds.get("changes", [])
        more = " …" if len(named) > 4 else ""
        texts.append(
            f"bonds differed from those of the start in {_times(records, 'record')}, from step {bonds.get('first_step')} on "
            f"({', '.join(named[:4])}{more})"
        )
    if steps := seen.get("steps_too_close"):
        texts.append(
            f"atoms came closer than the model is reliable in {_times(steps, 'step')}, down to "
            f"{seen.get('smallest_distance_A') or math.nan:.3f} Å"
        )
    bath = seen.get("quantum_bath") or {}
    for mass, share in zip(bath.get("masses_u", []), bath.get("at_limit", []), strict=True):
        if share > _LIMITED:
            texts.append(
                f"the quantum bath has no friction left for {share:.0%} of the kinetic energy of atoms of {mass:.4g} u: zero-point "
                "energy leaks there faster than it drains; expected a shorter centroid_time_fs"
            )
    return texts


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")


def _means(found: Mapping[str, Mean], ensemble: Ensemble, thermostat: str, masses: np.ndarray) -> list[str]:
    texts, T = [], ensemble.temperature_K
    classical = 3.0 * ensemble.n_atoms
    for name in ("heat_capacity_kB", "heat_capacity_fluctuation_kB"):
        value, error = found.get(name, Mean(math.nan, math.nan, 0.0))[:2]
        if value - _SURE_ERRORS * error > _ABSURD * classical:
            texts.append(
                f"the heat capacity of {value:.0f} ± {error:.0f} k_B is more than twice the classical one of vibrations (3N = "
                f"{classical:.0f} k_B): the energy drifts or jumps between states"
            )
        elif value < -_ERRORS * error:
            texts.append(
                f"the heat capacity of {value:.1f} ± {error:.1f} k_B is negative: the run is not at equilibrium"
            )
    if "temperature_K" in found and thermostat in _CANONICAL:
        value, error = found["temperature_K"][:2]
        if abs(value - T) > _ERRORS * error and abs(value - T) > _SLACK * T:
            texts.append(
                f"the temperature of {value:.4g} ± {error:.2g} K differs from that of the thermostat, {T:g} K: not at equilibrium "
                "(more equilibration_steps), or too large a timestep_fs"
            )
    if "gyration_radius_A" in found and ensemble.n_beads > 1:
        value, error = found["gyration_radius_A"][:2]
        free = math.sqrt(float((HBAR**2 / (4.0 * masses * units.kB * T)).mean()))
        if value - _ERRORS * error > (1.0 + _SLACK) * free:
            texts.append(
                f"ring polymers are wider ({value:.4f} ± {error:.4f} Å, root mean square) than those of free particles "
                f"({free:.4f} Å): nothing holds the atoms"
            )
    return texts


def as_line(texts: list[str]) -> str:
    """One line."""
    return "; ".join(texts)
