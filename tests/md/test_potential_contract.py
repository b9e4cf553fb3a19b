"""The contract of every potential with the ring polymer, which uses only energies and forces of beads. A new kind is a row."""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from scipy.spatial.transform import Rotation

from md.potentials import AseForces, Harmonic, Morse, make_potential
from mlcalc import CommitteeCalculator
from mlcalc.common.errors import InputError
from tests.mlcalc.architectures import CUTOFF, ELEMENTS, ROWS

# Central differences with h = 1e-5 Å: rounding of a few thousand eV gives 1e-12/2h = 1e-7 eV/Å; compiled kernels have
# the slope error of their tables besides.
STEP, GRADIENT, ROUNDING = 1e-5, 2e-6, 1e-9


class Row(NamedTuple):
    """A potential for atoms near which beads are.

    Attributes:
        floats: Whether energies are the same wherever and however the atoms are turned.
        swaps: Whether like atoms may change places.
        measures: Whether it reports the smallest distance.
    """

    name: str
    atoms: Atoms
    make: Callable[[Atoms], Callable]
    floats: bool = True
    swaps: bool = True
    measures: bool = False


def _networks() -> list[Row]:
    """Every architecture, by every backend."""

    def row(architecture, backend: str, atoms: Atoms) -> Row:
        model = architecture.make_model(ELEMENTS, CUTOFF, 1)
        kind = "crystal" if atoms.pbc.any() else "molecule"
        return Row(
            f"{architecture.name}-{backend}-{kind}",
            atoms,
            lambda atoms: make_potential(model, atoms, "float64", backend, 1),
            measures=True,
        )

    return [
        row(architecture, backend, atoms)
        for architecture in ROWS
        for backend, atoms in product(architecture.backends, (ETHYNE, DIAMOND))
        if architecture.periodic or not atoms.pbc.any()
    ]


def _committee(atoms: Atoms):
    models = [ROWS[0].make_model(ELEMENTS, CUTOFF, seed) for seed in (1, 2)]
    return AseForces(atoms, CommitteeCalculator(models, dtype="float64", threads=1))


ETHYNE, DIAMOND = molecule("C2H2"), bulk("C", "diamond", 3.57)
ARGON = Atoms("Ar4", [[0, 0, 0], [3.6, 0, 0], [0, 3.7, 0], [0, 0, 3.8]])
TABLE = [
    *_networks(),
    Row("committee", ETHYNE, _committee, measures=True),
    Row("ase-emt", ETHYNE, lambda atoms: AseForces(atoms, EMT()), measures=True),
    Row("ase-lj", ARGON, lambda atoms: AseForces(atoms, LennardJones(sigma=3.4, epsilon=0.01, rc=9.0, smooth=True))),
    Row("morse", molecule("N2"), lambda _: Morse(4.0, 2.0, 1.3)),
    Row("harmonic", ETHYNE, lambda _: Harmonic(3.0), floats=False, swaps=False),
]  # sums of potentials and biases have their place here


def rows(which=lambda row: True):
    return pytest.mark.parametrize("row", [row for row in TABLE if which(row)], ids=lambda row: row.name)


@pytest.fixture
def beads(row) -> np.ndarray:
    """(3, N, 3) Å."""
    return row.atoms.positions + np.random.default_rng(3).normal(0.0, 0.04, (3, *row.atoms.positions.shape))


@rows()
def test_shapes_and_types(row, beads):
    energies, forces = row.make(row.atoms)(beads)
    assert energies.shape == (3,) and forces.shape == beads.shape
    assert energies.dtype == forces.dtype == np.float64
    assert np.ptp(energies) > 1e-4 and np.abs(forces).max() > 1e-3


@rows()
def test_forces_are_minus_the_gradient(row, beads):
    potential = row.make(row.atoms)
    _, forces = potential(beads)
    along = np.random.default_rng(4).normal(size=beads.shape)
    for bead, atom in product(range(3), range(len(row.atoms))):
        moved, direction = np.stack([beads[bead]] * 2), along[bead, atom]
        moved[:, atom] += STEP * np.outer([1, -1], direction)
        plus, minus = potential(moved)[0]
        slope = (plus - minus) / (2 * STEP)
        scale = max(1.0, np.abs(forces).max())
        assert -(forces[bead, atom] @ direction) == pytest.approx(slope, abs=GRADIENT * scale)


@rows()
def test_beads_are_evaluated_as_if_alone(row, beads):
    """To the bit; their number may change from call to call."""
    potential = row.make(row.atoms)
    energies, forces = potential(beads)
    for bead in (1, 2, 0):
        energy, force = potential(beads[bead : bead + 1])
        assert energy[0] == energies[bead]
        np.testing.assert_array_equal(force[0], forces[bead])
    again = potential(beads[::-1])
    np.testing.assert_array_equal(again[0], energies[::-1])
    np.testing.assert_array_equal(again[1], forces[::-1])


@rows()
def test_a_call_repeated_gives_the_same_bits(row, beads):
    """Whatever was asked for in between, and whichever object is asked."""
    potential = row.make(row.atoms)
    first = potential(beads)
    potential(beads + np.random.default_rng(5).normal(0.0, 0.02, beads.shape))
    for again in (potential(beads), row.make(row.atoms)(beads)):
        for found, expected in zip(again, first, strict=True):
            np.testing.assert_array_equal(found, expected)


@rows(lambda row: row.floats)
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "reflection"])
def test_forces_turn_with_the_atoms(row, beads, improper):
    rotation = Rotation.random(random_state=6).as_matrix() * (-1.0 if improper else 1.0)
    turned = row.atoms.copy()
    turned.set_cell(turned.cell.array @ rotation)
    turned.positions = turned.positions @ rotation
    energies, forces = row.make(row.atoms)(beads)
    found = row.make(turned)(beads @ rotation + [30.0, -20.0, 10.0])
    np.testing.assert_allclose(found[0], energies, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found[1], forces @ rotation, rtol=0, atol=ROUNDING * max(1.0, np.abs(forces).max()))
    np.testing.assert_allclose(forces.sum(axis=1), 0.0, atol=ROUNDING * max(1.0, np.abs(forces).max()))


@rows(lambda row: row.swaps)
def test_like_atoms_may_change_places(row, beads):
    order = np.arange(len(row.atoms))
    for z in np.unique(row.atoms.numbers):
        order[row.atoms.numbers == z] = np.roll(np.flatnonzero(row.atoms.numbers == z), 1)
    assert (order != np.arange(len(order))).any()
    potential = row.make(row.atoms)
    energies, forces = potential(beads)
    found = potential(beads[:, order])
    np.testing.assert_allclose(found[0], energies, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found[1], forces[:, order], rtol=0, atol=ROUNDING * max(1.0, np.abs(forces).max()))


@rows()
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_position_that_is_not_a_number_stays_in_its_bead_or_is_refused(row, beads, used):
    potential = row.make(row.atoms)
    healthy = row.make(row.atoms)(beads)
    if used:
        potential(beads)
    broken = beads.copy()
    broken[1, 0, 2] = np.nan
    try:
        energies, forces = potential(broken)
    except InputError as refusal:
        assert "NaN" in str(refusal)
    else:
        assert np.isnan(energies[1]) and np.isnan(forces[1, 0]).any()
        np.testing.assert_array_equal(energies[[0, 2]], healthy[0][[0, 2]])
        np.testing.assert_array_equal(forces[[0, 2]], healthy[1][[0, 2]])
    for found, expected in zip(potential(beads), healthy, strict=True):
        np.testing.assert_array_equal(found, expected)


@rows()
def test_inputs_stay_as_they_are_and_results_are_the_callers(row, beads):
    atoms, given = row.atoms.copy(), beads.copy()
    potential = row.make(atoms)
    energies, forces = potential(given)
    kept = energies.copy(), forces.copy()
    potential(given + 0.01)
    np.testing.assert_array_equal(given, beads)
    np.testing.assert_array_equal(energies, kept[0])
    np.testing.assert_array_equal(forces, kept[1])
    assert atoms == row.atoms and atoms.calc is None


@rows(lambda row: row.measures)
def test_the_smallest_distance_is_that_of_any_two_atoms_of_a_bead(row, beads):
    """By ASE; images of atoms count."""
    potential = row.make(row.atoms)
    atoms, distances = row.atoms.copy(), []
    for bead in beads:
        atoms.positions = bead
        distances.append(atoms.get_all_distances(mic=True)[np.triu_indices(len(atoms), 1)].min())
    for order in (beads, beads[::-1], beads[2:]):
        potential(order)
        expected = distances[2] if len(order) == 1 else min(distances)
        assert potential.smallest_distance() == pytest.approx(expected, abs=1e-9)
