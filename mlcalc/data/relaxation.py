"""Minima: a structure relaxed with any calculator, for vibrations, for samples and for the command ``mlcalc relax``."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, CalculatorError
from ase.calculators.singlepoint import SinglePointCalculator

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place
from mlcalc.common.tables import aligned

MAX_STEPS = 2000


def relax(structure: Atoms, calculator: Calculator, max_force_eV_A: float, max_steps: int = MAX_STEPS) -> Atoms:
    """A minimum (or saddle point) near a structure: positions where no force exceeds the limit; the cell is fixed.

    Constraints are ignored.

    Raises:
        InputError: The calculator cannot treat the structure, or ``max_steps`` of BFGS are not enough.
    """
    from ase.optimize import BFGS

    atoms = structure.copy()
    atoms.set_constraint()
    atoms.calc = calculator
    try:
        converged = BFGS(atoms, logfile=None).run(fmax=max_force_eV_A, steps=max_steps)
    except CalculatorError as error:
        raise InputError(f"the structure cannot be relaxed: {error}") from error
    if not converged:
        strongest = np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max()
        raise InputError(
            f"no minimum found: a force of {strongest:.3g} eV/Å is left after {max_steps} steps, above {max_force_eV_A:g} eV/Å"
        )
    return atoms


def with_results(atoms: Atoms, engine: str) -> Atoms:
    """The atoms with the energy and forces of their calculator as plain numbers, and the name of its engine."""
    energy, forces = float(atoms.get_potential_energy()), np.array(atoms.get_forces(apply_constraint=False))
    kept = atoms.copy()
    kept.set_constraint()  # with constraints ASE would report zero forces on fixed atoms
    kept.info["engine"] = engine
    kept.calc = SinglePointCalculator(kept, energy=energy, forces=forces)
    return kept


def relax_file(structure: Path, engine: str, output: Path, max_force_eV_A: float) -> str:
    """Relax the structure of a file and write it with energy and forces; returns a table of the result.

    Raises:
        InputError: An unusable structure, engine or output, or what relax refuses; nothing is written then.
    """
    from mlcalc.data.engines import make_calculator, set_state
    from mlcalc.data.labelling import write_frames
    from mlcalc.structures.structure_files import drop_constraints, read_last

    check_place(output)
    start = read_last(structure)
    drop_constraints([start], structure, "minima")
    calculator = make_calculator(engine)
    state = set_state(engine, calculator, start, str(structure))
    before = start.copy()
    before.calc = calculator
    first = with_results(before, engine)
    minimum = with_results(relax(start, calculator, max_force_eV_A), engine)
    minimum.info |= state.info
    write_frames([minimum], output)
    rows = []
    for name, atoms in (("start", first), ("minimum", minimum)):
        strongest = np.linalg.norm(atoms.get_forces(apply_constraint=False), axis=1).max()
        rows.append([name, f"{atoms.get_potential_energy():.6f}", f"{strongest:.6f}"])
    moved = np.linalg.norm(minimum.positions - start.positions, axis=1).max()
    table = aligned([engine, "energy / eV", "largest force / eV/Å"], rows, left=1)
    return f"{table}\nlargest displacement of an atom: {moved:.4f} Å\n{output}"
