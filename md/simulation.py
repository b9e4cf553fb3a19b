"""The simulation loop: from a state to samples, without files."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ase.calculators.calculator import CalculationFailed

from md.dynamics.barostats import cell_energy
from md.dynamics.integrators import Laws, Modes, apply_segment, in_modes, make_laws
from md.dynamics.normal_modes import to_beads, to_modes
from md.dynamics.quantum_bath import QuantumBath
from md.dynamics.ring_polymer import RingPolymer
from md.dynamics.settings import Dynamics
from md.guards.endings import Exit, Frame, SimulationError
from md.guards.limits import check_finite
from md.observables.estimators import Sample
from mlcalc.common.compiled import njit
from mlcalc.common.errors import InputError

_NOISE_NUMBERS = 1 << 14  # drawn at once: 128 KiB, which fit in the cache

# As potential.Potential.__call__; called with a cell if the state has one.
Potential = Callable[..., tuple[np.ndarray, np.ndarray]]
NoiseSource = Callable[[np.ndarray], None]


class Point(NamedTuple):
    """The exact state between two steps, from which simulate resumes.

    Attributes:
        step: Steps made.
        beads: (P, N, 3) Å, positions of the beads: at the start of a simulation they equal those of the modes only up to rounding.
        positions, momenta, auxiliary: In normal modes, as in integrators.Modes.
        heat: Energy that the thermostat has removed, eV.
        cell: (3, 3) Å; None for a molecule, or to keep the cell of the ring polymer.
        piston: Momenta of the cell; None without a barostat.
    """

    step: int
    beads: np.ndarray
    positions: np.ndarray
    momenta: np.ndarray
    auxiliary: np.ndarray
    heat: float
    cell: np.ndarray | None = None
    piston: np.ndarray | None = None

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> "Point":
        """Build a Point from arrays by name, including step and heat."""
        rest = {name: arrays[name] for name in cls._fields[1:] if name in arrays and name != "heat"}
        return cls(step=int(arrays["step"]), heat=float(arrays["heat"]), **rest)

    def arrays(self) -> dict[str, Any]:
        """All arrays by name, for checkpoints; those that there are."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class Motion(NamedTuple):
    """A system and its laws of motion.

    Attributes:
        ring_polymer: Initial state; its arrays change in place.
        potential: (P, N, 3) Å, and (3, 3) Å where the state has a cell → energies (P,) eV, forces (P, N, 3) eV/Å; for a barostat
            with ``evaluate``, as potential.Potential; for several time steps with ``every`` and ``at``, as split.SplitPotential.
        dynamics: Ensemble and integrator.
        rng: Source of all noise (same seed, same bits), a function that fills arrays (n, P, 1 + A, N, 3) of n steps with it, or a
            QuantumBath, which the thermostat of that name needs.
    """

    ring_polymer: RingPolymer
    potential: Potential
    dynamics: Dynamics
    rng: np.random.Generator | NoiseSource | QuantumBath


def point_of(sample: Sample) -> Point:
    """The Point of a live sample; its arrays are copies."""
    state, modes = sample.ring_polymer, sample.modes
    arrays = (array.copy() for array in (state.positions, modes.positions, modes.momenta, modes.auxiliary))
    cell, piston = None if state.cell is None else state.cell.copy(), state.piston.copy() if len(state.piston) else None
    return Point._make((sample.step, *arrays, sample.heat, cell, piston))


def frame_of(sample: Sample) -> Frame:
    """The part of a live sample that guards check."""
    state = sample.ring_polymer
    return Frame(sample.step, state.positions, sample.potential_energies, sample.physical_forces, state.cell)


def simulate(
    ring_polymer: RingPolymer,
    potential: Potential,
    dynamics: Dynamics,
    rng: np.random.Generator | NoiseSource | QuantumBath,
    steps: int,
    every: int = 1,
    begin: Point | None = None,
    guard: Callable = check_finite,
) -> Iterator[Sample]:
    """Move a ring polymer; yield a Sample before the first step and after every ``every`` steps.

    The state is kept in normal modes, and beads are computed from them, not the reverse. So a run resumes bit for bit from a Point
    and the state that its generator had at that sample.

    Args:
        ring_polymer, potential, dynamics, rng: As in Motion.
        steps: Total number of steps, including those before ``begin``.
        begin: Point of an earlier sample, which is not yielded again; its state replaces that of the ring polymer.
        guard: Checks every force call: check_finite, or a limits.Guard.

    Raises:
        InputError: From integrators.make_laws; a word of several F's, or a barostat, with several time steps (split.py).
        SimulationError: From the guard, or for a CalculationFailed of the potential.
        TypeError: A QuantumBath without its thermostat, or the reverse.
    """
    laws = make_laws(dynamics, len(ring_polymer.positions))
    if dynamics.has_quantum_bath != isinstance(rng, QuantumBath):
        raise TypeError(
            f"thermostat {dynamics.thermostat} with noise of {type(rng).__name__}: a QuantumBath belongs to adQTB"
        )
    if begin is None:
        modes, first, heat = in_modes(ring_polymer, laws), 0, 0.0
    else:
        modes, first, heat = _restored(ring_polymer, laws, begin), begin.step, begin.heat
    _check_split(potential, laws, first, every)
    beads, segments = ring_polymer.positions, laws.evaluations
    place = ring_polymer.configuration  # arrays that change in place
    energies, forces, extra, virials = _evaluate(potential, first, place, modes.strain)
    guard(first, beads, modes, energies, forces)
    kicks = forces if extra is None else forces + extra
    to_modes(laws.transform, kicks, modes.forces)
    noise = _noise_of(rng, laws, modes, range(first, steps), every)
    for step in range(first, steps + 1):
        if step > first:
            normals = next(noise)
            for segment in range(segments):
                heat += apply_segment(segment, modes, laws, normals, beads, kicks)
                energies, forces, extra, virials = _evaluate(potential, step, place, modes.strain)
                guard(step, beads, modes, energies, forces)
                kicks = forces if extra is None else forces + extra
            heat += apply_segment(segments, modes, laws, normals, beads, kicks)
        if step % every == 0 or step == steps:
            to_beads(laws.transform, modes.momenta, ring_polymer.momenta)
        if step % every == 0 and (begin is None or step > first):
            yield Sample(
                step, step * dynamics.timestep_fs, ring_polymer, energies, forces,
                dynamics.temperature_K, dynamics.remove_com, heat, dynamics.remove_rotation, virials=virials, modes=modes,
                cell_energy=cell_energy(modes.cell, modes.piston, laws.piston, forces.shape), extra_kicks=extra,
                is_thermal=dynamics.is_thermal, has_thermal_centroids=dynamics.has_thermal_centroids,
            )  # fmt: skip


def _check_split(potential: Any, laws: Laws, first: int, every: int) -> None:
    """Raise InputError where several time steps do not fit the laws, or the first step and the interval of samples."""
    outer = _outer_steps(potential)
    if outer > 1 and (laws.evaluations > 1 or laws.moves_cell):
        raise InputError(f"slow components every {outer} steps: expected an integrator with one F, and no barostat")
    if first % outer or every % outer:
        raise InputError(
            f"samples every {every} steps from step {first} on: expected multiples of the outer step, {outer}"
        )


def _outer_steps(potential: Any) -> int:
    """Steps from one evaluation of all components of a potential to the next."""
    return getattr(potential, "every", 1)


def _evaluate(potential: Any, step: int, place: tuple[np.ndarray, ...], strain: np.ndarray) -> tuple:
    """Energies and forces of the beads at a step, whose frame is kept if the calculation fails.

    Args:
        strain: As in integrators.Modes; receives the diagonal of Σ_j dV_j/dε.

    Returns:
        Energies, forces; what kicks have beside the forces, or None (split.py); virials with a barostat, else None.
    """
    try:
        if _outer_steps(potential) > 1:
            return *potential.at(step, *place), None
        if not len(strain):
            return *potential(*place), None, None
        found = potential.evaluate(*place)
        strain[:] = found["virials"].sum(axis=0).diagonal()
        return found["energies"], found["forces"], None, found["virials"]
    except CalculationFailed as error:
        positions = place[0]
        unknown = np.full(positions.shape, np.nan)
        frame = Frame(step, positions, unknown[:, 0, 0], unknown, place[1] if len(place) > 1 else None)
        raise SimulationError(f"step {step}: {error}", Exit.ENGINE, frame) from error


def _restored(ring_polymer: RingPolymer, laws: Laws, begin: Point) -> Modes:
    """The normal modes of a Point; the ring polymer gets its beads, its cell and the momentum of that."""
    modes = in_modes(ring_polymer, laws)
    modes.positions[:], modes.momenta[:], modes.auxiliary[:] = begin.positions, begin.momenta, begin.auxiliary
    ring_polymer.positions[:] = begin.beads
    if begin.cell is not None:
        ring_polymer.cell[:] = begin.cell
    if begin.piston is not None:
        ring_polymer.piston[:] = begin.piston
    return modes


def _noise_of(
    rng: np.random.Generator | NoiseSource | QuantumBath, laws: Laws, modes: Modes, steps: range, every: int
) -> Iterator[np.ndarray]:
    """The normal numbers of each step."""
    if isinstance(rng, QuantumBath):
        return rng.normals(modes, laws)
    source = standard_normal(rng) if isinstance(rng, np.random.Generator) else rng
    return _noise(source, laws.draws(modes.positions.shape[1]), steps, every)


def _noise(source: NoiseSource, shape: tuple[int, ...], steps: range, every: int) -> Iterator[np.ndarray]:
    """Standard normal numbers of a given shape for each step.

    They are drawn for several steps at once, because passing a generator to compiled code takes as long as drawing 2000
    numbers, but never beyond the next sample or the last step: there the generator has the same state as after drawing
    step by step.
    """
    size = max(math.prod(shape), 1)
    numbers = np.empty((max(1, min(every, _NOISE_NUMBERS // size)), *shape))
    step = steps.start
    while step < steps.stop:
        count = min(len(numbers), every - step % every, steps.stop - step)
        source(numbers[:count])
        yield from numbers[:count]
        step += count


def standard_normal(rng: np.random.Generator) -> NoiseSource:
    """A function that fills arrays from a generator, in the order of their memory."""

    def fill(numbers: np.ndarray) -> None:
        _fill(rng, numbers.reshape(-1))

    return fill


@njit(cache=True)
def _fill(rng, numbers):
    for n in range(len(numbers)):
        numbers[n] = rng.standard_normal()
