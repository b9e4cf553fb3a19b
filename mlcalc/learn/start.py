"""Where learning starts: the molecule, checked with its engine, its minimum and vibrations, and what is chosen from them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from mlcalc.common.errors import DISK_FULL, InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import from_json
from mlcalc.data.distortions import closest_contact, molecules_of
from mlcalc.data.engines import make_calculator, set_state
from mlcalc.data.labelling import read_structures, write_frames
from mlcalc.data.relaxation import relax, with_results
from mlcalc.data.sampling import minimum_near
from mlcalc.data.workers import discard
from mlcalc.geometry.domain import CLOSEST
from mlcalc.learn.settings import LearnSettings
from mlcalc.structures.electronic_state import electronic_state
from mlcalc.vibrations import NormalModes, normal_modes, potential_of, vibrational_energy

MINIMUM, MODES = "minimum.xyz", "modes.json"
SOFTEST = (
    50.0  # cm⁻¹: harmonic draws along softer modes would reach farther than motion does; they are drawn as of this one
)
_TIGHT = 1e-3  # eV/Å at the minimum, where the engine's precision allows it
_TRIALS = 3  # to leave a saddle point
_BEADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_ENOUGH = 0.02  # relative error of the harmonic energy at P beads
# Time steps in the shortest period. BCOCB samples harmonic vibrations exactly at any stable step, whatever P is (Korol,
# Rosa-Raíces, Bou-Rabee, Miller, J. Chem. Phys. 152, 104102 (2020), doi:10.1063/1.5134810).
_PER_PERIOD, _GRID_FS = 20, 0.05
_HYDROGEN, _HEAVY = (
    3700.0,
    1600.0,
)  # cm⁻¹, the stiffest vibration taken for periodic structures with and without hydrogen
_PER_ATOM, _LEAST, _MOST = 100, 300, 2000  # labels
_CHEAP, _TIMES = 0.02, 5  # share of the wall time that more labels may take, and how many times as many


@dataclass(frozen=True)
class Start:
    """The start of learning.

    Attributes:
        atoms: The minimum found with the engine; a periodic structure as it was given.
        modes: Its vibrations; None for a periodic structure.
        seconds: Of one calculation with the engine.
    """

    atoms: Atoms
    modes: NormalModes | None
    seconds: float

    @property
    def stiffest(self) -> float:
        """cm⁻¹."""
        if self.modes is not None:
            return float(self.modes.wavenumbers[-1])
        return _HYDROGEN if 1 in self.atoms.numbers else _HEAVY


def read_molecule(settings: LearnSettings) -> tuple[Atoms, Any, float]:
    """The structure, a calculator of the engine, and the seconds of a calculation.

    Raises:
        InputError: No usable structure; atoms on top of each other; an engine that is not installed, or cannot compute this
            structure with its charge and spin.
    """
    path = Path(settings.structure)
    frames = read_structures(path, "learning")
    if len(frames) > 1:
        raise InputError(f"{path}: holds {len(frames)} structures, expected one")
    (atoms,) = frames
    if len(atoms) < 2:
        raise InputError(f"{path}: holds one atom, expected a molecule, cluster or periodic cell")
    contact = closest_contact(atoms)
    if contact.relative < CLOSEST:
        distance = atoms.get_distance(contact.first, contact.second, mic=bool(atoms.pbc.any()))
        symbols = atoms.get_chemical_symbols()
        raise InputError(
            f"{path}: atoms {contact.first} ({symbols[contact.first]}) and {contact.second} ({symbols[contact.second]}) are "
            f"{distance:.3f} Å apart, less than half the sum of their covalent radii; expected positions in Å"
        )
    calculator = make_calculator(settings.engine)
    set_state(settings.engine, calculator, atoms, str(path))
    with engine_at_work(calculator, f"{path}: {settings.engine} cannot compute this structure"):
        atoms.calc = calculator
        atoms.get_forces(apply_constraint=False)
        moved = atoms.copy()
        moved.positions[0] += 0.01
        moved.calc, began = calculator, time.monotonic()
        forces, energy = moved.get_forces(apply_constraint=False), moved.get_potential_energy()
    if not (np.isfinite(forces).all() and np.isfinite(energy)):
        raise InputError(f"{path}: {settings.engine} returns energies or forces that are not finite numbers")
    atoms.calc = None
    return atoms, calculator, time.monotonic() - began


@contextmanager
def engine_at_work(calculator: Calculator, what: str) -> Iterator[None]:
    """Turn whatever an engine raises into an InputError of one line that begins with ``what``; full disks stay what they are."""
    try:
        yield
    except Exception as error:
        discard(calculator)
        if isinstance(error, InputError) or getattr(error, "errno", None) in DISK_FULL:
            raise
        raise InputError(f"{what}: {type(error).__name__}: {error}") from error


def find_start(settings: LearnSettings, atoms: Atoms, calculator: Calculator, seconds: float, folder: Path) -> Start:
    """Relax a molecule and compute its vibrations; writes minimum.xyz and modes.json into the folder.

    Raises:
        InputError: No minimum.
    """
    minimum, modes = atoms, None
    if not atoms.pbc.any():
        with engine_at_work(calculator, f"{settings.engine} failed near the minimum of {settings.structure}"):
            minimum, modes = _minimum(atoms, calculator, np.random.default_rng(settings.seed))
    minimum.calc = calculator
    write_frames([with_results(minimum, settings.engine)], folder / MINIMUM)
    known: dict[str, Any] = {"seconds_per_label": seconds}
    if modes is not None:
        known |= {"energies_eV": modes.energies.tolist(), "vectors": modes.vectors.tolist()}
    write_atomically(folder / MODES, json.dumps(known).encode())
    return read_start(folder)


def read_start(folder: Path) -> Start:
    """What find_start has written."""
    (atoms,) = read_structures(folder / MINIMUM, "learning")
    known = from_json((folder / MODES).read_bytes())
    modes = None
    if "vectors" in known:
        modes = NormalModes(atoms, np.array(known["energies_eV"]), np.array(known["vectors"]))
    return Start(atoms, modes, known["seconds_per_label"])


def _minimum(atoms: Atoms, calculator: Calculator, rng: np.random.Generator) -> tuple[Atoms, NormalModes]:
    """A minimum and its modes; soft modes of rounding, down to −50 cm⁻¹, are let pass."""
    minimum = atoms
    for _ in range(_TRIALS):
        minimum = minimum_near(minimum, calculator, rng)
        with suppress(InputError):  # where the engine is not that precise
            minimum = relax(minimum, calculator, _TIGHT)
        modes = normal_modes(minimum, potential_of(minimum, calculator))
        if modes.wavenumbers[0] > -SOFTEST:
            return minimum, modes
    raise InputError(
        f"no minimum found near the structure: a mode of {modes.wavenumbers[0]:.0f} cm⁻¹ is left; start from a relaxed one"
    )


def sampling_modes(modes: NormalModes) -> NormalModes:
    """The modes for harmonic draws: none softer than 50 cm⁻¹."""
    return replace(modes, energies=np.maximum(modes.energies, SOFTEST * units.invcm))


def with_budget(settings: LearnSettings, atoms: Atoms, seconds: float) -> LearnSettings:
    """The settings with a budget of labels of so many seconds each; InputError if it is too small for the rounds."""
    if settings.labels is not None:
        return settings
    least = int(np.clip(_PER_ATOM * len(atoms), _LEAST, _MOST))
    cheap = int(_CHEAP * 3600 * settings.hours * settings.jobs / seconds)
    return replace(settings, labels=int(np.clip(cheap, least, _TIMES * least)))


def completed(settings: LearnSettings, start: Start) -> LearnSettings:
    """The settings with everything chosen that was not set, but the budget."""
    atoms = start.atoms
    several = molecules_of(atoms).any() or bool(atoms.pbc.any())
    period_fs = 1e15 / (start.stiffest * 100.0 * units._c)
    step = max(_GRID_FS, round(period_fs / _PER_PERIOD / _GRID_FS) * _GRID_FS)
    chosen: dict[str, Any] = {
        "beads": needed_beads(start, settings.temperature_K),
        "timestep_fs": round(min(step, 1.0), 2),
        "n_features": 32 if len(atoms) <= 4 else 64,
        "cutoff_A": 6.0 if several else 5.0,
    }
    return replace(settings, **{key: value for key, value in chosen.items() if getattr(settings, key) is None})


def needed_beads(start: Start, temperature_K: float) -> int:
    """The least power of two above βħω of the stiffest mode that finds the harmonic energy to 2 %."""
    energies = np.array([start.stiffest * units.invcm])
    if start.modes is not None:
        energies = sampling_modes(start.modes).energies
    limit = vibrational_energy(energies, temperature_K, None)
    for beads in _BEADS:
        short = 1.0 - vibrational_energy(energies, temperature_K, beads) / limit
        if beads >= energies.max() / (units.kB * temperature_K) and short <= _ENOUGH:
            break
    return beads


def describe(settings: LearnSettings, start: Start) -> str:
    """The plan, for the user."""
    atoms, modes = start.atoms, start.modes
    state, n_molecules = electronic_state(atoms), int(molecules_of(atoms).max()) + 1
    rest = settings.labels * start.seconds / settings.jobs / 60
    found = f"stiffest vibration {start.stiffest:.0f} cm⁻¹"
    if modes is not None:
        energies = sampling_modes(modes).energies
        limit, T = vibrational_energy(energies, settings.temperature_K, None), settings.temperature_K
        short = 1.0 - vibrational_energy(energies, T, settings.beads) / limit
        found += f", harmonic energy {short:.1%} short of the quantum limit"
    if start.modes is None:
        found += " (assumed: periodic structures have no normal modes here)"
    rows = {
        "structure": f"{atoms.get_chemical_formula()}, {len(atoms)} atoms in {n_molecules} molecule(s), charge {state.charge or 0}"
        + (", periodic" if atoms.pbc.any() else ""),
        "engine": f"{settings.engine}, {start.seconds:.3g} s per calculation",
        "motion": f"{settings.temperature_K:g} K, P = {settings.beads}, Δt = {settings.timestep_fs:g} fs; {found}",
        "network": f"{settings.members} × {settings.architecture} ({settings.n_features}, {settings.n_interactions}), cutoff "
        f"{settings.cutoff_A:g} Å; {settings.steps} training steps, then {settings.later_steps} a round",
        "labels": f"at most {settings.labels}: {settings.cold_labels} before the first round, then {settings.fresh_labels} fresh "
        f"and {settings.chosen_labels} chosen ones a round, {settings.spot_check} again at the end; about {rest:.2g} min of "
        "engine time",
        "end": f"error of fresh structures ≤ {settings.target_meV_A:g} meV/Å, after at most {settings.rounds} rounds or "
        f"{settings.hours:g} h; the time of a round is known after the first",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in rows.items())
