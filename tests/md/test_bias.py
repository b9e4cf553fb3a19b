"""Collective variables, bias laws and the biased potential: closed forms, finite differences, symmetries, periodic images."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed

from md.bias.biased import WAYS, BiasedPotential, Term
from md.bias.laws import Metadynamics, Umbrella, Wall
from md.bias.variables import VARIABLES, Coordinate, mean_value, nearest
from md.potentials import Harmonic

STEP = 1e-5
CELL = np.array([[6.0, 0.0, 0.0], [2.5, 5.5, 0.0], [-1.0, 1.5, 6.5]])
ATOMS = {
    "distance": (4, 1),
    "difference": (0, 3, 2),
    "angle": (1, 4, 0),
    "dihedral": (3, 0, 2, 4),
    "coordination": (1, 3),
}
EXTRA = {"coordination": {"to_atoms": (0, 2, 4), "radius": 1.7, "exponent": 8}}


def coordinate(name: str, pbc=(False, False, False)) -> Coordinate:
    return Coordinate(name, ATOMS[name], pbc, **EXTRA.get(name, {}))


def beads(n: int = 3, seed: int = 1) -> np.ndarray:
    """n configurations of five atoms."""
    rng = np.random.default_rng(seed)
    return 1.5 * rng.standard_normal((5, 3)) + 0.15 * rng.standard_normal((n, 5, 3))


def turned(positions: np.ndarray) -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))
    return positions @ (rotation * np.sign(np.linalg.det(rotation))).T + np.array([3.0, -2.0, 0.7])


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("periodic", [False, True])
def test_gradients_are_those_of_the_values(name, periodic):
    variable, cell = coordinate(name, (periodic,) * 3), CELL if periodic else None
    positions = beads()
    _, gradients = variable(positions, cell)
    assert np.abs(gradients).max() > 0.01
    for n, atom in enumerate(variable.atoms):
        for axis in range(3):
            ahead, behind = positions.copy(), positions.copy()
            ahead[:, atom, axis] += STEP
            behind[:, atom, axis] -= STEP
            change = nearest(variable(ahead, cell)[0] - variable(behind, cell)[0], variable.period)
            np.testing.assert_allclose(change / (2 * STEP), gradients[:, n, axis], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["distance", "angle", "dihedral"])
def test_values_are_those_of_ase(name):
    """ASE's get_distance, get_angle and get_dihedral, with their minimum images."""
    for cell in (None, CELL):
        variable = coordinate(name, (cell is not None,) * 3)
        for positions in beads(4):
            atoms = Atoms("H5", positions, cell=cell, pbc=cell is not None)
            expected = getattr(atoms, f"get_{name}")(*ATOMS[name], mic=cell is not None)
            found = variable(positions[None], cell)[0][0]
            assert nearest(found - expected, 360.0 if name == "dihedral" else 0.0) == pytest.approx(0.0, abs=1e-8)


def test_closed_forms():
    line = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.5, 0.0, 0.0]]])
    assert Coordinate("difference", (0, 1, 2))(line)[0][0] == pytest.approx(1.0 - 2.5)
    value, gradient = Coordinate("angle", (0, 1, 2))(line)  # a cusp: any gradient is right that is finite
    assert value[0] == pytest.approx(180.0) and np.isfinite(gradient).all()
    number = Coordinate("coordination", (0,), to_atoms=(1, 2), radius=1.0, exponent=6)(line)[0][0]
    x = 3.5
    assert number == pytest.approx(0.5 + (1 - x**6) / (1 - x**12))


@pytest.mark.parametrize("name", VARIABLES)
def test_rotation_and_translation_change_nothing(name):
    variable, positions = coordinate(name), beads()
    (values, gradients), (others, rotated) = variable(positions), variable(turned(positions))
    np.testing.assert_allclose(values, others, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(gradients, axis=2), np.linalg.norm(rotated, axis=2), atol=1e-9)
    np.testing.assert_allclose(gradients.sum(axis=1), 0.0, atol=1e-10)  # no net force, and no net torque
    chosen = positions[:, variable.atoms]
    np.testing.assert_allclose(np.cross(chosen, gradients).sum(axis=1), 0.0, atol=1e-8)


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("pbc", [(True, True, True), (False, True, False)])
def test_images_of_an_atom_are_the_same_atom(name, pbc):
    variable, positions = coordinate(name, pbc), beads()
    moved = positions.copy()
    shifts = np.random.default_rng(4).integers(-2, 3, (5, 3)) * np.array(pbc)
    assert shifts[list(ATOMS[name])].any()
    moved += shifts @ CELL
    for found, expected in zip(variable(moved, CELL), variable(positions, CELL), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_mirror_and_reversal_of_a_dihedral():
    positions = beads()
    values = coordinate("dihedral")(positions)[0]
    np.testing.assert_allclose(coordinate("dihedral")(positions * [1, 1, -1])[0], -values)
    np.testing.assert_allclose(Coordinate("dihedral", ATOMS["dihedral"][::-1])(positions)[0], values)


def test_means_of_a_periodic_variable():
    assert abs(mean_value(np.array([170.0, -170.0]), 360.0)) == pytest.approx(180.0)
    assert abs(mean_value(np.array([170.0, -178.0]), 360.0)) == pytest.approx(176.0)
    assert mean_value(np.array([170.0, -170.0]), 0.0) == 0.0


LAWS = {
    "umbrella": Umbrella(0.3, 2.0), "periodic": Umbrella(170.0, 1e-3, 360.0), "lower": Wall(0.2, 3.0, -1),
    "upper": Wall(0.2, 3.0, 1), "hills": Metadynamics(0.05, 0.3, 5.0, 300.0),
    "periodic hills": Metadynamics(0.05, 10.0, 5.0, 300.0, 360.0),
}  # fmt: skip
LAWS["hills"].hills = np.array([[0.1, 0.05], [0.5, 0.03]])
LAWS["periodic hills"].hills = np.array([[-178.0, 0.05], [171.0, 0.03]])


@pytest.mark.parametrize("name", LAWS)
def test_slopes_are_those_of_the_energies(name):
    law, scale = LAWS[name], 178.0 if "periodic" in name else 1.0
    values = scale * np.array([-1.0, -0.9, 0.15, 0.25, 0.97])
    _, slopes = law(values)
    assert slopes.any()
    np.testing.assert_allclose((law(values + STEP)[0] - law(values - STEP)[0]) / (2 * STEP), slopes, atol=1e-7)


def test_walls_act_on_one_side():
    np.testing.assert_allclose(LAWS["lower"](np.array([0.1, 0.3]))[0], [0.5 * 3.0 * 0.1**2, 0.0], atol=1e-15)
    np.testing.assert_allclose(LAWS["upper"](np.array([0.1, 0.3]))[0], [0.0, 0.5 * 3.0 * 0.1**2], atol=1e-15)


def test_hills_shrink_as_barducci_says():
    """At one place, dW/dn = h exp(−W/k_BΔT): W = k_BΔT ln(1 + n h/k_BΔT) for small hills."""
    height, soft = 1e-4, 4.0 * units.kB * 300.0
    law = Metadynamics(height, 0.1, 5.0, 300.0)
    rows = np.array([law.deposit(0.7) for _ in range(3000)])
    grown = law(np.array([0.7]))[0][0]
    assert rows[0].tolist() == [0.7, height]
    assert grown == pytest.approx(soft * np.log(1.0 + 3000 * height / soft), rel=2e-3)
    assert law.work == pytest.approx(grown)


def biased(on: str, names=("difference", "dihedral"), cell=None) -> BiasedPotential:
    laws = {"dihedral": Umbrella(150.0, 2e-4, 360.0)}
    pbc = (cell is not None,) * 3
    terms = [Term(coordinate(name, pbc), on, laws.get(name, Umbrella(0.4, 1.5))) for name in names]
    return BiasedPotential(Harmonic(0.7), terms)


@pytest.mark.parametrize("on", WAYS)
@pytest.mark.parametrize("cell", [None, CELL], ids=["molecule", "cell"])
def test_forces_are_those_of_the_ring_polymer(on, cell):
    """−∂/∂q_j of Σ_j [V(q_j) + W_j], by finite differences of all beads of all atoms."""
    potential = biased(on, tuple(VARIABLES), cell)
    positions = beads(4)
    place = () if cell is None else (cell,)

    def total(q: np.ndarray) -> float:
        energies, _ = potential(q, *place)
        return energies.sum() + len(q) * potential.applied.energies.sum()

    _, forces = potential(positions, *place)
    assert np.abs(forces - potential.applied.physical_forces).max() > 0.05
    for index in np.ndindex(positions.shape):
        ahead, behind = positions.copy(), positions.copy()
        ahead[index] += STEP
        behind[index] -= STEP
        assert (total(behind) - total(ahead)) / (2 * STEP) == pytest.approx(forces[index], rel=1e-5, abs=2e-6)


def test_the_three_ways_are_one_for_coinciding_beads():
    positions = np.repeat(beads(1), 4, axis=0)
    found = {on: biased(on) for on in WAYS}
    forces = [potential(positions)[1] for potential in found.values()]
    for other, potential in zip(forces[1:], list(found.values())[1:], strict=True):
        np.testing.assert_allclose(other, forces[0], atol=1e-12)
        np.testing.assert_allclose(potential.applied.energies, found["centroid"].applied.energies)


def test_the_three_ways_differ_for_a_curved_variable():
    positions = beads(4)
    energies = []
    for on in WAYS:
        potential = biased(on)
        potential(positions)
        energies.append(potential.applied.energies[0])
    assert energies[2] > energies[1]  # Jensen: the mean of squares exceeds the square of the mean
    assert len(set(np.round(energies, 6))) == 3


def test_energies_stay_physical_and_beads_may_be_numbered_in_any_order():
    positions = beads(4)
    for on in WAYS:
        potential = biased(on)
        energies, forces = potential(positions)
        np.testing.assert_array_equal(energies, Harmonic(0.7)(positions)[0])
        np.testing.assert_allclose(potential(positions[::-1])[1], forces[::-1], atol=1e-12)


def test_a_hill_changes_forces_to_the_bit_as_the_next_call_does():
    law = Metadynamics(0.1, 0.3, 5.0, 300.0)
    potential = BiasedPotential(Harmonic(0.7), [Term(coordinate("difference"), "mean", law)])
    positions = beads(4)
    _, forces = potential(positions)
    potential(positions + 0.01)
    _, forces = potential(positions)
    for _ in range(3):
        potential.deposit(positions, None, forces)
        positions = positions + 0.05 * np.arange(5)[:, None]
        before, (_, forces) = forces, potential(positions)
        potential.deposit(positions, None, forces)
        assert not np.array_equal(before, forces)
        np.testing.assert_array_equal(potential(positions)[1], forces)
    assert len(law.hills) == 6


def test_a_bias_that_is_not_finite_fails():
    potential = BiasedPotential(Harmonic(0.7), [Term(coordinate("distance"), "mean", Umbrella(0.0, 1e200))])
    with pytest.raises(CalculationFailed, match="not finite"):
        potential(1e120 * beads())
