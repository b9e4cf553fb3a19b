"""Structures to label: harmonic draws at a finite number of beads, molecular dynamics, distorted copies of its structures.

Every structure records in ``info`` how it was made: ``sampling``, ``temperature_K`` and, where they apply, ``beads``
(absent in the quantum limit), ``trajectory`` (split training data by it: its structures are correlated), ``scale``.
Harmonic draws are independent but reach wider than real motion of a floppy molecule; real ring-polymer trajectories
come from ``rpmd run``.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place
from mlcalc.data.distortions import compress, displaced, push, turn
from mlcalc.data.relaxation import relax, with_results
from mlcalc.vibrations import NormalModes, normal_modes, position_variance, potential_of

METHODS = ("normal-modes", "md", "compressed", "pushed", "turned")
_RELAXED = 0.005  # eV/Å: within reach of float32 forces, and far below the thermal ones
_RATTLE = 0.02  # Å: enough to leave a saddle point of high symmetry


@dataclass(frozen=True)
class LangevinSettings:
    """How :func:`sample_md` runs ASE's Langevin dynamics.

    Attributes:
        timestep_fs: Time step.
        friction_per_fs: Friction coefficient; 0.01 decorrelates velocities within 0.1 ps.
        equilibration: Steps before the first structure of each trajectory.
        stride: Steps between structures.
    """

    timestep_fs: float = 0.5
    friction_per_fs: float = 0.01
    equilibration: int = 1000
    stride: int = 100

    def __post_init__(self):
        for name in ("timestep_fs", "friction_per_fs"):
            if not 0 < getattr(self, name) < np.inf:
                raise InputError(f"{name} = {getattr(self, name)!r}: expected a positive number")
        _check_count("equilibration", self.equilibration, least=0)
        _check_count("stride", self.stride)


@dataclass(frozen=True)
class SampleSettings:
    """Settings of :func:`sample_to_file`.

    Attributes:
        count: Number of structures.
        temperature_K: Temperature of the sampling.
        beads: Beads P of the harmonic draws (1: classical); None for the quantum limit.
        trajectories: Independent MD trajectories that share the count.
        scales: Smallest and largest factor of ``compressed``.
        push_A: Shortest and longest shift of ``pushed``.
        seed: Seed of the random numbers: same seed, same structures.
        langevin: Settings of the MD.
    """

    count: int = 100
    temperature_K: float = 300.0
    beads: int | None = 8
    trajectories: int = 4
    scales: tuple[float, float] = (0.85, 1.05)
    push_A: tuple[float, float] = (0.15, 0.6)
    seed: int = 0
    langevin: LangevinSettings = field(default_factory=LangevinSettings)


def sample_to_file(
    method: str, engine: str, structure: Path, output: Path, settings: SampleSettings | None = None
) -> list[Atoms]:
    """Make structures of one molecule with a given potential and write them as extxyz.

    Args:
        method: ``"normal-modes"`` (relaxes the structure, then draws harmonically), ``"md"`` (Langevin dynamics),
            ``"compressed"`` (Langevin structures scaled uniformly about their centre), ``"pushed"`` (Langevin
            structures with a few atoms out of place) or ``"turned"`` (Langevin structures turned about one or two bonds).
        engine: An engine string (:mod:`mlcalc.data.engines`), or the name or file of a model.
        structure: File that holds one structure.
        output: extxyz to write; structures of dynamics carry the energies and forces of the engine. The minimum of
            ``"normal-modes"`` goes beside it (``OUT.minimum.xyz``).
        settings: Default: ``SampleSettings()``.

    Raises:
        InputError: Unknown method or engine, an unusable structure file or setting, no minimum found.
    """
    from mlcalc.data.engines import FAMILIES, make_calculator, set_state
    from mlcalc.data.labelling import read_structures, write_frames

    settings = settings or SampleSettings()
    output = Path(output)
    if method not in METHODS:
        raise InputError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    check_place(output)
    frames = read_structures(Path(structure), "samples")
    if len(frames) > 1:
        raise InputError(f"{structure}: holds {len(frames)} structures, expected one")
    engine = engine if engine.partition(":")[0] in FAMILIES else f"schnet:{engine}"
    calculator = make_calculator(engine)
    set_state(engine, calculator, frames[0], str(structure))
    samples, minimum = _sample(method, frames[0], calculator, settings)
    for atoms in samples:
        if atoms.calc is not None:
            atoms.info["engine"] = engine
    if minimum is not None:
        write_frames([with_results(minimum, engine)], output.with_name(f"{output.stem}.minimum.xyz"))
    write_frames(samples, output)
    return samples


def sample_normal_modes(
    atoms: Atoms, modes: NormalModes, temperature_K: float, beads: int | None, count: int, rng: np.random.Generator
) -> list[Atoms]:
    """Independent draws of the positions of one bead in the harmonic approximation.

    Each mode coordinate is Gaussian with the exact variance at P beads (vibrations.position_variance).

    Args:
        atoms: The minimum, as in ``modes.atoms``; its info is not kept.
        modes: Its normal modes.
        temperature_K: Temperature.
        beads: P ≥ 1; None for the quantum limit.
        count: Number of structures.
        rng: Random numbers.

    Raises:
        InputError: count < 1, or what position_variance refuses (such as a mode without a positive frequency).
    """
    _check_count("count", count)
    spread = np.sqrt(position_variance(modes.energies, temperature_K, beads))
    coordinates = rng.standard_normal((count, len(spread))) * spread
    shifts = np.tensordot(coordinates, modes.displacements, axes=1)
    info: dict = {"sampling": f"harmonic normal modes, {'quantum limit' if beads is None else 'finite P'}"}
    info["temperature_K"] = temperature_K
    if beads is not None:
        info["beads"] = beads
    return [displaced(atoms, atoms.positions + shift, info) for shift in shifts]


def sample_md(
    atoms: Atoms,
    calculator: Calculator,
    temperature_K: float,
    count: int,
    rng: np.random.Generator,
    trajectories: int = 1,
    settings: LangevinSettings | None = None,
) -> list[Atoms]:
    """Structures of classical Langevin dynamics, several independent trajectories from the same start.

    Args:
        atoms: Start of every trajectory; velocities are drawn for each.
        calculator: Any ASE calculator.
        temperature_K: Temperature.
        count: Total number of structures, shared among the trajectories as evenly as possible.
        rng: Random numbers.
        trajectories: Their number, at most ``count``; ``info["trajectory"]`` is ``md-<temperature>K-<number>``.
        settings: Default: ``LangevinSettings()``.

    Raises:
        InputError: A count or temperature out of range; a trajectory that became NaN or infinite.
    """
    from ase.md.langevin import Langevin

    settings = settings or LangevinSettings()
    _check_count("count", count)
    _check_count("trajectories", trajectories, most=count)
    if not 0 < temperature_K < np.inf:
        raise InputError(f"temperature_K = {temperature_K!r}: expected a positive number")
    samples = []
    for number in range(trajectories):
        moving = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, masses=atoms.get_masses())
        moving.calc = calculator
        thermal = np.sqrt(units.kB * temperature_K * moving.get_masses())[:, None]
        moving.set_momenta(thermal * rng.standard_normal((len(moving), 3)))
        dynamics = Langevin(
            moving,
            settings.timestep_fs * units.fs,
            temperature_K=temperature_K,
            friction=settings.friction_per_fs / units.fs,
            fixcm=False,  # ASE's way of fixing the centre of mass is inexact; its drift does not change the structures
            rng=rng,
        )
        dynamics.run(settings.equilibration)
        info = {"sampling": "classical Langevin MD", "temperature_K": temperature_K, "beads": 1}
        info["trajectory"] = f"md-{temperature_K:g}K-{number}"
        for _ in range(count // trajectories + (number < count % trajectories)):
            dynamics.run(settings.stride)
            if not np.isfinite(moving.positions).all():
                raise InputError(
                    f"trajectory {info['trajectory']} exploded with timestep_fs = {settings.timestep_fs}: use a "
                    "smaller one, a lower temperature or another potential"
                )
            samples.append(displaced(atoms, moving.positions, info))
            energy, forces = moving.get_potential_energy(), moving.get_forces(apply_constraint=False)
            samples[-1].calc = SinglePointCalculator(samples[-1], energy=energy, forces=forces)
    return samples


def minimum_near(atoms: Atoms, calculator: Calculator, rng: np.random.Generator) -> Atoms:
    """A minimum near a structure (forces below 0.005 eV/Å), relaxed from a slightly rattled copy: a structure of high
    symmetry would otherwise stay on its saddle point. Raises InputError as relaxation.relax does."""
    rattled = atoms.copy()
    rattled.positions += rng.normal(scale=_RATTLE, size=rattled.positions.shape)
    return relax(rattled, calculator, _RELAXED)


def _sample(
    method: str, atoms: Atoms, calculator: Calculator, settings: SampleSettings
) -> tuple[list[Atoms], Atoms | None]:
    """The structures, and the minimum of normal modes."""
    rng = np.random.default_rng(settings.seed)
    if method == "normal-modes":
        minimum = minimum_near(atoms, calculator, rng)
        modes = normal_modes(minimum, potential_of(minimum, calculator))
        return sample_normal_modes(minimum, modes, settings.temperature_K, settings.beads, settings.count, rng), minimum
    frames = sample_md(
        atoms, calculator, settings.temperature_K, settings.count, rng, settings.trajectories, settings.langevin
    )
    distort = {
        "md": lambda frames: frames,
        "compressed": lambda frames: compress(frames, settings.scales, rng),
        "pushed": lambda frames: push(frames, settings.push_A, rng),
        "turned": lambda frames: turn(frames, rng),
    }
    return distort[method](frames), None


def _check_count(name: str, value: int, least: int = 1, most: int | None = None) -> None:
    if not isinstance(value, int) or value < least or (most is not None and value > most):
        limit = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} = {value!r}: expected a whole number, {limit}")
