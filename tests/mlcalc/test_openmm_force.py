"""Calculators in OpenMM: energies and forces in its units, boxes, motion, and what is refused; skipped without PythonForce."""

import sys

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from mlcalc import NetworkCalculator
from mlcalc.common.errors import InputError
from mlcalc.openmm_force import openmm_force
from tests.mlcalc.architectures import SYSTEMS, model_of

openmm = pytest.importorskip("openmm", reason="OpenMM is not installed: pip install openmm")
if not hasattr(openmm, "PythonForce"):
    pytest.skip("this OpenMM has no PythonForce: pip install 'openmm>=8.5'", allow_module_level=True)

KJ_PER_EV = 96.48533212  # CODATA 2018: the elementary charge times Avogadro's number
NM = 0.1  # of an Å


def atoms_of(system: str, name: str = "schnet-repulsion"):
    """A structure as OpenMM allows it: box vectors in its reduced form."""
    atoms = SYSTEMS[system].copy()
    if atoms.pbc.all():
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.calc = NetworkCalculator(model_of(name), "float64", "torch")
    return atoms


def context_of(atoms, integrator=None, platform: str = "Reference", before: int = 0, named: bool = True):
    """``before``: particles before the atoms, which are then named to the force, or not."""
    system = openmm.System()
    for mass in [*[1.0] * before, *atoms.get_masses()]:
        system.addParticle(mass)
    if atoms.pbc.all():
        system.setDefaultPeriodicBoxVectors(*atoms.cell.array * NM)
    force = openmm_force(atoms)
    if before and named:
        force.setParticles(range(before, before + len(atoms)))
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName(platform)
    context = openmm.Context(system, integrator or openmm.VerletIntegrator(0.001), platform)
    context.setPositions(np.vstack([np.full((before, 3), 7.0), atoms.positions * NM]))
    return context


def check(context, atoms, before: int = 0) -> None:
    state = context.getState(energy=True, forces=True)
    energy, forces = state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value
    expected = atoms.get_forces(apply_constraint=False) * KJ_PER_EV / NM
    # Constants of 1e6 kJ/mol are in it; ASE's eV is 8e-9 off CODATA's of 2018.
    assert energy == pytest.approx(atoms.get_potential_energy() * KJ_PER_EV, rel=2e-8)
    # OpenMM's CPU platform holds positions in float32.
    np.testing.assert_allclose(forces[before:], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected).max() > 1.0
    assert not forces[:before].any()


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("system", ["molecule", "crystal", "small cell"])
@pytest.mark.parametrize("name", ["schnet-repulsion", "painn-priors"])
def test_equals_our_calculator(name, system, platform):
    atoms = atoms_of(system, name)
    check(context_of(atoms, platform=platform), atoms)


def test_the_box_of_openmm_counts():
    """As a barostat changes it."""
    atoms = atoms_of("crystal")
    context, larger = context_of(atoms), atoms.copy()
    larger.calc = atoms.calc
    larger.set_cell(atoms.cell.array * [[1.02], [1.0], [1.05]], scale_atoms=True)
    assert abs(larger.get_potential_energy() - atoms.get_potential_energy()) > 1e-3
    context.setPeriodicBoxVectors(*larger.cell.array * NM)
    context.setPositions(larger.positions * NM)
    check(context, larger)


def test_some_of_the_particles():
    atoms = atoms_of("molecule")
    check(context_of(atoms, before=2), atoms, before=2)
    with pytest.raises(openmm.OpenMMException, match="particles, .* atoms: name those of the atoms by setParticles"):
        context_of(atoms, before=2, named=False).getState(energy=True)


def test_fixed_atoms_have_forces():
    """Constraints are those of OpenMM."""
    atoms = atoms_of("molecule")
    atoms.set_constraint(FixAtoms([0]))
    check(context_of(atoms), atoms)


def test_energy_is_conserved():
    """Verlet: half the time step, a quarter of the scatter of the total energy, if forces, masses and energies fit."""
    atoms, scatter = atoms_of("molecule"), []
    for timestep_fs, steps in ((0.1, 40), (0.05, 80)):
        context, energies = context_of(atoms, openmm.VerletIntegrator(timestep_fs * 1e-3)), []
        context.setVelocities(np.zeros((len(atoms), 3)))
        for _ in range(40):
            context.getIntegrator().step(steps // 40)
            state = context.getState(energy=True)
            energies.append((state.getPotentialEnergy() + state.getKineticEnergy())._value)
        scatter.append(np.std(energies))
    assert scatter[0] / scatter[1] == pytest.approx(4.0, abs=0.5)


def test_ring_polymers():
    """Every bead has our energy."""
    atoms, rng = atoms_of("molecule"), np.random.default_rng(1)
    integrator = openmm.RPMDIntegrator(3, 300.0, 1.0, 0.0002)
    integrator.setRandomNumberSeed(1)
    context = context_of(atoms, integrator)  # it holds the integrator
    for bead in range(3):
        integrator.setPositions(bead, (atoms.positions + rng.normal(0.0, 0.01, atoms.positions.shape)) * NM)
    integrator.step(2)
    energies, ours = [], []
    for bead in range(3):
        state = integrator.getState(bead, getPositions=True, getEnergy=True)
        atoms.positions = state.getPositions(asNumpy=True)._value / NM
        energies.append(state.getPotentialEnergy()._value)
        ours.append(atoms.get_potential_energy() * KJ_PER_EV)
    np.testing.assert_allclose(np.diff(energies), np.diff(ours), rtol=0, atol=1e-4)
    assert np.ptp(energies) > 1.0
    del context


def test_what_the_calculator_refuses_ends_the_run():
    atoms = atoms_of("molecule")
    context = context_of(atoms)
    context.setPositions(np.zeros((len(atoms), 3)))
    with pytest.raises(openmm.OpenMMException, match="coincide|apart|closer"):
        context.getState(energy=True)


@pytest.mark.parametrize(
    ("pbc", "calc", "message"),
    [
        (False, None, "atoms without a calculator: set atoms.calc"),
        ([True, True, False], EMT(), r"pbc = \[True, True, False\]: OpenMM is periodic in three directions or in none"),
    ],
)
def test_what_is_refused(pbc, calc, message):
    atoms = SYSTEMS["crystal"].copy()
    atoms.pbc, atoms.calc = pbc, calc
    with pytest.raises(InputError, match=message):
        openmm_force(atoms)


@pytest.mark.parametrize("without", ["openmm", "PythonForce"])
def test_no_openmm_with_python_forces(monkeypatch, without):
    if without == "openmm":
        monkeypatch.setitem(sys.modules, "openmm", None)
    else:
        monkeypatch.delattr(openmm, "PythonForce")
    with pytest.raises(InputError, match="no OpenMM with PythonForce: pip install 'openmm>=8.5'"):
        openmm_force(atoms_of("molecule"))
