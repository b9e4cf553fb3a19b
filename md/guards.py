"""Guards: what every force call is looked over for, so that a run that has gone wrong stops within a few steps.

Limits are generous: whatever crosses one is no thermal fluctuation. Where an input leaves them to us they are, for a temperature T,

* temperature: 10 T (1 + 10/f) with f degrees of freedom, of probability below e⁻⁵⁰ in a canonical ensemble, or
  10 000 K, for starts that are not relaxed, whichever is more (no limit for GLE, whose momenta need not be at T);
* radius of gyration of an atom's ring polymer: five times that of a free particle, ħ/(2 (m k_B T)^½), which bonds only
  make narrower.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from ase import units

from md.endings import Exit, Frame, SimulationError
from md.ring_polymer import HBAR
from mlcalc.compiled import njit

_HOTTER, _HOT_K, _WIDER = 10.0, 10_000.0, 5.0


class Limits(NamedTuple):
    """What is allowed.

    Attributes:
        force: Largest force on a bead of an atom, eV/Å.
        distance: Smallest distance of two atoms of one bead, Å.
        temperature: Largest kinetic temperature, K.
        gyration: (N,) Å, largest radius of gyration of each atom's ring polymer.
    """

    force: float
    distance: float
    temperature: float
    gyration: np.ndarray


def limits_of(settings, atoms, shortest: float) -> Limits:
    """Limits for RunSettings with one number of beads and a model that may be asked for distances down to ``shortest`` Å."""
    masses, T = atoms.get_masses(), settings.temperature_K
    freedom = degrees_of_freedom(len(masses), settings)
    hottest = np.inf if settings.thermostat == "GLE" else max(_HOTTER * T * (1.0 + _HOTTER / freedom), _HOT_K)
    free = HBAR / (2.0 * np.sqrt(masses * units.kB * T))
    widest = np.full(len(masses), settings.max_gyration_A) if settings.max_gyration_A else _WIDER * free
    return Limits(settings.max_force_eV_A, shortest, settings.max_temperature_K or hottest, widest)


def degrees_of_freedom(n_atoms: int, settings) -> int:
    """Of the momenta of all beads of the atoms that move, less translation and rotation where they are at rest."""
    points = n_atoms * settings.beads
    turning = {1: 0, 2: 2}.get(points, 3)  # directions in which so many points can turn
    return 3 * points - 3 * settings.remove_com - turning * settings.remove_rotation


class Guard:
    """Looks over every force call of a simulation.

    Args:
        limits: Limits of one molecule; freedom: its degrees of freedom.
        smallest_distance: Gives the smallest distance of the last force call, Å; None to look at none.
        on_close: What to do when atoms are too close: "stop", "warn" or "record".
        warn: Called with the message of the first such step when it is "warn".
        copies: How many independent copies of the molecule move together.
        indices: Of the atoms that move, in the structure, for messages; None where all do.

    Attributes:
        n_close: Steps with atoms that were too close; closest: the smallest distance of the simulation, Å.
    """

    def __init__(
        self, limits: Limits, freedom: int, smallest_distance: Callable[[], float] | None = None, on_close="stop",
        warn: Callable[[str], None] = print, copies: int = 1, indices: np.ndarray | None = None,
    ):  # fmt: skip
        self._limits, self._distance, self._on_close, self._warn = limits, smallest_distance, on_close, warn
        self._freedom, self.n_close, self.closest = freedom * copies, 0, math.inf
        self._per_squared_gyration = 1.0 / np.tile(limits.gyration, copies) ** 2
        self._squared_force, self._indices = limits.force**2, indices

    def __call__(self, step: int, positions: np.ndarray, modes, energies: np.ndarray, forces: np.ndarray) -> None:
        """Look at beads (P, N, 3) Å, integrators.Modes, energies (P,) eV and forces (P, N, 3) eV/Å.

        Raises:
            SimulationError: Something is beyond its limit.
        """
        total, squared_force, kinetic, gyration = _look(
            energies, forces, modes.positions, modes.momenta, modes.masses, self._per_squared_gyration
        )
        temperature = 2.0 * kinetic / (self._freedom * units.kB * len(positions))
        if not math.isfinite(total):
            raise _not_finite(Frame(step, positions, energies, forces))
        if squared_force > self._squared_force:
            raise _too_strong(Frame(step, positions, energies, forces), self._limits.force, self._indices)
        if temperature > self._limits.temperature:
            raise SimulationError(
                f"step {step}: the temperature is {temperature:.4g} K, above the limit of {self._limits.temperature:.4g} K; try a "
                "smaller timestep_fs or a relaxed start, or set max_temperature_K",
                Exit.TEMPERATURE, Frame(step, positions, energies, forces),
            )  # fmt: skip
        if gyration > 1.0:
            raise SimulationError(
                f"step {step}: the ring polymer of an atom is {math.sqrt(gyration):.3g} times as wide as allowed (max_gyration_A, "
                "by default five times the width of a free particle); try a smaller timestep_fs or integrator = \"BCOCB\"",
                Exit.GYRATION, Frame(step, positions, energies, forces),
            )  # fmt: skip
        if self._distance is not None:
            closest = self._distance()
            self.closest = min(self.closest, closest)
            if closest < self._limits.distance:
                self._note_close(closest, Frame(step, positions, energies, forces))

    def _note_close(self, closest: float, frame: Frame) -> None:
        self.n_close += 1
        message = (
            f"step {frame.step}: two atoms are {closest:.3f} Å apart, closer than this model can be trusted "
            f"(from {self._limits.distance:.3f} Å); train it on such structures, or set domain_guard to \"warn\" or \"record\""
        )  # fmt: skip
        if self._on_close == "stop":
            raise SimulationError(message, Exit.DISTANCE, frame)
        if self._on_close == "warn" and self.n_close == 1:
            self._warn(message)


def check_finite(step: int, positions: np.ndarray, modes, energies: np.ndarray, forces: np.ndarray) -> None:
    """The least that a simulation looks at; arguments and error as those of Guard."""
    if not math.isfinite(_look(energies, forces, modes.positions, modes.momenta, modes.masses, np.zeros(0))[0]):
        raise _not_finite(Frame(step, positions, energies, forces))


def _not_finite(frame: Frame) -> SimulationError:
    bad = ~(np.isfinite(frame.energies) & np.isfinite(frame.forces).all(axis=(1, 2)))
    return SimulationError(
        f"step {frame.step}: energy or forces of bead(s) {np.flatnonzero(bad).tolist()} are not finite; "
        "try a smaller timestep_fs, or a start closer to a minimum of the model",
        Exit.NOT_FINITE, frame,
    )  # fmt: skip


def _too_strong(frame: Frame, limit: float, indices: np.ndarray | None) -> SimulationError:
    strengths = np.linalg.norm(frame.forces, axis=2)
    bead, atom = np.unravel_index(strengths.argmax(), strengths.shape)
    atom = atom if indices is None else indices[atom % len(indices)]
    return SimulationError(
        f"step {frame.step}: the force on atom {atom} in bead {bead} is {strengths.max():.4g} eV/Å, above max_force_eV_A = "
        f"{limit:g}; try a smaller timestep_fs, or a start closer to a minimum of the model",
        Exit.FORCE, frame,
    )  # fmt: skip


@njit(cache=True)
def _look(energies, forces, q, p, masses, per_squared_gyration):
    """A sum that is finite if all is, the largest squared force, Σ p²/2m, the largest squared radius of gyration over its limit.

    q and p in normal modes: a ring polymer's radius of gyration is that of its modes but the centroid, r_G² = (1/P) Σ_{k>0} q̃_k².
    """
    n_beads, n_atoms, _ = forces.shape
    total, strongest, kinetic, widest = 0.0, 0.0, 0.0, 0.0
    for energy in energies:
        total += energy
    for i in range(n_atoms):
        spread, squares = 0.0, 0.0
        for k in range(n_beads):
            force = forces[k, i, 0] ** 2 + forces[k, i, 1] ** 2 + forces[k, i, 2] ** 2
            total += force
            strongest = max(strongest, force)
            squares += p[k, i, 0] ** 2 + p[k, i, 1] ** 2 + p[k, i, 2] ** 2
            if k > 0:
                spread += q[k, i, 0] ** 2 + q[k, i, 1] ** 2 + q[k, i, 2] ** 2
        kinetic += squares / (2.0 * masses[i])
        if i < len(per_squared_gyration):
            widest = max(widest, spread / n_beads * per_squared_gyration[i])
    return total, strongest, kinetic, widest
