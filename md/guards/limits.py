"""Guards check every force call, so that a failing run stops within a few steps.

Limits are generous: no thermal fluctuation exceeds one. The defaults are, for a temperature T,

* temperature: 10 T (1 + 10/f) with f degrees of freedom, whose probability in a canonical ensemble is below e⁻⁵⁰, or 10 000 K, for
  starts that are not relaxed, whichever is larger (no limit for GLE, whose momenta need not be at T);
* radius of gyration of an atom's ring polymer: five times that of a free particle, ħ/(2 (m k_B T)^½), which bonds only
  make narrower;
* potential energy of a bead: 0.1 eV below the minimum that the start of a molecule relaxes to. At any temperature, no bead in the
  basin of the start lies below its minimum. The margin is a hundred times the uncertainty from rounding (float32) and from a
  relaxation to 0.02 eV/Å, and larger than the differences of conformers and distorted cages; isomers differ by more. A run below
  the margin has reached a lower isomer or a hole of the model. It stops, because the run itself cannot distinguish the two;
  ``energy_guard = "warn"`` lets it continue if the isomer is intended;
* cell vectors under a barostat: half to twice as long as at the start, beyond which no liquid or crystal remains one.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from ase import units

from md.dynamics.ring_polymer import HBAR
from md.dynamics.settings import QUANTUM_BATH
from md.guards.endings import Exit, Frame, SimulationError
from md.potentials import ClosestPair, Copies
from mlcalc.common.compiled import njit

_HOTTER, _HOT_K, _WIDER = 10.0, 10_000.0, 5.0
_BELOW_EV = 0.1
_MOST_GROWN = 2.0


class Limits(NamedTuple):
    """Allowed ranges.

    Attributes:
        force: Largest force on a bead of an atom, eV/Å.
        distance: (E, E) Å, smallest distance of two atoms of one bead by pair of elements, in the order of the model's elements.
        temperature: Largest kinetic temperature, K.
        gyration: (N,) Å, largest radius of gyration of each atom's ring polymer.
        minimum: eV, potential energy of the minimum; beads more than the margin below it are a finding; −∞ for none.
        of_model: Whether the distances are those that a model is trained for; else those that no atoms reach.
        lengths: (3,) Å, of the cell vectors at the start of a run with a barostat; None for a cell that does not change.
    """

    force: float
    distance: np.ndarray
    temperature: float
    gyration: np.ndarray
    minimum: float = -math.inf
    of_model: bool = True
    lengths: np.ndarray | None = None


class Policy(NamedTuple):
    """The action, "stop", "warn" or "record", for atoms that are too close and for energies that are too low; how to warn."""

    domain: str = "stop"
    energy: str = "stop"
    warn: Callable[[str], None] = print


class Watched(Protocol):
    """A potential whose distances a guard checks, as potential.Potential."""

    def closest_pair(self, limits: np.ndarray) -> ClosestPair:
        """The closest pair of the last evaluation, by limits (E, E) Å."""


_STRICT = Policy()


def limits_of(settings, atoms, shortest: np.ndarray, minimum: float | None = None) -> Limits:
    """Limits for RunSettings with one number of beads and a model valid for distances from ``shortest`` (E, E) Å on.

    Args:
        minimum: eV, energy of the relaxed start; None for no comparison.
    """
    masses, T = atoms.get_masses(), settings.temperature_K
    freedom = degrees_of_freedom(len(masses), settings)
    hottest = (
        np.inf if settings.thermostat in ("GLE", QUANTUM_BATH) else max(_HOTTER * T * (1.0 + _HOTTER / freedom), _HOT_K)
    )
    free = HBAR / (2.0 * np.sqrt(masses * units.kB * T))
    widest = np.full(len(masses), settings.max_gyration_A) if settings.max_gyration_A else _WIDER * free
    lowest = -math.inf if minimum is None else minimum
    hottest = settings.max_temperature_K or hottest
    lengths = atoms.cell.lengths() if settings.has_barostat else None
    return Limits(settings.max_force_eV_A, shortest, hottest, widest, lowest, settings.has_network, lengths)


def degrees_of_freedom(n_atoms: int, settings) -> int:
    """Degrees of freedom of the momenta of all beads of the moving atoms, minus translation and rotation if held at rest."""
    points = n_atoms * settings.beads
    turning = {1: 0, 2: 2}.get(points, 3)  # rotational degrees of freedom of this many points
    return 3 * points - 3 * settings.remove_com - turning * settings.remove_rotation


class Guard:
    """Checks every force call of a simulation.

    Args:
        limits: Limits of one molecule; freedom: its degrees of freedom.
        potential: Potential of the simulation, for one molecule or Copies of it; without one no distances are checked.
        policy: The action for atoms that are too close or an energy that is too low.
        indices: Indices of the moving atoms in the structure, for messages; None if all move.
        symbols: Elements of all atoms of one molecule, for messages.

    Attributes:
        n_close: Steps with atoms too close; closest: the smallest distance of the simulation, Å.
        n_low: Steps with too low an energy; lowest: depth of the lowest energy below the minimum, eV.
    """

    def __init__(
        self, limits: Limits, freedom: int, potential: Watched | None = None, policy: Policy = _STRICT,
        indices: np.ndarray | None = None, symbols: Sequence[str] = (),
    ):  # fmt: skip
        of_copies = potential if isinstance(potential, Copies) else None
        copies = 1 if of_copies is None else of_copies.copies
        self._limits, self._policy, self._freedom = limits, policy, freedom * copies
        self._potential, self._of_copies = potential, of_copies
        self.n_close, self.closest, self.n_low, self.lowest = 0, math.inf, 0, 0.0
        self._per_squared_gyration = 1.0 / np.tile(limits.gyration, copies) ** 2
        self._squared_force, self._indices = limits.force**2, indices
        self._copies, self._symbols = copies, symbols
        self._said: set[str] = set()

    def __call__(self, step: int, positions: np.ndarray, modes, energies: np.ndarray, forces: np.ndarray) -> None:
        """Check beads (P, N, 3) Å, integrators.Modes, energies (P,) eV and forces (P, N, 3) eV/Å.

        Raises:
            SimulationError: A value exceeds its limit.
        """
        total, squared_force, kinetic, gyration, lowest = _look(
            energies, forces, modes.positions, modes.momenta, modes.masses, self._per_squared_gyration
        )
        temperature = 2.0 * kinetic / (self._freedom * units.kB * len(positions))
        frame = Frame(step, positions, energies, forces, modes.cell)
        if not math.isfinite(total):
            raise _not_finite(frame)
        if squared_force > self._squared_force:
            raise _too_strong(frame, self._limits.force, self._indices)
        if temperature > self._limits.temperature:
            raise SimulationError(
                f"step {step}: the temperature is {temperature:.4g} K, above the limit of {self._limits.temperature:.4g} K; try a "
                "smaller timestep_fs or a relaxed start, or set max_temperature_K",
                Exit.TEMPERATURE, frame,
            )  # fmt: skip
        if gyration > 1.0:
            raise SimulationError(
                f"step {step}: the ring polymer of an atom is {math.sqrt(gyration):.3g} times as wide as allowed (max_gyration_A, "
                "by default five times the width of a free particle); try a smaller timestep_fs or integrator = \"BCOCB\"",
                Exit.GYRATION, frame,
            )  # fmt: skip
        if self._limits.lengths is not None:
            self._check_cell(modes.cell, frame)
        if self._potential is not None:
            pair = self._potential.closest_pair(self._limits.distance)
            self.closest = min(self.closest, pair.smallest)
            if pair.distance < pair.limit:
                self._note_close(pair, frame)
        if self._of_copies is not None:
            lowest = self._of_copies.lowest_energy()
        if lowest < self._limits.minimum - _BELOW_EV:
            self._note_low(lowest, frame)

    def seen(self) -> dict:
        """Findings on distances and energies, for status.json."""
        seen = {"smallest_distance_A": round(self.closest, 4), "steps_too_close": self.n_close}
        if math.isinf(self._limits.minimum):
            return seen
        depth = round(self.lowest, 4)
        return seen | {"minimum_eV": self._limits.minimum, "steps_too_low": self.n_low, "below_minimum_eV": depth}

    def resume(self, earlier: dict) -> None:
        """Continue the counts of a run that was stopped."""
        self.n_close, self.n_low = earlier.get("steps_too_close") or 0, earlier.get("steps_too_low") or 0
        self.closest = math.inf if (known := earlier.get("smallest_distance_A")) is None else known
        self.lowest = earlier.get("below_minimum_eV") or 0.0

    def _check_cell(self, cell: np.ndarray, frame: Frame) -> None:
        growth = np.sqrt((cell**2).sum(axis=1)) / self._limits.lengths
        worst = growth[np.abs(np.log(growth)).argmax()]
        if not 1.0 / _MOST_GROWN <= worst <= _MOST_GROWN:
            raise SimulationError(
                f"step {frame.step}: a cell vector is {worst:.3g} times as long as at the start, beyond {1 / _MOST_GROWN:g} to "
                f"{_MOST_GROWN:g}: a liquid that evaporates or collapses at this pressure_GPa, or whose orthorhombic cell nothing "
                "holds in shape, or too large a timestep_fs",
                Exit.VOLUME, frame,
            )  # fmt: skip

    def _note_close(self, pair: ClosestPair, frame: Frame) -> None:
        self.n_close += 1
        first, second = (self._symbols[atom] for atom in (pair.first, pair.second))
        limit = (
            f"this model can be trusted (from {pair.limit:.3f} Å for these elements); train it on such structures"
            if self._limits.of_model
            else f"half the sum of their covalent radii, {pair.limit:.3f} Å: too large a timestep_fs, or a hole of the potential"
        )
        self._speak(
            self._policy.domain, Exit.DISTANCE, frame,
            f"atoms {pair.first} ({first}) and {pair.second} ({second}) of bead {pair.replica // self._copies} are "
            f"{pair.distance:.3f} Å apart, closer than {limit}", "domain_guard",
        )  # fmt: skip

    def _note_low(self, lowest: float, frame: Frame) -> None:
        depth, self.n_low = self._limits.minimum - lowest, self.n_low + 1
        self.lowest = max(self.lowest, depth)
        doubt = (
            "a lower isomer or a hole of the model; label it with the method that the model was trained on (mlcalc label) and "
            "compare"
            if self._limits.of_model
            else "such as a lower isomer or conformer"
        )
        self._speak(
            self._policy.energy, Exit.ENERGY, frame,
            f"the potential energy of a bead is {depth:.3f} eV below the minimum that the start relaxes to, which no vibration "
            f"reaches: the molecule has moved to another minimum, {doubt}", "energy_guard",
        )  # fmt: skip

    def _speak(self, mode: str, code: Exit, frame: Frame, finding: str, key: str) -> None:
        if mode == "stop":
            raise SimulationError(
                f"step {frame.step}: {finding} (beads in breach.xyz), or continue with: rpmd resume RUN --set {key}=warn",
                code, frame,
            )  # fmt: skip
        if mode == "warn" and key not in self._said:
            self._said.add(key)
            self._policy.warn(f"step {frame.step}: {finding}")


def check_finite(step: int, positions: np.ndarray, modes, energies: np.ndarray, forces: np.ndarray) -> None:
    """The minimal check of a simulation; arguments and error as those of Guard."""
    if not math.isfinite(_look(energies, forces, modes.positions, modes.momenta, modes.masses, np.zeros(0))[0]):
        raise _not_finite(Frame(step, positions, energies, forces, modes.cell))


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
    """Five numbers: a sum that is finite only if all inputs are, the largest squared force, Σ p²/2m, the largest squared radius of
    gyration over its limit, and the lowest energy.

    q and p in normal modes. The radius of gyration of a ring polymer excludes the centroid mode: r_G² = (1/P) Σ_{k>0} q̃_k².
    """
    n_beads, n_atoms, _ = forces.shape
    total, strongest, kinetic, widest, lowest = 0.0, 0.0, 0.0, 0.0, np.inf
    for energy in energies:
        total += energy
        lowest = min(lowest, energy)
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
    return total, strongest, kinetic, widest, lowest
