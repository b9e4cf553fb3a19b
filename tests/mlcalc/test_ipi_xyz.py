"""Comments of i-PI's xyz files, against i-PI's own reader."""

import io

import numpy as np
import pytest
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.structures.ipi_xyz import image_gaps, is_lone_molecule, length_unit, read_ipi_comment

POSITIONS = np.array([[0.1, 0.2, 0.3], [1.3, 0.1, -0.4], [0.2, 4.9, 3.8]])
ABC, GENH = "6.1 5.9 7.2 80.0 95.0 103.0", "6.0 0.5 0.3 -0.4 5.8 0.2 0.9 0.1 7.1"
COMMENTS = [
    f"# CELL(abcABC): {ABC}  Step:  0  Bead:  0 positions{{angstrom}}  cell{{angstrom}}",
    f"# CELL[abcABC]: {ABC} Traj: positions{{nanometer}} Step: 3 Bead: 1 cell{{atomic_unit}}",
    f"# CELL(abcABC): {ABC}",
    f"# bead: 1 CELL{{abcABC}}: {ABC} positions{{picometer}}",
    "# CELL{H}: 6.0 0.5 0.3 0.0 5.8 0.2 0.0 0.0 7.1 cell{angstrom} positions{atomic_unit}",
    "CELL(H): 6e0 5E-1 0.3 0 5.8 0.2 0 0 7.1 x_centroid{angstrom}",
    f"# CELL[GENH]: {GENH} positions{{angstrom}} cell{{angstrom}}",
]


@pytest.mark.parametrize("comment", COMMENTS)
def test_as_ipi_reads_it(comment):
    pytest.importorskip("ipi")
    from ipi.utils.io import read_file

    found = read_ipi_comment(comment)
    lines = "".join(f"C {x} {y} {z}\n" for x, y, z in POSITIONS)
    theirs = read_file("xyz", io.StringIO(f"3\n{comment}\n{lines}"))
    angstrom = 1 / 1.8897261  # i-PI's own constant
    ours = Atoms("C3", POSITIONS * found.factor, cell=found.cell, pbc=True)
    other = Atoms("C3", theirs["atoms"].q.reshape(-1, 3) * angstrom, cell=theirs["cell"].h.T * angstrom, pbc=True)
    np.testing.assert_allclose(ours.cell.cellpar(), other.cell.cellpar(), rtol=1e-7)
    fractional = [atoms.get_scaled_positions(wrap=False) for atoms in (ours, other)]
    np.testing.assert_allclose(*fractional, rtol=1e-7, atol=1e-9)
    if "GENH" not in comment:  # which i-PI turns into its own frame
        np.testing.assert_allclose(ours.positions, other.positions, rtol=1e-7)


@pytest.mark.parametrize(
    "comment", ["", "C20", "energy = 3 {eV}", f'Lattice="5 0 0 0 5 0 0 0 5" comment="CELL(H): {ABC}"']
)
def test_comments_of_others(comment):
    assert read_ipi_comment(comment) is None


def test_units_without_a_cell():
    found = read_ipi_comment("# positions{angstrom}")
    assert (found.factor, found.cell.any(), found.bare) == (1.0, False, False)
    assert not read_ipi_comment("# CELL(abcABC): 0.0 0.0 0.0 90.0 90.0 90.0").cell.any()
    assert read_ipi_comment(f"# CELL(abcABC): {ABC}", "angstrom", "nanometer").factor == 1.0


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        (
            f"# CELL(abcABC): {ABC} velocities{{atomic_unit}}",
            "velocities{atomic_unit} in i-PI's comment: expected positions",
        ),
        ("# forces{ev/ang} Step: 1", "forces{ev/ang}"),
        (f"# CELL(abcABC): {ABC} positions{{furlong}}", "unit {furlong} of i-PI: expected a length"),
        (f"# CELL(abcABC): {ABC} positions{{angstrom}} cell{{kelvin}}", "unit {kelvin}"),
        (
            "# CELL(abcABC): 5.0 5.0 positions{angstrom}",
            "'CELL(abcABC): 5.0 5.0' in i-PI's comment: expected 6 numbers",
        ),
        ("# CELL(abcABC): 5 5 nan 90 90 90", "expected 6 numbers"),
        ("# CELL(abcABC): 5 5 5 120 120 121", "such a cell is impossible"),
        ("# CELL(abcABC): 5 5 -5 90 90 90", "such a cell is impossible"),
        ("# CELL(H): 5 0 0 1 5 0 0 0 5", "expected an upper triangular matrix"),
        ("# CELL(HNF): 5 0 0 1 5 0 0 0 5", "expected CELL(abcABC), CELL(H) or CELL(GENH)"),
    ],
)
def test_refusals(comment, message):
    with pytest.raises(InputError) as error:
        read_ipi_comment(comment)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "unit", ["atomic_unit", "angstrom", "nanometer", "picometer", "meter", "ase", "", "automatic", "Angstrom"]
)
def test_units_are_ipis(unit):
    pytest.importorskip("ipi")
    from ipi.utils.units import unit_to_internal

    ratio = unit_to_internal("length", unit, 1.0) / unit_to_internal("length", "angstrom", 1.0)
    assert length_unit(unit) == pytest.approx(ratio, rel=1e-7)


def test_gaps_bound_the_distance_to_every_image():
    rng = np.random.default_rng(1)
    for _ in range(20):
        cell = np.diag([9.0, 10.0, 11.0]) + rng.normal(0, 1.5, (3, 3))
        positions = rng.uniform(0, 5, (6, 3))
        shifts = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if i or j or k]) @ cell
        nearest = np.linalg.norm(positions[:, None, None] + shifts - positions[:, None], axis=-1).min()
        assert image_gaps(positions, cell).min() <= nearest + 1e-12
    dimer = np.array([[0.0, 0, 0], [1.0, 2.0, 3.0]])
    assert [is_lone_molecule(dimer, length * np.eye(3)) for length in (12.9, 13.1)] == [False, True]
    assert image_gaps(dimer, 10 * np.eye(3)).tolist() == pytest.approx([9.0, 8.0, 7.0])
