"""An ASE calculator as a force of OpenMM, whose nm and kJ/mol become Å and eV here."""

from functools import partial

import numpy as np
from ase import Atoms, units

from mlcalc.common.errors import InputError

_NM, _KJ = 10.0 * units.Ang, units.kJ / units.mol


def openmm_force(atoms: Atoms):
    """An ``openmm.PythonForce`` that evaluates the calculator of ``atoms``, for a System of these particles in this order.

    In a larger System name the particles by ``setParticles``. Where the atoms are periodic, their cell is the box of OpenMM at
    every step, so that a barostat works. OpenMM raises an OpenMMException with the text of what the calculator raises.

    Args:
        atoms: With any ASE calculator of energies and forces. Later changes of the structure do not count.

    Raises:
        InputError: OpenMM is missing or older than 8.5; atoms without a calculator, or periodic in one or two directions.
    """
    try:
        from openmm import PythonForce
    except ImportError as error:
        raise InputError("no OpenMM with PythonForce: pip install 'openmm>=8.5'") from error
    if atoms.calc is None:
        raise InputError("atoms without a calculator: set atoms.calc")
    if len({bool(periodic) for periodic in atoms.pbc}) > 1:
        raise InputError(f"pbc = {atoms.pbc.tolist()}: OpenMM is periodic in three directions or in none")
    own = atoms.copy()
    own.calc = atoms.calc
    force = PythonForce(partial(_evaluate, own))
    force.setUsesPeriodicBoundaryConditions(bool(atoms.pbc.all()))
    return force


def _evaluate(atoms: Atoms, state) -> tuple[float, np.ndarray]:
    """Energy in kJ/mol and forces (N, 3) in kJ/mol/nm of a State of OpenMM."""
    positions = _NM * state.getPositions(asNumpy=True)._value
    if len(positions) != len(atoms):
        raise InputError(f"{len(positions)} particles, {len(atoms)} atoms: name those of the atoms by setParticles")
    atoms.positions = positions
    if atoms.pbc.all():
        atoms.cell = _NM * state.getPeriodicBoxVectors(asNumpy=True)._value
    return atoms.get_potential_energy() / _KJ, atoms.get_forces(apply_constraint=False) * (_NM / _KJ)
