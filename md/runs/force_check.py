"""``rpmd check-forces``: whether the forces of a model or an engine are minus the slope of its energy.

Beads are the start of an input, the first as it is and the others with every coordinate moved at random, since forces vanish at a
minimum. The slope along a coordinate x is (8[V(x+h) − V(x−h)] − [V(x+2h) − V(x−2h)])/12h, whose error is of the order h⁴; the
rounding ε of an energy adds about ε/h.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from md.components.split import one_by_one
from md.dynamics.clamped import Clamped
from md.dynamics.ring_polymer import cell_of, configuration
from md.potentials import end_workers
from md.runs.config import RunSettings
from md.runs.driving import driving_potential
from md.runs.input_files import read_inputs
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.common.tables import aligned

_PER_CALL = 64  # configurations of a call
_RELATIVE = 0.005  # of the largest force of a bead, allowed beside the tolerance


class Trial(NamedTuple):
    """What to compare.

    Attributes:
        beads: Number of beads; displacement_A: standard deviation of the coordinates of all but the first.
        coordinates: Number of coordinates of each bead, drawn at random; all if there are no more.
        step_A: h. tolerance_eV_A: Largest difference allowed, beside 0.5 % of the largest force of the bead.
    """

    beads: int = 4
    displacement_A: float = 0.05
    coordinates: int = 12
    step_A: float = 0.01
    tolerance_eV_A: float = 0.01


class Difference(NamedTuple):
    """The largest difference in one bead.

    Attributes:
        largest_force: eV/Å, of a component; atom, axis: where forces and slope differ most; there: force and −slope, eV/Å.
        allowed: eV/Å.
    """

    largest_force: float
    atom: int
    axis: str
    there: tuple[float, float]
    allowed: float

    @property
    def good(self) -> bool:
        """Whether they agree; not where a number is not finite."""
        return abs(self.there[0] - self.there[1]) <= self.allowed


def check_forces(
    settings: RunSettings, trial: Trial | None = None, potential=None
) -> tuple[list[Difference], list[str]]:
    """Compare forces and slopes for every bead; ``potential`` as in start.run. Returns the differences and the elements.

    Raises:
        InputError: A number out of range, what preparing a run refuses, or an engine that fails.
    """
    trial = trial or Trial()
    check_range("--check-beads", trial.beads, 1)
    check_range("--coordinates", trial.coordinates, 1)
    check_range("--displacement", trial.displacement_A, 0.0, 1.0)
    check_range("--step", trial.step_A, 0.0, 0.1, open_low=True)
    check_range("--tolerance", trial.tolerance_eV_A, 0.0, open_low=True)
    inputs = read_inputs(settings)
    driving = driving_potential(settings, inputs, potential)
    single = one_by_one(driving, cell_of(inputs.atoms)) if settings.potential else driving
    rng = np.random.default_rng(settings.seed)
    try:
        found = [_bead(single, inputs.atoms, trial, rng, bead > 0) for bead in range(trial.beads)]
    except CalculationFailed as error:
        raise InputError(f"{settings.structure}: {error}") from error
    finally:
        end_workers(driving)
    return found, inputs.atoms.get_chemical_symbols()


def _bead(potential, atoms: Atoms, trial: Trial, rng: np.random.Generator, moved: bool) -> Difference:
    moving = Clamped.of(atoms).moving
    start = atoms.positions[moving]
    if moved:
        start = start + rng.normal(0.0, trial.displacement_A, start.shape)
    forces = potential(*configuration(start[None], cell_of(atoms)))[1][0]
    chosen = np.sort(rng.permutation(start.size)[: trial.coordinates])
    slopes = _slopes(potential, atoms, start, chosen, trial.step_A)
    difference = np.abs(forces.reshape(-1)[chosen] + slopes)
    worst = int(np.argmax(np.where(np.isnan(difference), np.inf, difference)))
    atom, axis = divmod(int(chosen[worst]), 3)
    largest = float(np.abs(forces).max())
    there = float(forces[atom, axis]), -float(slopes[worst])
    return Difference(largest, int(moving[atom]), "xyz"[axis], there, trial.tolerance_eV_A + _RELATIVE * largest)


def _slopes(potential, atoms: Atoms, start: np.ndarray, chosen: np.ndarray, step: float) -> np.ndarray:
    """(n,) eV/Å, slopes of the energy along the chosen coordinates."""
    shifts = np.zeros((len(chosen), 4, start.size))
    for row, coordinate in zip(shifts, chosen, strict=True):
        row[:, coordinate] = step * np.array([1.0, -1.0, 2.0, -2.0])
    places = (start.reshape(-1) + shifts).reshape(-1, *start.shape)
    parts = (places[begin : begin + _PER_CALL] for begin in range(0, len(places), _PER_CALL))
    energies = np.concatenate([potential(*configuration(part, cell_of(atoms)))[0] for part in parts]).reshape(-1, 4)
    return energies @ np.array([8.0, -8.0, -1.0, 1.0]) / (12.0 * step)


def as_text(found: list[Difference], symbols: list[str]) -> str:
    """A table with a row for each bead, and a verdict."""
    rows = [
        [str(bead), f"{item.largest_force:.4f}", f"{symbols[item.atom]}{item.atom} {item.axis}",
         *(f"{value:.5f}" for value in (*item.there, item.there[0] - item.there[1], item.allowed)),
         "ok" if item.good else "WRONG"]
        for bead, item in enumerate(found)
    ]  # fmt: skip
    header = ["bead", "largest force", "worst at", "force", "−dE/dx", "difference", "allowed", ""]
    bad = sum(not item.good for item in found)
    verdict = (
        "forces are those of the energy" if not bad
        else f"forces of {bad} of {len(found)} beads are NOT those of the energy: motion with them does not conserve energy"
    )  # fmt: skip
    return f"forces and slopes in eV/Å, where they differ most in each bead\n{aligned(header, rows)}\n{verdict}"
